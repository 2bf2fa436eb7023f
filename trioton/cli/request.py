"""``trioton req``: asks what answers on a slot, once, for a stream of items, or once for each line of stdin.

What a handler raises is an answer, too: a line on stderr and an exit code. What goes wrong here is raised, as in the other commands.
"""

from __future__ import annotations

import json
import math
import sys
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, Self

import attrs
import trio

import trioton

from .output import say, write_out
from .pubsub import HINT_AFTER, Place, format_message, split_lines

IN_FLIGHT: Final = 256
"""Lines of stdin that may wait for their answers at once."""


class NobodyError(trioton.TriotonError):
    """There is nobody to be asked, or no longer."""


def read_argument(word: str) -> Any:
    """The value that a word stands for: what it says in JSON, or else the text itself."""
    try:
        return json.loads(word, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return word


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


@attrs.frozen
class Call:
    """What to ask for.

    Attributes:
        method: The name of the method.
        args: What it gets.
        kwargs: And by name.
    """

    method: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = attrs.field(factory=dict)

    @classmethod
    def from_words(cls, method: str, words: Sequence[str]) -> Self:
        """Read it from the words of a command line.

        Raises:
            ValueError: A keyword is there twice.
        """
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for word in words:
            name, equals, value = word.partition("=")
            if not (equals and name.isidentifier()):
                args.append(read_argument(word))
            elif name in kwargs:
                raise ValueError(f"the keyword {name!r} is there twice")
            else:
                kwargs[name] = read_argument(value)
        return cls(method, tuple(args), kwargs)

    def with_line(self, line: str) -> Self:
        """The same, and what a line of stdin adds: the items of a JSON array, or the text."""
        items = read_argument(line) if line.lstrip().startswith("[") else line
        return attrs.evolve(self, args=(*self.args, *(items if isinstance(items, list) else [line])))

    def start(self, target: trioton.ReqChannel | trioton.RequestTarget) -> trioton.Future[Any]:
        """Make the request.

        Raises:
            Exception: It cannot be sent.
        """
        method = target.__getattr__(self.method)  # also if the channel has something else under that name
        return method(*self.args, **self.kwargs)


@attrs.frozen
class Manner:
    """How to ask, and how to tell.

    Attributes:
        to: The name or identity of the context that is to answer; None for any.
        timeout: Seconds that an answer may take.
        patience: Seconds until somebody must have taken the request, or None.
        as_json: Whether texts are printed as JSON, too.
        verbose: Whether to print the tracebacks of failures.
    """

    to: str | None = None
    timeout: float = math.inf
    patience: float | None = None
    as_json: bool = False
    verbose: bool = False

    @property
    def too_late(self) -> TimeoutError:
        """What to tell when the time is over."""
        return TimeoutError(f"no answer within {self.timeout:g} s")

    def format(self, value: Any) -> str:
        """The line for a result."""
        return format_message(value, "txt" if isinstance(value, str) and not self.as_json else "obj")

    def tell(self, error: Exception, where: str = "") -> None:
        """Say on stderr, in one line, what a request has failed with; with `verbose` the traceback is above it."""
        if self.verbose:
            cause = error.__cause__
            is_remote = isinstance(cause, trioton.RemoteTraceback)
            print(
                str(cause).strip() if is_remote else "".join(traceback.format_exception(error)).strip(), file=sys.stderr
            )
        print(where + describe(error), file=sys.stderr, flush=True)


def describe(error: Exception) -> str:
    """A failure in one line, as ``TypeName: text``."""
    text = " ".join(str(error).split())
    if isinstance(error, trioton.RemoteError):
        return text  # which begins with the name of the type there
    name = type(error).__name__
    return f"{name}: {text}" if text else name


# ------------------------------------------------------------------------------------------------------- one request


async def ask(place: Place, call: Call, manner: Manner, *, is_stream: bool) -> int:
    """Make a request, and print its result or its items; gives the exit code."""
    with trio.move_on_after(manner.timeout):
        async with _open(place, manner) as (_, target):
            return await (_print_items if is_stream else _print_result)(target, call, manner)
    manner.tell(manner.too_late)
    return 1


async def _print_result(target: trioton.ReqChannel | trioton.RequestTarget, call: Call, manner: Manner) -> int:
    try:
        value = await call.start(target)
    except Exception as error:  # noqa: BLE001 - whatever the handler has raised is the answer
        manner.tell(error)
        return 1
    await write_out(manner.format(value) + "\n")
    return 0


async def _print_items(target: trioton.ReqChannel | trioton.RequestTarget, call: Call, manner: Manner) -> int:
    async with target.stream(call.method, *call.args, **call.kwargs) as items:
        while True:
            try:
                item = await anext(items)
            except StopAsyncIteration:
                return 0
            except Exception as error:  # noqa: BLE001 - as above
                manner.tell(error)
                return 1
            await write_out(manner.format(item) + "\n")


# ------------------------------------------------------------------------------------------- one for each line of stdin


@attrs.frozen
class _Asked:
    """A line of stdin, which was sent or could not be."""

    number: int
    future: trioton.Future[Any] | Exception
    deadline: float

    @property
    def is_done(self) -> bool:
        return isinstance(self.future, Exception) or self.future.done()

    async def answer(self) -> Any:
        """Wait for the answer.

        Raises:
            trio.TooSlowError: It takes too long.
            Exception: Whatever the handler has raised.
        """
        if isinstance(self.future, Exception):
            raise self.future
        if self.future.done():  # in time, and then perhaps one before it took longer
            return await self.future
        with trio.fail_at(self.deadline):
            return await self.future


async def ask_lines(place: Place, call: Call, manner: Manner) -> int:
    """Make a request for each line of stdin, many at once, and print the results in their order; gives the exit code."""
    async with _open(place, manner) as (context, target):
        sender, receiver = trio.open_memory_channel[_Asked](IN_FLIGHT)
        context.start_soon(_read_requests, target, call, manner.timeout, sender)
        return await _print_answers(receiver, manner)


async def _read_requests(
    target: trioton.ReqChannel | trioton.RequestTarget,
    call: Call,
    timeout: float,  # noqa: ASYNC109 - it is for each answer, and these are waited for elsewhere
    sender: trio.MemorySendChannel[_Asked],
) -> None:
    number = 0
    async with sender, aclosing(split_lines("txt")) as blocks:
        async for lines in blocks:
            for line in lines:
                number += 1
                future: trioton.Future[Any] | Exception
                try:
                    future = call.with_line(line).start(target)
                except Exception as error:  # noqa: BLE001 - this line cannot be sent; it is told in its turn
                    future = error
                await sender.send(_Asked(number, future, trio.current_time() + timeout))


async def _print_answers(receiver: trio.MemoryReceiveChannel[_Asked], manner: Manner) -> int:
    code = 0
    lines: list[str] = []

    async def flush() -> None:
        await write_out("".join(f"{line}\n" for line in lines))
        lines.clear()

    async for asked in receiver:
        if lines and not asked.is_done:
            await flush()
        try:
            lines.append(manner.format(await asked.answer()))
        except Exception as error:  # noqa: BLE001 - whatever the handler has raised is the answer
            lines.append("")
            manner.tell(manner.too_late if isinstance(error, trio.TooSlowError) else error, f"line {asked.number}: ")
            code = 1
        if len(lines) >= IN_FLIGHT or not receiver.statistics().current_buffer_used:
            await flush()
    return code


# ---------------------------------------------------------------------------------------------------- who is to answer


@asynccontextmanager
async def _open(
    place: Place, manner: Manner
) -> AsyncIterator[tuple[trioton.Context, trioton.ReqChannel | trioton.RequestTarget]]:
    """A context that is connected or listens, and what asks there. The block is cancelled when the connection ends.

    Raises:
        NobodyError: The connection has ended, or the context that is to answer did not come in time.
        Exception: As `Place.open`.
    """
    async with (
        place.open("req") as (context, connection),
        trioton.ReqChannel(context, place.slot, patience=manner.patience) as req,
    ):
        context.start_soon(_hint, req, place.slot)
        with trio.CancelScope() as scope:
            if connection is not None:
                context.start_soon(_watch, connection, scope)
            yield context, req if manner.to is None else req.to(await _find(context, manner.to, manner.patience))
        if scope.cancelled_caught:
            assert connection is not None
            raise NobodyError(f"the connection has ended: {connection.close_reason}")


async def _watch(connection: trioton.Connection, scope: trio.CancelScope) -> None:
    await connection.wait_closed()
    scope.cancel()


async def _hint(req: trioton.ReqChannel, slot: str) -> None:
    """Say it if it takes long because nobody answers."""
    await trio.sleep(HINT_AFTER)
    if not req.repliers:
        say(f"waiting for somebody who answers on {slot!r}")


async def _find(context: trioton.Context, name_or_id: str, patience: float | None) -> int:
    """The identity of a context, as soon as that can be reached.

    Raises:
        NobodyError: It did not come in time.
    """
    with trio.move_on_after(math.inf if patience is None else patience):
        async with context.events() as events:
            while True:
                for info in context.contexts:
                    if name_or_id in {info.name, str(info.id), f"{info.id:032x}"}:
                        return info.id
                await events.receive()
    raise NobodyError(f"there is no context {name_or_id!r}, after {patience:g} s")
