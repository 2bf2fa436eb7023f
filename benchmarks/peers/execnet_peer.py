"""execnet with a gateway to a process that it starts itself, over pipes; it carries builtin types in its own format."""

from __future__ import annotations

import execnet

from ..control import LARGE_BYTES, RECORD, SMALL_BYTES, Answer, Control, Handler, pinging, sending


# An annotation of `channel` would be a name that the far side lacks.
def far(channel) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """The far side; its source text is sent, so it stands alone."""
    import time

    while True:
        case, count = channel.receive()
        if case == "round_trip":
            for _ in range(count):
                channel.send(channel.receive())
        else:
            for _ in range(count):
                channel.receive()
            channel.send(time.monotonic())


def sender(control: Control) -> None:
    """The near side, which is both sides to the runner."""
    group = execnet.Group()
    try:
        channel = group.makegateway("popen").remote_exec(far)
        ping = pinging(channel.send, channel.receive, SMALL_BYTES)

        def round_trip(count: int) -> Answer:
            channel.send(("round_trip", count))
            return ping(count)

        def stream(message: object) -> Handler:
            send = sending(channel.send, message)

            def run(count: int) -> Answer:
                channel.send(("stream", count))
                return {**send(count), "end": channel.receive()}

            return run

        control.listening("")
        control.serve(
            {
                "round_trip": round_trip,
                "small": stream(SMALL_BYTES),
                "objects": stream(RECORD),
                "large": stream(LARGE_BYTES),
            }
        )
    finally:
        group.terminate(timeout=1.0)
