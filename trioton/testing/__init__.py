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
    from ..network.pace import always_yield as always_yield
    from .checks import LeakCheck as LeakCheck
    from .checks import LeakError as LeakError
    from .checks import leak_check as leak_check
    from .contracts.channels import check_channel as check_channel
    from .contracts.messages import check_message_type as check_message_type
    from .contracts.transports import check_transport as check_transport
    from .diagram import sequence_diagram as sequence_diagram
    from .diagram import write_diagram as write_diagram
    from .faults import Chaos as Chaos
    from .faults import Cut as Cut
    from .faults import Fault as Fault
    from .faults import Isolation as Isolation
    from .faults import Kill as Kill
    from .faults import Partition as Partition
    from .faults import Pause as Pause
    from .history import History as History
    from .history import HistoryError as HistoryError
    from .history import HistoryRecord as HistoryRecord
    from .hosts import Host as Host
    from .hosts import SimulatedListener as SimulatedListener
    from .isolation import RealWorldError as RealWorldError
    from .network import LivenessError as LivenessError
    from .network import Network as Network
    from .quality import Distribution as Distribution
    from .quality import Exponential as Exponential
    from .quality import LinkQuality as LinkQuality
    from .quality import LogNormal as LogNormal
    from .quality import Pareto as Pareto
    from .rest import check_at_rest as check_at_rest
    from .simulation import SeedRun as SeedRun
    from .simulation import SimulationFailed as SimulationFailed
    from .simulation import SimulationReport as SimulationReport
    from .simulation import run_simulation as run_simulation
    from .simulation import sometimes as sometimes
    from .strategies import fault_plans as fault_plans
    from .streams import SimulatedConnection as SimulatedConnection
    from .streams import SimulatedTransport as SimulatedTransport
    from .streams import simulated_pair as simulated_pair
    from .trace import Trace as Trace
    from .trace import TraceEvent as TraceEvent
    from .ways import ConnectionStatistics as ConnectionStatistics
    from .ways import NetworkStatistics as NetworkStatistics

__all__ = (
    "Chaos",
    "ConnectionStatistics",
    "Cut",
    "Distribution",
    "Exponential",
    "Fault",
    "History",
    "HistoryError",
    "HistoryRecord",
    "Host",
    "Isolation",
    "Kill",
    "LeakCheck",
    "LeakError",
    "LinkQuality",
    "LivenessError",
    "LogNormal",
    "Network",
    "NetworkStatistics",
    "Pareto",
    "Partition",
    "Pause",
    "RealWorldError",
    "SeedRun",
    "SimulatedConnection",
    "SimulatedListener",
    "SimulatedTransport",
    "SimulationFailed",
    "SimulationReport",
    "Trace",
    "TraceEvent",
    "always_yield",
    "check_at_rest",
    "check_channel",
    "check_message_type",
    "check_transport",
    "fault_plans",
    "leak_check",
    "run_simulation",
    "sequence_diagram",
    "simulated_pair",
    "sometimes",
    "write_diagram",
)

_HOMES = {
    "Chaos": "faults",
    "ConnectionStatistics": "ways",
    "Cut": "faults",
    "Distribution": "quality",
    "Exponential": "quality",
    "Fault": "faults",
    "History": "history",
    "HistoryError": "history",
    "HistoryRecord": "history",
    "Host": "hosts",
    "Isolation": "faults",
    "Kill": "faults",
    "LeakCheck": "checks",
    "LeakError": "checks",
    "LinkQuality": "quality",
    "LivenessError": "network",
    "LogNormal": "quality",
    "Network": "network",
    "NetworkStatistics": "ways",
    "Pareto": "quality",
    "Partition": "faults",
    "Pause": "faults",
    "RealWorldError": "isolation",
    "SeedRun": "simulation",
    "SimulatedConnection": "streams",
    "SimulatedListener": "hosts",
    "SimulatedTransport": "streams",
    "SimulationFailed": "simulation",
    "SimulationReport": "simulation",
    "Trace": "trace",
    "TraceEvent": "trace",
    "always_yield": ".network.pace",
    "check_at_rest": "rest",
    "check_channel": "contracts.channels",
    "check_message_type": "contracts.messages",
    "check_transport": "contracts.transports",
    "fault_plans": "strategies",
    "leak_check": "checks",
    "run_simulation": "simulation",
    "sequence_diagram": "diagram",
    "simulated_pair": "streams",
    "sometimes": "simulation",
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
