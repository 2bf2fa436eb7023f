"""`trioton demo` in real processes: what is printed arrives, exit codes go through, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trioton.cli import progress
from trioton.cli.commands import run
from trioton.cli.demo_processes import BROKER_STARTS

from .conftest import wait_until
from .terminal import Terminal

assert sys.platform != "win32"

if TYPE_CHECKING:
    from .conftest import CommandLine

pytestmark = [pytest.mark.net, pytest.mark.slow]

TICKING = """
    import time
    try:
        while True:
            print("tick", flush=True)
            time.sleep(0.02)
    except KeyboardInterrupt:
        print("cleaning up")
        raise
"""

SILENT = """
    import time
    print("ready", flush=True)
    while True:
        time.sleep(60)
"""


def summary(err: str) -> tuple[str, int, int]:
    """The last two lines of a demo: how the program ended, the messages, and how many of them were dropped."""
    ending, traffic = err.splitlines()[-2:]
    match = re.fullmatch(r"([\d,]+) messages?, .*; dropped = (\d+)", traffic)
    assert match is not None, err
    return ending, int(match[1].replace(",", "")), int(match[2])


NUMBERS = """
    import time
    for number in range(20_000):
        print(number)
        if number % 20 == 0:
            time.sleep(0.0005)
"""
"""Goes on for a second or two, without being held up by who looks at it."""


def wait_for_line(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for each in process.stdout:
        if each.rstrip("\n") == line:
            return
    raise AssertionError(f"it ended without {line!r}")


def rest_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a demo writes to its end, behind the lines that were read; `communicate` would leave out what was read ahead."""
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = process.stdout.read(), process.stderr.read()
    process.wait(20)
    return out, err


def test_default_program(command_line: CommandLine) -> None:
    code, out, err = command_line.run("demo", "--quick")
    assert code == 0
    assert "\nThe standard library of Python 3." in out
    assert re.search(r"^  functions +[\d,]+, [\d,]+ of them async$", out, re.MULTILINE)
    assert re.search(r"^\[survey_stdlib.py: 100 %, \d+ of \d+\]$", err, re.MULTILINE)
    ending, messages, dropped = summary(err)
    assert ending.startswith("survey_stdlib.py has ended after ")
    assert messages > out.count("\n")
    assert dropped == 0


def test_order_of_stdout_and_stderr_is_exact(command_line: CommandLine) -> None:
    program = command_line.program("""
        import sys
        for number in range(10_000):
            print(number, file=sys.stderr if number % 2 else sys.stdout)
    """)
    code, out, _ = command_line.run("demo", program, joined=True)
    assert code == 0
    assert [int(line) for line in out.splitlines() if line.isdigit()] == list(range(10_000))
    assert summary(out)[1:] == (10_002, 0)


def test_order_of_long_and_unfinished_lines(command_line: CommandLine) -> None:
    program = command_line.program("""
        import sys
        for number in range(300):
            print(f"<{number}", end="")
            sys.stderr.write("e" * (number * 97 % 9000))
            sys.stdout.write("o" * (number * 61 % 9000) + ">")
    """)
    code, out, _ = command_line.run("demo", program, joined=True)
    assert code == 0
    expected = "".join(f"<{number}{'e' * (number * 97 % 9000)}{'o' * (number * 61 % 9000)}>" for number in range(300))
    assert expected in out


@pytest.mark.parametrize(
    "sources",
    [
        [
            "import sys; sys.stdout.buffer.write(bytes(range(256)) * 3); sys.stdout.write('\\u00e4\\U0001f600 no newline')",
            "print('\\r10 %\\r20 %', end='')",
        ],
        ["print('x' * 10_000_000); print('end')", "for number in range(30_000): print('line', number)"],
    ],
    ids=["odd", "much"],
)
def test_output_arrives_unchanged(command_line: CommandLine, sources: list[str]) -> None:
    programs = [command_line.program(source, f"program{number}.py") for number, source in enumerate(sources)]
    demos = [command_line.start("demo", program) for program in programs]
    for demo, program in zip(demos, programs, strict=True):
        out, err = demo.communicate(timeout=20)
        alone = subprocess.run([sys.executable, program], capture_output=True, timeout=20, check=True).stdout
        assert demo.returncode == 0
        assert out.encode("utf-8", "surrogateescape") == alone.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        assert summary(err)[2] == 0


def test_output_of_a_fork(command_line: CommandLine) -> None:
    program = command_line.program("""
        import os, sys

        print("half a line", end="")
        if not os.fork():
            print(" of a fork")
            sys.stdout.flush()
            os._exit(0)
        os.wait()
        print(" of the parent")
    """)
    code, out, _ = command_line.run("demo", program)
    assert (code, out) == (0, "half a line of a fork\n of the parent\n")


