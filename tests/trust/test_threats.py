"""What others may try, and the tests that show that it does not work.

T1 to T20 are the threats that Trioton is built against, and r33 to r55 the tests by hostile peers that it has to pass. A test says by its name
what it shows: ``test_t05_...``, ``test_r44_...``, ``test_t09_r54_...``. `ELSEWHERE` has those that show it under other names, and
`NO_TEST` what has none, and why.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
SECURITY = TESTS.parent / "docs" / "explain" / "security.rst"

WHAT = {
    "t01": "reads or changes what is on its way",
    "t02": "pretends to be another",
    "t03": "a client takes a TLS handshake for a welcome",
    "t04": "hostile bytes before anything is proved",
    "t05": "slow and half handshakes",
    "t06": "fills the memory",
    "t07": "keeps the processor busy",
    "t08": "starts and cancels requests without end",
    "t09": "pings without end, or pretends to be alive",
    "t10": "speaks in the name of another",
    "t11": "a router in between that lies",
    "t12": "a child that lies to its parent",
    "t13": "says again what was said before",
    "t14": "takes over the session of another",
    "t15": "takes the identity of another",
    "t16": "loops and black holes",
    "t17": "subscribes without end",
    "t18": "fragments that do not end",
    "t19": "bombs that unpack",
    "t20": "secrets in logs",
    "r33": "10 000 idle links",
    "r34": "10 000 connections opened and closed at once",
    "r38": "any bytes at all",
    "r39": "the scan and the decoder agree",
    "r40": "frames that are cut off",
    "r41": "absurd lengths",
    "r42": "bombs of CBOR",
    "r43": "garbage instead of a greeting",
    "r44": "500 greetings of a byte a second",
    "r45": "wrong certificates",
    "r46": "wrong secrets",
    "r47": "replay",
    "r48": "another as the source",
    "r49": "a child that commands",
    "r50": "routes that are made up",
    "r51": "two with one identity",
    "r52": "a million subscriptions",
    "r54": "10 000 pings a second",
    "r55": "a thousand unfinished packages",
}

SCAN = "protocol/test_scan.py"
BAD_PEERS = "network/test_bad_peers.py"
STRANGERS = "network/test_strangers.py"
LIMITS = "network/test_limits.py"
LIARS = "network/test_mesh_liars.py"

ELSEWHERE: dict[str, tuple[str, ...]] = {
    "t01": ("transports/test_tls.py::test_both_sides_are_encrypted_and_known",),
    "t02": ("transports/test_unix.py::test_both_ends_know_who_the_other_is",),
    "t04": (f"{STRANGERS}::test_a_stranger_gets_one_line_and_a_close", "protocol/test_frames.py::test_a_handshake_has_limits_of_its_own"),
    "t05": (f"{LIMITS}::test_pending_handshakes", f"{LIMITS}::test_the_deadline_counts_from_the_start_and_not_from_each_byte"),
    "t06": (f"{BAD_PEERS}::test_who_asks_on_and_on_and_never_reads", "network/test_hostile_states.py::test_who_fills_the_memory_only_gets_so_far"),
    "t07": (f"{SCAN}::test_a_bomb_is_refused_at_once", f"{LIMITS}::test_slot_length"),
    "t08": ("requests/test_bad_requests.py::test_a_requester_that_takes_no_answers_is_given_up",),
    "t10": (f"{BAD_PEERS}::test_what_concerns_contexts_that_nobody_knows_is_dropped", f"{BAD_PEERS}::test_a_breach_ends_the_link_and_nothing_else"),
    "t15": ("network/test_mesh_liars.py::test_what_is_told_in_the_name_of_a_context_itself_is_outdone",),
    "t16": (f"{LIARS}::test_a_flood_of_contexts_that_do_not_exist", f"{LIARS}::test_what_has_been_passed_on_too_often_or_is_for_nobody_goes_nowhere"),
    "t17": (f"{BAD_PEERS}::test_too_many_subscriptions", f"{LIMITS}::test_subscriptions"),
    "t18": (f"{BAD_PEERS}::test_unfinished_packages_hold_no_more_than_was_sent",),
    "r34": ("transports/test_tcp_listening.py::test_real_descriptors_run_out", "transports/test_tcp_listening.py::test_without_descriptors_or_memory_it_says_so_once_and_waits"),
    "r39": ("protocol/test_scan_rules.py::test_the_scan_accepts_what_the_strict_decoder_accepts",),
    "r41": (f"{SCAN}::test_a_claimed_length_costs_no_memory", f"{BAD_PEERS}::test_memory_does_not_grow_with_what_lengths_claim"),
    "r42": (f"{SCAN}::test_a_bomb_is_refused_at_once",),
    "r43": (
        f"{STRANGERS}::test_a_stranger_gets_one_line_and_a_close",
        f"{STRANGERS}::test_a_tls_client_on_a_plain_port",
        f"{STRANGERS}::test_a_plain_greeting_on_a_tls_port",
    ),
    "r50": (f"{LIARS}::test_a_flood_of_contexts_that_do_not_exist", f"{LIARS}::test_what_has_been_passed_on_too_often_or_is_for_nobody_goes_nowhere"),
}  # fmt: skip
"""Tests that have other names."""

NO_TEST: dict[str, str] = {
    "t11": "Who is trusted is trusted",
    "t19": "nothing is decompressed",
}
"""What has no test, and the words with which docs/explain/security.rst says why."""


@functools.cache
def all_tests() -> frozenset[str]:
    """All tests that there are: the file, and the name of the function."""
    found = set()
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                found.add(f"{path.relative_to(TESTS).as_posix()}::{node.name}")
    return frozenset(found)


def threats_of(test: str) -> list[str]:
    """What a test says by its name that it shows."""
    match = re.match(r"test_((?:[tr]\d\d_)+)", test.partition("::")[2])
    return match[1].rstrip("_").split("_") if match else []


@pytest.mark.parametrize("threat", WHAT)
def test_each_threat_has_a_test_or_a_reason(threat: str) -> None:
    named = {test for test in all_tests() if threat in threats_of(test)}
    assert named or threat in ELSEWHERE or threat in NO_TEST, f"{threat}: {WHAT[threat]}"


@pytest.mark.parametrize("threat", ELSEWHERE)
def test_the_tests_that_are_named_exist(threat: str) -> None:
    assert not set(ELSEWHERE[threat]) - all_tests()
    assert threat in WHAT


@pytest.mark.parametrize("threat", NO_TEST)
def test_what_has_no_test_is_explained(threat: str) -> None:
    assert not any(threat in threats_of(test) for test in all_tests())
    assert NO_TEST[threat] in SECURITY.read_text(encoding="utf-8")


def test_no_test_is_named_after_what_is_no_threat() -> None:
    wrong = {test for test in all_tests() for threat in threats_of(test) if threat not in WHAT}
    assert not wrong
    assert NO_TEST.keys() <= WHAT.keys()


def test_names_are_read() -> None:
    assert threats_of("trust/test_x.py::test_t09_r54_a_flood") == ["t09", "r54"]
    assert threats_of("trust/test_x.py::test_r44_slow") == ["r44"]
    assert threats_of("trust/test_x.py::test_rates") == []
