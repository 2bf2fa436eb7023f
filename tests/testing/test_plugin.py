from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import trioton_pytest as plugin
from trioton.testing import leak_check

pytest_plugins = ["pytester"]

ENTRY_POINTS = [point for point in importlib.metadata.entry_points(group="pytest11") if point.name == "trioton"]


PLUGINS = [] if ENTRY_POINTS else [plugin]
Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs pytest with the plugin; one that is installed is loaded by itself, and must not be loaded twice."""
    monkeypatch.delenv("TRIOTON_SEED", raising=False)
    pytester.makeini("[pytest]\nfilterwarnings = error")
    return partial(pytester.runpytest_inprocess, "-p", "no:asyncio", plugins=PLUGINS)


SHOW_SEED = """
    def test_it(trioton_network):
        print("the seed is", repr(trioton_network.seed))
"""


@pytest.mark.parametrize(
    ("arguments", "variable", "seed"),
    [
        ([], None, "0"),
        ([], "17", "17"),
        (["--trioton-seed=5"], "17", "5"),
        (["--trioton-seed", "a word"], None, "'a word'"),
        ([], "", "0"),
    ],
)
def test_where_the_seed_comes_from(
    pytester: pytest.Pytester,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    variable: str | None,
    seed: str,
) -> None:
    if variable is not None:
        monkeypatch.setenv("TRIOTON_SEED", variable)
    pytester.makepyfile(SHOW_SEED)
    result = run("-s", *arguments)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"*the seed is {seed}"])
    result.stdout.no_fnmatch_line("*trioton-seed*")


def test_every_test_has_a_network_of_its_own(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        def test_one(trioton_network):
            trioton_network.host("a")

        def test_two(trioton_network):
            assert not trioton_network.hosts
        """
    )
    run().assert_outcomes(passed=2)


def test_a_failing_test_says_its_seed_and_what_was_connected(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import trio
        from trioton.transports.address import parse_address

        async def test_it(autojump_clock, trioton_network):
            net = trioton_network
            listener = await net.host("a").listen(parse_address("a:1"))
            client = await net.host("b").dial(parse_address("a:1"))
            net.partition("a", "b")
            assert False

        def test_other():
            assert False
        """
    )
    result = run("-o", "trio_mode=true", "--trioton-seed=77")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*- trioton -*",
            "<Network seed=77: 2 hosts, 1 connections>; run it again with --trioton-seed=77",
            "digest ????????????????????????????????",
            "tcp://b:42000 -> tcp://a:1: partitioned",
            "the last 3 of 3 events, without heartbeats and credit:",
            "*0.000000 b -> a dial tcp://a:1",
            "*0.000000 b -> a #1 open tcp://a:1",
            "*0.000000 a and b fault partition",
        ]
    )
    assert str(result.stdout).count("run it again") == 1


ORDER = """
    import trio

    async def test_order(autojump_clock, trioton_network, trioton_seed):
        order = []

        async def step(number):
            await trio.sleep(1)
            order.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(step, number)
        with open("orders", "a") as file:
            print(trioton_seed, order, file=file)
        assert trioton_network.seed == trioton_seed
"""


def test_one_test_runs_with_several_seeds_and_each_decides_about_the_order_of_tasks(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(
        ORDER
        + """
    def test_without_a_seed():
        pass
"""
    )
    for _ in range(2):
        run("-o", "trio_mode=true", "--trioton-seeds=3").assert_outcomes(passed=4)
    lines = (pytester.path / "orders").read_text().splitlines()
    assert lines[:3] == lines[3:]
    assert len({line.partition(" ")[2] for line in lines}) == 3
    run("-o", "trio_mode=true", "--trioton-seed=1").assert_outcomes(passed=2)
    assert (pytester.path / "orders").read_text().splitlines()[-1] == lines[1]


def test_a_failure_is_drawn(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        def test_it(trioton_network):
            trioton_network.note("here I am")
            assert False
        """
    )
    run("--trioton-diagrams=drawn/here").stdout.fnmatch_lines(["all of it: drawn/here/*test_it.svg"])
    [path] = (pytester.path / "drawn" / "here").iterdir()
    assert "here I am" in path.read_text()


