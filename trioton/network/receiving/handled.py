"""A subscription whose messages are handled as they come, by a plain function, and never wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import ProtocolError
from ...protocol.inbox import ReceiveFlow, Run
from ...protocol.scan import scan_run
from .reception import MESSAGE_TAGS
from .subscription import Subscription

if TYPE_CHECKING:
    from ...protocol.policies import Policy
    from .listening import Listening


class HandledSubscription(Subscription):
    """Gives each message to a function, in the pass of the scheduler in which it came.

    Its slot may be addressed to this context: then any context may send there, unlike on a one-to-one channel.

    Args:
        listening: Who listens in the context.
        slot: The slot.
        policy: How far sources may be ahead of what they have heard that was handled.
        decode: Makes the messages of a run; raises `ProtocolError` if it makes no sense.
        handle: Called with the source's identity and each message; must not raise.
        refused: Called with the source's identity and the reason when a run made no sense.
        handle_plain: Called before a lone message is decoded, with the source's identity and the body of the package; whether it has
            read and handled that itself. It must be as strict as the scan is that this spares.
        source_gone: Called with the identity of a source that sends no more.
        own: The identity of this context, and what calls a function in the next pass of the scheduler: what the context sends to
            itself is handled then, since it comes while it is still being sent.
    """

    is_shared = True

    def __init__(
        self,
        listening: Listening,
        slot: str,
        policy: Policy,
        decode: Callable[[bytes], list[Any]],
        handle: Callable[[bytes, Any], None],
        refused: Callable[[bytes, str], None],
        source_gone: Callable[[bytes], None] | None = None,
        *,
        own: tuple[bytes, Callable[[Callable[[], None]], None]],
        handle_plain: Callable[[bytes, bytes], bool] | None = None,
    ) -> None:
        super().__init__(listening, slot, policy)
        self._decode = decode
        self._handle = handle
        self._source_gone = source_gone
        self._refused = refused
        self._handle_plain = handle_plain
        self.scans_lone = handle_plain is not None
        self._own_id, self._do_later = own

    def hand_over(self, flow: ReceiveFlow, body: bytes) -> bool:
        """Handle the message of a run of one."""
        # What answers it may leave first: somebody waits for that, and for nothing else here.
        source, handle_plain = flow.source, self._handle_plain
        if handle_plain is None or source == self._own_id or not handle_plain(source, body):
            if handle_plain is not None:
                scan_run(body, 1, tags=MESSAGE_TAGS)
            self._handle_body(source, body, 0, 1)
        inbox = self.inbox
        inbox.handed_over(flow, len(body))
        window = inbox.window
        if window is not None:
            if self.until_credit:
                self._watch_room(flow, window)
            self._took(1)
        return True

    def deliver(self, run: Run) -> int:
        """Handle the messages of a run."""
        super().deliver(run)
        self.inbox.next_run()
        self._took(run.stop - run.start)
        self._handle_body(run.flow.source, run.body, run.start, run.stop)
        return 0

    def _took(self, count: int) -> None:
        self.until_credit -= count
        if self.until_credit < 0:
            self.credit_due()

    def _handle_body(self, source: bytes, body: bytes, start: int, stop: int) -> None:
        if source == self._own_id:
            self._do_later(lambda: self._handle_now(source, body, start, stop))
        else:
            self._handle_now(source, body, start, stop)

    def _handle_now(self, source: bytes, body: bytes, start: int, stop: int) -> None:
        try:
            messages = self._decode(body)
        except ProtocolError as error:
            self._refused(source, str(error))
            return
        for message in messages[start:stop]:
            self._handle(source, message)

    def source_gone(self, source: bytes) -> None:
        """A context that has sent here sends no more."""
        gone = self._source_gone
        if gone is not None and source == self._own_id:
            self._do_later(lambda: gone(source))
        elif gone is not None:
            gone(source)


class Advertisement(Subscription):
    """Says to all contexts, by its interest, that somebody here takes what is addressed to it; what is published there is ignored."""

    def hand_over(self, _flow: ReceiveFlow, _body: bytes) -> bool:
        """Ignore a message."""
        return True

    def deliver(self, _run: Run) -> int:
        """Ignore a run."""
        return 0
