"""``trioton pub`` and ``trioton sub``: one slot, from and to lines of text, JSON, or bytes as they are.

Both work on whole blocks, so that a pipeline runs as fast as channels do: what one read of stdin brings is sent at once, and what has
come is printed at once. Nothing is gathered that could leave, and each side waits for the other, so memory stays bounded.
"""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Final

import attrs
import trio

import trioton

from .output import Feed, say, write_bytes, write_out
from .security import MakeSecurity

HINT_AFTER: Final = 1.0
"""Seconds of waiting for somebody after which we say so."""

READ_SIZE: Final = 65536


class BadLineError(ValueError):
    """A line that is no object in JSON."""


@attrs.frozen
class Place:
    """Where a command finds its slot.

    Attributes:
        address: Where to connect or listen.
        slot: The slot's base name.
        type: ``"txt"``, ``"obj"`` or ``"bin"``.
        bind: Whether to listen.
        insecure: Whether other machines may be involved without TLS.
        wait: Whether to wait until somebody answers at the address.
        security: Gives what proves who we are; None if nothing does.
    """

    address: str
    slot: str
    type: str
    bind: bool = False
    insecure: bool = False
    wait: bool = False
    security: MakeSecurity | None = None

    @property
    def message_type(self) -> trioton.MessageType[Any]:
        """What the messages are."""
        return {"txt": trioton.TEXT, "obj": trioton.OBJECT, "bin": trioton.BINARY}[self.type]

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[tuple[trioton.Context, trioton.Connection | None]]:
        """A context that is connected or listens there, and the connection in the first case.

        Raises:
            trioton.AddressError: The address cannot be understood.
            trioton.ConnectError: Nobody answers there, and we do not wait.
            trioton.BindError: One cannot listen there.
            ValueError: It needs `insecure`, or `security` is no good.
        """
        security = None if self.security is None else self.security()
        async with trioton.open_context(name, security=security) as context:
            if self.bind:
                listener = await context.bind(self.address, insecure=self.insecure)
                say(f"listening at {listener.address}")
                yield context, None
            else:
                yield context, await dial(context, self.address, insecure=self.insecure, wait=self.wait)


async def dial(context: trioton.Context, address: str, *, insecure: bool, wait: bool) -> trioton.Connection:
    """Connect a context to an address, and say so if that takes long because we wait for somebody there.

    Raises:
        trioton.AddressError: The address cannot be understood.
        trioton.ConnectError: Nobody answers there, and we do not wait.
        ValueError: It needs `insecure`.
    """
    if wait:
        with trio.move_on_after(HINT_AFTER):
            return await context.connect(address, insecure=insecure, wait=True)
        say(f"waiting for somebody who answers at {address}")
    return await context.connect(address, insecure=insecure, wait=wait)


def encode_line(line: str, type_: str) -> Any:
    """The message that a line stands for.

    Raises:
        BadLineError: It is no JSON, for objects.
    """
    if type_ == "txt":
        return line
    try:
        return json.loads(line)
    except ValueError as error:
        raise BadLineError(f"not JSON: {line!r:.200} ({error})") from error


def format_message(message: Any, type_: str) -> str:
    """The line for a message: the text itself, or JSON where that can say it, else as Python would write it."""
    if type_ == "txt":
        return str(message)
    try:
        return json.dumps(message, ensure_ascii=False, default=repr)
    except (TypeError, ValueError):
        return repr(message)


def encode_argument(argument: str, type_: str) -> Any:
    """The message that an argument of the command line stands for.

    Raises:
        BadLineError: It is no JSON, for objects.
    """
    return os.fsencode(argument) if type_ == "bin" else encode_line(argument, type_)


async def publish(place: Place, messages: Sequence[str] | None, subscribers: int, count: int | None) -> int:
    """Publish the messages, or what comes from stdin; gives the exit code."""
    ready = None if messages is None else [encode_argument(message, place.type) for message in messages]
    async with place.open("pub") as (context, _):
        pub: trioton.PubChannel[Any] = trioton.PubChannel(context, place.slot, place.message_type)
        await _wait_subscribers(pub, subscribers, place.slot)
        if ready is not None:
            await pub.send_many(ready[:count])
        else:
            await _publish_stdin(pub, place.type, count, ends_unheard=subscribers > 0)
        await context.flush()
        unheard = pub.statistics().unheard
    if unheard and subscribers:
        say(f"{unheard} message{'s' * (unheard != 1)} found nobody who listens any more")
        return 1
    return 0


