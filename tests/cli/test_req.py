"""`trioton req` in real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from trioton import RemoteError
from trioton.cli.commands import run
from trioton.cli.request import Call, describe, read_argument

assert sys.platform != "win32"

if TYPE_CHECKING:
    from .conftest import CommandLine

pytestmark = [pytest.mark.net, pytest.mark.slow]

SERVER = """
import sys, trio, trioton

class OwnError(Exception):
    pass

class Methods(trioton.RepChannel):
    async def add(self, a, b):
        return a + b

    async def give(self, *args, **kwargs):
        return [args, kwargs]

    async def text(self, value):
        return f"<{value!r}>"

    async def raw(self):
        return b"x"

    async def to(self, value):
        return value

    async def who(self):
        return self.context.name

    async def fail(self, own=False):
        raise (OwnError if own else ValueError)("bad\\nthing")

    async def later(self, seconds):
        await trio.sleep(seconds)
        return seconds

    async def count(self, number, fail=False):
        each = -1
        try:
            for each in range(number):
                yield each
            if fail:
                raise ValueError("no more")
        finally:
            print("count has ended", each, flush=True)

    async def hang(self):
        print("hang", flush=True)
        try:
            await trio.sleep_forever()
        finally:
            print("hang has ended", flush=True)

    async def leave(self):
        done.set()
        await trio.sleep_forever()

async def main():
    global done
    done = trio.Event()
    async with trioton.open_context("first", grace=0) as first, trioton.open_context("second") as second:
        listener = await first.bind("localhost:0")
        await second.connect(listener.address)
        Methods(first, "methods", max_running=100)
        Methods(second, "methods", max_running=100)
        print(listener.address, flush=True)
        await done.wait()
        await first.aclose()

trio.run(main)
"""


@attrs.frozen
class Server:
    """A process whose two contexts answer on the slot ``methods``; one can be reached only over the other."""

    process: subprocess.Popen[str]
    address: str

    def read_line(self) -> str:
        """What it says next."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@pytest.fixture
def server(command_line: CommandLine) -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, str(command_line.program(SERVER))],
        env=command_line.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    command_line.started.append(process)
    assert process.stdout is not None
    yield Server(process, process.stdout.readline().strip())
    process.kill()
    process.wait(20)


def test_results(command_line: CommandLine, server: Server) -> None:
    assert command_line.run("req", server.address, "methods", "add", "3", "-4") == (0, "-1\n", "")
    words = ["-1.5e3", "null", '"3"', '"a=b"', 'a={"x": [true]}', "b=", "NaN", "two words", "--", "--json"]
    code, out, err = command_line.run("req", server.address, "methods", "give", *words)
    assert (code, err) == (0, "")
    assert json.loads(out) == [
        [-1500.0, None, "3", "a=b", "NaN", "two words", "--json"],
        {"a": {"x": [True]}, "b": ""},
    ]


def test_texts_are_printed_as_they_are_unless_json_is_asked_for(command_line: CommandLine, server: Server) -> None:
    assert command_line.run("req", server.address, "methods", "to", "ä b") == (0, "ä b\n", "")
    assert command_line.run("req", "--json", server.address, "methods", "to", "ä b") == (0, '"ä b"\n', "")
    assert command_line.run("req", server.address, "methods", "raw") == (0, "\"b'x'\"\n", "")


def test_a_failure_is_one_line_and_with_v_the_traceback_there(command_line: CommandLine, server: Server) -> None:
    assert command_line.run("req", server.address, "methods", "fail") == (1, "", "ValueError: bad thing\n")
    code, out, err = command_line.run("req", server.address, "methods", "fail", "own=true", "-v")
    assert (code, out) == (1, "")
    assert err.startswith("Traceback (most recent call last):\n")
    assert "in fail\n" in err
    assert "trioton/cli/" not in err
    assert err.splitlines()[-1] == "__main__.OwnError: bad thing"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nothing"], "AttributeError: .* has no method 'nothing' .*"),
        (["_hidden"], "AttributeError: .* names that begin with '_' are never called"),
        (["add", "1"], "TypeError: .*add.* missing .*'b'"),
        (["--stream", "add", "1", "2"], "TypeError: .*"),
        (["--timeout", "0.5", "hang"], r"TimeoutError: no answer within 0\.5 s"),
    ],
    ids=["unknown", "hidden", "arguments", "no stream", "too late"],
)
def test_what_a_request_fails_with(command_line: CommandLine, server: Server, words: list[str], line: str) -> None:
    options = [word for word in words if word.startswith("--")]
    after = words.index(options[0]) + (2 if "--timeout" in words else 1) if options else 0
    code, out, err = command_line.run("req", *words[:after], server.address, "methods", *words[after:])
    assert (code, out) == (1, "")
    assert re.fullmatch(line + "\n", err), err


