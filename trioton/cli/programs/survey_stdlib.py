"""A survey of the Python standard library: what is in its source files, and what stands out.

It reads the files of the Python that runs it, prints what it finds as it goes (oddities to stderr), and ends with a table. It is the
program that ``trioton demo`` runs if it is given none; ``--quick`` looks at a tenth of the files.
"""

from __future__ import annotations

import argparse
import ast
import sys
import sysconfig
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trioton.cli import progress

LEFT_OUT = {"site-packages", "dist-packages", "__pycache__", "test", "tests"}
LONG_FUNCTION = 250
MANY_BRANCHES = 60
BRANCHES = (ast.If, ast.For, ast.While, ast.Try, ast.With, ast.IfExp, ast.BoolOp, ast.comprehension, ast.match_case)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Survey:
    """What was found so far."""

    modules: int = 0
    lines: int = 0
    classes: int = 0
    functions: int = 0
    async_functions: int = 0
    documented: int = 0
    imports: Counter[str] = field(default_factory=Counter)
    longest: list[tuple[int, str]] = field(default_factory=list)
    winding: list[tuple[int, str]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def source_files(root: Path) -> Iterator[Path]:
    """All source files below `root` that belong to the library, but for its tests."""
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name not in LEFT_OUT:
            yield from source_files(path)
        elif path.suffix == ".py":
            yield path


def look_at(path: Path, name: str, survey: Survey) -> str:
    """Add one file to the survey; returns what to print about it."""
    try:
        with tokenize.open(path) as file:
            source = file.read()
        tree = ast.parse(source)
    except (SyntaxError, ValueError, OSError) as error:
        survey.unreadable.append(name)
        print(f"{name}: cannot be read: {error}", file=sys.stderr)
        return f"{name}: -"
    lines = source.count("\n")
    survey.modules += 1
    survey.lines += lines
    definitions: list[ast.Module | ast.ClassDef | Function] = [tree]
    documented = 0
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef):
            definitions.append(node)
        elif isinstance(node, ast.Import):
            survey.imports.update({alias.name.partition(".")[0] for alias in node.names})
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            survey.imports[node.module.partition(".")[0]] += 1
    for definition in definitions:
        documented += ast.get_docstring(definition, clean=False) is not None
        if isinstance(definition, ast.ClassDef):
            survey.classes += 1
        elif isinstance(definition, Function):
            look_at_function(definition, name, survey)
    survey.documented += documented
    return f"{name}: {lines} lines, {len(definitions) - 1} definitions, {documented / len(definitions):.0%} documented"


def look_at_function(function: Function, module: str, survey: Survey) -> None:
    """Add one function to the survey."""
    survey.functions += 1
    survey.async_functions += isinstance(function, ast.AsyncFunctionDef)
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    branches = sum(isinstance(node, BRANCHES) for node in ast.walk(function))
    where = f"{module}:{function.lineno} {function.name}"
    survey.longest = sorted([*survey.longest, (length, where)], reverse=True)[:5]
    survey.winding = sorted([*survey.winding, (branches, where)], reverse=True)[:5]
    if length >= LONG_FUNCTION:
        print(f"{where}: {length} lines long", file=sys.stderr)
    if branches >= MANY_BRANCHES:
        print(f"{where}: {branches} branches", file=sys.stderr)


def print_summary(survey: Survey) -> None:
    """Print the table at the end."""
    definitions = survey.modules + survey.classes + survey.functions
    rows = [
        ("modules", f"{survey.modules:,}"),
        ("lines", f"{survey.lines:,}"),
        ("classes", f"{survey.classes:,}"),
        ("functions", f"{survey.functions:,}, {survey.async_functions:,} of them async"),
        ("with a docstring", f"{survey.documented / max(1, definitions):.0%} of all modules, classes and functions"),
        ("imported most", ", ".join(f"{name} ({count:,})" for name, count in survey.imports.most_common(6))),
        *(("longest functions" if not i else "", f"{n:5} lines  {at}") for i, (n, at) in enumerate(survey.longest)),
        *(("most branches" if not i else "", f"{n:5}        {at}") for i, (n, at) in enumerate(survey.winding)),
    ]
    print()
    print(f"The standard library of Python {sys.version.split()[0]}")
    for name, value in rows:
        print(f"  {name:18} {value}".rstrip())


def main() -> None:
    """Survey the library of the Python that runs this."""
    parser = argparse.ArgumentParser(description="A survey of the Python standard library.")
    parser.add_argument("--quick", action="store_true", help="look at a tenth of the files")
    parser.add_argument("--root", type=Path, default=Path(sysconfig.get_path("stdlib")), help="where the sources are")
    options = parser.parse_args()
    files = list(source_files(options.root))[:: 10 if options.quick else 1]
    print(f"{len(files):,} files in {options.root}")
    survey = Survey()
    warnings.simplefilter("ignore")  # what the parser thinks of old spellings is not our subject
    for number, path in enumerate(files, 1):
        print(look_at(path, str(path.relative_to(options.root)), survey))
        progress(number, len(files))
    print_summary(survey)


if __name__ == "__main__":
    main()
