"""The numbered cases that Trioton holds itself to since Yoton does what they say, and the tests that hold each.

They are what Yoton's tests, examples and manual show. A case is missing here if it asks for nothing: 35 is a measurement of Python itself, and
22 and 30 were never written down.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

CHANNELS = "yoton/test_yoton_channels.py"
NETWORKS = "yoton/test_yoton_networks.py"
CALLING = "requests/test_calling.py"
STATES = "network/test_states.py"
FILES = "channels/test_files.py"

CASES: dict[int, tuple[str, ...]] = {
    1: ("network/test_context.py::test_yotons_counting_of_connections",),
    2: ("network/test_context.py::test_yotons_counting_of_connections",),
    3: ("network/test_context.py::test_yotons_counting_of_connections",),
    4: (f"{CHANNELS}::test_case_4_nothing_there_is_no_message",),
    5: (f"{CHANNELS}::test_case_5_who_waits_hears_that_the_channel_was_closed",),
    6: (f"{CHANNELS}::test_cases_6_and_7_a_relay_has_channels_too_and_nobody_hears_itself",),
    7: (f"{CHANNELS}::test_cases_6_and_7_a_relay_has_channels_too_and_nobody_hears_itself",),
    8: (f"{CHANNELS}::test_case_8_several_channels_in_the_order_of_arrival",),
    9: (f"{STATES}::test_case_9_a_value_from_before_all_connections_comes_to_the_end_of_the_line",),
    10: (f"{STATES}::test_case_10_a_change_comes_to_all",),
    11: (f"{CALLING}::test_yoton_11_a_replier_is_found_over_a_relay",),
    12: (f"{CALLING}::test_yoton_12_to_14_work_is_shared_and_nobody_asks_itself",),
    13: (f"{CALLING}::test_yoton_12_to_14_work_is_shared_and_nobody_asks_itself",),
    14: (f"{CALLING}::test_yoton_12_to_14_work_is_shared_and_nobody_asks_itself",),
    15: (f"{NETWORKS}::test_case_15_what_is_said_before_anybody_connects_waits",),
    16: (f"{NETWORKS}::test_case_16_the_same_on_an_interface_of_the_machine",),
    17: (f"{NETWORKS}::test_case_17_three_hops_over_names_and_offsets",),
    18: (f"{NETWORKS}::test_case_18_a_message_is_split_where_ways_part",),
    19: (f"{STATES}::test_case_19_a_value_goes_through_contexts_without_a_channel",),
    20: (f"{CALLING}::test_yoton_20_values_come_back_as_they_are",),
    21: (f"{CALLING}::test_yoton_21_arguments_and_keywords_survive_both_ways",),
    23: (f"{CALLING}::test_yoton_23_a_failure_is_raised_and_the_replier_goes_on",),
    24: ("tools/test_events.py::test_a_context_is_as_good_as_a_nursery",),
    25: (f"{STATES}::test_cases_25_and_26_several_write_in_turn_and_one_joins_later",),
    26: (f"{STATES}::test_cases_25_and_26_several_write_in_turn_and_one_joins_later",),
    27: ("channels/test_state.py::test_iterating_gives_what_is_there_and_each_change",),
    28: (f"{CHANNELS}::test_case_28_a_message_type_of_ones_own",),
    29: (f"{CHANNELS}::test_case_29_the_type_is_part_of_the_address",),
    31: (f"{CHANNELS}::test_case_31_a_queue_blocks_and_never_drops_in_silence",),
    32: (f"{NETWORKS}::test_case_32_a_hundred_connections_one_after_the_other",),
    33: (f"{CHANNELS}::test_case_33_texts_of_all_sizes_arrive_whole_and_in_order",),
    34: (f"{NETWORKS}::test_case_34_a_peer_that_is_stuck_for_ten_seconds_stays_connected",),
    36: (f"{CHANNELS}::test_case_36_an_object_is_equal_on_the_other_side",),
    37: (
        "tools/test_clientserver.py::test_ten_requests_get_one_reply_each",
        "tools/test_clientserver.py::test_wait_delays_one_reply_and_stop_ends_the_server",
    ),
    38: ("network/test_heartbeat.py::test_silence_is_told_once_and_so_is_its_end",),
    39: ("network/test_heartbeat.py::test_a_wrong_timeout_is_refused",),
    40: ("network/test_heartbeat.py::test_an_idle_link_stays_up_for_a_day",),
    41: (
        f"{NETWORKS}::test_case_41_a_connection_ends_with_a_reason",
        "network/test_bad_peers.py::test_noise_behind_a_handshake",
    ),
    42: (
        "network/test_context.py::test_bind_tries_further_ports",
        "transports/test_address.py::test_ports_to_try_are_yotons",
    ),
    43: ("network/test_dialling.py::test_a_context_cannot_connect_to_itself",),
    44: ("network/test_strangers.py::test_a_stranger_gets_one_line_and_a_close",),
    45: (
        f"{CALLING}::test_yoton_45_patience_ends_and_a_late_replier_still_serves",
        "requests/test_cancelling.py::test_a_future_is_cancelled_by_hand_and_says_so",
    ),
    46: (f"{CALLING}::test_yoton_46_a_request_that_nobody_waits_for_is_never_run",),
    47: (f"{CALLING}::test_yoton_47_callbacks_come_in_order_and_at_once_if_it_is_done",),
    48: (
        f"{CHANNELS}::test_case_48_what_overflows_is_dropped_at_one_end",
        f"{CHANNELS}::test_case_48_what_waits_for_the_first_who_listens_may_overflow_too",
    ),
    49: (f"{CHANNELS}::test_case_49_taking_all_that_waits",),
    50: (
        f"{FILES}::test_long_texts_are_sent_in_chunks",
        f"{FILES}::test_lines_get_a_newline",
        f"{FILES}::test_echo_sends_again_what_was_read",
        f"{FILES}::test_with_closes_and_what_was_written_arrives",
    ),
    51: (
        f"{NETWORKS}::test_case_51_each_hears_all_once_in_order_and_nobody_itself",
        f"{NETWORKS}::test_case_51_two_contexts_have_one_link_and_hear_each_message_once",
    ),
}

ASK_FOR_NOTHING = {22, 30, 35}


def numbers_of(test: ast.FunctionDef | ast.AsyncFunctionDef) -> set[int]:
    """The cases that a test names, in its name or its docstring."""
    words = f"{test.name.replace('_', ' ')}. {ast.get_docstring(test) or ''}"
    found: set[int] = set()
    for match in re.finditer(r"(?:[Cc]ases?|yoton) (\d+)(?:(?: (to)|,| and) (\d+))?", words):
        first, last = int(match[1]), int(match[3] or match[1])
        found |= set(range(first, last + 1)) if match[2] else {first, last}
    return found


@functools.cache
def named_tests() -> dict[int, set[str]]:
    """The tests that name each case."""
    found: dict[int, set[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if not re.search("case|yoton", text, re.IGNORECASE):
            continue
        for node in ast.parse(text).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                for number in numbers_of(node):
                    found.setdefault(number, set()).add(f"{path.relative_to(TESTS).as_posix()}::{node.name}")
    return found


def test_each_case_has_its_number() -> None:
    assert CASES.keys() | ASK_FOR_NOTHING == set(range(1, 52))
    assert not CASES.keys() & ASK_FOR_NOTHING


@pytest.mark.parametrize("number", CASES)
def test_each_case_is_held(number: int) -> None:
    missing = set(CASES[number]) - named_tests().get(number, set())
    assert not missing, f"case {number} is not named by {missing}"


def test_numbers_are_found() -> None:
    source = 'def test_yoton_12_to_14_work():\n    """Cases 3 and 5, and case 9: 10 of them."""'
    [test] = ast.parse(source).body
    assert isinstance(test, ast.FunctionDef)
    assert numbers_of(test) == {12, 13, 14, 3, 5, 9}
