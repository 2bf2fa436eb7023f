"""Trio as a guest of Qt's loop: chat with another window (``bind localhost:9000``, ``connect ...``), or with a friend in the program."""

import os
import sys

import outcome
import trio

import trioton

try:
    from PySide6 import QtCore, QtGui, QtWidgets
except ImportError as error:  # it is not installed, or a library of the system is missing
    print(f"not run: {error}")
    sys.exit()


class Window(QtWidgets.QWidget):
    turn_asked = QtCore.Signal(object)
    token: trio.lowlevel.TrioToken

    def __init__(self) -> None:
        super().__init__()
        self.scope = trio.CancelScope()
        self.outbox, self.lines = trio.open_memory_channel[str](100)
        self.shown, self.line = QtWidgets.QListWidget(self), QtWidgets.QLineEdit(self)
        self.line.setGeometry(0, 200, 256, 30)
        # Qt calls this between Trio's turns: what belongs to Trio waits for the next of them.
        self.line.returnPressed.connect(lambda: self.token.run_sync_soon(self.outbox.send_nowait, self.line.text()))
        # Trio asks for its turns from a thread of its own; a queued signal brings them into Qt's.
        self.turn_asked.connect(lambda turn: turn(), QtCore.Qt.ConnectionType.QueuedConnection)

    def closeEvent(self, event: QtGui.QCloseEvent) -> None:  # noqa: N802  # Qt's name
        event.ignore()  # the program ends when Trio has ended
        self.token.run_sync_soon(self.scope.cancel)

    def ended(self, end: outcome.Outcome[None]) -> None:
        self.end = end
        QtWidgets.QApplication.exit()

    async def run(self, verb: str = "bind", address: str = "mem://chat") -> None:
        self.token = trio.lowlevel.current_trio_token()
        with self.scope:
            async with trioton.open_context() as ctx, trioton.PubChannel(ctx, "chat") as pub:
                ctx.start_soon(self.show_messages, trioton.SubChannel(ctx, "chat"))
                await (ctx.bind(address) if verb == "bind" else ctx.connect(address))
                if address == "mem://chat":
                    ctx.start_soon(friend, self)
                async for text in self.lines:
                    await pub.send(text)
        print("the contexts are closed")

    async def show_messages(self, sub: trioton.SubChannel[str]) -> None:
        async for text in sub:
            self.shown.addItem(text)
            print("the window shows:", text)


async def friend(window: Window) -> None:
    async with trioton.open_context() as ctx, trioton.PubChannel(ctx, "chat") as pub:
        sub = trioton.SubChannel(ctx, "chat")
        await ctx.connect("mem://chat")
        window.line.setText("hello from the window")
        window.line.returnPressed.emit()  # as if somebody had typed it
        print("the friend got:", await sub.receive())
        await pub.send("hello from the friend")
        await ctx.flush()
    window.close()


if __name__ == "__main__":
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    app, window = QtWidgets.QApplication(sys.argv[:1]), Window()
    window.show()
    ask = window.turn_asked.emit
    trio.lowlevel.start_guest_run(window.run, *sys.argv[1:], run_sync_soon_threadsafe=ask, done_callback=window.ended)
    app.exec()
    window.end.unwrap()  # an error, or the KeyboardInterrupt of Ctrl-C, comes out here
