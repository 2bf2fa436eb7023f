from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from trioton.testing import LeakCheck, LeakError, leak_check
from trioton.testing import checks as module

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


@pytest.fixture
def sleeping_child() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child
    child.communicate(b"\n")


# What is left behind


def test_a_clean_block_passes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", None)  # it would raise
    with leak_check() as check:
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        with socket.socket(), tempfile.TemporaryFile():
            pass
        assert check.leaks() == ()
    assert repr(check) == "<LeakCheck, begun>"


def test_threads_are_named() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="left over", daemon=True)
    with pytest.raises(LeakError) as caught:
        with leak_check(settle=0):
            thread.start()
    stop.set()
    thread.join()
    assert caught.value.leaks == ("1 thread: 'left over' (daemon)",)
    assert str(caught.value) == "left behind:\n1 thread: 'left over' (daemon)"
    assert isinstance(caught.value, AssertionError)


@needs_proc
def test_file_descriptors_are_named() -> None:
    ends: list[socket.socket] = []
    with pytest.raises(LeakError) as caught:
        with leak_check(settle=0):
            ends += socket.socketpair()
    names = ", ".join(f"{end.fileno()} -> {os.readlink(f'/proc/self/fd/{end.fileno()}')}" for end in ends)
    assert caught.value.leaks == (f"2 file descriptors: {names}",)
    for end in ends:
        end.close()


@needs_proc
def test_a_descriptor_that_leads_to_something_else_now_counts() -> None:
    first = os.open("/dev/null", os.O_RDONLY)
    with pytest.raises(LeakError, match=f"1 file descriptor: {first} -> /dev/zero"):
        with leak_check(settle=0):
            os.close(first)
            assert os.open("/dev/zero", os.O_RDONLY) == first
    os.close(first)


@needs_proc
def test_children_are_named(request: pytest.FixtureRequest) -> None:
    with pytest.raises(LeakError) as caught:
        with leak_check(settle=0):
            child = request.getfixturevalue("sleeping_child")
    descriptors, children = caught.value.leaks
    assert descriptors.startswith("1 file descriptor: ")  # the child's standard input
    assert children.startswith(f"1 child process: {child.pid} (")
    assert "input()" in children


@needs_proc
def test_a_child_that_nobody_waited_for_counts() -> None:
    with leak_check(settle=0) as check:
        child = subprocess.Popen([sys.executable, "-c", ""])
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        (leak,) = check.leaks()
        child.wait()
    assert "zombie" in leak


def test_socket_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    for directory in ("trioton-1/deep", "run/trioton-2", "other"):
        (tmp_path / directory).mkdir(parents=True)
    with pytest.raises(LeakError) as caught:
        with leak_check(settle=0):
            for name in ("trioton-1/a", "trioton-1/deep/b", "run/trioton-2/c", "other/trioton-d"):
                monkeypatch.chdir((tmp_path / name).parent)  # its whole path may be too long for a socket
                with socket.socket(socket.AF_UNIX) as stale:
                    stale.bind(Path(name).name)
            (tmp_path / "trioton-1" / "file").touch()
    where = sorted(str(tmp_path / name) for name in ("trioton-1/a", "trioton-1/deep/b", "run/trioton-2/c"))
    (leak,) = caught.value.leaks
    assert leak.startswith("3 socket files: ")
    assert sorted(leak.partition(": ")[2].split(", ")) == where


@needs_proc
def test_the_sockets_of_other_processes_are_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); print(flush=True); input()"
    with tempfile.TemporaryDirectory(prefix="trioton-", dir="/tmp") as directory:
        path = f"{directory}/socket"
        command = [sys.executable, "-c", code, path]
        with leak_check(settle=0) as check:
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
                assert child.stdout
                child.stdout.readline()
                assert "socket file" not in "".join(check.leaks())
                child.communicate(b"\n")
            assert check.leaks() == (f"1 socket file: {path}",)
            os.unlink(path)


# Patience


class Garbage:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


def test_what_ends_by_itself_in_time_is_no_leak() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    with pytest.MonkeyPatch.context() as patch, leak_check():
        thread.start()

        def sleep(seconds: float) -> None:
            stop.set()
            thread.join()

        patch.setattr(time, "sleep", sleep)


