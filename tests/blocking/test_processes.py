"""Blocking contexts in whole processes: forks, the end of the interpreter, and a real Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from trioton import Block, blocking

if sys.platform == "win32":
    pytest.skip("Windows has no fork, and sends no SIGINT to a process", allow_module_level=True)

pytestmark = [pytest.mark.net, pytest.mark.slow]

ROOT = Path(__file__).parents[2]

PAIR = """
    import os, sys, threading, time
    from trioton import Block, blocking

    a = blocking.open_context("a")
    b = blocking.open_context("b")
    listener = a.bind("unix://" + sys.argv[1])
    b.connect(listener.address)
    sub = blocking.SubChannel(b, "slot", policy=Block(100))
    pub = blocking.PubChannel(a, "slot")
    pub.wait_subscribers(timeout=20)
    ahead = blocking.PubChannel(a, "ahead", ahead=100)
"""


def start(program: str, folder: Path) -> subprocess.Popen[str]:
    source = textwrap.dedent(PAIR) + textwrap.dedent(program)
    command = [sys.executable, "-W", "error", "-c", source, str(folder / "socket")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # A shell that runs the tests in the background lets them, and what they start, ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_forked_child_is_told_and_the_parent_goes_on(tmp_path: Path) -> None:
    program = """
        pub.send("before")
        sub.receive(timeout=20)
        pub.send_many(["one", "two"])
        sys.stdout.flush()
        child = os.fork()
        if not child:
            uses = [
                sub.receive, lambda: list(sub), lambda: sub.receive_many(2), sub.receive_all_nowait, lambda: sub.pending,
                lambda: pub.send("x"), lambda: pub.send_many(["x"]), lambda: ahead.send("x"), lambda: pub.subscribers,
                lambda: a.peers, a.flush, lambda: a.bind("localhost:0"), lambda: a.connect("localhost:1"), a.events,
                lambda: b.connections, lambda: blocking.PubChannel(a, "x"), lambda: blocking.SubChannel(a, "x"),
                lambda: blocking.open_channel(a), lambda: blocking.merge(sub), a.statistics,
            ]
            for number, use in enumerate(uses):
                try:
                    use()
                    print("no error:", number)
                except blocking.ForkedError:
                    pass
            for each in (sub, pub, ahead, listener, a):
                repr(each)
                each.close()
            with blocking.open_context("child") as ctx:
                ctx.connect(listener.address)
                print("child sees", sorted(info.name for info in ctx.contexts))
            sys.exit(7)
        print("child gave", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(sub.receive(timeout=20), sub.receive(timeout=20))
        pub.send("after")
        print(sub.receive(timeout=20), b.connection("a").statistics().transports)
        print(os.path.exists(sys.argv[1]))
    """
    process = start(program, tmp_path)
    out, err = process.communicate(timeout=60)
    assert err == ""
    assert out.splitlines() == ["child sees ['a', 'b']", "child gave 7", "one two", "after 1", "True"]
    assert process.returncode == 0
    assert not (tmp_path / "socket").exists()


def test_the_end_of_the_process_delivers_what_was_sent(tmp_path: Path) -> None:
    program = """
        import subprocess
        child = '''if True:
            import sys
            from trioton import blocking
            ctx = blocking.open_context()
            ctx.connect(sys.argv[1])
            pub = blocking.PubChannel(ctx, "slot", ahead=10_000)
            pub.wait_subscribers()
            for number in range(3000):
                pub.send(str(number))
        '''
        running = subprocess.Popen([sys.executable, "-W", "error", "-c", child, listener.address])
        got = [sub.receive(timeout=20) for _ in range(3000)]
        print(got == [str(number) for number in range(3000)], running.wait(20))
    """
    process = start(program, tmp_path)
    assert process.communicate(timeout=60) == ("True 0\n", "")
    assert process.returncode == 0


@pytest.mark.parametrize(
    "what", ["sub.receive()", "list(sub)", "[ahead.send('x') for _ in range(10**9)]", "a.wait_context('c')"]
)
def test_ctrl_c_ends_what_waits(tmp_path: Path, what: str) -> None:
    program = f"""
        slow = blocking.SubChannel(b, "ahead", policy=Block(3))
        ahead.wait_subscribers()
        try:
            print("ready", flush=True)
            {what}
        except KeyboardInterrupt:
            print("interrupted")
            pub.send("still there")
            print(sub.receive(timeout=20))
        slow.close()
    """
    process = start(program, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("interrupted\nstill there\n", "")
    assert process.returncode == 0


def test_ctrl_c_cuts_short_what_is_drained_at_the_end(tmp_path: Path) -> None:
    program = """
        long = blocking.open_context("long", grace=1000)
        long.connect(f"unix://{sys.argv[1]}.test")
        stuck = blocking.PubChannel(long, "stuck", ahead=100)
        stuck.wait_subscribers()
        for number in range(50):
            stuck.send("x")

        def tell():
            while not a._host._closed.is_set():  # the others do not take long
                time.sleep(0.001)
            print("ending", flush=True)

        threading.Thread(target=tell, daemon=True).start()
    """
    with blocking.open_context("test") as ctx:
        ctx.bind(f"unix://{tmp_path / 'socket'}.test")
        sub = blocking.SubChannel(ctx, "stuck", policy=Block(3))
        process = start(program, tmp_path)
        assert process.stdout is not None
        assert process.stdout.readline() == "ending\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        assert process.returncode == 0
        assert sub.receive(timeout=20) == "x"


def test_ctrl_c_cancels_the_request_whose_result_is_waited_for(tmp_path: Path) -> None:
    program = """
        import trio

        class Sleeper(blocking.RepChannel):
            async def sleep(self):
                try:
                    await trio.sleep_forever()
                finally:
                    print("cancelled", flush=True)

        def tell():
            main = threading.main_thread().ident
            while not (future.running() and sys._current_frames()[main].f_code.co_name == "wait_released"):
                time.sleep(0.001)
            print("ready", flush=True)

        rep = Sleeper(a, "sleep")
        req = blocking.ReqChannel(b, "sleep")
        future = req.sleep()
        threading.Thread(target=tell, daemon=True).start()
        try:
            future.result()
        except KeyboardInterrupt:
            pass
        future.wait(timeout=20)
        print(future.cancelled())
    """
    process = start(program, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("cancelled\nTrue\n", "")
    assert process.returncode == 0
