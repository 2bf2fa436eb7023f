"""References to channels that a peer made up: they become no sending end, and the peer is not followed anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from trioton import BINARY, OBJECT, TEXT, MessageType, Sender, open_channel
from trioton.channels.references import decode_extra
from trioton.errors import DeadError, ProtocolError
from trioton.network.receiving.reception import SENDER_TAG
from trioton.protocol.values import decode_value, encode_value

if TYPE_CHECKING:
    from tests.conftest import Pair

TAG = b"\xda" + SENDER_TAG.to_bytes(4, "big")
SOMEBODY = bytes(range(16))
SLOT = f"~{5:024x}.obj.one"


def reference(content: object) -> bytes:
    return TAG + encode_value(content)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "must be an array of two"),
        ("~", "must be an array of two"),
        ({0: SOMEBODY, 1: SLOT}, "must be an array of two"),
        ([], "must be an array of two"),
        ([SOMEBODY], "must be an array of two"),
        ([SOMEBODY, SLOT, 0], "must be an array of two"),
        ([SLOT, SOMEBODY], "names no context and slot"),
        ([SOMEBODY[:15], SLOT], "names no context and slot"),
        ([SOMEBODY + b"x", SLOT], "names no context and slot"),
        ([SOMEBODY, SLOT.encode()], "names no context and slot"),
        ([SOMEBODY, 5], "names no context and slot"),
        ([SOMEBODY, ""], "names the slot ''"),
        ([SOMEBODY, "chat.txt.pub-sub"], "names the slot 'chat.txt.pub-sub'"),
        ([SOMEBODY, f"~{5:024x}.typed-x.one"], "names the slot"),
        ([SOMEBODY, f"~{5:024x}.num.one"], "names the slot"),
        ([SOMEBODY, f"~{5:023x}.obj.one"], "names the slot"),
        ([SOMEBODY, f"~{0xABC:024X}.obj.one"], "names the slot"),
        ([SOMEBODY, SLOT + "\n"], "names the slot"),
        ([SOMEBODY, "~" + "x" * 1000], "^.{1,150}$"),
    ],
)
async def test_one_that_makes_no_sense_is_refused(autojump_clock: object, pair: Pair, content: Any, text: str) -> None:
    before = pair.a.statistics().slots_sent
    with pytest.raises(ProtocolError, match=text):
        decode_value(reference(content), decode_extra(pair.a))
    assert pair.a.statistics().slots_sent == before


@pytest.mark.parametrize("message_type", [TEXT, BINARY, OBJECT], ids=lambda value: value.name)
async def test_one_that_does_becomes_a_sending_end(
    autojump_clock: object, pair: Pair, message_type: MessageType[Any]
) -> None:
    original, _receiver = open_channel(pair.b, message_type)
    sender = decode_value(reference(original._reference()), decode_extra(pair.a))
    assert isinstance(sender, Sender)
    assert sender._reference() == original._reference()


async def test_one_that_leads_to_a_context_nobody_knows_breaks_at_once(autojump_clock: object, pair: Pair) -> None:
    sender = decode_value(reference([SOMEBODY, SLOT]), decode_extra(pair.a))
    with trio.fail_after(1), pytest.raises(trio.BrokenResourceError) as caught:
        await sender.send("x")
    assert isinstance(caught.value.__cause__, DeadError)
    assert "no route" in str(caught.value.__cause__)
    assert pair.to_b.is_connected
