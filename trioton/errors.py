"""Every exception that Trioton raises of its own.

Trio's own classes say what happened to a resource and are used unchanged: `trio.ClosedResourceError` (you closed it),
`trio.BrokenResourceError` (the peer or the network did), `trio.EndOfChannel`, `trio.WouldBlock`, `trio.BusyResourceError`.
The classes below say what Trio has no word for.
"""

from __future__ import annotations


class TriotonError(Exception):
    """The base of all exceptions that are Trioton's own."""


class ProtocolError(TriotonError):
    """A peer sent bytes that break the wire format or its rules; the link that they came on is closed."""


class AddressError(TriotonError, ValueError):
    """An address that cannot be understood; the message names the address and the part that is wrong."""


class ConnectError(TriotonError, OSError):
    """A connection could not be made; ``__cause__`` has the reason if the system gave one."""


class AuthError(ConnectError):
    """Who answers there has not proved to be one whom we accept, or does not accept us; nothing was sent to it.

    Dialling again would not help, so that ``connect(..., wait=True)`` raises it too.
    """


class BindError(TriotonError, OSError):
    """An address could not be listened on; ``__cause__`` has the reason if the system gave one."""


class MessageTypeError(TriotonError, TypeError):
    """A message that its channel's message type cannot carry; raised in `send`, and nothing was sent."""


class MessageDecodeError(TriotonError, ValueError):
    """A message arrived whole, but its channel's message type could not make sense of it.

    It is raised by the one `receive` that would have returned the message; the messages after it follow.
    """


class CongestedError(TriotonError):
    """A blocking subscriber had no room within the channel's `block_deadline`; the message was not sent."""


class RequestError(TriotonError):
    """A text request was answered with an error; the message says which.

    Attributes:
        was_refused: Whether the request never reached the handler; else the handler raised, and has perhaps done a part of its work.
    """

    def __init__(self, reason: str, *, was_refused: bool = False) -> None:
        super().__init__(reason)
        self.was_refused = was_refused


class DeadError(TriotonError):
    """What was addressed cannot be reached any more: its context has ended, or nothing answers there.

    Attributes:
        reason: The reason in words, as the far side or the network gave it.
        context: The identity of the context that was addressed, where that is known, else None.
        started: For a request, whether its handler had been started: True, False, or None if nobody knows.
    """

    def __init__(self, reason: str, *, context: int | None = None, started: bool | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.context = context
        self.started = started


class NotPermittedError(TriotonError, PermissionError):
    """A context on the way does not permit this one what it wanted; the message says who, what and on which slot. Nothing was done.

    Attributes:
        slot: The full name of the slot.
        by: The identity of the context that has refused it.
    """

    def __init__(self, reason: str, *, slot: str, by: int) -> None:
        super().__init__(reason)
        self.slot = slot
        self.by = by


class NoReplierError(TriotonError):
    """No replier took a request within the channel's `patience`; it was not started."""


class RequestCancelled(TriotonError):  # as concurrent.futures and Trio name theirs
    """The request was cancelled: by its `cancel`, by another task that awaited it, or with its channel.

    Attributes:
        is_clean: Whether its handler has come to an end, or had never begun. False if it may still run: a thread that cannot be
            stopped, or a replier that did not answer in time; the outcome is unknown then.
    """

    def __init__(self, reason: str, *, is_clean: bool) -> None:
        super().__init__(reason)
        self.is_clean = is_clean


class JobFailed(TriotonError):
    """A job that was pushed will not be done: pullers died over it again and again, or it cannot be received.

    Attributes:
        job: The message, as it was sent.
        deaths: For each death of a puller that may have begun the job, what it died of: a `DeadError` with the `context`.
        others: The further failures, if there are several.
    """

    def __init__(self, reason: str, *, job: object, deaths: tuple[DeadError, ...] = ()) -> None:
        super().__init__(reason)
        self.job = job
        self.deaths = deaths
        self.others: tuple[JobFailed, ...] = ()


class RemoteError(TriotonError):
    """What a handler has raised, if that is neither a builtin exception nor one that `register_exception` knows.

    Attributes:
        type_name: The name of its type, with the module.
        text: Its text.
    """

    def __init__(self, type_name: str, text: str) -> None:
        super().__init__(f"{type_name}: {text}" if text else type_name)
        self.type_name = type_name
        self.text = text


class RemoteTraceback(TriotonError):
    """The traceback of an exception where it was raised, as text: the cause of the one that is raised here.

    Its own ``__cause__`` is that of the exception where it was raised.
    """

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}" if self.args else ""
