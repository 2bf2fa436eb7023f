"""Targets for what keeps state: each is told a sequence of things that peers may say, and looked at after every one."""

from __future__ import annotations

from typing import Final

from trioton.errors import ProtocolError
from trioton.protocol import values
from trioton.protocol.flow import Branch, SendFlow
from trioton.protocol.frames import FrameKind
from trioton.protocol.inbox import Inbox, ReceiveFlow, Run
from trioton.protocol.limits import Limits
from trioton.protocol.outbox import Outbox
from trioton.protocol.packages import PackageHeader
from trioton.protocol.policies import Block, Disconnect, DropNewest, DropOldest, Mode, Policy
from trioton.protocol.records import (
    Digest,
    InterestRecord,
    InterestSnapshot,
    NodeChange,
    NodeRecord,
    NoRoute,
    Route,
    Want,
    encode_record,
    parse_record,
)
from trioton.protocol.retained import Known, RetainedStore, Value, parse_rows
from trioton.protocol.retained_lane import RetainedLane
from trioton.protocol.session import PackageReceived, Role, Session
from trioton.protocol.topology import Topology
from trioton.protocol.trees import Tree

from ..chooser import Chooser
from ..speech import Speech
from ..violation import require
from .frames import FAR, FARTHER, HELLO, HONEST, OWN, PEER, SLOTS

MOST_STEPS: Final = 150
_POLICIES: Final[tuple[Policy, ...]] = (Block(4), Block(1), DropOldest(3), DropNewest(3), Disconnect(3))


# ------------------------------------------------------------------------------------------------------- topology


def topology(data: bytes) -> None:
    """Records that neighbours tell, true or not: the ways are always those that follow from what is known."""
    choose = Chooser(data)
    talk = Speech(choose, (PEER, FAR, FARTHER), (OWN, HONEST), SLOTS)
    known = Topology(NodeRecord(OWN, 1, "own", 1, 1 << 20, 1 << 20, {}, {}))
    for _ in range(MOST_STEPS):
        if not choose:
            break
        step = choose.byte() % 16
        if step < 10:
            _hear(known, talk.record())
        else:
            _act(known, choose, talk, step)
        if choose.flag():
            _look(known, talk)
    _look(known, talk)


def _hear(known: Topology, data: bytes) -> None:
    try:
        record = parse_record(data)
    except ProtocolError:
        return
    if isinstance(record, NodeRecord):
        known.learn_node(record)
    elif isinstance(record, NodeChange):
        known.learn_change(record)
    elif isinstance(record, InterestRecord):
        is_news = known.learn_interest(record)
        require(not (is_news and known.learn_interest(record)), "the same is no news twice")
    elif isinstance(record, InterestSnapshot):
        if known.is_news(record):
            known.learn_snapshot(record)
            require(not known.is_news(record), "a snapshot is no news twice")
    elif isinstance(record, Digest):
        for lacking in known.lacking(record):
            parse_record(encode_record(lacking))
        parse_record(encode_record(known.digest(record.known)))


def _act(known: Topology, choose: Chooser, talk: Speech, step: int) -> None:
    context = talk.context()
    if step < 12 and context != OWN:
        known.set_link(context, is_suspended=choose.flag(), generation=choose.below(3))
    elif step == 12:
        known.remove_link(context)
    elif step == 13:
        known.set_parting(context, choose.below(3))
    elif step == 14:
        known.update()
        known.forget_unreachable()
    else:
        known.outdate(context, choose.legal())


def _look(known: Topology, talk: Speech) -> None:
    known.update()
    fresh = Tree(OWN, known._graph)
    require(fresh._costs == known._tree._costs, "the own tree is the one that follows from the links")
    require(fresh.parents == known._tree.parents, "all compute the same trees")
    contexts = known.contexts()
    require(OWN not in contexts, "a context is not its own peer")
    for context in contexts:
        path = known.path(OWN, context)
        require(len(path) == known.hops(context) + 1, "a path has as many links as are counted")
        require(known.next_hop(OWN, context) == path[1], "a package takes the path")
        require(known.way(OWN, context) is not None, "who can be reached has a way")
        for slot in known.slots_of(context):
            require(known.interest(context, slot) is not None, "who listens has an interest")
    source, slot = talk.context(), talk.slot()
    for neighbour, interest in known.branches(source, slot):
        require(neighbour != OWN, "nothing is passed on to oneself")
        require(interest.count > 0, "nothing is passed on to nobody")
    parse_record(encode_record(known.own))
    parse_record(encode_record(known.own_news(max(1, known.own.number - 3))))
    digest = known.digest()
    require(parse_record(encode_record(digest)) == digest, "what is known can be told")


