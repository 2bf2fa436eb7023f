"""Bytes that were cut, flipped, put in and left out: a result, "more is needed" or a refusal; never anything else, and never at a great cost.

Each target of ``fuzz`` says itself what it promises. Here all that is kept in its corpus is tried, and some more by chance.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import corpus
from fuzz.__main__ import main
from fuzz.by_chance import damaged
from fuzz.cost import check_memory, check_time, measure_slowness
from fuzz.targets import TARGETS

WHOLE = {"context", "stranger"}
"""Each input of these is a whole network."""

BIG = 300_000


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_r38_all_that_is_kept_is_taken_or_refused(name: str) -> None:
    target = TARGETS[name]
    inputs = corpus.inputs(name)
    assert inputs
    slowness = measure_slowness()
    for data in inputs:
        if target.seconds is None:
            target.run(data)
        else:
            check_time(target.run, data, target.seconds * slowness)
        if target.is_frugal:
            check_memory(target.run, data)


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in WHOLE])
def test_r38_so_is_what_was_damaged(name: str) -> None:
    target = TARGETS[name]

    @settings(suppress_health_check=list(HealthCheck))
    @given(damaged(corpus.inputs(name), target.largest))
    def try_one(data: bytes) -> None:
        target.run(data)

    try_one()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WHOLE))
def test_r38_no_neighbour_ends_a_context_or_the_links_of_others(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=10, suppress_health_check=list(HealthCheck))
    @given(st.binary(min_size=1, max_size=400))
    def try_one(data: bytes) -> None:
        target.run(data)

    try_one()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.seconds is not None])
@pytest.mark.parametrize(
    "fill", [b"\0", b"\xff", b"\x9b\x00", b"\xc2\x41\x01", b"\x81", b"\xa1\x00", b"\x40", b"\xd9\x01\x02"]
)
def test_r38_large_inputs_of_one_kind_cost_little(name: str, fill: bytes) -> None:
    target = TARGETS[name]
    assert target.seconds is not None
    data = (fill * BIG)[:BIG]
    check_time(target.run, data, target.seconds * measure_slowness())
    if target.is_frugal:
        check_memory(target.run, data)


def test_r38_the_corpus_stays_small() -> None:
    assert corpus.size() < corpus.MOST_BYTES


def test_r38_an_input_is_tried_again_by_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found"
    path.write_bytes(b"\0\0trioton\1")
    assert main(["frames", str(path)]) == 0
    assert "10 bytes are taken as they should be" in capsys.readouterr().out
    assert main(["frames", str(tmp_path / "missing")]) == 2
    assert main(["nothing", str(path)]) == 2


def test_r38_hypothesis_searches_where_there_is_no_atheris(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["control", "--engine", "hypothesis", "--seconds", "0.05"]) == 0
    out = capsys.readouterr().out
    assert "control" in out
    assert "nothing is broken" in out