@needs_proc
def test_what_only_garbage_holds_is_no_leak() -> None:
    with leak_check(settle=0):
        garbage: list[object] = [Garbage(os.open(os.devnull, os.O_RDONLY))]
        garbage.append(garbage)
        del garbage


def test_an_error_of_the_block_comes_through_with_a_note() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="left over")
    with pytest.raises(KeyError) as caught:
        with leak_check():
            thread.start()
            raise KeyError("the error")
    assert caught.value.__notes__ == ["when this left the block of leak_check, there was still:\n1 thread: 'left over'"]
    stop.set()
    thread.join()
    with pytest.raises(KeyError) as caught:
        with leak_check():
            raise KeyError("the error")
    assert not hasattr(caught.value, "__notes__")


# Trio


@needs_proc
def test_trio_leaves_nothing_behind() -> None:
    async def main() -> None:
        await trio.to_thread.run_sync(lambda: None)
        await trio.run_process([sys.executable, "-c", ""])

    with leak_check(settle=0):
        trio.run(main)


@needs_proc
async def test_threads_that_trio_keeps_do_not_count() -> None:
    async with leak_check(settle=0):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(trio.to_thread.run_sync, lambda: None)


async def test_an_abandoned_thread_counts() -> None:
    started, stop = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        stop.wait()

    with pytest.raises(LeakError, match=r"1 thread: .*wait.* \(daemon\)"):
        async with leak_check(settle=0):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(trio.to_thread.run_sync, abandon_on_cancel=True), wait)
                await trio.to_thread.run_sync(started.wait)
                nursery.cancel_scope.cancel()
    stop.set()


async def test_tasks_are_named(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        with pytest.raises(LeakError, match="1 task: the task"):
            async with leak_check(settle=0):
                nursery.start_soon(trio.sleep_forever, name="the task")
        end = trio.Event()
        with pytest.raises(LeakError, match="1 task: a system task"):
            async with leak_check(settle=0):
                trio.lowlevel.spawn_system_task(end.wait, name="a system task")
        end.set()
        nursery.cancel_scope.cancel()


async def test_tasks_that_are_ending_come_to_their_end(autojump_clock: MockClock) -> None:
    async def end_slowly() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                for _ in range(5):
                    await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        async with leak_check(settle=0):
            nursery.start_soon(end_slowly)
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()


async def test_it_works_where_everything_was_cancelled(autojump_clock: MockClock) -> None:
    with trio.CancelScope() as scope:
        async with leak_check(settle=0):
            scope.cancel()
    async with trio.open_nursery() as nursery:
        with pytest.raises(LeakError, match="task"), trio.CancelScope() as scope:
            async with leak_check(settle=0):
                nursery.start_soon(trio.sleep_forever)
                scope.cancel()
        nursery.cancel_scope.cancel()


async def test_waiting_does_not_let_a_mock_clock_jump(autojump_clock: MockClock) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 1000)
        await trio.lowlevel.checkpoint()
        with pytest.raises(LeakError):
            async with leak_check(settle=0.05):
                thread.start()
        assert trio.current_time() == 0
        stop.set()
        thread.join()


async def test_it_begins_and_ends_in_the_same_run(autojump_clock: MockClock) -> None:
    check = leak_check()

    def begin_elsewhere() -> None:
        check.__enter__()

    await trio.to_thread.run_sync(begin_elsewhere)
    with pytest.raises(RuntimeError, match="in the same trio"):
        check.leaks()


def test_wrong_use_is_named() -> None:
    with pytest.raises(ValueError, match="settle must not be negative, not -1"):
        leak_check(settle=-1)
    with pytest.raises(RuntimeError, match="not begun"):
        LeakCheck().leaks()
    assert repr(leak_check()) == "<LeakCheck, not begun>"


def test_without_proc_the_rest_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def list_nothing(path: str | Path) -> list[str]:
        return []

    monkeypatch.setattr(module, "_list_directory", list_nothing)
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    with leak_check(settle=0) as check:
        thread.start()
        assert len(check.leaks()) == 1
        stop.set()
        thread.join()
