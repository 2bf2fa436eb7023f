"""What all chance of a run comes from, beside the seeds that networks are given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_run_seed: int | str | None = None


@contextmanager
def seeded_run(seed: int | str | None) -> Iterator[None]:
    """Let all networks that are made in this block draw otherwise than in a run with another seed."""
    global _run_seed  # there is one run at a time
    before, _run_seed = _run_seed, seed
    try:
        yield
    finally:
        _run_seed = before


def run_chance(seed: int | str) -> str:
    """What the chance of a network with this seed comes from in this run."""
    return str(seed) if _run_seed is None else f"{_run_seed}/{seed}"
