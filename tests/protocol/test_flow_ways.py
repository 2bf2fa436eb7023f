"""Flows to contexts that are no neighbours: one copy for all behind a neighbour, and copies for one alone where that must be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.protocol.flow import Branch, SendFlow
from trioton.protocol.frames import FLAG_SKIPPED
from trioton.protocol.outbox import PositionedFlow
from trioton.protocol.packages import Package, PackageKind, parse_package_header
from trioton.protocol.policies import Mode
from trioton.protocol.values import decode_run, encode_value
from trioton.protocol.way import Way

SOURCE = bytes(range(16))
MIB = 1 << 20


class Neighbour:
    """A neighbour: the outbox of its own branch, and the lane to those behind it."""

    def __init__(self) -> None:
        self.links_lost = 0
        self.shared: list[Package] = []
        self.ways: list[Way] = []
        self.single: dict[str, list[Package]] = {}

    def add_shared(self, way: Way, package: Package, flow: PositionedFlow) -> None:
        assert way.lane is self
        assert parse_package_header(package.header).kind == PackageKind.PUBLISH
        self.ways.append(way)
        self.shared.append(package)

    def add_package(self, branch: Branch, package: Package, flow: SendFlow) -> None:
        assert flow.branches[branch.key] is branch
        self.single.setdefault(str(branch.key), []).append(package)

    def remove_branch(self, branch: Branch) -> None:
        self.single.pop(str(branch.key), None)


def ident(name: str) -> bytes:
    return name.encode().rjust(16, b"-")


def make_flow(destination: bytes | None = None) -> SendFlow:
    return SendFlow(SOURCE, "slot", 3, window_bytes=MIB, destination=destination)


def add_branch(
    flow: SendFlow,
    neighbour: Neighbour,
    name: str,
    mode: Mode = Mode.DROP_OLDEST,
    *,
    size: int = 1,
    grant: int | None = None,
    is_remote: bool = True,
) -> Branch:
    """Add a branch that leads through a neighbour; one that blocks is granted room, or is not ready."""
    branch = Branch(name, neighbour, mode, size, 1)
    branch.lane, branch.address, branch.is_remote = neighbour, ident(name), is_remote
    flow.add_branch(branch)
    if grant is not None:
        flow.grant_first(branch, grant, now=0)
    return branch


def send(flow: SendFlow, count: int = 1) -> None:
    for _ in range(count):
        flow.add(encode_value(flow.next))
        flow.cut()


def messages(packages: list[Package]) -> list[Any]:
    """What packages bring; each message is its own number."""
    values = [value for package in packages for value in decode_run(b"".join(package.body))]
    assert values == [number for package in packages for number in range(package.first, package.first + package.count)]
    return values


# ------------------------------------------------------------------------------------------------------------ one copy


def test_all_behind_a_neighbour_share_one_copy() -> None:
    flow, near, far = make_flow(), Neighbour(), Neighbour()
    add_branch(flow, near, "near", is_remote=False)
    for name in "abc":
        add_branch(flow, near, name)
    add_branch(flow, far, "d", Mode.BLOCK, grant=10)
    send(flow, 3)
    assert messages(near.shared) == messages(far.shared) == [0, 1, 2]
    assert near.shared == far.shared  # the bytes are there once
    assert not near.single
    assert not far.single
    assert flow.ways.keys() == {near, far}


def test_a_neighbour_with_nobody_behind_it_gets_its_own() -> None:
    flow, neighbour = make_flow(), Neighbour()
    add_branch(flow, neighbour, "near", is_remote=False)
    send(flow)
    assert messages(neighbour.single["near"]) == [0]
    add_branch(flow, neighbour, "a")
    send(flow)
    assert messages(neighbour.shared) == [1]
    flow.remove_branch("a")
    send(flow)
    assert messages(neighbour.single["near"]) == [0, 2]
    assert not flow.ways


def test_where_no_lane_leads_on_nothing_is_shared() -> None:
    flow, neighbour = make_flow(), Neighbour()
    add_branch(flow, neighbour, "a").lane = None
    flow.arrange_again()
    flow.update_room()
    send(flow)
    assert messages(neighbour.single["a"]) == [0]
    assert not flow.ways


def test_what_is_for_one_context_is_never_shared() -> None:
    flow, neighbour = make_flow(ident("a")), Neighbour()
    branch = add_branch(flow, neighbour, "a", Mode.BLOCK, grant=10)
    send(flow, 2)
    flow.resume(branch, 0)
    packages = neighbour.single["a"]
    assert messages(packages) == [0, 1]
    assert {parse_package_header(package.header).kind for package in packages} == {PackageKind.DIRECT}


def test_a_way_stays_the_same_while_others_come_and_go() -> None:
    """Its outbox counts by it what waits."""
    flow, neighbour = make_flow(), Neighbour()
    add_branch(flow, neighbour, "a")
    send(flow)
    add_branch(flow, neighbour, "b")
    flow.remove_branch("a")
    send(flow)
    first, second = neighbour.ways
    assert first is second


# -------------------------------------------------------------------------------------------------------------- policy


def test_nothing_is_sent_where_nobody_is_ready() -> None:
    flow, neighbour = make_flow(), Neighbour()
    blocking = add_branch(flow, neighbour, "a", Mode.BLOCK)
    send(flow)
    assert not neighbour.shared
    flow.grant_first(blocking, 10, now=0)
    send(flow)
    assert messages(neighbour.shared) == [1]


MODES = st.sampled_from(Mode)


@given(st.lists(st.tuples(MODES, st.integers(1, 9), st.booleans()), min_size=1, max_size=6))
def test_a_way_has_the_strictest_policy_of_those_who_are_ready(others: list[tuple[Mode, int, bool]]) -> None:
    flow, neighbour = make_flow(), Neighbour()
    for number, (mode, size, is_granted) in enumerate(others):
        grant = 10 if mode is Mode.BLOCK and is_granted else None
        add_branch(flow, neighbour, str(number), mode, size=size, grant=grant)
    ready = [(mode, size) for mode, size, is_granted in others if mode is not Mode.BLOCK or is_granted]
    send(flow)
    assert bool(neighbour.ways) == bool(ready)
    if ready:
        way = flow.ways[neighbour]
        assert way.mode is min(mode for mode, _ in ready)
        assert way.size == max(size for mode, size in ready if mode is way.mode)


def test_one_that_blocks_makes_all_behind_its_neighbour_wait() -> None:
    flow, neighbour = make_flow(), Neighbour()
    add_branch(flow, neighbour, "a")
    add_branch(flow, neighbour, "b", Mode.BLOCK, grant=2)
    assert flow.room == 2
    send(flow, 2)
    assert flow.room == 0
    assert flow.is_blocked_by_branch
    flow.credit(flow.branches["b"], 2, 4, now=0)
    assert flow.room == 2
    assert not flow.log


# ------------------------------------------------------------------------------------- a neighbour that cannot take it


def test_a_neighbour_that_has_not_given_room_is_passed_by() -> None:
    flow, neighbour = make_flow(), Neighbour()
    near = add_branch(flow, neighbour, "near", Mode.BLOCK, is_remote=False)
    add_branch(flow, neighbour, "a")
    add_branch(flow, neighbour, "b", Mode.BLOCK, grant=10)
    add_branch(flow, neighbour, "c", Mode.BLOCK)
    send(flow)
    assert not neighbour.shared
    assert neighbour.single.keys() == {"a", "b"}
    for name, packages in neighbour.single.items():
        (package,) = packages
        assert parse_package_header(package.header)[:] == (PackageKind.AGAIN, SOURCE, 3, 0, "slot", 1, ident(name))
        assert messages(packages) == [0]
    flow.grant_first(near, 10, now=0)
    send(flow)
    assert messages(neighbour.shared) == [1]
    assert messages(neighbour.single["a"]) == [0]


def test_a_neighbour_whose_link_is_new_is_passed_by_until_it_has_said_where_it_stands() -> None:
    flow, neighbour = make_flow(), Neighbour()
    near = add_branch(flow, neighbour, "near", Mode.BLOCK, is_remote=False, grant=10)
    add_branch(flow, neighbour, "a")
    send(flow)
    neighbour.links_lost += 1
    send(flow)
    assert messages(neighbour.shared) == [0]
    assert messages(neighbour.single["a"]) == [1]
    flow.resume(near, 0)
    assert messages(neighbour.single["near"]) == [0, 1]
    send(flow)
    assert messages(neighbour.shared) == [0, 2]


def test_a_neighbour_that_drops_is_never_passed_by() -> None:
    flow, neighbour = make_flow(), Neighbour()
    add_branch(flow, neighbour, "near", is_remote=False)
    add_branch(flow, neighbour, "a")
    neighbour.links_lost += 1
    send(flow)
    assert messages(neighbour.shared) == [0]
    assert not neighbour.single


# ---------------------------------------------------------------------------------------------------------- once more


@pytest.mark.parametrize("is_written", [False, True])
def test_what_is_sent_again_is_for_one_context_alone(is_written: bool) -> None:
    flow, neighbour = make_flow(), Neighbour()
    branch = add_branch(flow, neighbour, "a", Mode.BLOCK, grant=10)
    add_branch(flow, neighbour, "b", Mode.BLOCK, grant=10)
    send(flow, 3)
    if is_written:
        assert [package.frame() for package in neighbour.shared]
    flow.resume(branch, 1)
    assert neighbour.single.keys() == {"a"}
    again = neighbour.single["a"]
    assert messages(again) == [1, 2]
    for package, shared in zip(again, neighbour.shared[1:], strict=True):
        header = parse_package_header(package.header)
        assert header == parse_package_header(shared.header)._replace(kind=PackageKind.AGAIN, destination=ident("a"))
        assert (package.body_size, package.end, package.flags) == (shared.body_size, shared.end, shared.flags)
        assert b"".join(package.body) == b"".join(shared.body)
    send(flow)
    assert messages(neighbour.shared) == [0, 1, 2, 3]


def test_a_neighbour_itself_is_sent_again_alone_if_others_are_behind_it() -> None:
    flow, neighbour = make_flow(), Neighbour()
    near = add_branch(flow, neighbour, "near", Mode.BLOCK, grant=10, is_remote=False)
    send(flow)
    flow.resume(near, 0)
    (package,) = neighbour.single["near"]
    assert parse_package_header(package.header).kind == PackageKind.PUBLISH
    add_branch(flow, neighbour, "a")
    flow.resume(near, 0)
    (package,) = neighbour.single["near"]
    assert parse_package_header(package.header)[:] == (PackageKind.AGAIN, SOURCE, 3, 0, "slot", 1, ident("near"))


def test_the_end_and_what_was_left_out_are_sent_again_as_such() -> None:
    flow, neighbour = make_flow(), Neighbour()
    branch = add_branch(flow, neighbour, "a", Mode.BLOCK, grant=10)
    send(flow)
    flow.skip()
    flow.end()
    first, skipped, end = neighbour.shared
    assert (first.flags, skipped.flags, end.flags) == (0, FLAG_SKIPPED, 1)
    assert (skipped.first, skipped.count, skipped.end) == (2, 0, 2)
    assert (end.first, end.count, end.end) == (2, 0, 3)
    flow.resume(branch, 1)
    assert [(package.first, package.end, package.flags) for package in neighbour.single["a"]] == [
        (2, 2, FLAG_SKIPPED),
        (2, 3, 1),
    ]
    assert neighbour.single["a"][1].is_last


def test_a_marker_is_for_one_or_for_all() -> None:
    flow, neighbour = make_flow(), Neighbour()
    branch = add_branch(flow, neighbour, "a")
    send(flow, 2)
    for package, kind, destination in (
        (flow.marker(2), PackageKind.PUBLISH, None),
        (flow.marker(2, branch), PackageKind.AGAIN, ident("a")),
    ):
        header = parse_package_header(package.header)
        assert header == (kind, SOURCE, 3, 2, "slot", 0, destination)
        assert package.flags == 0
        assert b"".join(package.body) == b"\x80"
