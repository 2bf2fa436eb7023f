"""Tables and numbers that the reference prints must be those of the code."""

from __future__ import annotations

import json
import re

import attrs

import trioton
from trioton.channels import base, messages
from trioton.network import associations
from trioton.network.mesh import flooding, membership, relays, retaining
from trioton.network.mesh import routed as far_end
from trioton.network.receiving.reception import MESSAGE_TAGS
from trioton.protocol import (
    codec,
    conduct,
    control,
    frames,
    handshake,
    heartbeat,
    limits,
    memory,
    packages,
    permissions,
    policies,
    records,
    retained,
    routed,
    scan,
    session,
    topology,
    trees,
)
from trioton.protocol.frames import PREFACE, FrameKind
from trioton.protocol.handshake import STRANGER_REPLY
from trioton.protocol.records import RecordKind
from trioton.protocol.retained import RowKind, Value, Version

from .reference_pages import API, FLOWS, MESH, REFERENCE, WIRE


def table_rows(page: str, *, after: str) -> list[list[str]]:
    """The cells of the first table behind a text, without the table's own headings and the further lines of a cell."""
    table = page.partition(f"\n{after}\n")[2].partition("\n==")[2].partition("\n\n")[0]
    *_, rows, _ = re.split(r"\n==.*", f"\n=={table}")
    return [re.split(r"\s{2,}", line) for line in rows.strip("\n").splitlines() if not line.startswith(" ")]


def test_preface() -> None:
    assert PREFACE.hex(" ") in WIRE


def test_table_of_frames_is_complete() -> None:
    rows = {int(row[0]): row for row in table_rows(WIRE, after="Frames")}
    assert {number: row[1] for number, row in rows.items()} == {int(kind): kind.name for kind in FrameKind}
    for kind, message in control.CONTROL_KINDS.items():
        assert rows[kind][2] == f"``[{', '.join(message._fields)}]``"


def test_table_of_flags_is_complete() -> None:
    rows = [row[:2] for row in table_rows(WIRE, after="The flags are:")]
    bits = [frames.FLAG_END, frames.FLAG_SKIPPED, frames.FLAG_RETAINED, 8, f"{1 << routed.HOP_SHIFT} to 128"]
    names = ["*end*", "*skipped*", "*retained*", "none: send 0", "*hops*"]
    assert rows == [[str(bit), name] for bit, name in zip(bits, names, strict=True)]


def test_table_of_records_is_complete() -> None:
    table = MESH.partition("\nRecords\n")[2].partition("\n====  ")[2].partition("\n\n")[0]
    shown = {
        kind.name: [[*shape.head], *([name, *each.row] for name, each in shape.tables.items())]
        for kind, shape in records._SHAPES.items()
    }
    rows: dict[str, list[list[str]]] = {}
    current: list[list[str]] = []
    for line in table.splitlines()[3:-1]:
        number, name, head, *tables = (line[start:end].strip() for start, end in ((0, 4), (6, 14), (16, 76), (78, 200)))
        if number:
            current = rows[name] = [re.findall(r"\w+", head)]
            assert RecordKind[name] == int(number)
        current += [re.findall(r"\w+", each) for each in tables if each]
    assert rows == shown


def test_table_of_rows_is_complete() -> None:
    rows = table_rows(MESH, after="States")
    assert {int(row[0]): row[1] for row in rows} == {int(kind): kind.name for kind in RowKind}
    fields = {RowKind.VALUE: Value._fields, RowKind.KNOWN: ("slot", *Version._fields)}
    for row in rows:
        assert (
            re.findall(r"``(.+)``", row[2]) == [", ".join(fields[kind])]
            if (kind := RowKind(int(row[0]))) in fields
            else True
        )
    assert (retained.MOST_AHEAD, retained.CHECK_BYTES, retaining.GATHER) == (1 << 40, 8, 0.02)
    assert (retaining.FIRST_LOOK, retaining.LONGEST_LOOK) == (0.02, 0.5)


def test_only_what_the_page_names_may_be_routed() -> None:
    text = " ".join(MESH.partition("The kinds are ")[2].partition(", which travels")[0].split())
    assert set(text.replace(" and ", " ").replace(",", "").split()) == {kind.name for kind in routed.ROUTED_KINDS}


def test_every_control_frame_about_flows_is_explained() -> None:
    explained = set(re.findall(r"\b[A-Z_]+\b", FLOWS + MESH))
    assert {kind.name for kind in FrameKind if 16 <= kind < 48} <= explained
    assert {"SYNC", "SYNCED", "RECORDS", "ROUTED", "POSITION"} <= set(re.findall(r"\b[A-Z]+\b", MESH))


