"""`trioton pub` and `trioton sub` in real processes."""

from __future__ import annotations

import datetime
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trioton.cli.commands import run
from trioton.cli.pubsub import BadLineError, encode_line, format_message

assert sys.platform != "win32"

from .conftest import COMMAND, wait_until  # noqa: E402

if TYPE_CHECKING:
    from .conftest import CommandLine

pytestmark = [pytest.mark.net, pytest.mark.slow]

WAITING = "trioton: waiting for somebody who listens to 'slot'\n"
"""What a publisher says that has waited for a second."""


def listening_at(process: subprocess.Popen[str]) -> str:
    """The address that a command with --bind has said."""
    assert process.stderr is not None
    line = process.stderr.readline()
    match = re.fullmatch(r"trioton: listening at (\S+)\n", line)
    assert match is not None, line + (process.communicate()[1] if not line.strip() or "Traceback" in line else "")
    return match[1]


def test_arguments(command_line: CommandLine) -> None:
    sub = command_line.start("sub", "--bind", "localhost:0", "chat", "--count", "3")
    assert command_line.run("pub", listening_at(sub), "chat", "one", "two words", "") == (0, "", "")
    assert sub.communicate(timeout=20) == ("one\ntwo words\n\n", "")
    assert sub.returncode == 0


def test_waits_until_somebody_answers(command_line: CommandLine) -> None:
    address = f"unix://{command_line.folder / 'late'}"
    pub = command_line.start("pub", "--wait", address, "chat", "at last")
    assert pub.stderr is not None
    assert pub.stderr.readline() == f"trioton: waiting for somebody who answers at {address}\n"
    sub = command_line.start("sub", "--bind", address, "chat", "--count", "1")
    assert sub.communicate(timeout=20)[0] == "at last\n"
    assert pub.communicate(timeout=20) == ("", "")
    assert pub.returncode == 0


