"""The quickest way to see whether the running task is cancelled.

`trio.lowlevel.checkpoint_if_cancelled` costs a coroutine and a call for each message. What it looks at is looked at here directly,
where this release of Trio has it under the names we know (0.27 to 0.35 do); elsewhere the public function's own definition serves:
the effective deadline has passed for ever. `tests/network/test_cancellation_check.py` holds the two together.
"""

from __future__ import annotations

import math

import trio

try:
    from trio._core._run import GLOBAL_RUN_CONTEXT, CancelStatus

    if not hasattr(CancelStatus, "effectively_cancelled") or "_cancel_status" not in dir(trio.lowlevel.Task):
        raise ImportError("Trio has changed")
except ImportError:

    def is_cancelled() -> bool:
        """Whether the next checkpoint of the running task would raise `trio.Cancelled`."""
        return trio.current_effective_deadline() == -math.inf

else:

    def is_cancelled() -> bool:
        """Whether the next checkpoint of the running task would raise `trio.Cancelled`."""
        return GLOBAL_RUN_CONTEXT.task._cancel_status.effectively_cancelled  # type: ignore[no-any-return, unused-ignore]
