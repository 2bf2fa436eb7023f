"""What editors ask about the kernel's variables: answered in a thread of Trio's, while the main thread computes."""

from __future__ import annotations

import inspect
import re
import rlcompleter
from typing import Any

import trioton

EXPRESSION = re.compile(r"[A-Za-z_][\w.]*\Z")
MOST_NAMES = 500


class Introspection(trioton.RepChannel):
    """Questions about names and expressions.

    Plain methods of a `trioton.RepChannel` run in worker threads, so each of these has its chance while user code runs, whenever that
    lets go of the GIL. What user-defined properties do when they are looked at, they do in that thread.

    Args:
        ctx: The kernel's context.
        slot: The slot of this generation.
        namespace: The variables of user code.
    """

    def __init__(self, ctx: trioton.Context, slot: str, namespace: dict[str, Any]) -> None:
        super().__init__(ctx, slot, max_running=4)
        self._namespace = namespace

    def complete(self, text: str) -> list[str]:
        """The names that the end of a text may become: ``"import os; os.pa"`` gives ``os.pardir``, ``os.path(``, ..."""
        found = EXPRESSION.search(text)
        if found is None:
            return []
        completer = rlcompleter.Completer(dict(self._namespace))
        names: list[str] = []
        while len(names) < MOST_NAMES and (name := completer.complete(found[0], len(names))) is not None:
            names.append(name)
        return sorted(set(map(str.rstrip, names)))

    def signature(self, expression: str) -> str:
        """How to call what an expression gives, such as ``(a, b=1)``; an empty text if nobody knows.

        Raises:
            Exception: The expression makes no sense.
        """
        try:
            return str(inspect.signature(self._value(expression)))
        except (TypeError, ValueError):
            return ""

    def doc(self, expression: str) -> str:
        """The documentation of what an expression gives, or an empty text.

        Raises:
            Exception: The expression makes no sense.
        """
        return inspect.getdoc(self._value(expression)) or ""

    def names(self) -> dict[str, str]:
        """The variables of user code, and their types."""
        present = dict(self._namespace)
        return {name: type(value).__name__ for name, value in present.items() if not name.startswith("_")}

    def eval(self, expression: str) -> str:
        """What an expression gives, as text.

        Raises:
            Exception: The expression makes no sense.
        """
        return repr(self._value(expression))

    def _value(self, expression: str) -> Any:
        return eval(expression, self._namespace)