def test_wait_does_not_go_with_bind(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sub", "--bind", "--wait", "localhost:0", "chat"]) == 2
    assert "--wait is about an address to connect to; it does not go with --bind" in capsys.readouterr().err


def test_lines_of_stdin(command_line: CommandLine) -> None:
    lines = "".join(f"line {number} ä\n" for number in range(20_000)) + "and no newline"
    (command_line.folder / "lines").write_text(lines, encoding="utf-8")
    pub = command_line.start("pub", "--bind", "localhost:0", "Lines", stdin=command_line.folder / "lines")
    sub = command_line.start("sub", listening_at(pub), "lines")
    out, err = sub.communicate(timeout=20)
    pub.communicate(timeout=20)
    assert (pub.returncode, sub.returncode) == (0, 0)
    assert out == lines + "\n"
    assert err == "trioton: the connection has ended: the context was closed\n"


def test_lines_leave_as_they_come(command_line: CommandLine) -> None:
    pub = command_line.start("pub", "--bind", "localhost:0", "lines", stdin=True)
    sub = command_line.start("sub", listening_at(pub), "lines")
    assert pub.stdin is not None
    assert sub.stdout is not None
    for line in ("first\n", "second\n"):
        pub.stdin.write(line)
        pub.stdin.flush()
        assert sub.stdout.readline() == line
    pub.communicate(timeout=20)
    sub.communicate(timeout=20)


def test_objects(command_line: CommandLine) -> None:
    sub = command_line.start("sub", "--bind", "localhost:0", "data", "--type", "obj", "--count", "2")
    text = '{"a": [1, 2.5, null, true], "ä": {}}\n"x"\n'
    code, _, err = command_line.run("pub", listening_at(sub), "data", "--type", "obj", text=text)
    assert (code, err) == (0, "")
    assert sub.communicate(timeout=20)[0] == text


def test_bytes_come_as_they_are(command_line: CommandLine) -> None:
    source = bytes(range(256)) * 4000
    (command_line.folder / "bytes").write_bytes(source)
    pub = command_line.start("pub", "--binary", "--bind", "localhost:0", "tar", stdin=command_line.folder / "bytes")
    sub = command_line.start("sub", "--binary", listening_at(pub), "tar")
    assert sub.stdout is not None
    assert sub.stdout.buffer.read() == source  # type: ignore[attr-defined]
    pub.communicate(timeout=20)
    sub.communicate(timeout=20)
    assert (pub.returncode, sub.returncode) == (0, 0)


def test_the_last_publisher_ends_it_if_asked(command_line: CommandLine) -> None:
    sub = command_line.start("sub", "--bind", "--until-closed", "localhost:0", "chat")
    assert command_line.run("pub", listening_at(sub), "chat", "one", "two", "--count", "1") == (0, "", "")
    assert sub.communicate(timeout=20) == ("one\n", "")
    assert sub.returncode == 0


def test_count_of_lines(command_line: CommandLine) -> None:
    pub = command_line.start("pub", "--bind", "localhost:0", "lines", "--count", "3", "--json", stdin=True)
    sub = command_line.start("sub", listening_at(pub), "lines", "--json")
    assert pub.stdin is not None
    pub.stdin.write("1\n2\n3\n4\n5\n")
    pub.stdin.flush()  # and it stays open
    assert sub.communicate(timeout=20)[0] == "1\n2\n3\n"
    assert pub.wait(20) == 0


PIPELINE = """
    yes "a line like many others" | $TRIOTON pub --bind unix://$PWD/socket lines &
    pub=$!
    $TRIOTON sub --wait unix://$PWD/socket lines | {reader}
    echo "sub gave ${{PIPESTATUS[0]}}"
    wait $pub
    echo "pub gave $?"
"""


def run_pipeline(command_line: CommandLine, program: str) -> str:
    """What a shell prints that runs a pipeline."""
    result = subprocess.run(
        ["bash", "-c", program],
        cwd=command_line.folder,
        env={**command_line.environment, "TRIOTON": f"{sys.executable} -W error -m trioton", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return result.stdout


def test_a_pipeline_ends_when_its_reader_does(command_line: CommandLine) -> None:
    out = run_pipeline(command_line, PIPELINE.format(reader="head -n 100000 | tail -n 1"))
    assert out == "a line like many others\nsub gave 141\npub gave 1\n"


@pytest.mark.parametrize("option", ["", "--binary"])
def test_a_pipeline_carries_all(command_line: CommandLine, option: str) -> None:
    program = f"""
        seq 100000000 101000000 | $TRIOTON pub {option} --bind unix://$PWD/socket lines &
        $TRIOTON sub {option} --wait unix://$PWD/socket lines | md5sum
        wait $!
        echo $?
    """
    assert run_pipeline(command_line, program) == run_pipeline(command_line, "seq 100000000 101000000 | md5sum; echo 0")


def test_who_does_not_read_stops_who_writes(command_line: CommandLine) -> None:
    pub = command_line.start("pub", "--binary", "--bind", "localhost:0", "zeros", stdin=Path("/dev/zero"))
    sub = command_line.start("sub", "--binary", listening_at(pub), "zeros")
    seen = [-1]

    def has_stopped() -> bool:
        """Whether the publisher has read, and then nothing more in the last twenty looks."""
        seen.append(int(Path(f"/proc/{pub.pid}/io").read_text().split()[1]))
        return len(seen) > 100 and len(set(seen[-20:])) == 1 and seen[-1] > 10_000_000

    wait_until(has_stopped, "it goes on reading")
    for process in (pub, sub):
        peak = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        assert peak is not None
        assert int(peak[1]) < 150_000
        process.kill()
        process.communicate(timeout=20)


def test_no_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pub", "--bind", "localhost:0", "data", "--type", "obj", "{"]) == 2
    assert capsys.readouterr().err.startswith("trioton pub: not JSON: '{' ")


def test_policy(command_line: CommandLine) -> None:
    pub = command_line.start("pub", "--bind", "localhost:0", "numbers", stdin=True)
    sub = command_line.start("sub", listening_at(pub), "numbers", "--policy", "drop-newest:7")
    # Nobody reads what the subscriber prints, and yet the publisher does not have to wait.
    pub.communicate("".join(f"{number}\n" for number in range(50_000)), timeout=20)
    assert pub.returncode == 0
    out, err = sub.communicate(timeout=20)
    numbers = [int(line) for line in out.splitlines()]
    dropped = re.match(r"trioton: (\d+) messages were dropped\n", err)
    assert dropped is not None
    assert numbers == sorted(set(numbers))
    assert len(numbers) + int(dropped[1]) == 50_000


def test_subscriber_leaves(command_line: CommandLine) -> None:
    pub = command_line.start("pub", "--bind", "localhost:0", "slot", stdin=True)
    sub = command_line.start("sub", listening_at(pub), "slot", "--count", "1")
    assert pub.stdin is not None
    pub.stdin.write("one\n")
    pub.stdin.flush()
    assert sub.communicate(timeout=20) == ("one\n", "")
    _, err = pub.communicate("two\nthree\n", timeout=20)
    err = err.removeprefix(WAITING)  # it may have had to wait long for the subscriber's start
    assert (pub.returncode, err) == (1, "trioton: 2 messages found nobody who listens any more\n")


def test_too_slow(command_line: CommandLine) -> None:
    pub = command_line.start("pub", "--bind", "localhost:0", "numbers", stdin=True)
    sub = command_line.start("sub", listening_at(pub), "numbers", "--policy", "disconnect:7")
    pub.communicate("".join(f"{number}\n" for number in range(50_000)), timeout=20)
    _, err = sub.communicate(timeout=20)
    assert sub.returncode == 1
    assert "messages waited" in err.splitlines()[-1]


def test_count_is_not_reached(command_line: CommandLine) -> None:
    pub = command_line.start("pub", "--bind", "localhost:0", "few", stdin=True)
    sub = command_line.start("sub", listening_at(pub), "few", "--count", "3")
    pub.communicate("1\n2\n", timeout=20)
    out, err = sub.communicate(timeout=20)
    assert (sub.returncode, out) == (1, "1\n2\n")
    assert err == "trioton: the connection has ended: the context was closed\n"


def test_publisher_is_killed(command_line: CommandLine) -> None:
    pub = command_line.start("pub", "--bind", "localhost:0", "news", stdin=True)
    address = listening_at(pub)
    sub = command_line.start("sub", address, "news", "--count", "2")
    assert pub.stdin is not None
    assert sub.stdout is not None
    assert sub.stderr is not None
    pub.stdin.write("before\n")
    pub.stdin.flush()
    assert sub.stdout.readline() == "before\n"
    pub.kill()
    pub.wait(20)
    assert sub.stderr.readline().startswith("trioton: connection lost, dialling again: ")
    assert command_line.run("pub", "--bind", address, "news", "after")[0] == 0
    out, err = sub.communicate(timeout=20)
    assert (sub.returncode, out) == (0, "after\n")
    assert err.splitlines()[-1] == "trioton: connected again"


@pytest.mark.parametrize("command", ["pub", "sub"])
def test_interrupt(command_line: CommandLine, command: str) -> None:
    process = command_line.start(command, "--bind", "localhost:0", "slot", stdin=True)
    listening_at(process)
    if command == "pub":
        assert process.stderr is not None
        assert process.stderr.readline() == WAITING
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 130


def test_interrupt_while_it_reads_stdin(command_line: CommandLine) -> None:
    process = command_line.start("pub", "--bind", "localhost:0", "slot", "--subscribers", "0", stdin=True)
    sub = command_line.start("sub", listening_at(process), "slot", "--count", "1")
    assert process.stdin is not None
    process.stdin.write("a line\n")
    process.stdin.flush()
    assert sub.communicate(timeout=20)[0] == "a line\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 130


def test_nobody_reads(command_line: CommandLine) -> None:
    sub = command_line.start("sub", "--bind", "localhost:0", "slot")
    assert sub.stdout is not None
    address = listening_at(sub)
    assert command_line.run("pub", address, "slot", "one")[0] == 0
    assert sub.stdout.readline() == "one\n"
    sub.stdout.close()
    command_line.run("pub", address, "slot", "two")
    assert sub.wait(20) == 141


@pytest.mark.parametrize(
    ("args", "code", "reason"),
    [
        (["pub", "localhost:1", "slot", "x"], 1, "trioton pub: .*cannot connect to tcp://127.0.0.1:1: .*"),
        (["pub", "local host:1", "slot", "x"], 2, "trioton pub: 'local host:1' is not an address: .*"),
        (["sub", "--bind", "localhost:0", " "], 2, "trioton sub: slot must name something, not ' '"),
        (["sub", "10.1.2.3:1", "slot"], 2, "trioton sub: .* takes --insecure"),
        (["sub", "localhost:1", "slot", "--policy", "nice"], 2, ".*--policy.*not 'nice'"),
        (["sub", "localhost:1", "slot", "--policy", "drop-oldest:0"], 2, ".*--policy.*'0' is no size.*"),
        (["sub", "localhost:1", "slot", "--policy", "drop-oldest"], 2, ".*--policy.*not 'drop-oldest'"),
        (["dance"], 2, ".*No such command 'dance'.*"),
    ],
)
def test_what_cannot_be_done(capsys: pytest.CaptureFixture[str], args: list[str], code: int, reason: str) -> None:
    assert run(args) == code
    assert re.fullmatch(reason, capsys.readouterr().err.splitlines()[-1])


@pytest.mark.parametrize("args", [["--help"], ["demo", "-h"], ["pub", "--help"], ["sub", "--help"], ["--version"]])
def test_help(capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    assert run(args) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "trioton" in captured.out


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ({"a": (1, 2)}, '{"a": [1, 2]}'),
        (datetime.date(2024, 1, 2), '"datetime.date(2024, 1, 2)"'),
        ({(1, 2): 3}, "{(1, 2): 3}"),
    ],
)
def test_format_of_objects(message: Any, line: str) -> None:
    assert format_message(message, "obj") == line


def test_lines_become_messages() -> None:
    assert encode_line("[1]", "txt") == "[1]"
    assert encode_line("[1]", "obj") == [1]
    with pytest.raises(BadLineError, match="not JSON: 'x'"):
        encode_line("x", "obj")


def test_a_file_that_may_not_grow_is_one_line(command_line: CommandLine) -> None:
    """The limit of a file's size is reached, as it is with ``ulimit -f``."""
    with open(command_line.folder / "out", "wb") as out:
        sub = subprocess.Popen(
            ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *COMMAND, "sub", "--bind", "localhost:0", "slot"],
            stdout=out,
            stderr=subprocess.PIPE,
            env=command_line.environment,
            text=True,
            start_new_session=True,
        )
    command_line.started.append(sub)
    assert command_line.run("pub", listening_at(sub), "slot", "one")[1] == ""
    assert (sub.communicate(timeout=20)[1], sub.returncode) == ("trioton: cannot write: File too large\n", 1)