def test_table_of_rights_is_complete() -> None:
    rows = [row for row in table_rows(FLOWS, after="What is not permitted") if row[0]]
    assert {int(row[0]): row[1] for row in rows} == {int(right): right.name for right in permissions.Right}


def test_table_of_subscribe_has_its_fields() -> None:
    fields = [row[0].strip("`") for row in table_rows(FLOWS, after="Interest")]
    assert ["slot", *fields] == list(control.Subscribe._fields)
    assert {mode.name: mode.value for mode in policies.Mode} == {"BLOCK": 0, "DROP_OLDEST": 1, "DROP_NEWEST": 2}


def test_table_of_packages_has_their_fields() -> None:
    fields = [row[0].strip("`") for row in table_rows(WIRE, after="Packages")]
    assert fields == list(packages.PackageHeader._fields)


def test_table_of_the_handshake_is_complete() -> None:
    rows = {row[0].strip("`"): row for row in table_rows(WIRE, after="The handshake")}
    assert rows.keys() == handshake._FIELD_CHECKS.keys()
    good: dict[str, object] = {"16 bytes": bytes(16), "text": "x", "number": 1, "seconds": 0.5, "boolean": True}
    vectors = json.loads((REFERENCE / "wire_vectors" / "frames.json").read_text(encoding="utf-8"))
    least_hello = next(vector for vector in vectors if vector["name"] == "hello_least")
    least = {"client": least_hello["frames"][1]["fields"].keys()}
    for name, (_, kind, must, *_) in rows.items():
        for other, value in good.items():
            fits = other == kind or (kind == "seconds" and other == "number")
            assert handshake._FIELD_CHECKS[name](value) == fits, (name, other)
        assert (must == "both") == (name in least["client"]), name


def test_table_of_tags_is_complete() -> None:
    assert {int(row[0]) for row in table_rows(WIRE, after="What CBOR is allowed")} == MESSAGE_TAGS


LIMITS = trioton.Limits()
BOUNDS: dict[str, object] = {
    "bytes of the header of HELLO, WELCOME, REFUSE": LIMITS.max_handshake,
    "bytes of the header of another frame": LIMITS.max_header,
    "levels of a header": codec.MAX_HEADER_DEPTH,
    "bytes of the body of a frame": limits.LARGE_FRAGMENT,
    "bytes of a message, encoded": LIMITS.max_package,
    "bytes of the messages of a run of several": limits.MAX_RUN_BYTES,
    "messages of a run": limits.MAX_RUN_MESSAGES,
    "bytes of each part of a large package but the last": limits.MIN_FRAGMENT,
    "large packages under way on a link": limits.MAX_OPEN_FRAGMENTED,
    "bytes of large packages under way on a link": LIMITS.reassembly_bytes,
    "bytes that a flow is ahead of a blocking subscriber": LIMITS.window_bytes,
    "bytes of a slot that is subscribed to": LIMITS.slot_length,
    "slots that a peer subscribes to": LIMITS.subscriptions,
    "characters of a name": handshake.MAX_NAME,
    "links in a NODE": records.MAX_LINKS,
    "partings in a NODE": records.MAX_PARTINGS,
    "links in a CHANGE": records.MAX_LINKS,
    "bounds in a NODE or a CHANGE": records.MAX_LINKS,
    "neighbours that are gone in a CHANGE": records.MAX_LINKS,
    "partings in a CHANGE": records.MAX_PARTINGS,
    "slots in a SNAPSHOT": records.MAX_SLOTS,
    "contexts in a DIGEST": records.MAX_KNOWN,
    "records in a RECORDS": limits.MAX_RUN_MESSAGES,
    "rows in a RETAINED": limits.MAX_RUN_MESSAGES,
    "bytes of a row of a RETAINED besides its data": retained.MAX_ROW_HEAD,
    "links from a source to a receiver": trees.MAX_HOPS,
    "values in a message": scan.MAX_ITEMS,
    "levels of a message": scan.MAX_DEPTH,
    "awkward keys in a message": scan.MAX_AWKWARD_KEYS,
    "bytes of a large integer": scan.MAX_BIGNUM,
    "bytes of the digits of a decimal": scan.MAX_MANTISSA,
    "exponent of a decimal, in either direction": scan.MAX_EXPONENT,
    "bytes of the text of a datetime": scan.MAX_DATETIME,
    "seconds of a handshake": LIMITS.handshake_deadline,
    "bytes that wait for others, of one link": LIMITS.link_memory,
    "seconds without a part of a large package under way": LIMITS.reassembly_deadline,
    "seconds until the HELLO has come": LIMITS.hello_deadline,
    "handshakes at once": LIMITS.pending_handshakes,
    "seconds for which a session waits for its client": LIMITS.resume_window,
}


