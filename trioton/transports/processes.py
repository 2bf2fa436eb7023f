"""Whether other processes of this host live, and when they end."""

from __future__ import annotations

import os
import sys
from typing import Final

import trio

LOOK_PAUSE: Final = 0.5
"""Seconds between two looks at whether a process lives, where the system does not tell."""

_DEAD_STATES: Final = frozenset("ZX")
"""What Linux calls processes that have ended: zombies, which nobody has waited for yet, and those about to vanish."""


def process_is_alive(pid: int) -> bool:
    """Whether the process with this id still runs. True if it cannot be told."""
    if pid <= 0:
        return False
    return _is_alive(pid)


async def wait_process_ended(pid: int) -> None:
    """Wait until the process with this id has ended; a checkpoint. It need not be a child.

    Linux tells at once. Elsewhere, and for want of a descriptor, it looks every half second.
    """
    await trio.lowlevel.checkpoint()
    if pid > 0 and sys.platform == "linux":
        try:
            fd = os.pidfd_open(pid)
        except (ProcessLookupError, OverflowError):
            return
        except OSError:
            pass
        else:
            try:
                await trio.lowlevel.wait_readable(fd)
            finally:
                os.close(fd)
            return
    while process_is_alive(pid):  # noqa: ASYNC110 - there is no event to wait for
        await trio.sleep(LOOK_PAUSE)


if sys.platform == "win32":

    def _is_alive(pid: int) -> bool:
        """Ask without os.kill, which on Windows would do what it says."""
        import ctypes

        query_limited_information, access_denied, still_active = 0x1000, 5, 259
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.OpenProcess.restype = ctypes.c_void_p
        handle = kernel32.OpenProcess(query_limited_information, False, ctypes.c_ulong(pid & 0xFFFFFFFF))
        if not handle:
            return ctypes.get_last_error() == access_denied
        try:
            code = ctypes.c_ulong()
            known = kernel32.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(code))
            return not known or code.value == still_active
        finally:
            kernel32.CloseHandle(ctypes.c_void_p(handle))

else:

    def _is_alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except OSError:
            return True  # it is there, and somebody else's
        return _state_on_linux(pid) not in _DEAD_STATES

    def _state_on_linux(pid: int) -> str:
        """The letter for what a process is doing, or "?" if it cannot be read."""
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                # The name of the program stands in brackets before the state, and may have brackets of its own.
                return chr(file.read().rpartition(b")")[2].split()[0][0])
        except (OSError, IndexError):
            return "?"
