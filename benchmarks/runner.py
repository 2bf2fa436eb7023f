"""Starts the processes of one library, tells them what to do, and ends them in any case."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from .cases import CASES, IMPORTS, Case, Peer
from .results import Results, Series

IMPORT_LIMIT: Final = 30.0
"""Seconds for an import."""
JOB_LIMIT: Final = 10.0
"""Seconds for one case beyond the time that it should take."""
GOODBYE_LIMIT: Final = 3.0
"""Seconds for a process to end by itself after its last job."""

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}


class WorkerError(Exception):
    """A worker failed or hung; the text is one line for the report."""


@attrs.define
class Worker:
    """One process that is measured."""

    role: str
    process: trio.Process
    errors: Path
    _pending: bytes = b""

    async def say(self, **fields: Any) -> None:
        """Send one line."""
        assert self.process.stdin is not None
        with suppress(trio.BrokenResourceError):
            await self.process.stdin.send_all(json.dumps(fields).encode() + b"\n")

    async def hear(self, event: str) -> dict[str, Any]:
        """Wait for the line that tells of `event`.

        Raises:
            WorkerError: The worker ended instead.
        """
        assert self.process.stdout is not None
        while True:
            line, found, rest = self._pending.partition(b"\n")
            if found:
                self._pending = rest
                told: dict[str, Any] = json.loads(line)
                if told.pop("event") == event:
                    return told
                continue
            data = await self.process.stdout.receive_some(65536)
            if not data:
                raise WorkerError(f"{self.role}: {self.last_words()}")
            self._pending += data

    def last_words(self) -> str:
        """The last line on its standard error."""
        lines = self.errors.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "ended without a word"

    async def end(self, patience: float) -> None:
        """Close the pipe, wait `patience` seconds for the process to leave, then end it and all that it started."""
        with trio.CancelScope(shield=True):
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            await self.process.stdin.aclose()
            with trio.move_on_after(patience):
                await self.process.wait()
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()
            await self.process.stdout.aclose()


@asynccontextmanager
async def open_workers(peer: Peer, transport: str, options: dict[str, Any]) -> AsyncIterator[list[Worker]]:
    """The processes of one library, connected with each other and ready for jobs.

    Leaving the block ends them: after a moment if all went well, at once otherwise.

    Raises:
        WorkerError: A process ended or took too long.
    """
    patience = 0.0
    workers: list[Worker] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = json.dumps({"transport": transport, "folder": folder, "options": {**peer.options, **options}})
        try:
            for role in peer.roles:
                errors = Path(folder, f"{role}.err")
                command = [sys.executable, "-m", "benchmarks.worker", peer.module, role, settings]
                with errors.open("wb") as stderr:  # noqa: ASYNC230 - an empty file, and nothing is measured now
                    process = await trio.lowlevel.open_process(
                        command,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=stderr,
                        env=ENVIRONMENT,
                        start_new_session=True,
                    )
                workers.append(Worker(role, process, errors))
            with limit(peer.start_limit, "processes did not find each other"):
                await introduce(workers)
            yield workers
            patience = GOODBYE_LIMIT
        finally:
            for worker in workers:
                await worker.end(patience)  # shielded, with a deadline, inside  # noqa: ASYNC102  # shielded, with a deadline, inside


async def introduce(workers: Sequence[Worker]) -> None:
    """Give the address of the first worker to the others, and wait until all are connected."""
    for worker in workers:
        await worker.hear("imported")
    first, *others = workers
    await first.say(address="")
    address = (await first.hear("listening"))["address"]
    for worker in others:
        await worker.say(address=address)
    for worker in workers:
        await worker.hear("connected")


@contextmanager
def limit(seconds: float, what: str) -> Iterator[None]:
    """As `trio.fail_after`, with an error that says what took too long."""
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise WorkerError(f"{what} within {seconds:.0f} s")


async def do_job(workers: Sequence[Worker], case: str, count: int, seconds: float) -> dict[str, Any]:
    """Have all workers do one job, the sender last, and return all that they answer."""
    answers: dict[str, Any] = {}
    with limit(seconds + JOB_LIMIT, "no result"):
        ordered = sorted(workers, key=lambda worker: worker.role == "sender")
        for worker in ordered:
            await worker.say(case=case, count=count)
            await worker.hear("ready")
        for worker in ordered:
            answers.update(await worker.hear("result"))
    return answers


def read_values(case: Case, count: int, answers: dict[str, Any]) -> dict[str, float]:
    """Turn what workers answer into values in the unit of the group."""
    if case.kind == "rate":
        return {"rate": count * case.factor / max(answers["end"] - answers["start"], 1e-9)}
    if case.kind == "latency":
        return {"median": answers["median"], "p99": answers["p99"], "half": answers["median"] / 2}
    values = {name: float(value) for name, value in answers.items()}
    if "hub" in values:
        values["hub_per_1000"] = values["hub"] * 1000 / values["links"]
        values["cpu_per_1000"] = values["hub_per_1000"] + values["leaves"] * 1000 / values["links"]
    return values


@attrs.define
class Runner:
    """Takes the libraries in turn, round after round.

    Attributes:
        seconds: How long one case of one library should take in each round.
        results: Where the figures go.
        report: Called with a line about what happens now.
        options: Handed to all workers.
    """

    seconds: float
    results: Results
    report: Callable[[str], None]
    options: dict[str, Any] = attrs.field(factory=dict)
    _counts: dict[Series, int] = attrs.field(factory=dict)

    async def measure(self, peer: Peer, transport: str, cases: Sequence[str], number: int) -> None:
        """One round of one library on one transport; a case that fails is noted and not tried again."""
        left = [Series(peer.name, transport, case) for case in cases]
        left = [series for series in left if not self.failed(series)]
        while left:
            self.report(f"{peer.name}, {transport}: start")
            # What fails before the first case would fail for each: then the library is left out.
            culprit = Series(peer.name, transport, "")
            try:
                async with open_workers(peer, transport, self.options) as workers:
                    while left:
                        culprit = left[0]
                        self.report(f"{peer.name}, {transport}: {left[0].case}")
                        await self.measure_case(workers, left[0], number)
                        del left[0]
            except WorkerError as error:
                self.results.problems[self._name(culprit)] = str(error)
                left = [series for series in left if not self.failed(series)]

    def failed(self, series: Series) -> bool:
        """Whether it failed before, or its library did as a whole."""
        return any(self._name(one) in self.results.problems for one in (series, series._replace(case="")))

    @staticmethod
    def _name(series: Series) -> str:
        return ", ".join(filter(None, series))

    async def measure_case(self, workers: Sequence[Worker], series: Series, number: int) -> None:
        """Warm up, choose a count that fills the time, and measure."""
        case = CASES[series.case]
        if case.fixed is not None:
            count = int(self.options.get(case.key, case.fixed))
        else:
            guess = self._rate(case, case.warmup, await do_job(workers, case.key, case.warmup, self.seconds))
            count = self._counts.get(series) or self._fill(case, guess)
        answers = await do_job(workers, case.key, count, max(self.seconds, count if case.fixed else 0))
        if case.fixed is None:
            self._counts[series] = self._fill(case, self._rate(case, count, answers))
        self.results.add(series, number, read_values(case, count, answers))

    def _rate(self, case: Case, count: int, answers: dict[str, Any]) -> float:
        """Messages per second."""
        values = read_values(case, count, answers)
        return 1e6 / values["median"] if case.kind == "latency" else values["rate"] / case.factor

    def _fill(self, case: Case, rate: float) -> int:
        """How many messages fill the time."""
        return max(min(int(rate * self.seconds), case.most), case.warmup)

    async def measure_imports(self, number: int) -> None:
        """The time that each library takes to import, in an interpreter of its own and from byte code."""
        for name, modules in IMPORTS.items():
            series = Series(name, "", "imports")
            if self.failed(series):
                continue
            self.report(f"import {modules}")
            try:
                if number == 0:
                    await _time_import(
                        modules
                    )  # it leaves the byte code that the next one finds, as a user's first start does
                self.results.add(series, number, {"time": await _time_import(modules) * 1e3})
            except WorkerError as error:
                self.results.problems[self._name(series)] = str(error)


async def _time_import(modules: str) -> float:
    """Give the seconds that an import takes in a new interpreter, which writes byte code where there is none.

    Raises:
        WorkerError: It failed or took too long.
    """
    code = f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with trio.move_on_after(IMPORT_LIMIT):
        done = await trio.run_process(
            [sys.executable, "-c", code], capture_stdout=True, capture_stderr=True, check=False, env=environment
        )
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise WorkerError(lines[-1] if lines else "failed")
        return float(done.stdout)
    raise WorkerError(f"not imported within {IMPORT_LIMIT:.0f} s")
