"""The command `trioton`, and `progress`, by which programs tell `trioton demo` how far they are.

The command needs the packages click and rich, which the extra ``trioton[cli]`` brings. Neither is imported before it runs:
a program that only calls `progress` needs nothing of them.
"""

from __future__ import annotations

import sys
from typing import Final

RUNNER_MODULE: Final = "trioton_demo_runner"
"""The name under which a program that runs in `trioton demo` finds the module that captures its output."""

_NEEDED: Final = ("click", "rich")


def progress(done: float, total: float | None = None, text: str = "") -> None:
    """Tell the terminal that watches this program through ``trioton demo`` how far it is; does nothing elsewhere.

    It takes its place among the lines that the program prints. May be called from any thread and as often as you like: of what
    comes faster than fifty times a second only the last is sent.

    Args:
        done: How much has been done, in any unit.
        total: How much there is to do, or None if that is not known: the bar then only shows that something goes on.
        text: A few words about what is being done now.

    Raises:
        TypeError: An argument is of the wrong type.
    """
    _check_number("done", done)
    if total is not None:
        _check_number("total", total)
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, not {text!r}")
    runner = sys.modules.get(RUNNER_MODULE)
    if runner is not None:
        runner.report(done, total, text)


def _check_number(argument: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be a number, not {value!r}")


def main() -> int:
    """Run the command line.

    Returns:
        The exit code: 0 if all went well, 1 if it did not, 2 for a command line that makes no sense, 128 and the number of the
        signal that ended it (130 for Ctrl-C). ``trioton demo`` gives the code of the program that it ran.
    """
    try:
        from .commands import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        print(f"trioton: the command line needs {error.name}: pip install 'trioton[cli]'", file=sys.stderr)
        return 1
    return run()
