"""The example of a kernel does what Pyzo's kernels do: the scenarios by which Yoton was made, on real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trioton.transports.processes import wait_process_ended

if TYPE_CHECKING:
    from .conftest import Scene, Screen

pytestmark = [pytest.mark.net, pytest.mark.slow]

HOLD_THE_GIL = "import ctypes; ctypes.PyDLL(None).usleep({})"


def pid_of(screen: Screen) -> int:
    status = screen.client.kernel.value
    assert status
    return status["pid"]


def generation_of(screen: Screen) -> int:
    status = screen.client.kernel.value
    assert status
    return status["generation"]


async def test_k1_start(screen: Screen) -> None:
    client = screen.client
    startup: Any = client.startup.value
    assert (startup["generation"], startup["executable"]) == (1, sys.executable)
    assert startup["pid"] == pid_of(screen) != os.getpid()
    assert "lambda" in startup["keywords"]
    assert client.folder.value == os.getcwd()
    assert [kind for kind, _ in screen.shown] == ["started", "out", "prompt"]
    assert screen.text("out") == f"Python {sys.version.splitlines()[0]}\n"


async def test_k2_a_slow_client_makes_print_wait_and_loses_nothing(scene: Scene) -> None:
    count = 100_000
    async with scene.screen(is_slow=True) as screen:
        client = screen.client
        await client.wait_status("ready")
        await client.run(f"for number in range({count}): print(number)")
        await client.wait_status("busy")
        numbers = ["-2", "-1"]
        while numbers[-1] != numbers[-2]:  # until it does not go on
            await trio.sleep(0.1)
            numbers.append(await client.ask("eval", "number"))
        assert int(numbers[-1]) < count / 2
        text, expected = "", "".join(f"{number}\n" for number in range(count))
        async for output in client.output():
            if output.kind == "out" and not output.text.startswith("Python"):
                text += output.text
                if len(text) >= len(expected):
                    break
        assert text == expected


async def test_k3_streams_are_shown_in_the_order_in_which_they_were_written(screen: Screen) -> None:
    source = """
import sys
for number in range(100):
    print("out", number)
    print("err", number, file=sys.stderr)
    print("begun", end=" ")
    sys.stderr.write("begun, too ")
