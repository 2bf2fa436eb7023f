"""Wrong arguments raise an error that names the argument and the value, and leave nothing behind."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

import trioton
from trioton import (
    OBJECT,
    TEXT,
    Block,
    Context,
    Disconnect,
    DropNewest,
    DropOldest,
    Latest,
    MessageType,
    PubChannel,
    SubChannel,
    merge,
    open_channel,
    typed,
)

if TYPE_CHECKING:
    from tests.conftest import Pair

Call = Callable[[Any], object]

# What is wrong for the type checker, too, goes through names that it knows nothing about.
pub: Any = PubChannel
sub: Any = SubChannel
one: Any = open_channel
merged: Any = merge
typed_: Any = typed
block: Any = Block
oldest: Any = DropOldest
newest: Any = DropNewest
latest: Any = Latest
disconnect: Any = Disconnect

TABLE: list[tuple[str, Call, type[Exception], str]] = [
    # contexts
    ("pub-none", lambda _: pub(None, "chat"), TypeError, "ctx must be a context, .* not None"),
    ("sub-str", lambda _: sub("a", "chat"), TypeError, "ctx must be a context, .* not 'a'"),
    ("open-int", lambda _: one(5), TypeError, "ctx must be a context, .* not 5"),
    # slots
    ("slot-int", lambda c: pub(c, 5), TypeError, "slot must be a str, not 5"),
    ("slot-bytes", lambda c: sub(c, b"chat"), TypeError, "slot must be a str, not b'chat'"),
    ("slot-empty", lambda c: pub(c, ""), ValueError, "slot must name something, not ''"),
    ("slot-blank", lambda c: sub(c, "  \n "), ValueError, "slot must name something"),
    ("slot-tilde", lambda c: sub(c, "~chat"), ValueError, "slot must not start with '~'.*'~chat'"),
    ("slot-control", lambda c: pub(c, "a\0b"), ValueError, "nor hold control characters"),
    ("slot-newline", lambda c: pub(c, "a\nb"), ValueError, "nor hold control characters"),
    ("slot-surrogate", lambda c: pub(c, "\ud800"), ValueError, "slot must be valid text"),
    ("slot-long", lambda c: pub(c, "x" * 401), ValueError, "slot must have at most 400 bytes, not 401"),
    ("slot-long-bytes", lambda c: pub(c, "ü" * 201), ValueError, "slot must have at most 400 bytes, not 402"),
    # message types
    ("type-none", lambda c: pub(c, "n", None), TypeError, "message_type must be a MessageType, .* not None"),
    ("type-str", lambda c: sub(c, "n", "TEXT"), TypeError, "message_type must be a MessageType, .* not 'TEXT'"),
    ("type-class", lambda c: pub(c, "n", str), TypeError, "message_type must be a MessageType"),
    ("type-open", lambda c: one(c, int), TypeError, "message_type must be a MessageType"),
    ("typed-int", lambda _: typed_(int), TypeError, "cls must be an attrs class or a dataclass, not <class 'int'>"),
    # policies
    ("policy-none", lambda c: sub(c, "n", policy=None), TypeError, "policy must be Block, .* not None"),
    ("policy-class", lambda c: sub(c, "n", policy=Block), TypeError, "policy must be Block"),
    ("policy-int", lambda c: sub(c, "n", policy=5), TypeError, "policy must be .* not 5"),
    ("block-0", lambda _: block(0), ValueError, "Block takes 1 to 2147483648 messages, not 0"),
    ("block-negative", lambda _: block(-1), ValueError, "Block takes .* not -1"),
    ("block-large", lambda _: block((1 << 31) + 1), ValueError, "Block takes .* not 2147483649"),
    ("block-float", lambda _: block(1.5), TypeError, "Block takes a number of messages, not 1.5"),
    ("block-bool", lambda _: block(True), TypeError, "Block takes a number of messages, not True"),
    ("oldest-none", lambda _: oldest(None), TypeError, "DropOldest takes .* not None"),
    ("oldest-0", lambda _: oldest(0), ValueError, "DropOldest takes .* not 0"),
    ("newest-str", lambda _: newest("5"), TypeError, "DropNewest takes .* not '5'"),
    ("newest-0", lambda _: newest(0), ValueError, "DropNewest takes .* not 0"),
    ("disconnect-0", lambda _: disconnect(0), ValueError, "Disconnect takes .* not 0"),
    ("latest-5", lambda _: latest(5), TypeError, "argument"),
    # the other arguments of PubChannel
    ("local-int", lambda c: pub(c, "n", local=1), TypeError, "local must be True or False, not 1"),
    ("local-none", lambda c: pub(c, "n", local=None), TypeError, "local must be .* not None"),
    ("backlog-negative", lambda c: pub(c, "n", backlog=-1), ValueError, "backlog must be from 0 to 1000000, not -1"),
    ("backlog-large", lambda c: pub(c, "n", backlog=1_000_001), ValueError, "backlog must be .* not 1000001"),
    ("backlog-float", lambda c: pub(c, "n", backlog=1.0), TypeError, "backlog must be an int, not 1.0"),
    ("backlog-bool", lambda c: pub(c, "n", backlog=True), TypeError, "backlog must be .* not True"),
    ("deadline-negative", lambda c: pub(c, "n", block_deadline=-1), ValueError, "block_deadline must be .* not -1"),
    ("deadline-inf", lambda c: pub(c, "n", block_deadline=math.inf), ValueError, "block_deadline must be finite"),
    ("deadline-nan", lambda c: pub(c, "n", block_deadline=math.nan), ValueError, "block_deadline must be .* not nan"),
    ("deadline-str", lambda c: pub(c, "n", block_deadline="5"), TypeError, "block_deadline must be .* not '5'"),
    ("deadline-bool", lambda c: pub(c, "n", block_deadline=True), TypeError, "block_deadline must be .* not True"),
    # open_channel
    ("size-0", lambda c: one(c, size=0), ValueError, "not 0"),
    ("size-float", lambda c: one(c, size=2.5), TypeError, "not 2.5"),
    # merge
    ("merge-nothing", lambda _: merged(), ValueError, "merge takes at least one channel"),
    ("merge-pub", lambda c: merged(pub(c, "n")), TypeError, "merge takes receiving channels, not <PubChannel"),
    ("merge-list", lambda c: merged([sub(c, "n")]), TypeError, "merge takes receiving channels, not \\["),
    ("merge-twice", lambda c: merged(*[sub(c, "n")] * 2), ValueError, "merge takes each channel once"),
]


@pytest.mark.parametrize(("call", "error", "text"), [pytest.param(*row[1:], id=row[0]) for row in TABLE])
async def test_at_construction(
    autojump_clock: object, pair: Pair, call: Call, error: type[Exception], text: str
) -> None:
    before = pair.a.statistics()
    with pytest.raises(error, match=text):
        call(pair.a)
    after = pair.a.statistics()
    if "merge" not in text:
        assert (after.slots_sent, after.slots_received) == (before.slots_sent, before.slots_received)


async def test_merge_takes_channels_of_one_context(autojump_clock: object, pair: Pair) -> None:
    with pytest.raises(ValueError, match="merge takes channels of one context"):
        merge(SubChannel(pair.a, "n"), SubChannel(pair.b, "n"))


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0, ValueError, "max must be at least 1, not 0"),
        (-1, ValueError, "max must be at least 1, not -1"),
        (1.5, TypeError, "max must be an int, not 1.5"),
        (True, TypeError, "max must be .* not True"),
        ("1", TypeError, "max must be .* not '1'"),
    ],
)
async def test_receive_many(autojump_clock: object, pair: Pair, value: Any, error: type[Exception], text: str) -> None:
    sub = SubChannel(pair.a, "n")
    with pytest.raises(error, match=text):
        await sub.receive_many(value)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-1, ValueError, "count must be at least 0, not -1"),
        (1.0, TypeError, "count must be an int, not 1.0"),
        (True, TypeError, "count must be an int, not True"),
        (None, TypeError, "count must be an int, not None"),
    ],
)
async def test_wait_subscribers(
    autojump_clock: object, pair: Pair, value: Any, error: type[Exception], text: str
) -> None:
    pub = PubChannel(pair.a, "n")
    with pytest.raises(error, match=text):
        await pub.wait_subscribers(value)


@pytest.mark.parametrize("values", [None, 5, PubChannel])
async def test_send_many_takes_an_iterable(autojump_clock: object, pair: Pair, values: Any) -> None:
    pub = PubChannel(pair.a, "n", OBJECT)
    with pytest.raises(TypeError, match="not iterable"):
        await pub.send_many(values)
    assert pub.statistics().sent == 0


@pytest.mark.parametrize("name", ["", "With Capitals", "a.b", "x" * 65, "ü"])
def test_names_of_message_types(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 64 lower-case letters"):
        type("Own", (MessageType,), {"name": name, "encode": None, "decode": None})


async def test_a_slot_may_be_as_long_as_that(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "x" * 400), SubChannel(pair.b, "x" * 400)
    await pub.wait_subscribers()
    await pub.send("hello")
    assert await sub.receive() == "hello"
    assert isinstance(pair.a, Context)
    assert pub.slot == "x" * 400 + f".{TEXT.name}.pub-sub"


async def test_numbers_at_their_bounds_are_taken(autojump_clock: object, pair: Pair) -> None:
    PubChannel(pair.a, "n", backlog=1_000_000, block_deadline=0)
    for policy in (Block(1), Block(1 << 31), DropOldest(1 << 31), DropNewest(1), Disconnect(1), Latest()):
        assert SubChannel(pair.b, "n", policy=policy).policy == policy
    assert SubChannel(pair.b, "n").policy == Block() == Block(1024)
    assert trioton.Latest().size == 1