def stub(data: bytes) -> None:
    """What a parent tells its stub, while the link to it comes and goes: nobody is reached to whom nothing leads."""
    choose = Chooser(data)
    talk = Speech(choose, (PEER, FAR, FARTHER, HONEST), (OWN,), SLOTS, "parent")
    known = Topology(NodeRecord(OWN, 1, "own", 1, 1 << 20, 1 << 20, {}, {}))
    has_parent = False
    for _ in range(MOST_STEPS):
        if not choose:
            break
        step = choose.byte() % 16
        if step < 10:
            has_parent |= _guide(known, talk.record(), has_parent=has_parent)
        elif step == 10:
            known.remove_link(PEER)
            known.remove_routes()
            has_parent = False
        elif step == 11:
            known.forget_route(choose.one_of((FAR, FARTHER, HONEST)))  # one of these begins a link of its own
        elif step < 15:
            known.set_link(PEER, is_suspended=choose.flag(), generation=choose.below(3))
        else:
            known.forget_unreachable()
        known.update()
        for context in known.contexts():
            require(known.path(OWN, context), "who can be reached has a path")
            require(known.node(context) is not None, "who can be reached is known")
        parse_record(encode_record(known.digest()))


def _guide(known: Topology, data: bytes, *, has_parent: bool) -> bool:
    """Hear what a parent says as a context does; gives whether it has said what it is itself."""
    try:
        record = parse_record(data)
    except ProtocolError:
        return False
    if isinstance(record, Route):
        if not has_parent and record.origin != PEER:
            return False
        return known.learn_route(PEER, record) is not None and record.origin == PEER
    if isinstance(record, NoRoute):
        known.remove_route(record.origin)
    elif isinstance(record, Want):
        require(record.key, "who wants something says what")
    return False


# ---------------------------------------------------------------------------------------------------------- flows


def sending(data: bytes) -> None:
    """A flow to neighbours that say anything about their room: what is written is what a session takes, in order."""
    choose = Chooser(data)
    flow = SendFlow(OWN, "slot", 1, window_bytes=choose.one_of((1000, 100_000)))
    outboxes = [Outbox(choose.one_of((500, 100_000))) for _ in range(3)]
    peers: list[Session] = [_open_session() for _ in outboxes]
    for _ in range(MOST_STEPS):
        if not choose or flow.is_ended:
            break
        number = choose.below(3)
        branch = flow.branches.get(number)
        step = choose.byte() % 12
        if step < 4 and flow.room > 0:
            flow.add(values.encode_value(bytes(choose.below(3) * 40)))
            if choose.flag():
                flow.cut()
        elif branch is None:
            mode = choose.one_of(tuple(Mode))
            flow.cut()
            flow.add_branch(Branch(number, outboxes[number], mode, 1 + choose.below(4), 1))
        elif step < 8:
            flow.cut()
            _say(flow, branch, choose)
        elif step == 8:
            outboxes[number].remove_branch(branch)
            flow.remove_branch(number)
        elif step == 9:
            outboxes[number].restart()
            peers[number] = _open_session()
            flow.cut()
            if branch.blocks and branch.is_ready:
                flow.resume(branch, choose.legal())
        elif step == 10:
            flow.cut()
            flow.skip()
        elif choose.flag() and not flow.pieces:
            flow.end()
        _write(outboxes[number], peers[number])
        _look_at_flow(flow)


def _say(flow: SendFlow, branch: Branch, choose: Chooser) -> None:
    if not branch.is_ready:
        flow.grant_first(branch, choose.legal(), now=0.0)
    elif branch.blocks:
        kept = flow.credit(branch, choose.legal(), choose.legal(), 0.0)
        require(kept is None or kept >= flow.next, "what was sent cannot be taken back")


def _open_session() -> Session:
    session = Session(Role.SERVER, Limits())
    session.receive_data(HELLO.to_frame(FrameKind.HELLO))
    session.accept_peer()
    return session


def _write(outbox: Outbox, peer: Session) -> None:
    while buffers := outbox.next_buffers():
        for event in peer.receive_data(b"".join(buffers)):
            require(isinstance(event, PackageReceived), "a flow writes packages")


def _look_at_flow(flow: SendFlow) -> None:
    require(flow.taken <= flow.next, "nothing is taken that was not sent")
    require(flow.log_bytes == sum(package.body_size for package in flow.log), "the bytes that are kept are counted")
    for branch in flow.branches.values():
        require(not branch.blocks or branch.taken <= flow.next, "a branch has not taken more than there is")