def test_nobody_answers_on_the_slot(command_line: CommandLine, server: Server) -> None:
    code, out, err = command_line.run("req", "--patience", "0", server.address, "other", "add", "1", "2")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"NoReplierError: no replier took 'add' on 'other\.obj\.req-rep' within 0 s\n", err)


def test_who_waits_says_so(command_line: CommandLine, server: Server) -> None:
    process = command_line.start("req", server.address, "other", "add", "1", "2")
    assert process.stderr is not None
    assert process.stderr.readline() == "trioton: waiting for somebody who answers on 'other'\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 130


def test_to_one_context(command_line: CommandLine, server: Server) -> None:
    for name in ("first", "second"):
        assert command_line.run("req", "--to", name, server.address, "methods", "who") == (0, f"{name}\n", "")
    command = ("req", "--to", "third", "--patience", "0.1", server.address, "methods", "who")
    assert command_line.run(*command) == (1, "", "trioton req: there is no context 'third', after 0.1 s\n")


def test_items_come_one_by_one(command_line: CommandLine, server: Server) -> None:
    command = ("req", "--stream", server.address, "methods", "count", "3")
    assert command_line.run(*command) == (0, "0\n1\n2\n", "")
    assert command_line.run(*command, "fail=true") == (1, "0\n1\n2\n", "ValueError: no more\n")


def test_ctrl_c_stops_what_runs_there(command_line: CommandLine, server: Server) -> None:
    process = command_line.start("req", server.address, "methods", "hang")
    assert server.read_line() == "hang\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 130
    assert server.read_line() == "hang has ended\n"


def test_the_connection_ends(command_line: CommandLine, server: Server) -> None:
    code, out, err = command_line.run("req", "--to", "first", server.address, "methods", "leave")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"(trioton req: the connection has ended|DeadError): .*\n", err)


def test_lines_of_stdin(command_line: CommandLine, server: Server) -> None:
    text = '[1, 2]\n\n["a", "b"]\n[1]\n[broken\n[]'
    code, out, err = command_line.run("req", "--stdin", server.address, "methods", "add", text=text)
    assert (code, out) == (1, "3\n\nab\n\n\n\n")
    failed = [re.fullmatch(r"line (\d): TypeError: .* missing .*", line) for line in err.splitlines()]
    assert [match[1] if match else None for match in failed] == ["2", "4", "5", "6"]


def test_lines_may_be_texts_behind_other_arguments(command_line: CommandLine, server: Server) -> None:
    command = ("req", "--stdin", "--json", server.address, "methods", "give", "1", "a=2")
    code, out, err = command_line.run(*command, text='3\n{"b": 4}\n')
    assert (code, err) == (0, "")
    assert out == '[[1, "3"], {"a": 2}]\n[[1, "{\\"b\\": 4}"], {"a": 2}]\n'


def test_answers_are_in_order_and_many_requests_run_at_once(command_line: CommandLine, server: Server) -> None:
    """One after the other they would take twelve seconds more than there are."""
    seconds = [0.4 - 0.005 * number for number in range(80)] * 2
    text = "".join(f"[{each:g}]\n" for each in seconds)
    code, out, err = command_line.run("req", "--stdin", server.address, "methods", "later", text=text)
    assert (code, err) == (0, "")
    assert [float(line) for line in out.splitlines()] == [float(f"{each:g}") for each in seconds]
    assert sum(seconds) > 30


def test_each_answer_has_its_time(command_line: CommandLine, server: Server) -> None:
    command = ("req", "--stdin", "--timeout", "1", server.address, "methods", "later")
    code, out, err = command_line.run(*command, text="[0]\n[100]\n[0.1]\n[100]\n")
    assert (code, out) == (1, "0\n\n0.1\n\n")
    assert err == "line 2: TimeoutError: no answer within 1 s\nline 4: TimeoutError: no answer within 1 s\n"


def test_an_answer_comes_before_the_next_question(command_line: CommandLine, server: Server) -> None:
    process = command_line.start("req", "--stdin", server.address, "methods", "to", stdin=True)
    assert process.stdin is not None
    assert process.stdout is not None
    for line in ("one\n", "two\n"):
        process.stdin.write(line)
        process.stdin.flush()
        assert process.stdout.readline() == line
    process.stdin.write('["three"]\n["[4]"]\n')
    process.stdin.close()
    assert process.stdout.read() == "three\n[4]\n"
    assert process.wait(20) == 0


