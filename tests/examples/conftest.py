"""A broker with a real kernel, and a client that remembers all that it was shown."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

import trioton.testing

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)  # the examples are no part of the package

if sys.platform == "win32":
    collect_ignore_glob = ["test_kernel*.py"]
else:
    from examples.kernel.broker import run_broker
    from examples.kernel.client import Client, open_client

    @attrs.define
    class Screen:
        """A client, and its transcript.

        Attributes:
            client: The client.
            shown: What it was shown so far, as pairs of a kind and a text.
        """

        client: Client
        shown: list[tuple[str, str]] = attrs.Factory(list)
        changed: trio.Event = attrs.Factory(trio.Event)

        async def follow(self) -> None:
            async for output in self.client.output():
                self.shown.append((output.kind, output.text))
                self.changed.set()
                self.changed = trio.Event()

        def text(self, *kinds: str) -> str:
            """All texts of some kinds, or of all."""
            return "".join(text for kind, text in self.shown if not kinds or kind in kinds)

        async def wait_for(self, text: str, *kinds: str) -> None:
            """Wait until a text was shown."""
            while text not in self.text(*kinds):
                await self.changed.wait()

        async def run(self, source: str, filename: str = "<test>") -> str:
            """Run code to its end; gives all that was shown from its beginning to the next prompt."""
            start, prompts = len(self.shown), self._prompts
            await self.client.run(source, filename)
            while self._prompts == prompts:
                await self.changed.wait()
            return "".join(text for kind, text in self.shown[start:] if kind != "prompt")

        @property
        def _prompts(self) -> int:
            return sum(kind == "prompt" for kind, _ in self.shown)

        async def ready(self) -> None:
            """Wait until the kernel has shown a prompt and does nothing."""
            while self.client.status != "ready" or not self._prompts:
                with trio.move_on_after(0.05):
                    await self.client.wait_changed()

    @attrs.frozen
    class Scene:
        """A broker in this process, its kernel, and how to open clients."""

        address: str
        nursery: trio.Nursery

        @asynccontextmanager
        async def screen(self, name: str = "client", *, is_slow: bool = False) -> AsyncIterator[Screen]:
            async with open_client(self.address, name) as client, trio.open_nursery() as nursery:
                screen = Screen(client)
                if not is_slow:
                    nursery.start_soon(screen.follow)
                yield screen
                nursery.cancel_scope.cancel()

    @pytest.fixture
    async def scene() -> AsyncIterator[Scene]:
        """Nothing is left of it: no process, thread, socket or socket file."""
        with trio.fail_after(60), tempfile.TemporaryDirectory() as folder:
            async with trioton.testing.leak_check():
                async with trio.open_nursery() as nursery:
                    address = await nursery.start(partial(run_broker, f"unix://{folder}/socket", keep=True))
                    yield Scene(address, nursery)
                    nursery.cancel_scope.cancel()
                assert os.listdir(folder) == []

    @pytest.fixture
    async def screen(scene: Scene) -> AsyncIterator[Screen]:
        """A client of a kernel that is ready."""
        async with scene.screen() as screen:
            await screen.ready()
            yield screen