def receiving(data: bytes) -> None:
    """Packages of flows into an inbox, in any order and number: all that waits is counted, and room is never negative."""
    choose = Chooser(data)
    inbox = Inbox(choose.one_of(_POLICIES))
    flows = [ReceiveFlow(source, "slot", 1, 1000) for source in (PEER, FAR, FARTHER)]
    for _ in range(MOST_STEPS):
        if not choose or inbox.is_broken:
            break
        flow = choose.one_of(flows)
        step = choose.byte() % 12
        if step < 6:
            _arrive(inbox, flow, choose)
        elif step == 6:
            missing = flow.start(choose.legal())
            if missing:
                inbox.missed(missing)
        elif step == 7 and inbox.window is not None and flow not in inbox.window.rooms and not flow.is_ended:
            room = inbox.window.join(flow, flow.expected or 0)
            flow.granted = room.limit
        elif step == 8:
            _take(inbox, choose)
        elif step == 9:
            inbox.forget(flow)
            flows[flows.index(flow)] = ReceiveFlow(flow.source, "slot", flow.stream + 1, 1000)
        elif inbox.window is not None:
            _share(inbox, flows, choose)
        require(inbox.pending >= 0, "what waits is counted")
        require(inbox.bytes_ahead >= 0, "bytes that wait are counted")
        require(isinstance(inbox.policy, Block) or inbox.pending <= inbox.policy.size, "who drops keeps to its size")


def _arrive(inbox: Inbox, flow: ReceiveFlow, choose: Chooser) -> None:
    count = choose.below(5)
    first = (flow.expected or 0) + choose.below(3) if not choose.flag() else choose.legal()
    header = PackageHeader(0, flow.source, flow.stream, first, "slot", count, None)
    try:
        if flow.receive_next(first, count):
            known = missing = 0
        else:
            known, missing = flow.receive(header, is_last=choose.byte() > 250)
    except ProtocolError:
        return
    require(0 <= known <= count, "no more is known than came")
    if missing:
        inbox.missed(missing)
    if known < count:
        inbox.add(Run(flow, first, b"\x80" + bytes(count), known, count, 1))
    if flow.is_ended and inbox.window is not None:
        inbox.window.end(flow, flow.expected or 0)


def _take(inbox: Inbox, choose: Chooser) -> None:
    if not inbox.ready:
        run = inbox.next_run()
        if run is not None:
            inbox.ready.extend(range(run.start, run.stop))
    for _ in range(choose.below(5)):
        if inbox.ready:
            inbox.ready.popleft()


def _share(inbox: Inbox, flows: list[ReceiveFlow], choose: Chooser) -> None:
    window = inbox.window
    assert window is not None
    for flow in flows:
        position = inbox.taken_position(flow)
        if flow in window.rooms and position is not None:
            window.take(flow, position)
    window.share()
    for flow in flows:
        if flow in window.rooms and not flow.is_ended:
            flow.granted = max(flow.granted or 0, window.rooms[flow].limit)
    for source, _limit in window.to_ask_back():
        if choose.flag():
            limit = choose.legal()
            window.kept(source, limit)
            assert isinstance(source, ReceiveFlow)
            source.granted = max(source.expected or 0, min(source.granted or 0, limit))
    inbox.reported()
    for room in window.rooms.values():
        require(room.taken <= room.limit, "room is never negative")


# ------------------------------------------------------------------------------------------------------- retained


def retained(data: bytes) -> None:
    """What a neighbour tells of the values of states: what is kept stays within its limit, and what is told can be read."""
    choose = Chooser(data)
    talk = Speech(choose, (PEER, FAR), (OWN,), SLOTS)
    store = RetainedStore(OWN, choose.one_of((2000, 100_000)))
    for slot in SLOTS[:2]:
        store.put(slot, b"\x01")
    lane = RetainedLane(store, 1 << 20)
    for _ in range(MOST_STEPS):
        if not choose:
            break
        step = choose.byte() % 8
        if step < 5:
            try:
                _tell(lane, store, talk.rows())
            except ProtocolError:
                return
        elif step == 5:
            try:
                store.put(talk.slot() or "slot", choose.take(4) or b"\x80")
            except ValueError as error:
                require("used up its versions" in str(error), "a slot can be written")
        elif step == 6:
            lane.ask(talk.slot() or "slot")
        else:
            lane.changed(talk.slot())
        while (package := lane.next_package()) is not None:
            parse_rows(b"".join(bytes(part) for part in package.body), slot_length=1024)
        require(store.bytes == sum(_size(store, slot) for slot in store.slots()), "what is kept is counted")


def _size(store: RetainedStore, slot: str) -> int:
    kept = store.get(slot)
    return 0 if kept is None else kept.size


def _tell(lane: RetainedLane, store: RetainedStore, body: bytes) -> None:
    for row in parse_rows(body):
        if isinstance(row, Value):
            if store.objection(row) is None and store.learn(row):
                lane.changed(row.slot)
        elif isinstance(row, Known):
            lane.knows(row)
        else:
            lane.hear(row)
