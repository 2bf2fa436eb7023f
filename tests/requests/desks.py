"""Looks behind channels: when all is over, nothing may be kept of any request."""

from __future__ import annotations

from trioton import RepChannel, ReqChannel


def left_of(*channels: ReqChannel | RepChannel) -> list[str]:
    """What is still kept of requests, in words."""
    return [
        line for each in channels for line in (_left_here(each) if isinstance(each, ReqChannel) else _left_there(each))
    ]


def _left_here(req: ReqChannel) -> list[str]:
    desk = req._desk
    left = {
        "pending of the channel": req._pending,
        "futures": len(req._futures),
        "new": len(desk._new),
        "queued": sum(len(queue) for queue in desk._queues.values()),
        "targeted": len(desk._targeted),
        "pending at repliers": sum(len(replier.pending) for replier in desk.repliers.values()),
        "running at repliers": sum(replier.running for replier in desk.repliers.values()),
        "full": sum(replier.is_full for replier in desk.repliers.values()),
    }
    return [f"{req!r}: {name}: {count}" for name, count in left.items() if count]


def _left_there(rep: RepChannel) -> list[str]:
    service = rep._service
    rooms = service._rooms
    left = {
        "running": rep._running,
        "jobs of the channel": len(rep._jobs),
        "jobs of clients": sum(len(client.jobs) for client in service.clients.values()),
        "running rooms": rooms.running,
        "waiting": len(rooms._waiting),
        "kept": len(rooms._kept),
        "expiring": service._is_expiring,
    }
    return [f"{rep!r}: {name}: {count}" for name, count in left.items() if count]


def check_rest(*channels: ReqChannel | RepChannel) -> None:
    """All is over."""
    left = left_of(*channels)
    assert not left, "; ".join(left)
