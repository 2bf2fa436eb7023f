import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from trioton.clientserver import RequestError, do_request, serve_requests
from trioton.errors import ConnectError


async def open_file(name: str) -> str:
    if not name.endswith(".py"):
        raise ValueError(f"{name} is no Python file")
    return f"{name} is open in the window that you have"


async def start(address: str, name: str) -> None:
    """Start the program, or tell the one that runs already what to open."""
    try:
        with trio.fail_after(2):
            print(await do_request(address, name))
    except RequestError as error:
        print("it cannot:", error)
    except ConnectError:
        print("first instance:", name)
        await serve_requests(address, open_file)


async def main() -> None:
    with TemporaryDirectory() as folder:
        address = "localhost:59999" if sys.platform == "win32" else f"unix://{Path(folder, 'program')}"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(start, address, "one.py")
            await trio.sleep(0.2)
            await start(address, "two.py")
            await start(address, "two.jpg")
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
