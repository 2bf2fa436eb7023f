"""A client with a window: ``python -m examples.kernel.client_qt ADDRESS``.

Above is an editor: F5 runs all of it, Ctrl-Return the selected lines, or else the cell between two lines that begin with ``##``. Below is
the shell, with a line to type in. It needs PySide6: ``pip install "trioton[qt]"``.

Trio runs as a guest of Qt's loop, in the same thread: its tasks change widgets as they like, and what the user does goes to them through
a memory channel.
"""

from __future__ import annotations

import argparse
import keyword
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import outcome
import trio

import trioton

from .client import Client, Output, open_client

try:
    from PySide6 import QtCore, QtGui, QtWidgets
except ImportError as error:  # it is not installed, or a library of the system is missing
    sys.exit(f"the client with a window needs PySide6: {error}")

COLORS = {"err": "#c00000", "raw": "#b06000", "echo": "#207020", "started": "#0070a0", "ended": "#0070a0"}

RULES = (
    (r"\b(?:" + "|".join(keyword.kwlist) + r")\b", "#0000a0"),
    (r"\b\d[\w.]*", "#a04000"),
    (r"'[^'\n]*'|\"[^\"\n]*\"", "#207020"),
    (r"#[^\n]*", "#808080"),
)


class Highlighter(QtGui.QSyntaxHighlighter):
    """Colours Python, line by line."""

    def highlightBlock(self, text: str) -> None:  # noqa: N802  # Qt's name
        """Colour a line."""
        for pattern, color in RULES:
            form = QtGui.QTextCharFormat()
            form.setForeground(QtGui.QColor(color))
            matches = QtCore.QRegularExpression(pattern).globalMatch(text)
            while matches.hasNext():
                match = matches.next()
                self.setFormat(match.capturedStart(), match.capturedLength(), form)


