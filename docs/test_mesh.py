"""What the documentation shows and says of contexts that are no neighbours must be so."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from trioton.protocol.records import InterestRecord, LinkRecord, NodeRecord, Record, encode_record, parse_record
from trioton.protocol.topology import Topology

HERE = Path(__file__).parent


@pytest.mark.slow
def test_pictures_are_what_the_script_draws(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRIOTON_SEED"}
    command = [sys.executable, "-W", "error", str(HERE / "draw_mesh.py"), str(tmp_path)]
    subprocess.run(command, env={**environment, "PYTHONPATH": str(HERE.parent)}, timeout=60, check=True)
    for path in tmp_path.iterdir():
        shown = (HERE / "_static" / path.name).read_text(encoding="utf-8")
        assert shown == path.read_text(encoding="utf-8"), f"{path.name} is old: run draw_mesh.py"
    assert len(list(tmp_path.iterdir())) == 3


def test_every_promise_has_the_tests_that_it_names() -> None:
    page = (HERE / "explain" / "promises.rst").read_text(encoding="utf-8")
    named = set(re.findall(r"``(test_\w+)``", page))
    tests = HERE.parent / "tests"
    folders = (tests / "promises", tests / "network", tests / "channels", tests / "requests", tests / "trust")
    code = "".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.glob("test_*.py"))
    defined = set(re.findall(r"^(?:async )?def (test_\w+)", code, re.MULTILINE))
    assert named - defined == set()
    assert {name for name in defined if name.startswith("test_promise_")} - named == set()


COUNT = 300


def records_of(neighbours: int, slots: int) -> tuple[list[bytes], list[bytes]]:
    """What the contexts of a ring tell, in which each is linked with so many others."""
    ids = [random.Random(number).randbytes(16) for number in range(COUNT)]
    steps = [step for half in range(1, neighbours // 2 + 1) for step in (half, -half)]
    link = LinkRecord(is_suspended=False, generation=1)
    nodes, interests = [], []
    for number, origin in enumerate(ids):
        links = {ids[(number + step) % COUNT]: link for step in steps}
        nodes.append(encode_record(NodeRecord(origin, 1, f"context {number}", number, 1, 1, links, {})))
        for slot in range(slots):
            interest = InterestRecord(origin, f"slot {slot}.obj.pub-sub", slot + 1, 0, 10, 1, 1)
            interests.append(encode_record(interest))
    return nodes, interests


def bytes_of(topology: Topology, records: list[bytes]) -> float:
    """How many bytes a topology holds more after it has learned records, for each context."""
    learn: dict[type, Callable[[Record], object]] = {
        NodeRecord: topology.learn_node,  # type: ignore[dict-item]  # each is given what it takes
        InterestRecord: topology.learn_interest,  # type: ignore[dict-item]
    }
    before, _ = tracemalloc.get_traced_memory()
    for data in records:
        record = parse_record(data)
        learn[type(record)](record)  # type: ignore[arg-type]  # there are no digests here
    topology.update()
    after, _ = tracemalloc.get_traced_memory()
    return (after - before) / COUNT


def test_what_is_known_of_others_takes_as_much_memory_as_documented() -> None:
    page = (HERE / "explain" / "memory.rst").read_text(encoding="utf-8")
    told = [
        int(number) for number in re.findall(r"^(?:its record|its first|each further).*? (\d+)$", page, re.MULTILINE)
    ]
    measured = []
    tracemalloc.start()
    try:
        for neighbours, slots in ((2, 1), (10, 11)):
            nodes, interests = records_of(neighbours, slots)
            topology = Topology(parse_record(nodes[0]))  # type: ignore[arg-type]  # it is that of a node
            measured += [bytes_of(topology, nodes[1:]), bytes_of(topology, interests)]
    finally:
        tracemalloc.stop()
    few, first, many, slots_of_each = measured
    for said, found in zip(told, (few, many, first, (slots_of_each - first) / 10), strict=True):
        assert 0.6 * said < found < 1.4 * said
