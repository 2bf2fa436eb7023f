"""What links that are cut at any byte take with them comes again, or is known to be missing: stories of it, most of them once found by chance."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trioton.protocol.policies import Block, DropNewest, DropOldest, Latest, Policy

from .cut_links import Mesh, standing_clock


@pytest.fixture(autouse=True, scope="module")
def clock() -> Iterator[None]:
    with standing_clock():
        yield


def test_what_gathers_while_room_is_granted_does_not_exceed_it() -> None:
    mesh = Mesh(1, DropOldest(100))
    mesh.subscribe(Block(1))
    mesh.to_publisher(0)
    mesh.to_subscriber(0)
    mesh.send(0, 20)
    mesh.to_publisher(0)
    mesh.come_to_rest()


def test_who_gave_room_back_is_not_granted_it_again_before_that_is_known() -> None:
    mesh = Mesh(2, Block(10))
    (channel,) = mesh.channels
    mesh.send(0, 3)
    mesh.send(1, 1)
    mesh.to_subscriber(0)
    mesh.to_subscriber(1)
    assert channel.take(2) == 2
    mesh.to_publisher(0)  # the first is asked for room, and answers
    assert channel.take(2) == 2
    mesh.to_publisher(0)
    mesh.send(0, 20)
    mesh.to_subscriber(0)
    mesh.come_to_rest()
    assert sum(mesh.sent.values()) > 5


@pytest.mark.parametrize("size", [1, 2, 10])
def test_all_who_want_to_send_get_about_the_same(size: int) -> None:
    mesh = Mesh(3, Block(size))
    for _ in range(100):
        for number in mesh.sent:
            mesh.send(number, 20)
        mesh.settle()
        mesh.channels[0].take(max(1, size // 2))
        mesh.settle()
    assert max(mesh.sent.values()) <= 2 * min(mesh.sent.values())
    mesh.come_to_rest()


def test_room_that_has_grown_since_it_was_offered_is_told() -> None:
    mesh = Mesh(2, Block(4))
    mesh.cut(mesh.links[1])
    mesh.reopen_outlet(0)
    mesh.reopen_outlet(1)
    mesh.come_to_rest()
    mesh.send(0, 1)
    mesh.come_to_rest()
    assert mesh.send(0, 2) == 2


def test_a_window_of_bytes_opens_again() -> None:
    mesh = Mesh(1, Block(100))
    mesh.send(0, 4, size=700)
    mesh.settle()
    assert mesh.send(0, 1) == 0
    mesh.come_to_rest()
    assert mesh.send(0, 1) == 1


def test_a_subscription_that_drops_goes_on_after_one_that_blocked() -> None:
    mesh = Mesh(1, Block(2), DropOldest(5))
    mesh.send(0, 2)
    mesh.settle()
    mesh.close(mesh.channels[0])
    mesh.settle()
    assert mesh.send(0, 50) == 50
    mesh.come_to_rest()


@pytest.mark.parametrize("policy", [Block(100), DropOldest(100)], ids=repr)
def test_a_new_channel_on_a_slot_does_not_overtake_the_old_one(policy: Policy) -> None:
    mesh = Mesh(1, policy)
    mesh.send(0, 5)
    mesh.reopen_outlet(0)
    mesh.send(0, 5)
    mesh.come_to_rest()
    assert mesh.channels[0].dropped == 0


@pytest.mark.parametrize("arrives", [0, 10, 60, 10_000])
@pytest.mark.parametrize("policy", [Block(10), DropOldest(10), DropNewest(3)], ids=repr)
def test_what_a_link_takes_with_it_comes_again_or_is_counted(policy: Policy, arrives: int) -> None:
    mesh = Mesh(1, policy)
    for _ in range(3):
        mesh.send(0, 3)
        mesh.cut(mesh.links[0], more=arrives)
        mesh.send(0, 3)
        mesh.come_back(mesh.links[0])
        mesh.send(0, 3)
        mesh.come_to_rest()


@pytest.mark.parametrize("policy", [Block(10), DropOldest(10)], ids=repr)
def test_a_channel_that_begins_with_a_link_that_is_lost_leaves_no_silent_gap(policy: Policy) -> None:
    mesh = Mesh(1, policy)
    mesh.reopen_outlet(0)
    mesh.send(0, 3)
    mesh.links[0].publisher.run_flusher()
    mesh.cut(mesh.links[0])
    mesh.come_to_rest()
    mesh.send(0, 3)
    mesh.come_to_rest()


@pytest.mark.parametrize("others", [[], [DropOldest(5)]], ids=["alone", "with another"])
def test_a_subscription_replaced_while_the_link_is_down_begins_anew(others: list[Policy]) -> None:
    mesh = Mesh(1, *others, Block(3))
    mesh.send(0, 3)
    mesh.cut(mesh.links[0])
    mesh.close(mesh.channels[-1])
    channel = mesh.subscribe(Block(3))
    mesh.come_back(mesh.links[0])
    mesh.settle()
    for _ in range(10):
        mesh.send(0, 3)
        mesh.settle()
        channel.take(3)
    mesh.come_to_rest()
    first = channel.received[0][1]
    assert first <= 3
    assert channel.numbers_of(0) == list(range(first, mesh.sent[0]))


def test_what_is_sent_as_to_those_who_drop_needs_no_room() -> None:
    """The source turned to dropping before it heard how much room there was for its new channel."""
    mesh = Mesh(1, Block(1))
    mesh.reopen_outlet(0)
    mesh.subscribe(Latest())
    mesh.close(mesh.channels[0])
    mesh.to_publisher(0)
    mesh.send(0, 5)
    mesh.subscribe(Block(1))
    mesh.come_to_rest()
    mesh.send(0, 5)
    mesh.come_to_rest()


@pytest.mark.parametrize("policy", [Block(1), DropOldest(5)], ids=repr)
def test_channels_that_are_opened_and_closed_often_while_a_link_is_lost(policy: Policy) -> None:
    mesh = Mesh(1, policy)
    for _ in range(2):
        for _ in range(12):
            mesh.reopen_outlet(0)
        mesh.to_subscriber(0)
        mesh.to_publisher(0)
        mesh.reopen_outlet(0)
        mesh.cut(mesh.links[0])
        mesh.reopen_outlet(0)
        mesh.reopen_outlet(0)
        mesh.come_back(mesh.links[0])
        for _ in range(2):
            mesh.to_subscriber(0)
            mesh.to_publisher(0)
        mesh.send(0, 1)
        mesh.reopen_outlet(0)
        mesh.come_to_rest()
    assert [number for _, number in mesh.channels[0].received] == [0, 1]


@pytest.mark.parametrize("arrives", range(0, 120, 4))
@pytest.mark.parametrize("policy", [DropOldest(5), Block(2)], ids=repr)
@pytest.mark.parametrize("is_offered", [False, True])
def test_what_joins_while_a_link_is_lost_hides_no_gap(policy: Policy, arrives: int, is_offered: bool) -> None:
    """The STARTED of a new channel, or its first message, may be lost with the link."""
    mesh = Mesh(1, DropOldest(10), Block(3))
    if is_offered:
        mesh.reopen_outlet(0)
    mesh.close(mesh.channels[1])
    mesh.to_publisher(0)
    if not is_offered:
        mesh.reopen_outlet(0)
    mesh.send(0, 2)
    mesh.links[0].publisher.run_flusher()
    mesh.cut(mesh.links[0], more=arrives)
    mesh.subscribe(policy)
    mesh.send(0, 1)
    mesh.come_back(mesh.links[0])
    mesh.send(0, 1)
    mesh.come_to_rest()
    assert mesh.channels[0].from_start


def test_what_was_sent_on_a_closed_channel_may_come_behind_the_offer_of_the_next() -> None:
    mesh = Mesh(1, DropOldest(10))
    mesh.subscribe(Block(10))
    mesh.to_publisher(0)
    mesh.send(0, 2)
    mesh.reopen_outlet(0)
    mesh.come_to_rest()
    for channel in mesh.channels:
        assert channel.numbers_of(0) == [0, 1]
        assert channel.dropped == 0


def test_what_is_lost_while_a_subscriber_comes_to_block_is_counted_at_once() -> None:
    """The last message to those who drop was on the link when the source heard of room for those who block."""
    mesh = Mesh(1, DropOldest(1))
    mesh.subscribe(Block(1))
    link = mesh.links[0]
    mesh.to_publisher(0)
    mesh.travel(link.there, link.here)  # the offer, but the flusher has not had its turn
    mesh.send(0, 1)
    mesh.subscriber.run_flusher()
    mesh.cut(link, share=1.0)
    mesh.come_to_rest()
    assert mesh.channels[0].dropped == 1


def test_channels_that_are_opened_and_closed_at_once_hold_no_room() -> None:
    mesh = Mesh(2, Block(8))
    for _ in range(3):
        mesh.reopen_outlet(0)
        mesh.to_publisher(0)
    mesh.settle()
    mesh.links[0].publisher.traffic.lives.close(mesh.outlets.pop(0))
    mesh.come_to_rest()
    mesh.send(1, 8)
    mesh.come_to_rest()
    assert mesh.send(1, 100) >= 6, "all but what it need not hear of yet"
