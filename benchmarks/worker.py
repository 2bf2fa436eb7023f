"""One process that is measured: ``python -m benchmarks.worker MODULE ROLE JSON``, as the runner starts it."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys

from .control import JOB_LIMIT, Control


def main() -> None:
    """Take one role of one library, and end with the pipe to the runner."""
    module, role, settings = sys.argv[1:]
    signal.alarm(JOB_LIMIT)
    # What a library prints goes to standard error; the pipe to the runner carries our lines only.
    out = os.dup(1)
    os.dup2(2, 1)
    control = Control(**json.loads(settings), out=out)
    peer = importlib.import_module(f"benchmarks.peers.{module}")
    control.tell("imported")
    # The first role of a library gets no address: it listens and tells where.
    start = control.ask()
    if not start:
        return
    if start["address"]:
        getattr(peer, role)(control, start["address"])
    else:
        getattr(peer, role)(control)


if __name__ == "__main__":
    main()
