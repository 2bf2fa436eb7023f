"""The public interface is what programs were promised: names, parameters, their order and defaults.

Each line of `CALLS` is a signature as it was written down before there was any code. More parameters than these may have come, with defaults.
Where the code has come to differ, `DIFFERENCES` says how, and fails when that is no longer so.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

import trioton
import trioton.events
from tests.conftest import Pair

CALLS = """
open_context(name="", *, network=None, limits=Limits(), heartbeat=Heartbeat(), grace=5.0)
Context.bind(address, *, max_tries=1)
Context.connect(address, *, name="", reconnect=Reconnect(), wait=False)
Context.connection(name)
Context.statistics()
Context.start_soon(async_fn, *args)
Context.start(async_fn, *args)
Context.wait_context(name_or_id)
Context.flush()
Context.aclose()
Context.events()
Listener.aclose()
Connection.aclose(reason="")
Connection.flush()
Connection.wait_closed()
Connection.statistics()
typed(cls)
MessageType.encode(message)
MessageType.decode(value)
PubChannel(ctx, slot, message_type=TEXT, *, local=False, backlog=1000, block_deadline=None)
PubChannel.send(value)
PubChannel.send_nowait(value)
PubChannel.send_many(values)
PubChannel.wait_subscribers(count=1)
PubChannel.close()
PubChannel.aclose()
PubChannel.statistics()
SubChannel(ctx, slot, message_type=TEXT, *, policy=Block(1024))
SubChannel.receive()
SubChannel.receive_nowait()
SubChannel.receive_many(max=None)
SubChannel.receive_all_nowait()
SubChannel.close()
SubChannel.aclose()
SubChannel.statistics()
Block(size=1024)
DropOldest(size)
DropNewest(size)
Latest()
Disconnect(size)
merge(*channels)
RepChannel(ctx, slot, *, target=None, methods=None, max_running=64)
RepChannel.echo(arg1, sleep=0.0)
hidden(function)
ReqChannel(ctx, slot, *, local=False, max_pending=10_000, patience=None, cancel_grace=1.0)
ReqChannel.call(method, /, *args, **kwargs)
ReqChannel.stream(method, /, *args, **kwargs)
ReqChannel.to(context_id)
ReqChannel.wait_repliers(count)
ReqChannel.close()
ReqChannel.aclose()
Future.cancel()
Future.done()
Future.running()
Future.cancelled()
Future.add_done_callback(callback)
Future.result()
Future.exception()
Future.wait()
StateChannel(ctx, slot, message_type=TEXT)
StateChannel.send(value)
StateChannel.receive()
StateChannel.wait_value(value=..., *, predicate=None)
StateChannel.wait_synced()
StateChannel.close()
StateChannel.aclose()
PushChannel(ctx, slot, message_type=TEXT)
PushChannel.send(value)
PushChannel.wait_done()
PullChannel(ctx, slot, message_type=TEXT)
PullChannel.take()
PullChannel.receive()
open_channel(ctx)
FileWrapper(channel, chunksize=0, echo=None, isatty=False)
clientserver.do_request(address, text)
clientserver.serve_requests(address, handler, *, task_status=trio.TASK_STATUS_IGNORED)
events.Signal.bind(handler)
events.Signal.unbind(handler)
events.Signal.emit(*args)
events.Signal.wait()
events.Timer(interval=1.0, oneshot=True)
events.call_later(nursery, seconds, function, *args)
blocking.open_context(name="")
blocking.PubChannel(ctx, slot, message_type=TEXT)
blocking.SubChannel(ctx, slot, message_type=TEXT)
blocking.ReqChannel(ctx, slot)
blocking.RepChannel(ctx, slot)
blocking.RepChannel.serve_pending(block=False)
blocking.StateChannel(ctx, slot, message_type=TEXT)
blocking.StateChannel.wait_value(value=..., *, predicate=None)
blocking.PushChannel(ctx, slot, message_type=TEXT)
blocking.PullChannel(ctx, slot, message_type=TEXT)
testing.Network(seed=0, latency=0.0)
testing.Network.host(name)
testing.Network.partition(first, second)
testing.Network.heal()
testing.Network.cut(a, b)
testing.Network.kill(host)
testing.Network.pause(host)
testing.Network.resume(host)
testing.Network.link(a, b, *, latency=..., bandwidth=..., chunk=...)
testing.Network.digest()
testing.run_simulation(scenario, *, seeds=..., time_limit=...)
"""
"""``...`` is a default about which nothing was said."""

ATTRIBUTES = """
ctx: id name peers contexts connections
connection: name address peer kind is_connected rtt timeout close_reason
peer: id name pid uid identity
info: id name pid hops
listener: address port
pub: closed slot subscribers
pub_statistics: sent
sub: closed slot pending
req: closed slot repliers
rep: closed slot
state: closed slot value
push: closed slot
pull: closed slot redelivered
signal: bind unbind emit wait
"""

EVENTS = """
Connected Disconnected Suspended Resumed TimedOut Recovered ContextJoined ContextDied Gap BadMessage Congested SessionLost
"""

ERRORS = {
    "ConnectError": OSError,
    "BindError": OSError,
    "MessageTypeError": TypeError,
    "MessageDecodeError": Exception,
    "CongestedError": Exception,
    "NoReplierError": Exception,
    "RequestCancelled": Exception,
    "RemoteError": Exception,
    "DeadError": Exception,
    "JobFailed": Exception,
}

DIFFERENCES: dict[str, str] = {
    "testing.Network.link.reset": "it is called resets",
}


def find(path: str) -> Any:
    """What a dotted name stands for."""
    found: Any = trioton
    for name in path.split("."):
        found = getattr(found, name)
    return found


def promised(arguments: str) -> inspect.Signature:
    """The signature that was written down."""
    return inspect.signature(eval(f"lambda {arguments}: None", {**vars(trioton), "trio": trio}))


def actual(path: str) -> inspect.Signature:
    """The signature that there is, without self."""
    function = find(path)
    signature = inspect.signature(function)
    names = list(signature.parameters)
    if names and names[0] == "self":
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    return signature


def differences(wanted: inspect.Signature, found: inspect.Signature) -> list[str]:
    """What a call by the one would not find in the other."""
    told = []
    positions = [each.name for each in found.parameters.values() if each.kind is each.POSITIONAL_OR_KEYWORD]
    for position, parameter in enumerate(wanted.parameters.values()):
        other = found.parameters.get(parameter.name)
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY}:
            if parameter.kind not in {each.kind for each in found.parameters.values()}:
                told.append(f"no {parameter}")
        elif other is None:
            told.append(f"no {parameter.name}")
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD and positions[position : position + 1] != [
            parameter.name
        ]:
            told.append(f"{parameter.name} is not at place {position}")
        elif other.kind is other.POSITIONAL_ONLY:
            told.append(f"{parameter.name} is positional only")
        elif parameter.default not in (parameter.empty, ..., other.default):
            told.append(f"{parameter.name} is {other.default!r} by default")
    for other in found.parameters.values():
        is_needed = other.default is other.empty and other.kind not in {other.VAR_POSITIONAL, other.VAR_KEYWORD}
        if is_needed and other.name not in wanted.parameters:
            told.append(f"{other.name} is needed")
    return told


@pytest.mark.parametrize("line", CALLS.split("\n")[1:-1])
def test_calls(line: str) -> None:
    path, _, arguments = line.partition("(")
    assert differences(promised(arguments.removesuffix(")")), actual(path)) == []


@pytest.mark.parametrize("name", DIFFERENCES)
def test_what_differs_still_does(name: str) -> None:
    path, _, last = name.rpartition(".")
    assert not hasattr(find(path), last)
    if not inspect.ismodule(find(path)):
        assert last not in actual(path).parameters, f"{name} is there now: write it among the calls"


def test_differences_are_seen() -> None:
    wanted = promised("a, b=1, *, c=2, d=...")
    assert differences(wanted, promised("a, b=1, *, c=2, d=3, e=4")) == []
    assert differences(wanted, promised("b=1, a=0, *, c=2, d=3")) == ["a is not at place 0", "b is not at place 1"]
    assert differences(wanted, promised("a, b=2, *, c, e")) == [
        "b is 2 by default",
        "c is <class 'inspect._empty'> by default",
        "no d",
        "e is needed",
    ]
    assert differences(promised("m, /, *args, **kwargs"), promised("m")) == ["no m", "no *args", "no **kwargs"]


async def test_attributes(autojump_clock: trio.testing.MockClock, pair: Pair) -> None:
    ctx = pair.a
    pub = trioton.PubChannel(ctx, "x")
    things: dict[str, Any] = {
        "ctx": ctx,
        "connection": pair.to_b,
        "peer": pair.to_b.peer,
        "info": ctx.contexts[0],
        "listener": await ctx.bind("a:2"),
        "pub": pub,
        "pub_statistics": pub.statistics(),
        "sub": trioton.SubChannel(ctx, "x"),
        "req": trioton.ReqChannel(ctx, "x"),
        "rep": trioton.RepChannel(ctx, "x"),
        "state": trioton.StateChannel(ctx, "x"),
        "push": trioton.PushChannel(ctx, "x"),
        "pull": trioton.PullChannel(ctx, "x"),
        "signal": trioton.events.Signal(),
    }
    lines = [line.partition(":") for line in ATTRIBUTES.split("\n")[1:-1]]
    assert [name for name, _, _ in lines] == list(things)
    missing = [f"{name}.{each}" for name, _, rest in lines for each in rest.split() if not hasattr(things[name], each)]
    assert missing == []
    assert things["state"].value is trioton.UNSET
    assert isinstance(things["push"], trio.abc.SendChannel)
    assert isinstance(things["pub"], trio.abc.SendChannel)
    assert isinstance(things["sub"], trio.abc.ReceiveChannel)
    assert isinstance(things["pull"], trio.abc.ReceiveChannel)
    for name in ("pub", "sub", "req", "rep", "state", "push", "pull"):
        channel = things[name]
        assert repr(channel)
        async with channel as same:
            assert same is channel
        assert channel.closed


def test_events_are_frozen_classes() -> None:
    for name in EVENTS.split():
        event = find(name)
        assert issubclass(event, trioton.Event)
        assert event.__attrs_attrs__
        with pytest.raises(AttributeError):
            event.__setattr__(object.__new__(event), "x", 1)


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    assert issubclass(find(name), ERRORS[name])
    assert issubclass(find(name), trioton.TriotonError)


def test_what_requests_fail_with_tells_more() -> None:
    error = trioton.DeadError("gone", context=1, started=True)
    assert (error.context, error.started) == (1, True)
    assert issubclass(trioton.MessageTypeError, TypeError)


def test_every_name_that_is_told_of_is_there() -> None:
    for name in dir(trioton):
        assert hasattr(trioton, name)


async def test_what_can_be_iterated(autojump_clock: trio.testing.MockClock, pair: Pair) -> None:
    ctx = pair.a
    async with ctx.events() as events:
        sub = trioton.SubChannel(ctx, "x")
        things: list[AsyncIterator[Any]] = [
            aiter(events),
            aiter(sub),
            aiter(trioton.merge(sub)),
            aiter(trioton.StateChannel(ctx, "x")),
            aiter(trioton.PullChannel(ctx, "x")),
        ]
        assert all(hasattr(each, "__anext__") for each in things)