async def _wait_subscribers(pub: trioton.PubChannel[Any], count: int, slot: str) -> None:
    with trio.move_on_after(HINT_AFTER):
        await pub.wait_subscribers(count)
        return
    say(f"waiting for somebody who listens to {slot!r}")
    await pub.wait_subscribers(count)


async def _publish_stdin(pub: trioton.PubChannel[Any], type_: str, count: int | None, *, ends_unheard: bool) -> None:
    """Publish stdin to its end, or up to `count` messages, or until nobody listens any more, if that ends it."""
    left = count
    split = _as_they_come if type_ == "bin" else partial(split_lines, type_)
    async with aclosing(split()) as blocks:
        async for messages in blocks:
            await pub.send_many(messages if left is None else messages[:left])
            if ends_unheard and pub.statistics().unheard:
                return
            if left is not None:
                left -= len(messages)
                if left <= 0:
                    return


async def _as_they_come() -> AsyncGenerator[list[Any], None]:
    while data := await _read_stdin():
        yield [data]


async def split_lines(type_: str) -> AsyncGenerator[list[Any], None]:
    """The lines of stdin, as messages of a type, in as many lists as reads.

    Raises:
        BadLineError: A line is no JSON, for objects.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
    rest, is_open = "", True
    while is_open:
        data = await _read_stdin()
        is_open = bool(data)
        *lines, rest = (rest + decoder.decode(data, final=not is_open)).split("\n")
        if rest and not is_open:
            lines.append(rest)
        yield lines if type_ == "txt" else [encode_line(line, type_) for line in lines]


async def _read_stdin() -> bytes:
    # Not through sys.stdin: a thread that waits in there when Ctrl-C comes would hold its lock at the end of the process.
    return await trio.to_thread.run_sync(os.read, sys.stdin.fileno(), READ_SIZE, abandon_on_cancel=True)


async def subscribe(place: Place, policy: trioton.Policy, count: int | None, *, until_closed: bool) -> int:
    """Print what comes on the slot; gives the exit code."""
    async with place.open("sub") as (context, connection):
        sub: trioton.SubChannel[Any] = trioton.SubChannel(context, place.slot, place.message_type, policy=policy)
        feed = Feed(sub)
        if connection is not None:
            context.start_soon(feed.watch, connection)
            context.start_soon(_tell, context.events())
        elif until_closed:
            context.start_soon(_end_with_the_last, context, context.events(), feed)
        try:
            is_complete = await _print_all(sub, feed, place.type, count)
        finally:
            dropped = sub.statistics().dropped
            if dropped:
                say("1 message was dropped" if dropped == 1 else f"{dropped} messages were dropped")
        if not is_complete and connection is not None:
            say(f"the connection has ended: {connection.close_reason}")
        return 0 if is_complete or count is None else 1


async def _end_with_the_last(context: trioton.Context, events: trioton.EventStream, feed: Feed) -> None:
    """Let the feed end as soon as all who had connected have left."""
    async with events:
        async for event in events:
            if isinstance(event, trioton.Disconnected) and not context.connections:
                feed.end()
                return


async def _print_all(sub: trioton.SubChannel[Any], feed: Feed, type_: str, count: int | None) -> bool:
    """Print up to `count` messages; whether there were as many."""
    left = count
    while left is None or left > 0:
        try:
            messages = await feed.receive_many(sub, left)
        except trioton.MessageDecodeError as error:
            say(f"a message makes no sense: {error}")
            continue
        if messages is None:
            return False
        if left is None:
            messages += _also_there(sub)
        else:
            left -= len(messages)
        await (write_bytes(b"".join(messages)) if type_ == "bin" else write_out(_join_lines(messages, type_)))
    return True


def _also_there(sub: trioton.SubChannel[Any]) -> list[Any]:
    """What has come at the same time in other packages."""
    try:
        return sub.receive_all_nowait()
    except trioton.MessageDecodeError as error:
        say(f"a message makes no sense: {error}")
    except trio.BrokenResourceError:
        pass  # it is said again
    return []


def _join_lines(messages: list[Any], type_: str) -> str:
    lines = messages if type_ == "txt" else [format_message(message, type_) for message in messages]
    return "\n".join(lines) + "\n"


async def _tell(events: trioton.EventStream) -> None:
    """Say what happens to the connection."""
    async with events:
        async for event in events:
            match event:
                case trioton.Suspended(reason=reason) | trioton.SessionLost(reason=reason):
                    say(f"connection lost, dialling again: {reason}")
                case trioton.Resumed() | trioton.Connected():
                    say("connected again")
                case _:
                    pass