def shell(command_line: CommandLine, server: Server, program: str) -> str:
    """What a shell prints that runs a pipeline."""
    names = {"REQ": f"{sys.executable} -W error -m trioton req", "ADDRESS": server.address, "LC_ALL": "C"}
    result = subprocess.run(
        ["bash", "-c", program],
        cwd=command_line.folder,
        env={**command_line.environment, **names},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stderr == ""
    return result.stdout


def test_a_pipeline(command_line: CommandLine, server: Server) -> None:
    program = "seq 3000 | $REQ --stdin $ADDRESS methods text | sort | md5sum"
    expected = "seq 3000 | sed \"s/.*/<'&'>/\" | sort | md5sum"
    assert shell(command_line, server, program) == shell(command_line, server, expected)


def test_a_pipeline_whose_reader_ends_stops_the_generator(command_line: CommandLine, server: Server) -> None:
    program = "$REQ --stream $ADDRESS methods count 1000000000 | head -n 2; echo ${PIPESTATUS[0]}"
    assert shell(command_line, server, program) == "0\n1\n141\n"
    ended = re.fullmatch(r"count has ended (\d+)\n", server.read_line())
    assert ended is not None
    assert int(ended[1]) < 100_000  # it waited for its reader


def test_listening_for_who_answers(command_line: CommandLine) -> None:
    process = command_line.start("req", "--bind", "localhost:0", "greet", "hello")
    assert process.stderr is not None
    match = re.fullmatch(r"trioton: listening at (\S+)\n", process.stderr.readline())
    assert match is not None
    program = """
        import sys, trio, trioton

        class Greeter(trioton.RepChannel):
            async def hello(self):
                return "hello yourself"

        async def main():
            async with trioton.open_context() as ctx:
                connection = await ctx.connect(sys.argv[1])
                Greeter(ctx, "greet")
                await connection.wait_closed()

        trio.run(main)
    """
    path = command_line.program(program)
    subprocess.run([sys.executable, path, match[1]], env=command_line.environment, timeout=20, check=True)
    assert process.communicate(timeout=20)[0] == "hello yourself\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("args", "code", "reason"),
    [
        (["localhost:1", "slot", "x"], 1, "trioton req: .*cannot connect to tcp://127.0.0.1:1: .*"),
        (["local host:1", "slot", "x"], 2, "trioton req: 'local host:1' is not an address: .*"),
        (["--bind", "localhost:0", " ", "x"], 2, "trioton req: slot must name something, not ' '"),
        (["10.1.2.3:1", "slot", "x"], 2, "trioton req: .* takes --insecure"),
        (["localhost:1", "slot", "x", "a=1", "a=2"], 2, ".*the keyword 'a' is there twice"),
        (["--stream", "--stdin", "localhost:1", "slot", "x"], 2, ".*--stream .* does not go with --stdin"),
        (["--bind", "--wait", "localhost:1", "slot", "x"], 2, ".*--wait .* does not go with --bind"),
        (["--timeout", "-3", "localhost:1", "slot", "x"], 2, ".*--timeout.*"),
        (["--strem", "localhost:1", "slot", "x"], 2, ".*--strem.*"),
        (["localhost:1", "slot"], 2, ".*METHOD.*"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done(capsys: pytest.CaptureFixture[str], args: list[str], code: int, reason: str) -> None:
    assert run(["req", *args]) == code
    assert re.fullmatch(reason, capsys.readouterr().err.splitlines()[-1])


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["req", "--help"]) == 0
    out = capsys.readouterr().out
    page = (Path(__file__).parents[2] / "docs/guide/command-line.rst").read_text(encoding="utf-8")
    for option in re.findall(r"--\w+", out):
        assert option in page, f"the guide does not mention {option}"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("3", 3),
        (" -3", -3),
        ("1e2", 100.0),
        ("true", True),
        ("null", None),
        ("", ""),
        ("Infinity", "Infinity"),
        ("[1", "[1"),
        ("[" * 100_000, "[" * 100_000),
        ("1" * 10_000, "1" * 10_000),
        ("'a'", "'a'"),
    ],
    ids=lambda value: str(value)[:8],
)
def test_words_become_arguments(word: str, value: Any) -> None:
    assert read_argument(word) == value
    assert type(read_argument(word)) is type(value)


def test_words_with_an_equals_sign() -> None:
    call = Call.from_words("m", ["a=1=2", "=1", "a b=1", "1a=1", "é=[1]", "class=x"])
    assert call == Call("m", ("=1", "a b=1", "1a=1"), {"a": "1=2", "é": [1], "class": "x"})


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyError("a"), "KeyError: 'a'"),
        (ValueError(), "ValueError"),
        (ValueError("a\n  b\tc"), "ValueError: a b c"),
        (RemoteError("package.Error", ""), "package.Error"),
        (RemoteError("package.Error", "a\nb"), "package.Error: a b"),
        (ExceptionGroup("two", [ValueError(), KeyError()]), "ExceptionGroup: two (2 sub-exceptions)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_in_a_line(error: Exception, line: str) -> None:
    assert describe(error) == line
