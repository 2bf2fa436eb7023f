"""The inputs that are kept: for each target a folder of small files, made by `seeds` or found by a search."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "corpus"

MOST_BYTES: Final = 300_000
"""Bytes that all files may have together."""


def inputs(target: str) -> list[bytes]:
    """What is kept for a target, smallest first."""
    return sorted((path.read_bytes() for path in (FOLDER / target).glob("*")), key=lambda data: (len(data), data))


def keep(target: str, data: bytes) -> Path:
    """Keep an input under a name that follows from it; gives the file."""
    path = FOLDER / target / hashlib.sha256(data).hexdigest()[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def size() -> int:
    """Bytes of all that is kept."""
    return sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
