"""Tools for testing programs that use Trioton, and for testing Trioton.

* `Network`: a whole network in one process, in simulated time, with latency, partitions and cuts; each `Host` of it is
  what a context takes for the world. `simulated_pair` makes one connection without a network.
* `sequence_diagram` and `write_diagram`: a picture of who sent what to whom in a network, and when.
* `always_yield`: makes every `send` and `receive` a full checkpoint.
* `check_transport`, `check_channel` and `check_message_type`: whether one of your own keeps the contract of ours.
* `History`: what happened in a run, and whether that was right. `check_at_rest`: whether contexts hold nothing any more.
* `leak_check`: fails if a block leaves threads, file descriptors, child processes, tasks or socket files behind.
* The pytest plugin, which is loaded by itself: the fixtures ``trioton_network`` and ``trioton_leak_check``.

The names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..network.budget import always_yield as always_yield
    from .checks import LeakCheck as LeakCheck
    from .checks import LeakError as LeakError
    from .checks import leak_check as leak_check
    from .contracts.channels import check_channel as check_channel
    from .contracts.messages import check_message_type as check_message_type
    from .contracts.transports import check_transport as check_transport
    from .diagram import sequence_diagram as sequence_diagram
    from .diagram import write_diagram as write_diagram
    from .history import History as History
    from .history import HistoryError as HistoryError
    from .history import HistoryRecord as HistoryRecord
    from .hosts import Host as Host
    from .hosts import SimulatedListener as SimulatedListener
    from .network import Network as Network
    from .quality import LinkQuality as LinkQuality
    from .rest import check_at_rest as check_at_rest
    from .streams import SimulatedConnection as SimulatedConnection
    from .streams import SimulatedTransport as SimulatedTransport
    from .streams import simulated_pair as simulated_pair
    from .ways import ConnectionStatistics as ConnectionStatistics
    from .ways import NetworkStatistics as NetworkStatistics

__all__ = (
    "ConnectionStatistics",
    "History",
    "HistoryError",
    "HistoryRecord",
    "Host",
    "LeakCheck",
    "LeakError",
    "LinkQuality",
    "Network",
    "NetworkStatistics",
    "SimulatedConnection",
    "SimulatedListener",
    "SimulatedTransport",
    "always_yield",
    "check_at_rest",
    "check_channel",
    "check_message_type",
    "check_transport",
    "leak_check",
    "sequence_diagram",
    "simulated_pair",
    "write_diagram",
)

_HOMES = {
    "ConnectionStatistics": "ways",
    "History": "history",
    "HistoryError": "history",
    "HistoryRecord": "history",
    "Host": "hosts",
    "LeakCheck": "checks",
    "LeakError": "checks",
    "LinkQuality": "quality",
    "Network": "network",
    "NetworkStatistics": "ways",
    "SimulatedConnection": "streams",
    "SimulatedListener": "hosts",
    "SimulatedTransport": "streams",
    "always_yield": ".network.budget",
    "check_at_rest": "rest",
    "check_channel": "contracts.channels",
    "check_message_type": "contracts.messages",
    "check_transport": "contracts.transports",
    "leak_check": "checks",
    "sequence_diagram": "diagram",
    "simulated_pair": "streams",
    "write_diagram": "diagram",
}

if not TYPE_CHECKING:  # a type checker shall see the names above and no others

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