def test_table_of_limits_is_right() -> None:
    rows = table_rows(WIRE, after="Limits")
    assert {row[0]: int(row[1]) for row in rows} == BOUNDS
    names = {name for row in rows for name in re.findall(r"``(\w+)``", row[2])}
    assert names <= {field.name for field in attrs.fields(trioton.Limits)}


def test_numbers_in_the_text_are_right() -> None:
    beat = trioton.Heartbeat()
    assert (beat.interval, beat.timeout, beat.lease, heartbeat.ANSWERING) == (2.5, 5, 10, 1.25)
    assert control.MAX_REASON == 512
    assert packages.MAX_SEQUENCE == 1 << 62
    assert base.MAX_BASE == 400
    assert (limits.SMALL_FRAGMENT, limits.LARGE_FRAGMENT) == (64 * 1024, 1028 * 1024)
    calm = (LIMITS.interest_changes, LIMITS.record_changes, LIMITS.strikes, LIMITS.pings, LIMITS.reassembly_deadline)
    assert calm == (1000, 10, 10, 4, 10)
    assert (conduct.INTEREST_BURST, conduct.PERIOD, conduct.PING_SECONDS, heartbeat.OFTEN) == (5, 60, 5, 0.5)
    assert (session.SLOWEST, memory.RUN_OVERHEAD, memory.INTEREST_BYTES) == (1024, 300, 1000)
    assert LIMITS.max_header <= codec.MAX_HEADER
    assert (frames.FLAG_END, frames.FLAG_SKIPPED, 1 << routed.HOP_SHIFT, routed.MOST_HOPS) == (1, 2, 16, 15)


def test_numbers_in_the_text_about_others_are_right() -> None:
    assert (trees.SUSPENDED_COST, trees.MAX_HOPS, records.MAX_SLOT, limits.MAX_RUN_BYTES) == (1000, 16, 512, 65536)
    assert (flooding.GATHER, membership.SUSPENDED_AFTER, membership.FORGOTTEN_AFTER) == (0.02, 1, 60)
    assert (far_end.DOUBT, far_end.FIRST_CHECK, far_end.LONGEST_CHECK, associations.ROUND_BITS) == (0.25, 1, 30, 32)
    kept = {
        "links that a message may take": trees.MAX_HOPS,
        "neighbours of a context": records.MAX_LINKS,
        "slots of a context": records.MAX_SLOTS,
        "contexts in a digest": records.MAX_KNOWN,
        "contexts that cannot be reached": topology.MOST_UNREACHABLE,
        "flows of others": relays.MOST_RELAYED,
        "ways": topology.MOST_ROUTES,
        "places in the trees of others": topology.MOST_PLACES,
        "contexts that have parted": records.MAX_PARTINGS,
        "values of states that have given way": retained.MOST_GIVEN_WAY,
    }
    page = (REFERENCE / "limits.rst").read_text(encoding="utf-8")
    rows = {row[0]: row[1].replace(" ", "") for row in table_rows(page, after="Fixed by the protocol:")}
    assert {name: rows[name] for name in kept} == {name: str(bound) for name, bound in kept.items()}


def test_example_of_a_slot_is_right() -> None:
    assert base.slot_name("  Chat.Room 1 ", messages.TEXT, "pub-sub") in WIRE


def test_every_public_name_is_documented() -> None:
    documented = set(re.findall(r"^\.\. (?:auto\w+|data|module):: (?:trioton\.)?(\w+)", API, re.MULTILINE))
    modules = {"annotations", "channels", "cli", "errors", "network", "protocol", "testing", "transports"}
    aliases = {"Event", "Policy"}  # unions of classes that are documented each
    public = {name for name in vars(trioton) if name.isidentifier() and not name.startswith("_")} - modules - aliases
    assert public - documented == set()


def test_strangers_get_the_documented_line() -> None:
    block = WIRE.partition("   HTTP/1.1")[2].partition("\n\nIts lines")[0]
    lines = ["HTTP/1.1", *(line.strip() for line in block.splitlines())]
    assert "\r\n".join([lines[0] + " " + lines[1], *lines[2:], ""]).encode() == STRANGER_REPLY