def test_a_failed_simulation_is_drawn(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        from trioton.testing import run_simulation

        async def scenario(net):
            net.note("here I am")
            assert False

        def test_it():
            run_simulation(scenario, seeds=[5])

        def test_other():
            assert False
        """
    )
    result = run("--trioton-diagrams=drawn")
    result.stdout.fnmatch_lines(["all of the run with seed 5: drawn/*test_it.svg"])
    [path] = (pytester.path / "drawn").iterdir()
    assert "here I am" in path.read_text()
    result = run()
    result.stdout.no_fnmatch_line("all of the run*")
    result.stdout.fnmatch_lines(["E *SimulationFailed: scenario failed with seed 5 *"])
    result.stdout.no_fnmatch_line("*_check_nothing_left*")  # nor any other code of the simulator
    result.stdout.no_fnmatch_line("*simulation.check_again*")


LEAKY = """
    import threading

    stop = threading.Event()

    def test_clean(trioton_leak_check):
        assert trioton_leak_check.leaks() == ()

    def test_leaky(trioton_leak_check):
        threading.Thread(target=stop.wait, name="left over", daemon=True).start()

    def test_then_clean_again(trioton_leak_check):
        pass

    def test_end():
        stop.set()
"""


def test_a_leak_is_an_error_of_the_test(pytester: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trioton.testing.checks.leak_check", partial(leak_check, settle=0))
    pytester.makepyfile(LEAKY)
    result = run()
    result.assert_outcomes(passed=4, errors=1)
    result.stdout.fnmatch_lines(
        ["*ERROR at teardown of test_leaky*", "*LeakError: left behind:*", "*1 thread: 'left over'*"]
    )


def test_the_fixtures_work_with_pytest_trio(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import pytest
        import trio
        from trioton.transports.address import parse_address

        @pytest.fixture
        async def pair(trioton_network, nursery):
            net = trioton_network
            nursery.start_soon(trio.sleep_forever)
            listener = await net.host("a").listen(parse_address("a:1"))
            client = await net.host("b").dial(parse_address("a:1"))
            server = await listener.accept()
            yield client, server
            await client.aclose()
            await server.aclose()

        async def test_it(autojump_clock, trioton_leak_check, trioton_network, pair):
            trioton_network.link("a", "b", latency=3600)
            await pair[0].send_all(b"x")
            assert await pair[1].receive_some() == b"x"
            assert trio.current_time() == 3600
            await trio.to_thread.run_sync(lambda: None)
        """
    )
    run("-o", "trio_mode=true").assert_outcomes(passed=1)


def test_the_fixtures_work_beside_pytest_asyncio(pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    pytester.makepyfile(
        """
        import asyncio

        async def test_it(trioton_leak_check, trioton_network):
            trioton_network.host("a")
            await asyncio.sleep(0)
        """
    )
    options = ["asyncio_mode=auto", "asyncio_default_fixture_loop_scope=function"]
    result = pytester.runpytest_inprocess(*[f"-o{option}" for option in options], "-Werror", plugins=PLUGINS)
    result.assert_outcomes(passed=1)


def test_the_plugin_by_itself_imports_nothing_of_trio() -> None:
    code = f"import runpy, sys; runpy.run_path({plugin.__file__!r}); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "pytest" in modules
    assert not {"trio", "trioton", "attrs", "outcome"}.intersection(modules)


@pytest.mark.skipif(not ENTRY_POINTS, reason="Trioton is not installed")
def test_the_entry_point_imports_nothing_of_trio(tmp_path: Path) -> None:
    code = "import importlib, sys; importlib.import_module(sys.argv[1]); print(*sorted(sys.modules))"
    command = [sys.executable, "-c", code, ENTRY_POINTS[0].module]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "trio" not in done.stdout.split()


def test_the_names_of_the_package_are_what_it_says() -> None:
    import trioton.testing

    for name in trioton.testing.__all__:
        assert getattr(trioton.testing, name).__name__ == name
        assert name in dir(trioton.testing)
    assert not hasattr(trioton.testing, "nothing")
