"""Writes inventories for intersphinx from lists that people can read.

A list has one name a line: the name, its role (as in ``py:class``, without ``py:``), and the page that documents it, on which
the anchor is the name itself. Empty lines and those that begin with ``#`` are skipped.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HEADER = """\
# Sphinx inventory version 2
# Project: {name}
# Version:
# The remainder of this file is compressed using zlib.
"""


def write_inventory(name: str, folder: Path, target: Path) -> Path:
    """Turn the list ``folder/name.txt`` into the inventory ``target/name.inv`` and give its path.

    Raises:
        ValueError: A line of the list has not three words.
    """
    entries = []
    for line in (folder / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split()
        if len(words) != 3:
            raise ValueError(f"{name}.txt: a line must have a name, a role and a page, not {line!r}")
        entry, role, page = words
        entries.append(f"{entry} py:{role} 1 {page}#$ -\n")
    target.mkdir(exist_ok=True)
    path = target / f"{name}.inv"
    path.write_bytes(HEADER.format(name=name).encode() + zlib.compress("".join(entries).encode()))
    return path
