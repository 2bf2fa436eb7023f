"""Trioton: networks of contexts that live in Trio nurseries.

A map of the house, from the ground up; each floor imports only those below it, which `tests/test_layering.py` holds:

* `trioton.errors`: every exception of its own.
* `trioton.protocol`: the protocol without any I/O, clock or chance: frames, handshake, flows, queues, windows.
* `trioton.transports`: bytes in and out: TCP, Unix sockets, TLS, memory, stdio; and addresses.
* `trioton.network`: the Trio tasks that own everything: contexts, connections, listeners, events.
* `trioton.channels`: what programs hold: publishing and subscribing, requests, states, one-to-one channels, merging, message types, files.
* `trioton.clientserver`, `trioton.events`: small tools: requests by text without a context; signals and timers.
* `trioton.blocking`: the same contexts and channels for plain threads.
* `trioton.testing`: whole networks in one process, under a mock clock.
* `trioton.cli`: the command `trioton`.
"""

from __future__ import annotations

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING

from ._version import __version__ as __version__
from .channels.direct import Receiver as Receiver
from .channels.direct import Sender as Sender
from .channels.direct import open_channel as open_channel
from .channels.merge import Merge as Merge
from .channels.merge import merge as merge
from .channels.messages import BINARY as BINARY
from .channels.messages import OBJECT as OBJECT
from .channels.messages import TEXT as TEXT
from .channels.messages import MessageType as MessageType
from .channels.messages import typed as typed
from .channels.pubsub import PubChannel as PubChannel
from .channels.pubsub import SubChannel as SubChannel
from .channels.receiving import ReceiveStatistics as ReceiveStatistics
from .channels.sending import SendStatistics as SendStatistics
from .errors import AddressError as AddressError
from .errors import AuthError as AuthError
from .errors import BindError as BindError
from .errors import CongestedError as CongestedError
from .errors import ConnectError as ConnectError
from .errors import DeadError as DeadError
from .errors import JobFailed as JobFailed
from .errors import MessageDecodeError as MessageDecodeError
from .errors import MessageTypeError as MessageTypeError
from .errors import NoReplierError as NoReplierError
from .errors import NotPermittedError as NotPermittedError
from .errors import ProtocolError as ProtocolError
from .errors import RemoteError as RemoteError
from .errors import RemoteTraceback as RemoteTraceback
from .errors import RequestCancelled as RequestCancelled
from .errors import RequestError as RequestError
from .errors import TriotonError as TriotonError
from .network.connection import Connection as Connection
from .network.context import Context as Context
from .network.events import BadMessage as BadMessage
from .network.events import Congested as Congested
from .network.events import Connected as Connected
from .network.events import ContextDied as ContextDied
from .network.events import ContextJoined as ContextJoined
from .network.events import Disconnected as Disconnected
from .network.events import Event as Event
from .network.events import EventStream as EventStream
from .network.events import Gap as Gap
from .network.events import Recovered as Recovered
from .network.events import Refused as Refused
from .network.events import Resumed as Resumed
from .network.events import SessionLost as SessionLost
from .network.events import Suspended as Suspended
from .network.events import TimedOut as TimedOut
from .network.listener import Listener as Listener
from .network.opening import open_context as open_context
from .network.peer import ContextInfo as ContextInfo
from .network.peer import Peer as Peer
from .network.statistics import ConnectionStatistics as ConnectionStatistics
from .network.statistics import ContextStatistics as ContextStatistics
from .protocol.backoff import Reconnect as Reconnect
from .protocol.heartbeat import Heartbeat as Heartbeat
from .protocol.identity import ContextId as ContextId
from .protocol.limits import Limits as Limits
from .protocol.permissions import Permissions as Permissions
from .protocol.policies import Block as Block
from .protocol.policies import Disconnect as Disconnect
from .protocol.policies import DropNewest as DropNewest
from .protocol.policies import DropOldest as DropOldest
from .protocol.policies import Latest as Latest
from .protocol.policies import Policy as Policy

if _TYPE_CHECKING:
    # Not loaded before they are used: programs that do without them start sooner.
    from .channels.files import FileWrapper as FileWrapper
    from .channels.pipeline.pull import PullChannel as PullChannel
    from .channels.pipeline.pull import PullStatistics as PullStatistics
    from .channels.pipeline.push import PushChannel as PushChannel
    from .channels.pipeline.push import PushStatistics as PushStatistics
    from .channels.requests.future import Future as Future
    from .channels.requests.handlers import hidden as hidden
    from .channels.requests.replier import RepChannel as RepChannel
    from .channels.requests.replier import ReplyStatistics as ReplyStatistics
    from .channels.requests.requester import ReqChannel as ReqChannel
    from .channels.requests.requester import RequestStatistics as RequestStatistics
    from .channels.requests.requester import RequestTarget as RequestTarget
    from .channels.requests.stream import ResultStream as ResultStream
    from .channels.state import UNSET as UNSET
    from .channels.state import StateChannel as StateChannel
    from .channels.state import StateStatistics as StateStatistics
    from .channels.state import Unset as Unset
    from .protocol.failures import register_exception as register_exception
    from .transports.mutual import Mutual as Mutual
    from .transports.secret import Secret as Secret

_LATER = {
    "FileWrapper": ".channels.files",
    "Future": ".channels.requests.future",
    "Mutual": ".transports.mutual",
    "PullChannel": ".channels.pipeline.pull",
    "PullStatistics": ".channels.pipeline.pull",
    "PushChannel": ".channels.pipeline.push",
    "PushStatistics": ".channels.pipeline.push",
    "RepChannel": ".channels.requests.replier",
    "ReplyStatistics": ".channels.requests.replier",
    "ReqChannel": ".channels.requests.requester",
    "RequestStatistics": ".channels.requests.requester",
    "RequestTarget": ".channels.requests.requester",
    "ResultStream": ".channels.requests.stream",
    "Secret": ".transports.secret",
    "StateChannel": ".channels.state",
    "StateStatistics": ".channels.state",
    "UNSET": ".channels.state",
    "Unset": ".channels.state",
    "hidden": ".channels.requests.handlers",
    "register_exception": ".protocol.failures",
}
_ROOMS = {"blocking", "clientserver", "events", "testing"}


def __getattr__(name: str) -> object:
    if name in _LATER:
        value = globals()[name] = getattr(_importlib.import_module(_LATER[name], __name__), name)
        return value
    if name in _ROOMS:
        return _importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_ROOMS})
