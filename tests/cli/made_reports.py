"""Reports that no context has sent, and what a viewer makes of them."""

from __future__ import annotations

from typing import Any

from trioton.cli.view import View
from trioton.network.inspection import ContextReport

EVIL = "\x1b[2J\x1b]0;title\x07[red]x[/red]\r\n\x9b\u202e& <b>"
"""A name that would clear the screen, be red, and turn the line around."""


def report(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A report of a context that does nothing."""
    message = ContextReport(
        id=f"{number:032x}",
        name=f"context {number}",
        pid=number,
        library="1.0",
        uptime=1.0,
        links=(),
        sending=(),
        receiving=(),
        omitted=0,
    ).to_message()
    return {**message, **changes}


def link(peer: int, **changes: Any) -> dict[str, Any]:
    """A link to another context."""
    counts = dict.fromkeys(
        ("bytes_sent", "bytes_received", "messages_sent", "messages_received", "dropped", "queued", "lost"), 0
    )
    words = {"name": f"context {peer}", "address": "tcp://a:1", "transport": "tcp", "state": "connected"}
    return {"peer": f"{peer:032x}", **words, "rtt": None, **counts, **changes}


def sending(**changes: Any) -> dict[str, Any]:
    """A slot on which something is sent."""
    counts = dict.fromkeys(("stream", "sent", "subscribers", "backlog", "unheard", "waiting", "unconfirmed"), 0)
    return {"slot": "s.txt.pub-sub", **counts, "room": None, "branches": [], **changes}


def receiving(**changes: Any) -> dict[str, Any]:
    """A slot on which something is received."""
    counts = dict.fromkeys(("subscriptions", "received", "pending", "dropped", "waiting"), 0)
    return {"slot": "s.txt.pub-sub", "policies": ["latest"], **counts, "room": None, **changes}


def asking(**changes: Any) -> dict[str, Any]:
    """A slot on which requests are made."""
    counts = dict.fromkeys(("channels", "made", "pending", "running", "repliers"), 0)
    return {"slot": "x.obj.req-rep", **counts, **changes}


def state(writer: int = 1, **changes: Any) -> dict[str, Any]:
    """A state."""
    return {"slot": "x.txt.state", "channels": 0, "counter": 1, "writer": f"{writer:032x}", "size": 1, **changes}


def view_of(*messages: object) -> View:
    view = View(99)
    for at, message in enumerate(messages):
        view.learn(message, float(at))
    return view


def evil_view() -> View:
    branch = {"peer": f"{5:032x}", "name": EVIL, "mode": EVIL, "subscriptions": 1, "ready": True, "taken": 1}
    return view_of(
        report(
            name=EVIL,
            library=EVIL,
            links=[link(2, name=EVIL, transport=EVIL, state=EVIL, address=EVIL)],
            sending=[sending(slot=EVIL, branches=[{**branch, "limit": 2, "queued": 0}])],
            receiving=[receiving(slot=EVIL, policies=[EVIL])],
            asking=[asking(slot=EVIL)],
            answering=[{"slot": EVIL, "channels": 1, "taken": 1, "running": 1, "failed": 1}],
            states=[state(slot=EVIL, channels=1)],
        ),
        EVIL,
        {"version": EVIL},
    )