class Editor(QtWidgets.QPlainTextEdit):
    """Where code is written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFont(QtGui.QFontDatabase.systemFont(QtGui.QFontDatabase.SystemFont.FixedFont))
        self._highlighter = Highlighter(self.document())

    def selected(self) -> tuple[str, int]:
        """The selected lines, or the cell around the cursor, and the number of their first line."""
        cursor, document = self.textCursor(), self.document()
        first = document.findBlock(cursor.selectionStart()).blockNumber()
        last = document.findBlock(cursor.selectionEnd()).blockNumber()
        lines = self.toPlainText().split("\n")
        if not cursor.hasSelection():
            while first > 0 and not lines[first].startswith("##"):
                first -= 1
            while last + 1 < len(lines) and not lines[last + 1].startswith("##"):
                last += 1
        return "\n".join(lines[first : last + 1]) + "\n", first + 1


class Window(QtWidgets.QMainWindow):
    """An editor, a shell, and buttons for what the broker does."""

    turn_asked = QtCore.Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.editor, self.shell, self.line = Editor(), QtWidgets.QPlainTextEdit(), QtWidgets.QLineEdit()
        self.prompt, self.status = QtWidgets.QLabel(), QtWidgets.QLabel("starting")
        self.shell.setReadOnly(True)
        self.shell.setMaximumBlockCount(10_000)
        self.shell.setFont(self.editor.font())
        self.line.setFont(self.editor.font())
        self._lay_out()
        self._wishes_in, self._wishes = trio.open_memory_channel[Callable[[Client], Awaitable[object]]](1000)
        self._scope = trio.CancelScope()
        self._token: trio.lowlevel.TrioToken | None = None
        self.end: outcome.Outcome[None] | None = None
        self.line.returnPressed.connect(self._type_line)
        # Trio asks for its turns from a thread of its own; a queued signal brings them into Qt's.
        self.turn_asked.connect(lambda turn: turn(), QtCore.Qt.ConnectionType.QueuedConnection)

    def _lay_out(self) -> None:
        below = QtWidgets.QWidget()
        column, row = QtWidgets.QVBoxLayout(below), QtWidgets.QHBoxLayout()
        column.addWidget(self.shell)
        column.addLayout(row)
        row.addWidget(self.prompt)
        row.addWidget(self.line)
        splitter = QtWidgets.QSplitter(QtCore.Qt.Orientation.Vertical)
        splitter.addWidget(self.editor)
        splitter.addWidget(below)
        self.setCentralWidget(splitter)
        self.statusBar().addWidget(self.status)
        bar = self.addToolBar("Kernel")
        for name, keys, function in (
            ("Run all", "F5", self.run_all),
            ("Run selection or cell", "Ctrl+Return", self.run_selected),
            ("Interrupt", "Ctrl+I", partial(self._wish, lambda client: client.broker.call("interrupt"))),
            ("Restart", "Ctrl+K", partial(self._wish, lambda client: client.broker.call("restart"))),
        ):
            action = bar.addAction(name)
            action.setShortcut(QtGui.QKeySequence(keys))
            action.triggered.connect(lambda _checked=False, function=function: function())

    # ---------------------------------------------------------------- called by Qt, between Trio's turns

    def run_all(self) -> None:
        """Run all that is in the editor."""
        source = self.editor.toPlainText()
        self._wish(lambda client: client.run(source))

    def run_selected(self) -> None:
        """Run the selected lines, or the cell around the cursor."""
        source, line = self.editor.selected()
        self._wish(lambda client: client.run(source, line=line))

    def _type_line(self) -> None:
        text = self.line.text()
        self.line.clear()
        self._wish(lambda client: client.type_line(text))

    def _wish(self, wish: Callable[[Client], Awaitable[object]]) -> None:
        if self._token is not None:
            self._token.run_sync_soon(self._wishes_in.send_nowait, wish)

    def closeEvent(self, event: QtGui.QCloseEvent) -> None:  # noqa: N802  # Qt's name
        """The program ends when Trio has ended."""
        event.ignore()
        if self._token is not None:
            self._token.run_sync_soon(self._scope.cancel)

    def ended(self, end: outcome.Outcome[None]) -> None:
        """Trio has ended."""
        self.end = end
        QtWidgets.QApplication.exit()

    # ---------------------------------------------------------------- Trio's part

    async def live(self, address: str) -> None:
        """Show what comes and do what is wished, until the window is closed or the broker has gone."""
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            async with open_client(address, "window") as client, trio.open_nursery() as nursery:
                nursery.start_soon(self._follow_states, client)
                nursery.start_soon(self._fulfil_wishes, client, nursery)
                async for output in client.output():
                    self._show(output)
                nursery.cancel_scope.cancel()

    async def _follow_states(self, client: Client) -> None:
        while True:
            self.status.setText(client.status)
            await client.wait_changed()

    async def _fulfil_wishes(self, client: Client, nursery: trio.Nursery) -> None:
        async for wish in self._wishes:
            # Each in its turn, but none waits for long: lines and code only pass to the channel, and the broker's answer is not awaited.
            nursery.start_soon(self._fulfil, client, wish)
            await trio.lowlevel.checkpoint()

    async def _fulfil(self, client: Client, wish: Callable[[Client], Awaitable[object]]) -> None:
        try:
            await wish(client)
        except (trioton.DeadError, trio.ClosedResourceError):
            pass  # this kernel has ended, or the broker has gone

    def _show(self, output: Output) -> None:
        kind, text = output
        if kind == "prompt":
            self.prompt.setText(text)
            return
        if kind == "echo":
            text = f"{self.prompt.text()}{text}"
            self.prompt.clear()
        elif kind in {"started", "ended"}:
            text = f"[{text}]\n"
        cursor = self.shell.textCursor()
        cursor.movePosition(QtGui.QTextCursor.MoveOperation.End)
        form = QtGui.QTextCharFormat()
        if kind in COLORS:
            form.setForeground(QtGui.QColor(COLORS[kind]))
        cursor.insertText(text, form)
        self.shell.verticalScrollBar().setValue(self.shell.verticalScrollBar().maximum())


def main(args: Sequence[str] | None = None) -> None:
    """Run a client with a window."""
    parser = argparse.ArgumentParser(prog="client_qt", description="A client of a Python kernel, with a window.")
    parser.add_argument("address", help="where the broker listens")
    options = parser.parse_args(args)
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    app, window = QtWidgets.QApplication(sys.argv[:1]), Window()
    window.resize(800, 700)
    window.show()
    trio.lowlevel.start_guest_run(
        window.live, options.address, run_sync_soon_threadsafe=window.turn_asked.emit, done_callback=window.ended
    )
    app.exec()
    assert window.end is not None
    try:
        window.end.unwrap()
    except* trioton.ConnectError as group:
        sys.exit(str(group.exceptions[0]))


if __name__ == "__main__":
    main()
