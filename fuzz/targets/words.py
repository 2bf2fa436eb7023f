"""Targets for what contexts and channels say in records, in rows of retained values and in messages."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, Final

from trioton.errors import ProtocolError
from trioton.network.inspection import ContextReport, ReportError
from trioton.protocol import failures, jobs, requests, values
from trioton.protocol.records import encode_record, parse_batch, parse_record
from trioton.protocol.retained import (
    Known,
    Value,
    check_of,
    encode_known,
    encode_mark,
    encode_value_head,
    parse_rows,
)

from ..chooser import Chooser
from ..speech import Speech
from ..violation import require
from .frames import FAR, FARTHER, HONEST, OWN, PEER, SLOTS

MOST_SHOWN: Final = 2000


def words(data: bytes) -> None:
    """What requesters, repliers, pushers and pullers say: each sort of nonsense is refused in one short line."""
    choose = Chooser(data)
    talk = Speech(choose, (PEER, FAR), (OWN,), SLOTS)
    make = choose.one_of((talk.ask, talk.answer, talk.push, talk.pull, talk.failure, talk.value, choose.rest))
    try:
        message = values.decode_value(make())
    except ProtocolError:
        return
    checks: tuple[Callable[[Any], object], ...] = (
        requests.check_ask,
        requests.check_answer,
        jobs.check_push,
        jobs.check_pull,
        _failed,
    )
    for check in checks:
        try:
            check(message)
        except ProtocolError as error:
            require(len(str(error)) < MOST_SHOWN, "a refusal is short")


def _failed(message: object) -> None:
    error = failures.decode_failure(message)
    require(isinstance(error, Exception), "what comes as a failure is an exception")
    traceback.format_exception(error)
    values.decode_value(failures.encode_failure(error))


def reports(data: bytes) -> None:
    """Reports about contexts, as a program that looks at a network reads them."""
    try:
        message = values.decode_value(data)
    except ProtocolError:
        return
    try:
        report = ContextReport.from_message(message)
    except ReportError as error:
        require(len(str(error)) < MOST_SHOWN, "a refusal is short")
        return
    values.encode_value(report.to_message())


def batch(data: bytes) -> None:
    """The body of a frame of records, and the records in it."""
    try:
        parts = parse_batch(data)
    except ProtocolError as error:
        require(len(str(error)) < MOST_SHOWN, "a refusal is short")
        return
    for part in parts:
        _record(part)


def records(data: bytes) -> None:
    """Records, as bytes and as a chooser makes them: what is taken can be written in one way only."""
    _record(data)
    choose = Chooser(data)
    talk = Speech(choose, (PEER, FAR, FARTHER), (OWN, HONEST), SLOTS)
    for _ in range(20):
        if not choose:
            break
        _record(talk.record())


def _record(data: bytes) -> None:
    try:
        record = parse_record(data)
    except ProtocolError as error:
        require(len(str(error)) < MOST_SHOWN, "a refusal is short")
        return
    again = encode_record(record)
    require(parse_record(again) == record, "a record stays the same")
    require(len(again) <= len(data), "a record is written as short as can be")


def rows(data: bytes) -> None:
    """The body of a frame of retained values, as bytes and as a chooser makes it: what is taken can be written again."""
    _rows(data)
    _rows(Speech(Chooser(data), (PEER, FAR), (OWN,), SLOTS).rows())


def _rows(body: bytes) -> None:
    try:
        parsed = parse_rows(body)
    except ProtocolError as error:
        require(len(str(error)) < MOST_SHOWN, "a refusal is short")
        return
    for row in parsed:
        if isinstance(row, Value):
            require(row.version.check == check_of(row.data), "a version has the check of its value")
            again = encode_value_head(row.slot, row.version, len(row.data)) + row.data
        elif isinstance(row, Known):
            again = encode_known(row.slot, row.version)
        else:
            again = encode_mark(row.kind)
        require(parse_rows(b"\x81" + again) == [row], "a row stays the same")
