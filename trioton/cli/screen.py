"""What ``trioton demo`` shows: the program's output as it comes, and how far it is.

`LiveScreen` is for a terminal: whole lines scroll by above, the line that has no end yet and the bar stay below. `PlainScreen` writes
the same bytes that the program wrote, and a line on stderr at every tenth of the way. Both only collect what they are fed;
`flush` writes it in a thread, because a terminal or pipe may make its writer wait as long as it likes, and the context has heartbeats to
answer meanwhile.
"""

from __future__ import annotations

import abc
import codecs
import math
import re
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

import trio
from rich.console import Console, ConsoleOptions, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.segment import Segment
from rich.text import Text

from .output import ERR, OUT, write_all

FULL: Final = 64 * 1024
"""Bytes after which what was fed should be flushed."""

REFRESH_RATE: Final = 12
"""How often the bar is drawn in a second."""

MARGIN: Final = 5
"""Columns that the bar leaves free."""

WIDE: Final = 80
"""Columns that a terminal must have for the bar to say how long it has taken and what goes over the wire."""

TEXT_WIDTH: Final = 20
"""Columns for what the program says about its progress."""

LONGEST_LINE: Final = 16 * 1024
"""Characters of a line without an end that are kept at the bottom."""

RED, DEFAULT, DIM, RESET = "\x1b[31m", "\x1b[39m", "\x1b[2m", "\x1b[0m"

_Decoder = codecs.getincrementaldecoder("utf-8")

UNWANTED: Final = re.compile(
    r"\x1b(?!\[[0-9;:]*m)"  # An escape sequence that is not about colour:
    r"(?:\[[0-?]*[ -/]*[@-~]?"  # CSI, which may move the cursor or clear the screen,
    r"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # a command with text, up to its end,
    r"|[ -/]*[0-~]?)"  # or two characters and the like.
    r"|[\x00-\x06\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]"
)
"""What would move the cursor away from under the bar; `LiveScreen` leaves it out."""

CONTROLS: Final = re.compile(UNWANTED.pattern + r"|\x1b\[[0-9;:]*m|[\x07\x08\r]")
"""The same, and all colours."""


class Screen(abc.ABC):
    """Where the output of a program is shown. A context manager, for the time in which it is shown."""

    def __init__(self) -> None:
        self._fed = 0

    @property
    def is_full(self) -> bool:
        """Whether so much was fed that it should be flushed before more comes."""
        return self._fed >= FULL

    def feed(self, kind: int, data: bytes) -> None:
        """Take what the program wrote; `kind` is `OUT` or `ERR`. It is written at the next `flush`."""
        self._fed += len(data)
        self._take(kind, data)

    async def flush(self) -> None:
        """Write what was fed. Cancelled, it leaves the writing to itself.

        Raises:
            OSError: It cannot be written; a `BrokenPipeError` if nobody reads it any more.
        """
        self._fed = 0
        await trio.to_thread.run_sync(self._write, abandon_on_cancel=True)

    @abc.abstractmethod
    def _take(self, kind: int, data: bytes) -> None: ...

    @abc.abstractmethod
    def _write(self) -> None: ...

    @abc.abstractmethod
    def progress(self, done: float, total: float | None, text: str) -> None:
        """The program says how far it is."""

    def traffic(self, messages: int, rate: float) -> None:  # noqa: B027 - not all screens show it
        """Show what goes over the wire: messages so far, and in the last second."""

    def rename(self, words: str) -> None:  # noqa: B027
        """Show the words in place of the program's name."""

    @abc.abstractmethod
    def remark(self, words: str) -> None:
        """Show a line of our own among the output, at the next `flush`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(  # noqa: B027
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop showing."""


class PlainScreen(Screen):
    """Copies the program's output, byte for byte, to this process's stdout and stderr.

    Args:
        name: What the program is called in lines about its progress.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._pieces: list[tuple[int, bytes]] = []
        self._tenths = 0
        self._line_is_open = False

    def _take(self, kind: int, data: bytes) -> None:
        self._pieces.append((kind, data))
        self._line_is_open = not data.endswith(b"\n")

    def progress(self, done: float, total: float | None, text: str) -> None:
        """Say it on stderr, at every tenth."""
        if not total or not math.isfinite(total) or not math.isfinite(done):
            return
        tenths = int(10 * min(1.0, max(0.0, done / total)))
        if tenths > self._tenths:
            self._tenths = tenths
            self.remark(f"{tenths * 10} %, {done:g} of {total:g} {text}".rstrip())

    def remark(self, words: str) -> None:
        """Write it on stderr."""
        start = "\n" if self._line_is_open else ""
        self._line_is_open = False
        self._pieces.append((ERR, f"{start}[{self._name}: {words}]\n".encode(errors="backslashreplace")))

    def _write(self) -> None:
        pieces, self._pieces = self._pieces, []
        for kind, data in _joined(pieces):
            write_all(kind, data)


def _joined(pieces: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Join neighbours of one kind, so that there are few writes."""
    runs: list[tuple[int, list[bytes]]] = []
    for kind, data in pieces:
        if runs and runs[-1][0] == kind:
            runs[-1][1].append(data)
        else:
            runs.append((kind, [data]))
    return [(kind, b"".join(parts)) for kind, parts in runs]


