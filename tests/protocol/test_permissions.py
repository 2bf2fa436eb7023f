"""Permissions by the names of slots."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton import Permissions
from trioton.protocol.permissions import MOST_KNOWN, REPORTS_SLOT, Right

NAMED = [
    (("chat",), "chat.txt.pub-sub", True),
    (("chat",), "chat.obj.pub-sub", True),
    (("chat",), "chat.two.txt.pub-sub", False),
    (("chat",), "cha.txt.pub-sub", False),
    ((" CHAT ",), "chat.txt.pub-sub", True),
    (("ΛΌΓΟΣ",), "λόγος.txt.pub-sub", True),
    (("chat*",), "chat.txt.pub-sub", True),
    (("Chat*",), "chatter.txt.pub-sub", True),
    (("chat*",), "cha.txt.pub-sub", False),
    (("chat.*",), "chat.txt.pub-sub", False),
    (("chat.*",), "chat.two.three.txt.pub-sub", True),
    (("*",), "whatever.txt.pub-sub", True),
    (("*",), "trioton.log.obj.pub-sub", True),
    (("chat", "trioton.log"), "trioton.log.obj.pub-sub", True),
    (("trioton.*",), "trioton.log.obj.pub-sub", True),
    (("a", "b*"), "bc.typed-point.state", True),
    ((), "chat.txt.pub-sub", False),
    (("chat",), "chat", True),
    (("chat",), "", False),
]


@pytest.mark.parametrize(("names", "slot", "is_named"), NAMED)
def test_slots_are_named_as_where_channels_are_made(names: tuple[str, ...], slot: str, is_named: bool) -> None:
    permissions = Permissions(publish=names, subscribe=names, call=names)
    for _ in range(2):  # found, and remembered
        assert permissions.may_publish(slot) is is_named
        assert permissions.may_subscribe(slot) is is_named
        assert permissions.may_call(slot) is is_named


@pytest.mark.parametrize("name", ["chat.txt.pub-sub", "a.b.obj.req-rep", "Chat.OBJ.State", "jobs.obj.push-pull"])
def test_the_full_name_of_a_slot_is_refused(name: str) -> None:
    short = name.rsplit(".", 2)[0]
    with pytest.raises(
        ValueError, match=f"subscribe must name slots as where channels are made: {short!r}, not {name!r}"
    ):
        Permissions(subscribe=(name,))


SLOTS = {
    "chat.txt.pub-sub": Right.SUBSCRIBE,
    "chat.txt.state": Right.SUBSCRIBE,
    "chat.obj.req-rep": Right.SERVE,
    "chat.obj.push-pull": Right.SERVE,
    REPORTS_SLOT: Right.INSPECT,
}


@pytest.mark.parametrize(("slot", "right"), SLOTS.items())
def test_which_right_is_needed_to_listen(slot: str, right: Right) -> None:
    everything = Permissions(serve=("*",), inspect=True)
    assert everything.listening_right(slot) is None
    for lacking in (Right.SUBSCRIBE, Right.SERVE):
        lacks: dict[str, Any] = {lacking.word: ()}
        permissions = attrs.evolve(everything, **lacks)
        assert permissions.listening_right(slot) is (right if right is lacking else None)
    assert attrs.evolve(everything, inspect=False).may_subscribe(slot) is (right is not Right.INSPECT)


def test_who_may_listen_may_serve_unless_that_is_said_otherwise() -> None:
    assert Permissions(subscribe=("chat",)).may_subscribe("chat.obj.req-rep")
    assert not Permissions(subscribe=("chat",)).may_subscribe("other.obj.push-pull")
    assert not Permissions(subscribe=("chat",), serve=()).may_subscribe("chat.obj.req-rep")
    assert Permissions(subscribe=(), serve=("chat",)).may_subscribe("chat.obj.req-rep")


def test_the_defaults_permit_all_but_to_look() -> None:
    assert Permissions() == Permissions(
        publish=("*",), subscribe=("*",), call=("*",), serve=None, block=True, inspect=False
    )
    assert repr(Permissions(call=())) == (
        "Permissions(publish=('*',), subscribe=('*',), call=(), serve=None, block=True, inspect=False)"
    )
    assert hash(Permissions()) == hash(Permissions())


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    (
        {"publish": "chat"},
        TypeError,
        r"publish must be a tuple of names of slots, as in \('chat',\), not the text 'chat' alone",
    ),
    ({"subscribe": ["chat"]}, TypeError, r"subscribe must be a tuple of names of slots, not \['chat'\]"),
    ({"call": None}, TypeError, "call must be a tuple of names of slots, not None"),
    ({"serve": "*"}, TypeError, "serve must be a tuple"),
    ({"call": ("a", 5)}, TypeError, "call must be a tuple of names of slots, which are texts, not 5"),
    ({"call": ("",)}, ValueError, "call must name slots, not ''"),
    ({"call": ("  ",)}, ValueError, "call must name slots, not '  '"),
    ({"publish": ("*chat",)}, ValueError, r"publish must have '\*' at the end of a name only, .* not '\*chat'"),
    ({"publish": ("c*t",)}, ValueError, "at the end of a name only"),
    ({"publish": ("**",)}, ValueError, "at the end of a name only"),
    ({"publish": ("~0123.obj.one",)}, ValueError, "one-to-one channels have no names"),
    ({"block": 1}, TypeError, "block must be True or False, not 1"),
    ({"inspect": None}, TypeError, "inspect must be True or False, not None"),
]


@pytest.mark.parametrize(("arguments", "error", "text"), WRONG, ids=[text[:30] for _, _, text in WRONG])
def test_wrong_ones_are_named(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Permissions(**arguments)


def test_arguments_are_named() -> None:
    with pytest.raises(TypeError):
        Permissions(("*",))  # type: ignore[call-arg]


def test_what_is_remembered_is_bounded() -> None:
    permissions = Permissions(publish=("a*",))
    for number in range(3 * MOST_KNOWN):
        assert permissions.may_publish(f"a{number}.txt.pub-sub")
        assert not permissions.may_publish(f"b{number}.txt.pub-sub")
    assert len(permissions._publishes) <= MOST_KNOWN


@given(st.lists(st.text("ab.*", min_size=1, max_size=4), max_size=4), st.text("ab.", min_size=1, max_size=4))
def test_a_name_is_found_as_one_would_look_for_it(names: list[str], base: str) -> None:
    names = [name.replace("*", "") + "*" * name.endswith("*") or "*" for name in names]
    expected = any(base == name or (name.endswith("*") and base.startswith(name[:-1])) for name in names)
    assert Permissions(call=tuple(names)).may_call(f"{base}.obj.req-rep") is expected