"""
    start = len(screen.shown)
    await screen.run(source)
    expected = ""
    for number in range(100):
        expected += f"out {number}\nerr {number}\nbegun begun, too "
    assert screen.shown[-1] == ("prompt", ">>> ")
    assert "".join(text for _, text in screen.shown[start:-1]) == expected


async def test_k4_input_with_echo(screen: Screen) -> None:
    client = screen.client
    start = len(screen.shown)
    await client.type_line("name = input('name? ')")
    await screen.wait_for("name? ", "out")
    await client.type_line("Ann")
    await client.type_line("print('hello', name)")  # typed ahead, for the prompt
    while len(screen.shown) < start + 7:
        await screen.changed.wait()
    assert screen.shown[start:] == [
        ("echo", "name = input('name? ')\n"),
        ("out", "name? "),
        ("echo", "Ann\n"),
        ("prompt", ">>> "),
        ("echo", "print('hello', name)\n"),
        ("out", "hello Ann\n"),
        ("prompt", ">>> "),
    ]


async def test_k4_an_interrupted_input_takes_no_line(screen: Screen) -> None:
    """And Ctrl-C gets through at once, at whatever point of ``input()`` it comes."""
    client = screen.client
    for number in range(30):
        await client.run(f"input('question {number}? ')")
        await screen.wait_for(f"question {number}? ")
        await client.broker.interrupt()
        while screen.text("err").count("KeyboardInterrupt\n") == number:
            await screen.changed.wait()
        await client.type_line(f"'answer to {number}'")
        await screen.wait_for(f"'answer to {number}'\n", "out")


async def test_k5_interrupt(screen: Screen) -> None:
    client = screen.client
    await screen.run("a = 5")
    for source in ("while True: pass", "while True: print('x' * 1000)", "import time\nwhile True: time.sleep(100)"):
        await client.run(source)
        await client.wait_status("busy")
        with trio.fail_after(5):
            start = trio.current_time()
            await client.broker.interrupt()
            await client.wait_status("ready")
            assert trio.current_time() - start < 2.0  # 1 s, on a machine with nothing else to do
    assert screen.text("err").count("KeyboardInterrupt") == 3
    assert "interpreter.py" not in screen.text("err")
    assert await screen.run("print(a)") == "5\n"
    assert generation_of(screen) == 1


async def test_k5_interrupt_of_what_is_only_begun(screen: Screen) -> None:
    await screen.client.type_line("if True:")
    await screen.client.wait_status("more")
    await screen.client.broker.interrupt()
    await screen.client.wait_status("ready")
    assert screen.shown[-2:] == [("err", "\nKeyboardInterrupt\n"), ("prompt", ">>> ")]


async def test_k6_very_busy_while_c_code_holds_the_gil(screen: Screen) -> None:
    client = screen.client
    await client.run(f"{HOLD_THE_GIL.format(1_200_000)}; input()")
    await client.wait_status("very busy")
    await client.wait_status("busy")
    await client.type_line("")
    await client.wait_status("ready")


async def test_k7_introspection_while_the_main_thread_computes(screen: Screen) -> None:
    client = screen.client
    await screen.run("import json\ndef twice(x, *, y=2):\n    'Gives two.'\n    return x * y\n")
    await client.run("while True: pass")
    await client.wait_status("busy")
    assert await client.ask("eval", "twice(4)") == "8"
    assert await client.ask("complete", "json.du") == ["json.dump(", "json.dumps("]
    assert await client.ask("signature", "twice") == "(x, *, y=2)"
    assert await client.ask("doc", "twice") == "Gives two."
    assert (await client.ask("names"))["twice"] == "function"
    with pytest.raises(NameError, match="nothing_such"):
        await client.ask("eval", "nothing_such")
    assert client.status == "busy"
    await client.broker.interrupt()


async def test_k8_introspection_gives_up_while_c_code_holds_the_gil(screen: Screen) -> None:
    client = screen.client
    await client.run(HOLD_THE_GIL.format(1_500_000))
    await client.wait_status("very busy")
    start = trio.current_time()
    assert await client.ask("eval", "1") is None
    assert 0.4 < trio.current_time() - start < 1.0
    await client.wait_status("ready")
    assert await client.ask("eval", "1") == "1"


async def test_k9_restart(screen: Screen) -> None:
    client = screen.client
    await client.run("print('old')\nwhile True: pass")
    await screen.wait_for("old\n")
    first = pid_of(screen)
    await client.type_line("print('typed for the old one')")
    assert await client.broker.restart() == 2
    await client.wait_status("ready")
    assert pid_of(screen) != first
    assert await screen.run("print('new', 'old' in globals())") == "new False\n"
    kinds = [kind for kind, _ in screen.shown]
    ended, started = kinds.index("ended"), kinds.index("started", 1)
    assert ended + 1 == started
    assert "typed" not in screen.text()
    assert "old" not in "".join(text for _, text in screen.shown[started:]).replace("print('new', 'old' in", "")
    assert client.connection.statistics().transports == 1


async def test_k9_restart_of_one_that_does_not_listen(screen: Screen) -> None:
    client = screen.client
    await client.run("import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass")
    await client.wait_status("busy")
    with trio.fail_after(10):
        await client.broker.restart()
        await client.wait_status("ready")
    assert "was killed by SIGKILL" in screen.text("ended")


async def test_k10_killed(screen: Screen) -> None:
    os.kill(pid_of(screen), signal.SIGKILL)
    await screen.client.wait_status("dead")
    await screen.wait_for("kernel 1 was killed by SIGKILL", "ended")
    await screen.client.broker.restart()
    await screen.client.wait_status("ready")
    assert generation_of(screen) == 2


async def test_k12_a_second_client_knows_all_states(scene: Scene, screen: Screen) -> None:
    await screen.client.run("breakpoint()\nx = 1\n", "code.py")
    await screen.client.wait_status("debug")
    async with scene.screen("second") as second:
        assert second.client.status == "debug"
        assert second.client.startup.value == screen.client.startup.value
        assert second.client.frames.value == [["code.py", 2, "<module>"]]
        await second.client.type_line("continue")
        await screen.client.wait_status("ready")
        await second.client.wait_status("ready")
        await second.client.run("print('for both')")
        await screen.wait_for("for both\n")
        await second.wait_for("for both\n")


async def test_tracebacks_name_the_lines_of_the_file(screen: Screen) -> None:
    await screen.client.run("def f():\n    return 1 / 0\n", "code.py", 10)
    await screen.client.run("f()", "code.py", 20)
    await screen.wait_for("ZeroDivisionError: division by zero\n", "err")
    assert 'File "code.py", line 20, in <module>\n    f()\n' in screen.text("err")
    assert 'File "code.py", line 11, in f\n    return 1 / 0\n' in screen.text("err")


async def test_what_is_written_past_python_is_shown(screen: Screen) -> None:
    await screen.run(
        "import os\nos.system('echo a child of yours')\nif not os.fork():\n    print('forked')\n    os._exit(0)\n"
    )
    await screen.wait_for("a child of yours\n", "raw")


async def test_exit_ends_the_kernel_and_terminate_does_nothing_then(screen: Screen) -> None:
    await screen.client.type_line("print('bye'); exit(3)")
    await screen.client.wait_status("dead")
    await screen.wait_for("ended", "ended")
    assert "bye\n" in screen.text("out")
    await screen.client.broker.terminate()
    await screen.client.broker.restart()
    await screen.client.wait_status("ready")
    await screen.client.broker.terminate()
    await screen.client.wait_status("dead")


CLIENT = """
import sys, trio
from examples.kernel.client import open_client

async def main():
    async with open_client(sys.argv[1]) as client:
        await client.wait_status("ready")
        await client.run("while True: pass")
        await client.wait_status("busy")
        print(client.kernel.value["pid"], flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.parametrize("victim", ["client", "broker"])
async def test_k11_nothing_outlives_its_users(victim: str) -> None:
    with trio.fail_after(40):
        async with trio.open_nursery() as nursery:
            broker = await start(nursery, "-m", "examples.kernel.broker")
            address = await first_line(broker)
            client = await start(nursery, "-c", CLIENT, address)
            kernel = int(await first_line(client))
            (client if victim == "client" else broker).kill()
            await wait_process_ended(kernel)
            await broker.wait()
            client.kill()
    folder = Path(address.removeprefix("unix://")).parent
    assert folder.exists() is (victim == "broker")
    shutil.rmtree(folder, ignore_errors=True)


async def start(nursery: trio.Nursery, *args: str) -> trio.Process:
    from examples.kernel.broker import environment

    run = partial(trio.run_process, [sys.executable, *args], stdout=subprocess.PIPE, env=environment(), check=False)
    process: trio.Process = await nursery.start(run)
    return process


async def first_line(process: trio.Process) -> str:
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        data = await process.stdout.receive_some()
        assert data, "it ended without a word"
        line += data
    return line.decode().strip()
