"""Sealed links without any I/O: the key derivation, the handshake of the two ends, and what records do not let pass."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioton.errors import ProtocolError
from trioton.protocol import sealing
from trioton.protocol.frames import PREFACE, SEALED_PREFACE
from trioton.protocol.sealing import (
    MAX_RECORD,
    REFUSAL,
    DiallingHandshake,
    ListeningHandshake,
    NoSecretError,
    Opener,
    Sealer,
    WrongSecretError,
    expand,
    extract,
    key_id,
)

SECRET = b"a secret of the tests, 32 bytes."
OTHER = b"another secret of those who mean."


def by_name(*secrets: bytes) -> dict[bytes, bytes]:
    return {key_id(secret): secret for secret in secrets}


@attrs.frozen
class Ends:
    """Both ends after the handshake."""

    dialler: DiallingHandshake
    listener: ListeningHandshake


def shake(dialled: tuple[bytes, ...] = (SECRET,), taken: tuple[bytes, ...] = (SECRET,), cut: int = 1 << 20) -> Ends:
    """A handshake whose bytes arrive in pieces of at most `cut` bytes."""
    dialler = DiallingHandshake(dialled, b"d" * 32)
    listener = ListeningHandshake(by_name(*taken), b"l" * 32)
    answer = b"".join(listener.receive_data(piece) for piece in pieces(dialler.greeting, cut))
    proofs = [proof for piece in pieces(answer, cut) if (proof := dialler.receive_data(piece)) is not None]
    assert len(proofs) == 1
    assert not listener.is_over
    assert not b"".join(listener.receive_data(piece) for piece in pieces(proofs[0], cut))
    assert listener.is_over
    return Ends(dialler, listener)


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


# RFC 5869, appendix A
@pytest.mark.parametrize(
    ("material", "salt", "info", "size", "key", "output"),
    [
        (
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            42,
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            bytes(range(0x50)).hex(),
            bytes(range(0x60, 0xB0)).hex(),
            bytes(range(0xB0, 0x100)).hex(),
            82,
            "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            "0b" * 22,
            "",
            "",
            42,
            "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
)
def test_keys_are_derived_as_the_rfc_has_it(
    material: str, salt: str, info: str, size: int, key: str, output: str
) -> None:
    derived = extract(bytes.fromhex(salt), bytes.fromhex(material))
    assert derived.hex() == key
    assert expand(derived, bytes.fromhex(info), size).hex() == output


@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
def test_both_ends_come_to_the_same_keys_however_the_bytes_are_cut(cut: int) -> None:
    ends = shake(cut=cut)
    for sealer, opener in (
        (ends.dialler.sealer, ends.listener.opener),
        (ends.listener.sealer, ends.dialler.opener),
    ):
        sealed = sealer.seal([b"hello", b" ", b"you"]) + sealer.seal([b"!"])
        assert b"".join(opener.receive_data(piece) for piece in pieces(sealed, cut)) == b"hello you!"
        assert not opener.is_mid_record


def test_the_two_directions_have_different_keys() -> None:
    ends = shake()
    with pytest.raises(ProtocolError, match="right mark"):
        ends.dialler.opener.receive_data(ends.dialler.sealer.seal([b"hello"]))


def test_what_comes_behind_the_handshake_is_not_lost() -> None:
    dialler = DiallingHandshake([SECRET], b"d" * 32)
    listener = ListeningHandshake(by_name(SECRET), b"l" * 32)
    proof = dialler.receive_data(listener.receive_data(dialler.greeting))
    assert proof is not None
    record = dialler.sealer.seal([b"at once"])
    listener.receive_data(proof + record)
    assert listener.rest == record


@pytest.mark.parametrize(
    ("dialled", "taken", "same"),
    [
        ((SECRET,), (SECRET, OTHER), True),
        ((OTHER,), (SECRET, OTHER), True),
        ((OTHER, SECRET), (SECRET,), True),
        ((SECRET, OTHER), (OTHER, SECRET), True),
        ((OTHER,), (SECRET,), False),
    ],
)
def test_secrets_in_use_side_by_side(dialled: tuple[bytes, ...], taken: tuple[bytes, ...], same: bool) -> None:
    if same:
        shake(dialled, taken)
    else:
        with pytest.raises(WrongSecretError, match="the client does not know our secret"):
            shake(dialled, taken)


def test_a_refusal_is_understood() -> None:
    with pytest.raises(WrongSecretError, match="does not know our secret"):
        DiallingHandshake([SECRET], bytes(32)).receive_data(REFUSAL)


def test_plain_trioton_is_told_from_noise() -> None:
    with pytest.raises(NoSecretError, match="takes in only who knows its secret"):
        ListeningHandshake(by_name(SECRET), bytes(32)).receive_data(PREFACE + b"\1\0\0")
    with pytest.raises(NoSecretError, match="knows no secret"):
        DiallingHandshake([SECRET], bytes(32)).receive_data(PREFACE)
    for half in (b"", b"t", b"tri", b"trio", b"tris", PREFACE[:6], SEALED_PREFACE):
        assert ListeningHandshake(by_name(SECRET), bytes(32)).receive_data(half) == b""
        assert DiallingHandshake([SECRET], bytes(32)).receive_data(half) is None
    for noise in (b"\0", b"GET / HTTP/1.0", b"triseal\2", b"trisect"):
        with pytest.raises(ProtocolError, match="no Trioton"):
            ListeningHandshake(by_name(SECRET), bytes(32)).receive_data(noise)
        with pytest.raises(ProtocolError, match="no Trioton"):
            DiallingHandshake([SECRET], bytes(32)).receive_data(noise)


@pytest.mark.parametrize("count", [0, 9, 255])
def test_offers_are_few(count: int) -> None:
    with pytest.raises(ProtocolError, match=f"offers {count} secrets"):
        ListeningHandshake(by_name(SECRET), bytes(32)).receive_data(SEALED_PREFACE + bytes([count]))


def test_an_answer_that_chooses_what_was_not_offered() -> None:
    with pytest.raises(ProtocolError, match="chosen the secret 1 of 1"):
        DiallingHandshake([SECRET], bytes(32)).receive_data(SEALED_PREFACE + b"\1")


def test_a_greeting_that_does_not_wait() -> None:
    dialler = DiallingHandshake([SECRET], bytes(32))
    with pytest.raises(ProtocolError, match="does not wait"):
        ListeningHandshake(by_name(SECRET), bytes(32)).receive_data(dialler.greeting + bytes(32))


def test_nonces_have_their_size() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        DiallingHandshake([SECRET], bytes(31))
    with pytest.raises(ValueError, match="32 bytes, not 33"):
        ListeningHandshake({}, bytes(33))


def test_a_challenge_that_is_reflected_proves_nothing() -> None:
    """Who knows no secret sends back what it was sent, as either end."""
    listener = ListeningHandshake(by_name(SECRET), b"l" * 32)
    answer = listener.receive_data(SEALED_PREFACE + b"\1" + b"l" * 32 + key_id(SECRET))
    with pytest.raises(WrongSecretError, match="has not proved"):
        listener.receive_data(answer[-32:])
    dialler = DiallingHandshake([SECRET], b"d" * 32)
    with pytest.raises((WrongSecretError, ProtocolError)):
        dialler.receive_data(dialler.greeting + bytes(64))


def test_the_proof_of_another_end_asked_for_it_proves_nothing() -> None:
    """It takes its own proof from a third, whom it calls with the same numbers."""
    target = ListeningHandshake(by_name(SECRET), b"l" * 32)
    helper = ListeningHandshake(by_name(SECRET), b"l" * 32)
    greeting = DiallingHandshake([SECRET], b"d" * 32).greeting
    answer = helper.receive_data(greeting)
    target.receive_data(greeting)
    with pytest.raises(WrongSecretError, match="has not proved"):
        target.receive_data(answer[-32:])


@pytest.mark.parametrize("end", ["dialler", "listener"])
def test_any_bit_of_the_handshake_that_is_changed_ends_it(end: str) -> None:
    """Also in what is not proved by itself: the names of the secrets, the numbers, the choice."""
    dialler = DiallingHandshake([SECRET, OTHER], b"d" * 32)
    whole = (
        dialler.greeting
        if end == "dialler"
        else ListeningHandshake(by_name(SECRET), b"l" * 32).receive_data(dialler.greeting)
    )
    for position in range(len(whole) * 8):
        changed = bytearray(whole)
        changed[position // 8] ^= 1 << position % 8
        listener = ListeningHandshake(by_name(SECRET, OTHER), b"l" * 32)
        dialler = DiallingHandshake([SECRET, OTHER], b"d" * 32)
        try:
            if end == "dialler":
                proof = dialler.receive_data(listener.receive_data(bytes(changed)))
            else:
                listener.receive_data(dialler.greeting)
                proof = dialler.receive_data(bytes(changed))
        except ProtocolError:
            continue
        assert proof is None, position  # it waits for more, which never comes


# ---------------------------------------------------------------- records

KEY = b"k" * 32


def sealed(*bodies: bytes) -> list[bytes]:
    sealer = Sealer(KEY)
    return [sealer.seal([body]) for body in bodies]


Damage = Callable[[list[bytes]], list[bytes]]


@pytest.mark.parametrize(
    "damage",
    [
        lambda records: [records[1], records[0], records[2]],
        lambda records: [records[0], records[0], records[1]],
        lambda records: [records[0], records[2]],
        lambda records: records[1:],
        lambda records: [records[0][:-1] + bytes([records[0][-1] ^ 1]), *records[1:]],
        lambda records: [bytes([*records[0][:4], records[0][4] ^ 1, *records[0][5:]]), *records[1:]],
        lambda records: [bytes([*records[0][:3], records[0][3] - 1, *records[0][4:]]), *records[1:]],
        lambda records: [records[0] + records[0][:20], records[1]],
        lambda records: [b"\0\0\0\0" + bytes(16), *records],
    ],
    ids=["order", "repeated", "left out", "first left out", "mark", "byte", "length", "inserted", "made up end"],
)
def test_t13_records_pass_only_unchanged_and_in_their_place(damage: Damage) -> None:
    opener = Opener(KEY)
    with pytest.raises(ProtocolError):
        opener.receive_data(b"".join(damage(sealed(b"first", b"second", b"third"))))


def test_records_pass_up_to_the_one_that_does_not() -> None:
    first, second = sealed(b"first", b"second")
    opener = Opener(KEY)
    assert opener.receive_data(first) == b"first"
    with pytest.raises(ProtocolError, match="right mark"):
        opener.receive_data(bytes(len(second)))


def test_a_record_in_part_gives_nothing() -> None:
    (record,) = sealed(b"first")
    opener = Opener(KEY)
    assert opener.receive_data(record[:-1]) == b""
    assert opener.is_mid_record
    assert opener.receive_data(record[-1:]) == b"first"


def test_lengths_are_looked_at_before_anything_is_kept() -> None:
    for size in (MAX_RECORD + 1, 0x7FFFFFFF, 0xFFFFFFFF):
        with pytest.raises(ProtocolError, match=f"{size} bytes is over the limit"):
            Opener(KEY).receive_data(size.to_bytes(4, "big"))
    record = Sealer(KEY).seal([bytes(MAX_RECORD)])
    assert len(Opener(KEY).receive_data(record)) == MAX_RECORD


def test_the_end_is_marked_too_and_nothing_follows_it() -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    last = sealer.seal([b"last"])
    end = sealer.seal([])
    assert opener.receive_data(last) == b"last"
    assert not opener.has_ended
    assert opener.receive_data(end) == b""
    assert opener.has_ended
    for more in (b"x", end):
        with pytest.raises(ProtocolError, match="follows the end"):
            opener.receive_data(more)
    with pytest.raises(ProtocolError, match="follows the end"):
        Opener(KEY).receive_data(sealed(b"")[0] + b"x")
    with pytest.raises(AssertionError):
        sealer.seal([b"more"])


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.integers(1, 50))
def test_what_is_sealed_comes_out_again(bodies: list[bytes], cut: int) -> None:
    opener = Opener(KEY)
    stream = b"".join(sealed(*bodies))
    assert b"".join(opener.receive_data(piece) for piece in pieces(stream, cut)) == b"".join(bodies)
    assert not opener.is_mid_record


@given(
    st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=4),
    st.integers(0, 10_000),
    st.binary(max_size=8),
    st.integers(0, 8),
)
def test_damage_never_gives_other_bytes(bodies: list[bytes], position: int, put: bytes, removed: int) -> None:
    """Whatever is cut out and put in: what comes out is a start of what was sent."""
    stream = b"".join(sealed(*bodies))
    position %= len(stream)
    damaged = stream[:position] + put + stream[position + removed :]
    opener, got = Opener(KEY), b""
    try:
        for piece in pieces(damaged, 1):
            got += opener.receive_data(piece)
    except ProtocolError:
        pass
    assert b"".join(bodies).startswith(got)
    if damaged != stream and len(damaged) >= len(stream):
        assert len(got) < len(b"".join(bodies)) or damaged.startswith(stream)


@given(st.lists(st.binary(max_size=120), max_size=6), st.booleans())
def test_noise_in_the_handshake_is_a_protocol_error_or_a_wait(chunks: list[bytes], greets: bool) -> None:
    end: DiallingHandshake | ListeningHandshake = (
        DiallingHandshake([SECRET], bytes(32)) if greets else ListeningHandshake(by_name(SECRET), bytes(32))
    )
    try:
        for number, chunk in enumerate(chunks):
            assert end.receive_data((SEALED_PREFACE if not number else b"") + chunk) in {None, b""} or not greets
    except ProtocolError:
        pass
    assert greets or not end.is_over  # type: ignore[union-attr]


def test_a_name_tells_nothing_that_can_be_used() -> None:
    assert len(key_id(SECRET)) == sealing.KEY_ID_BYTES
    assert key_id(SECRET) != key_id(OTHER)
    assert key_id(SECRET) not in DiallingHandshake([OTHER], bytes(32)).greeting
