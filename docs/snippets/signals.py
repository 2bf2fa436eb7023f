import trio

from trioton.events import Signal, Timer, call_later


class Document:
    def __init__(self) -> None:
        self.changed: Signal[str] = Signal("changed")
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text
        self.changed.emit(text)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        document = Document()
        autosave = Timer(0.3)
        autosave.bind(lambda: print("saved:", document.text))

        # Each change puts off what was due: it is saved when nothing has changed for a while.
        document.changed.bind(lambda text: autosave.start(nursery))
        for seconds, text in ((0.1, "one "), (0.3, "two "), (0.9, "three")):
            call_later(nursery, seconds, document.write, text)

        print("the first change:", await document.changed.wait())


if __name__ == "__main__":
    trio.run(main)