class _Raw:
    """Text with its colours that rich is to write as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        yield Segment(self._text)


class _CountColumn(MofNCompleteColumn):
    """How many of how many, and nothing while that is not known."""

    def render(self, task: Task) -> Text:
        """Draw it."""
        return super().render(task) if task.total is not None else Text("")


class _PercentColumn(TaskProgressColumn):
    """The percentage, and nothing while that is not known."""

    def render(self, task: Task) -> Text:
        """Draw it."""
        return super().render(task) if task.total is not None else Text("")


class _Bottom:
    """What stays at the bottom: the line that the program has not ended yet, and the bar."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self.line = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[RenderableType]:
        # The last columns stay free for the ^C that the terminal itself shows: at the end of a full line it would open another one.
        width = max(1, options.max_width - MARGIN)
        if self.line:
            yield Constrain(Text(self.line, no_wrap=True, overflow="ellipsis"), width)
        yield Constrain(self._bar, width)


class LiveScreen(Screen):
    """Shows the program's output in a terminal, above a bar that stays at the bottom.

    Args:
        console: The terminal.
        name: What the program is called beside the bar.
        with_errors: Whether the program's stderr is shown here, too, in red; otherwise it goes to our stderr as it is.
    """

    def __init__(self, console: Console, name: str, *, with_errors: bool) -> None:
        super().__init__()
        self._console = console
        self._name = name
        self._with_errors = with_errors
        self._has_colour = console.color_system is not None and not console.no_color
        self._is_utf8 = console.encoding.lower().replace("-", "").startswith("utf")
        self._decoders = {kind: _Decoder(errors="backslashreplace") for kind in (OUT, ERR)}
        self._lines: list[str] = []
        self._errors: list[bytes] = []
        self._open_line: list[str] = []
        self._open_size = 0
        columns: list[ProgressColumn] = [
            SpinnerColumn("dots" if self._is_utf8 else "line"),
            TextColumn("{task.description}{task.fields[doing]}", style="bold", markup=False),
            BarColumn(bar_width=None),
            _CountColumn(),
            _PercentColumn(),
        ]
        if console.width >= WIDE:
            columns += [TimeElapsedColumn(), TextColumn("{task.fields[traffic]}", style="dim", markup=False)]
        self._bar = Progress(*columns, console=console, auto_refresh=False, expand=True)
        self._task = self._bar.add_task(name, total=None, doing="", traffic="")
        self._bottom = _Bottom(self._bar)
        self._live = Live(
            self._bottom,
            console=console,
            refresh_per_second=REFRESH_RATE,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def _take(self, kind: int, data: bytes) -> None:
        if kind == ERR and not self._with_errors:
            self._errors.append(data)
            return
        head, newline, rest = self._decoders[kind].decode(data).rpartition("\n")
        if newline:
            self._add(kind, head)
            self._end_line()
        if rest:
            self._add(kind, rest)
            self._shorten_open_line("\r" in rest)

    def _add(self, kind: int, text: str) -> None:
        if text:
            self._open_line.append(f"{RED}{text}{DEFAULT}" if kind == ERR and self._has_colour else text)
            self._open_size += len(text)

    def _end_line(self) -> None:
        """What is open is whole now, and may scroll away."""
        text = UNWANTED.sub("", "".join(self._open_line))
        self._lines.append(f"{text}{RESET}\n" if "\x1b" in text else f"{text}\n")
        self._open_line.clear()
        self._open_size = 0

    def _shorten_open_line(self, has_return: bool) -> None:
        """Leave out what has been written over, and let the start of a line go that is too long to be kept."""
        if has_return:
            text = "".join(self._open_line)
            kept = text[text.rstrip("\r").rfind("\r") + 1 :]
            self._open_line, self._open_size = [kept], len(kept)
        if self._open_size > LONGEST_LINE:
            # Cut where the terminal would break it anyway; what is left is at most a row.
            text = "".join(self._open_line)
            cut = len(text) - len(text) % self._console.width
            self._open_line = [text[:cut]]
            self._end_line()
            self._add(OUT, text[cut:])

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        errors, self._errors = self._errors, []
        self._bottom.line = CONTROLS.sub("", "".join(self._open_line)) if self._open_line else ""
        if errors:
            write_all(ERR, b"".join(errors))
        if lines:
            text = "".join(lines)
            if not self._is_utf8:
                text = text.encode(self._console.encoding, "backslashreplace").decode(self._console.encoding)
            self._console.print(_Raw(text), end="", soft_wrap=True)

    def progress(self, done: float, total: float | None, text: str) -> None:
        """Move the bar."""
        if math.isfinite(done) and (total is None or math.isfinite(total)):
            doing = CONTROLS.sub("", text)
            # Always as wide, so that the bar does not jump about.
            doing = f" {doing:{TEXT_WIDTH}.{TEXT_WIDTH}}" if doing else ""
            self._bar.update(self._task, completed=done, total=total, doing=doing)

    def traffic(self, messages: int, rate: float) -> None:
        """Show it at the end of the bar."""
        self._bar.update(self._task, traffic=f"{messages:,} message{'s' * (messages != 1)}, {rate:,.0f}/s")

    def rename(self, words: str) -> None:
        """Show the words in place of the program's name."""
        self._bar.update(self._task, description=words)

    def remark(self, words: str) -> None:
        """Write it dimly above the bar."""
        if self._open_line:
            self._end_line()
        line = f"{self._name}: {words}"
        self._lines.append(f"{DIM}{line}{RESET}\n" if self._has_colour else f"{line}\n")

    def __enter__(self) -> Self:
        """Show the bar."""
        self._live.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write the rest, and take the bar away."""
        if self._open_line:
            self._end_line()
        self._write()
        self._live.stop()
