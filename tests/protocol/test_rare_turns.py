"""Turns that the tests with random data take only with luck: each is taken here for certain."""

from __future__ import annotations

import pytest

from trioton.errors import ProtocolError
from trioton.protocol.flow import Branch, SendFlow
from trioton.protocol.frames import LARGE_BODY, PREFACE, FrameKind, FrameReader, encode_prefix
from trioton.protocol.inbox import Inbox, ReceiveFlow, Run
from trioton.protocol.limits import Limits
from trioton.protocol.outbox import Outbox
from trioton.protocol.packages import Package
from trioton.protocol.policies import Block, DropOldest, Mode
from trioton.protocol.scan import scan
from trioton.protocol.values import decode_run, encode_value

SOURCE = bytes(range(16))


class Sink:
    """Keeps the packages of a branch."""

    links_lost = 0

    def __init__(self) -> None:
        self.packages: list[Package] = []

    def add_package(self, branch: Branch, package: Package, flow: SendFlow) -> None:
        self.packages.append(package)

    def remove_branch(self, branch: Branch) -> None:
        self.packages.clear()


def send_flow() -> SendFlow:
    return SendFlow(SOURCE, "slot", 1, window_bytes=1 << 20)


# ------------------------------------------------------------------------------------------------------------- sending


def test_one_who_is_not_the_slowest_gives_no_room() -> None:
    flow = send_flow()
    slow, quick = Branch("slow", Sink(), Mode.BLOCK, 1, 1), Branch("quick", Sink(), Mode.BLOCK, 1, 1)
    for branch, size in ((slow, 3), (quick, 5)):
        flow.add_branch(branch)
        flow.grant_first(branch, size, now=0)
    flow.add_texts(["a", "b", "c"], 6)
    flow.cut()
    assert flow.credit(quick, 3, 10, now=1) is None
    assert (flow.room, flow.taken, flow.limit) == (0, 0, 3)
    assert flow.credit(quick, 3, 20, now=2) is None
    assert (flow.room, flow.taken, flow.limit) == (0, 0, 3)
    assert flow.credit(slow, 2, 30, now=3) is None
    assert (flow.room, flow.taken, flow.limit) == (17, 2, 20)


def test_where_nothing_has_gathered_nothing_is_cut() -> None:
    flow, sink = send_flow(), Sink()
    flow.add_branch(Branch("a", sink, Mode.DROP_OLDEST, 1, 1))
    assert flow.cut() == 0
    assert sink.packages == []
    assert flow.next == 0


def test_texts_that_have_gathered_leave_as_one_run() -> None:
    flow, sink = send_flow(), Sink()
    flow.add_branch(Branch("a", sink, Mode.DROP_OLDEST, 1, 1))
    flow.add_text("a", 2)
    flow.add_texts(["", "b" * 300], 304)
    assert flow.cut() == 3
    [package] = sink.packages
    assert decode_run(b"".join(package.body)) == ["a", "", "b" * 300]


def test_only_the_packages_of_the_branch_that_goes_are_forgotten() -> None:
    outbox, flow = Outbox(1 << 20), send_flow()
    branches = [Branch(key, outbox, Mode.DROP_OLDEST, 10, 1) for key in "ab"]
    for branch in branches:
        flow.add_branch(branch)
    for _ in range(2):
        flow.add_text("x", 2)
        flow.cut()
    outbox.remove_branch(branches[0])
    assert [branch.queued for branch in branches] == [0, 2]
    assert outbox.queued == 2
    while outbox.next_buffers():
        pass
    assert (outbox.packages, outbox.messages) == (2, 2)


# ----------------------------------------------------------------------------------------------------------- receiving


def test_a_large_body_may_come_in_many_pieces() -> None:
    reader = FrameReader(Limits())
    reader.receive_data(PREFACE)
    reader.accept_all_kinds()
    header, body = b"header", bytes(range(256)) * (LARGE_BODY // 128)
    assert reader.receive_data(encode_prefix(FrameKind.PACKAGE, 0, len(header), len(body)) + header + body[:10]) == []
    position = 10
    while position < len(body):
        buffer = reader.wanted_buffer()
        assert buffer is not None
        assert len(buffer) == len(body) - position
        count = min(len(buffer), LARGE_BODY // 2 + 1)
        buffer[:count] = body[position : position + count]
        buffer.release()
        position += count
        frames = reader.buffer_filled(count)
        assert len(frames) == (position == len(body))
        assert reader.is_mid_frame == (position < len(body))
    assert (frames[0].header, frames[0].body) == (header, body)


def add(inbox: Inbox, flow: ReceiveFlow, first: int, stop: int, arrival: int) -> int:
    return inbox.add(Run(flow, first, b"body", 0, stop - first, arrival))


def decode(inbox: Inbox) -> None:
    """Do what the owner does with a run that is given out."""
    run = inbox.next_run()
    assert run is not None
    inbox.ready.extend(range(run.first + run.start, run.first + run.stop))


def receive_flow(stream: int = 1) -> ReceiveFlow:
    flow = ReceiveFlow(SOURCE, "slot", stream, 1000)
    flow.start(0)
    return flow


def test_what_is_decoded_comes_before_what_came_later() -> None:
    inbox, flow = Inbox(DropOldest(10)), receive_flow()
    add(inbox, flow, 0, 2, arrival=7)
    add(inbox, flow, 2, 3, arrival=9)
    decode(inbox)
    inbox.ready.popleft()
    assert inbox.next_arrival == 7
    inbox.ready.popleft()
    assert inbox.next_arrival == 9


def test_the_oldest_are_dropped_first_also_if_they_are_decoded() -> None:
    inbox, flow = Inbox(DropOldest(4)), receive_flow()
    add(inbox, flow, 0, 3, arrival=0)
    decode(inbox)
    assert add(inbox, flow, 3, 5, arrival=1) == 1
    assert list(inbox.ready) == [1, 2]
    assert add(inbox, flow, 5, 8, arrival=2) == 3
    assert list(inbox.ready) == []
    decode(inbox)
    assert list(inbox.ready) == [4]
    assert (inbox.counts.dropped, inbox.pending) == (4, 4)


def test_what_came_from_one_who_is_gone_takes_room_until_it_is_taken() -> None:
    inbox, gone, here = Inbox(Block(10)), receive_flow(1), receive_flow(2)
    window = inbox.window
    assert window is not None
    for flow in (gone, here):
        window.join(flow, 0)
    add(inbox, gone, 0, 2, arrival=0)
    add(inbox, here, 0, 1, arrival=1)
    add(inbox, gone, 2, 5, arrival=2)
    inbox.forget(gone)
    assert window.orphans == 5
    decode(inbox)
    assert window.orphans == 3
    decode(inbox)
    assert window.orphans == 3
    decode(inbox)
    assert window.orphans == 0
    inbox.forget(gone)
    assert window.orphans == 0


def test_strings_of_two_byte_heads_in_a_map() -> None:
    data = encode_value({"k" * 30: "v" * 40, "z": b"w" * 255, b"y" * 24: 1})
    scan(data)
    for cut in (data[:-1], data + b"\0"):
        with pytest.raises(ProtocolError):
            scan(cut)
