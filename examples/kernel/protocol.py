"""What the three programs say to each other: every slot, and the shape of every message, named once.

The broker lives as long as its clients; the kernel is a process that it starts, and starts again. Each such process is a *generation*,
counted from 1. What is sent *to* a kernel goes over slots that have its number in their names, so nothing that was meant for one kernel
ever comes to the next. What comes *from* kernels goes over the same slots all the time: a kernel is started when all that its
predecessor said has passed the broker, and `STARTED` and `ENDED` on `BROKER` say where one ends and the next begins.
"""

from __future__ import annotations

from typing import Final, Literal, TypedDict

import trioton

HEARTBEAT: Final = trioton.Heartbeat(lease=86_400)
"""How all three watch their links. C code may hold the GIL for hours, so no silence ends a connection; the end of a process does."""

# ---------------------------------------------------------------- to a kernel; the names are made by `to_kernel`

LINES: Final = "ctrl-lines"
"""TEXT: what somebody types, line by line: commands at the prompt, answers to ``input()``, and commands of the debugger.

Each line is for whoever asks for the next one, as in a terminal: typing ahead does no harm.
"""

CODE: Final = "ctrl-code"
"""OBJECT, a `Chunk`: some lines of a file, or all of it."""

INTROSPECT: Final = "reqp-introspect"
"""Requests: see `introspection.Introspection`. Answered by a thread while the main thread computes."""

CONTROL: Final = "reqp-control"
"""Requests of the broker: ``end()``."""


def to_kernel(slot: str, generation: int) -> str:
    """The name of a slot that leads to one kernel only."""
    return f"{slot}.{generation}"


class Chunk(TypedDict):
    """Code to run, and where it comes from, so that tracebacks name the right lines."""

    source: str
    filename: str
    line: int
    """The number of its first line in that file, from 1."""


# ---------------------------------------------------------------- from the kernel

OUT: Final = "strm-out"
ERR: Final = "strm-err"
ECHO: Final = "strm-echo"
"""TEXT: a line that was typed, and has been taken."""
PROMPT: Final = "strm-prompt"
"""TEXT: what stands before the next line that is typed. All that was printed before comes before it."""

INTERPRETER: Final = "stat-interpreter"
"""OBJECT, a state, `InterpreterStatus`."""
FOLDER: Final = "stat-cd"
"""TEXT, a state: the kernel's current folder."""
FRAMES: Final = "stat-debug"
"""OBJECT, a state: while the debugger waits the frames as ``[filename, line, function]``, the innermost last; else empty."""
STARTUP: Final = "stat-startup"
"""OBJECT, a state, `Startup`: what kind of Python it is."""

Activity = Literal["ready", "busy", "more", "debug"]


class InterpreterStatus(TypedDict):
    """What a kernel's interpreter is doing: ``more`` means that a command wants further lines."""

    generation: int
    activity: Activity


class Startup(TypedDict):
    """What a kernel says about itself."""

    generation: int
    pid: int
    version: str
    executable: str
    keywords: list[str]


# ---------------------------------------------------------------- from the broker

RAW: Final = "strm-raw"
"""TEXT: what the process has written past `sys.stdout`: C libraries, child processes, a crash."""
BROKER: Final = "strm-broker"
"""OBJECT, a `Notice`."""
KERNEL: Final = "stat-kernel"
"""OBJECT, a state, `KernelStatus`. Only the broker writes it: a kernel cannot say that it is stuck, or dead."""
BROKER_REQUESTS: Final = "reqp-broker"
"""Requests: ``interrupt()``, ``restart()``, ``terminate()``, ``shut_down()``."""

STARTED: Final = "started"
ENDED: Final = "ended"

Health = Literal["starting", "running", "very busy", "dead"]


class KernelStatus(TypedDict):
    """How the kernel's process is. ``very busy``: its interpreter does not run, most likely since C code holds the GIL."""

    generation: int
    health: Health
    pid: int


class Notice(TypedDict):
    """Something that happened to a kernel's process, in words for the user."""

    generation: int
    what: str
    text: str


def shown(kernel: KernelStatus | None, interpreter: InterpreterStatus | None) -> str:
    """One word for the user, out of both states."""
    if kernel is None:
        return "starting"
    if kernel["health"] != "running" or interpreter is None or interpreter["generation"] != kernel["generation"]:
        return kernel["health"] if kernel["health"] != "running" else "starting"
    return interpreter["activity"]
