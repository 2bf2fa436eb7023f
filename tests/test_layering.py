"""The house rules that can be seen from outside: who imports what, and how long a file is.

The layers are those of `docs/explain/architecture.rst`. All is read from the source with `ast`; nothing is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "trioton"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 600

# What each layer may import of the others; all may import themselves and what is for all. What is in no layer is what
# stands at the top: trioton/__init__.py and trioton/__main__.py.
LAYERS: dict[str, set[str]] = {
    "protocol": set(),
    "transports": set(),
    "network": {"protocol", "transports"},
    "channels": {"protocol", "network"},
    "blocking": {"transports", "trioton"},
    "testing": {"protocol", "transports", "network", "channels", "trioton"},
    "cli": {"protocol", "transports", "network", "channels", "trioton"},
}
LAYER_EXCEPTIONS = {
    # What sealed links say is told without I/O; here it gets a stream.
    "transports/sealed.py": {"protocol"},
    "transports/secret.py": {"protocol"},
    "transports/psk.py": {"protocol"},
}
FOR_ALL = {"errors", "_arguments", "_version"}
TOP = {"protocol", "transports", "network", "channels"}
ENTRY_POINTS = {"__main__.py": {"cli"}}

# Modules that only some may import. Sockets, processes and files of the system are the affair of the transports; what only the
# types of an annotation need may be imported by all.
SYSTEM = {
    "os",
    "socket",
    "ssl",
    "select",
    "selectors",
    "subprocess",
    "signal",
    "fcntl",
    "ctypes",
    "mmap",
    "multiprocessing",
}
OUTSIDE_OF_SYSTEM = ("transports", "testing", "cli")
SYSTEM_EXCEPTIONS = {
    # Nothing else tells that the process was forked.
    "blocking/portal.py": {"os"},
}
SANS_IO = {"trio", "time", "random", "secrets", "datetime", "logging", "threading", "asyncio"}
NOWHERE = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "asyncio", "__future__.barry_as_FLUFL"}
ONLY_IN = {
    "cbor2": {"protocol/codec.py", "protocol/values.py"},
    "random": {"transports/base.py", "transports/system.py", "testing", "cli"},
    "hypothesis": {"testing/strategies.py"},
    "pytest": set(),
}
SANS_IO_EXCEPTIONS = {
    # A message may hold datetimes; nobody asks what time it is.
    "protocol/values.py": {"datetime"},
    "protocol/sendable.py": {"datetime"},
}


@attrs.frozen
class Import:
    """One module that a file imports.

    Attributes:
        file: The file, from the package on.
        module: The module, with its packages.
        line: Where.
        is_for_types: Whether it stands under ``if TYPE_CHECKING``.
    """

    file: str
    module: str
    line: int
    is_for_types: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    @property
    def layer(self) -> str | None:
        """The layer that it leads to; "trioton" for the public names, None for other projects."""
        parts = self.module.split(".")
        if parts[0] != "trioton":
            return None
        return parts[1] if len(parts) > 1 and parts[1] in LAYERS else "trioton"

    def __str__(self) -> str:
        return f"trioton/{self.file}:{self.line} imports {self.module}"


def layer_of(file: str) -> str:
    first = file.split("/")[0]
    return first if first in LAYERS else "top"


def imports_of(path: Path) -> Iterator[Import]:
    file = path.relative_to(PACKAGE).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = ["trioton", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import x` may lead to a module x: the longer name says more.
            modules = [f"{module}.{alias.name}" for alias in node.names] if module.startswith("trioton") else [module]
        for module in modules:
            yield Import(file, module, node.lineno, id(node) in for_types)  # type: ignore[attr-defined]


IMPORTS = [each for path in FILES for each in imports_of(path)]


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 40
    assert {layer_of(each.file) for each in IMPORTS} >= {*LAYERS, "top"}
    assert any(each.module == "trioton.protocol.codec" for each in IMPORTS)
    assert any(each.is_for_types for each in IMPORTS)


@pytest.mark.parametrize("layer", [*LAYERS, "top"])
def test_layers_import_only_what_is_below_them(layer: str) -> None:
    wrong = []
    for each in IMPORTS:
        if layer_of(each.file) != layer or each.layer is None:
            continue
        name = each.module.split(".")[1] if "." in each.module else ""
        if layer == "top":
            allowed = TOP | ENTRY_POINTS.get(each.file, set()) | {"trioton"}
        else:
            allowed = {layer} | LAYERS[layer] | LAYER_EXCEPTIONS.get(each.file, set())
        if each.layer not in allowed and name not in FOR_ALL:
            wrong.append(str(each))
    assert not wrong


def test_the_protocol_knows_no_clock_no_chance_and_no_network() -> None:
    wrong = [
        str(each)
        for each in IMPORTS
        if layer_of(each.file) == "protocol"
        and each.top in SANS_IO | SYSTEM
        and each.top not in SANS_IO_EXCEPTIONS.get(each.file, set())
    ]
    assert not wrong


def test_only_transports_touch_the_system() -> None:
    wrong = [
        str(each)
        for each in IMPORTS
        if layer_of(each.file) not in OUTSIDE_OF_SYSTEM
        and each.top in SYSTEM - SYSTEM_EXCEPTIONS.get(each.file, set())
        and not each.is_for_types
    ]
    assert not wrong


@pytest.mark.parametrize("module", sorted(ONLY_IN))
def test_some_modules_have_one_place(module: str) -> None:
    wrong = [
        str(each)
        for each in IMPORTS
        if each.top == module and not {each.file, layer_of(each.file)} & ONLY_IN[module] and not each.is_for_types
    ]
    assert not wrong


def test_nothing_is_imported_that_runs_what_strangers_send() -> None:
    assert not [str(each) for each in IMPORTS if each.top in NOWHERE]


def used_names(*names: str) -> set[str]:
    """The files that use any of these attributes of modules, written with the module's name in front or imported by name."""
    found = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            written = {ast.unparse(node)} if isinstance(node, (ast.Attribute, ast.Name)) else set()
            if isinstance(node, ast.ImportFrom):
                written = {f"{node.module}.{alias.name}" for alias in node.names}
            if written & set(names):
                found.add(path.relative_to(PACKAGE).as_posix())
    return found


def test_nobody_asks_for_the_time_of_day() -> None:
    """It jumps. The shell's clock is Trio's, or `time.perf_counter`. Only the age of a file is told by nothing else."""
    assert used_names("time.time", "time.time_ns") <= {"transports/unix.py"}


def test_nobody_sleeps_in_earnest() -> None:
    """But for the leak check, which must stop the whole thread, and the command line."""
    assert {file for file in used_names("time.sleep") if layer_of(file) != "cli"} <= {"testing/checks.py"}


def test_nothing_runs_what_is_written_in_a_text() -> None:
    assert not used_names("eval", "exec", "__import__")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_file_is_longer_than_one_can_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_module_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    if len(tree.body) > 1:
        assert isinstance(tree.body[1], ast.ImportFrom)
        assert tree.body[1].module == "__future__"
