"""The guide to secrets and certificates: its commands and its code run, in the order in which they stand there."""

from __future__ import annotations

import ast
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import trio

import trioton
from trioton.cli import commands
from trioton.cli.broker import Broker
from trioton.cli.broker_settings import Options, Settings, read_settings
from trioton.cli.security import make_security

from .test_guides import blocks

pytestmark = pytest.mark.net


def commands_of_guide() -> list[list[str]]:
    lines = [line for block in blocks("keys", "sh") for line in block.splitlines()]
    assert all(line.startswith("trioton ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


def broker_settings(words: list[str], port: int) -> Settings:
    """What a broker of the guide is told, but for the port."""
    address, *options = words[1:]
    given = {name.removeprefix("--").replace("-", "_"): value for name, value in zip(*[iter(options)] * 2, strict=True)}
    host = address.rpartition(":")[0]
    return read_settings(Options(listen=(f"{host}:{port}",), security=lambda: make_security(**given)))


async def run(code: str) -> None:
    scope: dict[str, Any] = {"__name__": "guide"}
    coroutine = eval(compile(code, "guide", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), scope)  # our own page
    if coroutine is not None:
        await coroutine


async def test_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    made = [words for words in commands_of_guide() if words[0] == "keys"]
    assert [words[1] for words in made] == ["secret", "init", "new", "new", "show", "renew"]
    for words in made:
        assert await trio.to_thread.run_sync(commands.run, words) == 0
    trioton.Secret.generate().save("new.secret")
    brokers = [words for words in commands_of_guide() if words[0] == "broker"]
    with_secret, to_change, with_certificates = blocks("keys")
    await run(to_change)
    for words, code in zip(brokers, (with_secret, with_certificates), strict=True):
        capsys.readouterr()
        broker = Broker(broker_settings(words, 0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.run)
            address = ""
            while not address:
                await trio.testing.wait_all_tasks_blocked()
                address = capsys.readouterr().out.removeprefix("listening at ").strip()
            assert words[1] in code
            await run(code.replace(words[1], address))
            broker.stop()
        assert "trusted" in capsys.readouterr().out


def test_the_options_of_the_guide_exist() -> None:
    (words,) = [words for words in commands_of_guide() if words[0] == "sub"]
    options = {name for parameter in commands.cli.commands["sub"].params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_the_table_of_the_file(tmp_path: Path) -> None:
    (table,) = blocks("keys", "toml")
    trioton.Secret.generate().save(tmp_path / "network.secret")
    path = tmp_path / "broker.toml"
    path.write_text(textwrap.dedent(table))
    assert isinstance(read_settings(Options(), path).security, trioton.Secret)
    if sys.platform != "win32":
        (tmp_path / "network.secret").chmod(0o644)
        with pytest.raises(ValueError, match="others may read"):
            read_settings(Options(), path)