def test_output_past_the_interpreter(command_line: CommandLine) -> None:
    program = command_line.program("""
        import multiprocessing, os, subprocess, sys

        def hello(name):
            print(name)

        if __name__ == "__main__":
            os.write(1, b"os.write\\n")
            os.write(2, b"os.write to stderr\\n")
            subprocess.run(["echo", "subprocess"], check=True)
            subprocess.run(["echo", "subprocess to sys.stdout"], stdout=sys.stdout, check=True)
            process = multiprocessing.get_context("spawn").Process(target=hello, args=("spawned",))
            process.start()
            process.join()
            print(sys.argv[1:], __name__, sys.stdin.read() == "", sys.stdout.isatty())
            sys.stdout.flush()
            os._exit(5)
    """)
    code, out, err = command_line.run("demo", program, "--quick", "b c")
    assert code == 5
    # In relation to what `print` says, the order of the rest is only about right: it goes through pipes of its own.
    assert sorted(out.splitlines()) == sorted(
        [
            "os.write",
            "subprocess",
            "subprocess to sys.stdout",
            "spawned",
            "['--quick', 'b c'] __main__ True False",
        ]
    )
    assert "os.write to stderr\n" in err


def test_exit_code_goes_through(command_line: CommandLine) -> None:
    expected = [
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit('no luck')", 1, "no luck\n"),
        ("import os; os.kill(os.getpid(), 9)", 137, ""),
        ("import signal; signal.raise_signal(signal.SIGTERM)", 143, ""),
    ]
    demos = [
        command_line.start("demo", command_line.program(f"print('before', flush=True)\n{source}", f"p{number}.py"))
        for number, (source, _, _) in enumerate(expected)
    ]
    for number, (demo, (_, code, said)) in enumerate(zip(demos, expected, strict=True)):
        out, err = demo.communicate(timeout=20)
        assert (demo.returncode, out) == (code, "before\n")
        assert said in err
        assert summary(err)[0].startswith(f"p{number}.py has ended with exit code {code} after ")


def test_traceback_is_the_programs_alone(command_line: CommandLine) -> None:
    program = command_line.program("""
        def divide():
            return 1 / 0

        divide()
    """)
    code, _, err = command_line.run("demo", program)
    assert code == 1
    traceback = err[err.index("Traceback") : err.index("program.py has ended")]
    assert traceback.endswith("ZeroDivisionError: division by zero\n")
    assert re.findall(r'File "(.*)", line (\d+)', traceback) == [(str(program), "5"), (str(program), "3")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot read '.*': No such file or directory"),
        (b"def (", "'.*' is not a Python program: .* in line 1"),
        (b"\x7fELF\0\0", "'.*' is not a Python program: .*null bytes"),
        (b"\xff\xfe\xfd", "'.*' is not a Python program: .*"),
    ],
)
def test_no_such_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, reason: str
) -> None:
    path = tmp_path / "thing"
    if content is not None:
        path.write_bytes(content)
    assert run(["demo", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(f"trioton demo: {reason}\n", captured.err)


def test_without_home_and_terminal(command_line: CommandLine) -> None:
    program = command_line.program("print('here')")
    command_line.environment = {name: command_line.environment[name] for name in ("TRIOTON_TEST_MARK",)}
    code, out, err = command_line.run("demo", program)
    assert (code, out) == (0, "here\n")
    assert summary(err)[2] == 0


def test_modules_in_the_way(command_line: CommandLine) -> None:
    command_line.program("raise ImportError('not me')", "random.py")
    folder = command_line.folder / "elsewhere"
    folder.mkdir()
    (folder / "neighbour.py").write_text("print('hello')\n")
    (folder / "__main__.py").write_text("import neighbour, random, sys; print(sys.argv)\n")
    script = Path(sys.executable).parent / "trioton"
    if not script.exists():
        pytest.skip("the command is not installed beside this Python")
    command = [str(script), "demo", "elsewhere/__main__.py"]
    result = subprocess.run(command, cwd=command_line.folder, capture_output=True, text=True, timeout=20, check=False)
    assert (result.returncode, result.stdout) == (0, "hello\n['elsewhere/__main__.py']\n")


def test_print_waits_for_a_slow_terminal(command_line: CommandLine) -> None:
    program = command_line.program("""
        import pathlib, sys
        with open(sys.argv[1], "w") as counter:
            for number in range(40_000):
                print(f"{number:099}")
                if number % 100 == 0:
                    counter.seek(0)
                    counter.write(f"{number}\\n")
                    counter.flush()
    """)
    count = command_line.folder / "count"
    process = command_line.start("demo", program, count)
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < 0.5:
        now = int(count.read_text() or 0) if count.exists() else -1
        if now != seen or now < 0:
            seen, since = now, time.monotonic()
        time.sleep(0.01)
    assert 0 < seen < 20_000
    out, err = process.communicate(timeout=20)
    assert out == "".join(f"{number:099}\n" for number in range(40_000))
    assert summary(err)[2] == 0


def test_nobody_reads(command_line: CommandLine) -> None:
    program = command_line.program("while True: print('y')")
    process = command_line.start("demo", program)
    assert process.stdout is not None
    assert process.stdout.readline() == "y\n"
    process.stdout.close()
    assert process.wait(20) == 141


def test_background_processes_are_ended_with_the_program(command_line: CommandLine) -> None:
    program = command_line.program("""
        import subprocess
        subprocess.Popen(["sleep", "1000"])
        subprocess.Popen(["sh", "-c", "sleep 0.1; echo late"])
        print("leaving")
    """)
    code, out, _ = command_line.run("demo", program)
    assert (code, out) == (0, "leaving\nlate\n")
    assert not command_line.processes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt(command_line: CommandLine, number: signal.Signals) -> None:
    program = command_line.program(TICKING)
    process = command_line.start("demo", program)
    wait_for_line(process, "tick")
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert out.splitlines()[-1] == "cleaning up"
    assert "Traceback" not in err
    assert summary(err)[0].startswith(f"program.py has ended with exit code {128 + number} after ")
    assert not command_line.processes()


def test_second_interrupt_does_not_wait(command_line: CommandLine) -> None:
    program = command_line.program("""
        import signal, time
        signal.signal(signal.SIGINT, lambda *_: print("not now", flush=True))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        print("ready", flush=True)
        while True: time.sleep(1)
    """)
    process = command_line.start("demo", program)
    wait_for_line(process, "ready")
    os.killpg(process.pid, signal.SIGINT)
    wait_for_line(process, "not now")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "program.py: stopped before it had ended"


def test_worker_is_killed(command_line: CommandLine) -> None:
    program = command_line.program(SILENT)
    process = command_line.start("demo", program)
    wait_for_line(process, "ready")
    [worker] = command_line.processes("trioton.cli.worker")
    os.kill(worker, signal.SIGKILL)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "program.py: its worker was killed by SIGKILL before it had ended\n" in err
    assert not command_line.processes()


@pytest.mark.parametrize("also", ["", "trioton.cli.worker", "trioton.cli.demo_broker"])
def test_terminal_is_killed(command_line: CommandLine, also: str) -> None:
    command_line.environment["TMPDIR"] = str(command_line.folder)
    process = command_line.start("demo", command_line.program(SILENT))
    wait_for_line(process, "ready")
    others = command_line.processes(also) if also else set()
    process.kill()
    for other in others:
        os.kill(other, signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL
    command_line.wait_none_left()
    assert [each.name for each in command_line.folder.iterdir()] == ["program.py"], "no sockets are left"


# ---------------------------------------------------------------------------------------------------------- the broker


def kill_broker(command_line: CommandLine, number: signal.Signals, dead: set[int]) -> None:
    """Send a signal to the broker, as soon as there is one that is not among the dead; it is then."""
    wait_until(lambda: bool(command_line.processes("trioton.cli.demo_broker") - dead), "there is no broker")
    for pid in command_line.processes("trioton.cli.demo_broker") - dead:
        os.kill(pid, number)
        dead.add(pid)


def remarks(err: str) -> list[str]:
    """What the demo has said of its broker."""
    return re.findall(r"^\[program.py: the broker, process \d+, (.*)\]$", err, re.MULTILINE)


def packages(err: str) -> tuple[int, int]:
    """Packages that came through the broker, by the last line, and how many brokers there were."""
    match = re.search(r"; ([\d,]+) packages? came through (a|(\d+)) broker", err)
    assert match is not None, err
    return int(match[1].replace(",", "")), int(match[3] or 1)


def test_all_goes_through_the_broker(command_line: CommandLine) -> None:
    code, out, err = command_line.run("demo", command_line.program("for number in range(1000): print(number)"))
    assert (code, out.split()) == (0, [str(number) for number in range(1000)])
    _, messages, dropped = summary(err)
    assert (messages, dropped) == (1002, 0)
    assert packages(err)[0] > 1
    assert packages(err)[1] == 1
    assert re.match(r"\[program.py: process \d+, run by worker process \d+, .* through broker process \d+\]\n", err)


@pytest.mark.parametrize(
    ("number", "how"), [(signal.SIGKILL, "was killed by SIGKILL"), (signal.SIGTERM, "has ended with exit code 0")]
)
def test_the_broker_dies_and_comes_back(command_line: CommandLine, number: signal.Signals, how: str) -> None:
    process = command_line.start("demo", command_line.program(NUMBERS))
    wait_for_line(process, "5000")
    kill_broker(command_line, number, set())
    out, err = rest_of(process)
    assert out.split() == [str(each) for each in range(5001, 20_000)]
    assert process.returncode == 0
    assert remarks(err) == [f"{how}; starting it again"]
    ending, messages, dropped = summary(err)
    assert ending.startswith("program.py has ended after ")
    assert (messages, dropped) == (20_002, 0)
    assert packages(err)[1] == 2


def test_the_broker_dies_for_good(command_line: CommandLine) -> None:
    program = command_line.program(NUMBERS + "    if number == 15_000:\n        open('far', 'w').close()\n")
    process = command_line.start("demo", program)
    wait_for_line(process, "5000")
    dead: set[int] = set()
    for _ in range(BROKER_STARTS):
        kill_broker(command_line, signal.SIGKILL, dead)
    out, err = rest_of(process)
    assert out.split() == [str(each) for each in range(5001, 20_000)]
    assert process.returncode == 0
    again, *_, last = remarks(err)
    assert (again, last) == ("was killed by SIGKILL; starting it again", "was killed by SIGKILL; going on without it")
    assert summary(err)[1:] == (20_002, 0)
    assert packages(err)[1] == BROKER_STARTS
    assert not command_line.processes()


def test_ctrl_c_without_a_broker(command_line: CommandLine) -> None:
    process = command_line.start("demo", command_line.program(TICKING))
    wait_for_line(process, "tick")
    kill_broker(command_line, signal.SIGKILL, set())
    os.killpg(process.pid, signal.SIGINT)
    out, err = rest_of(process)
    assert process.returncode == 130
    assert out.splitlines()[-1] == "cleaning up"
    assert summary(err)[2] == 0
    assert not command_line.processes()


def test_a_folder_too_deep_for_sockets(command_line: CommandLine) -> None:
    folder = command_line.folder / ("deep" * 25)
    folder.mkdir()
    command_line.environment["TMPDIR"] = str(folder)
    code, out, err = command_line.run("demo", command_line.program("print('here')"))
    assert (code, out) == (0, "here\n")
    assert summary(err)[2] == 0
    assert not list(folder.iterdir())


def test_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--quick", str(tmp_path)]) == 2
    assert "--quick is for the default program" in capsys.readouterr().err


def test_in_a_terminal(command_line: CommandLine) -> None:
    program = command_line.program("""
        import sys
        from trioton.cli import progress
        print("to stdout")
        print("to stderr\\x1b[2J", file=sys.stderr)
        print("\\x1b[32mgreen\\x1b[0m and \\xff")
        sys.stdout.buffer.write(b"\\xff\\n")
        progress(3, 4, "reading")
        print("\\rone\\rtwo", end="", flush=True)
    """)
    terminal = Terminal(command_line, "demo", program)
    terminal.wait_for("3/4")
    assert terminal.end() == 0
    seen = terminal.seen
    assert "to stdout\r\n" in seen
    assert "\x1b[31mto stderr\x1b[39m" in seen
    assert "\x1b[2J" not in seen
    assert "\x1b[32mgreen\x1b[0m and ÿ" in seen
    assert "\\xff\r\n" in seen
    assert "two" in seen
    assert "one\rtwo" not in seen
    assert "reading" in seen
    assert "75%" in seen
    assert "program.py has ended after " in seen
    assert "dropped = 0" in seen
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")  # the cursor is shown again


def test_interrupt_in_a_terminal(command_line: CommandLine) -> None:
    terminal = Terminal(command_line, "demo", command_line.program(TICKING))
    terminal.wait_for("tick\r\n")
    os.write(terminal.fd, b"\x03")
    assert terminal.end() == 130
    assert "cleaning up" in terminal.seen
    assert "Traceback" not in terminal.seen
    assert not command_line.processes()


def test_a_line_without_end_scrolls_in_a_terminal(command_line: CommandLine) -> None:
    terminal = Terminal(command_line, "demo", command_line.program("print('x' * 1_000_000, end='')"))
    assert terminal.end() == 0
    assert terminal.seen.count("x") >= 1_000_000


def test_plain_in_a_terminal(command_line: CommandLine) -> None:
    terminal = Terminal(command_line, "demo", "--plain", command_line.program("print('here')"))
    assert terminal.end() == 0
    assert "here\r\n" in terminal.seen
    assert "━" not in terminal.seen


def test_progress_does_nothing_elsewhere() -> None:
    progress(1, 2)
    progress(0.5, text="half")
    with pytest.raises(TypeError, match="done must be a number, not 'x'"):
        progress("x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="total must be a number, not True"):
        progress(1, True)
    with pytest.raises(TypeError, match="text must be a str, not 3"):
        progress(1, 2, 3)  # type: ignore[arg-type]


def test_without_the_extra() -> None:
    source = "import sys; sys.modules['click'] = None; import trioton.cli; sys.exit(trioton.cli.main())"
    result = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 1
    assert result.stderr == "trioton: the command line needs click: pip install 'trioton[cli]'\n"
