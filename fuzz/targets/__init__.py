"""All targets, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from ..cost import PER_BLOCK
from . import frames, machines, sealed, texts, values, whole, words

TargetFunction = Callable[[bytes], None]


@attrs.frozen
class Target:
    """One target.

    Attributes:
        run: The function.
        seconds: How long each 64 KiB may take; None where the bytes are no measure, since few of them decide about much.
        is_frugal: Whether it takes no more memory than four times the bytes, and two MiB.
        largest: Bytes that a fuzzer tries at most.
        share: Its share of the time, beside the others.
    """

    run: TargetFunction
    seconds: float | None = None
    is_frugal: bool = False
    largest: int = 4096
    share: float = 1.0

    @property
    def about(self) -> str:
        """What it does, in one line."""
        return (self.run.__doc__ or "").partition("\n")[0]


TARGETS: Final[Mapping[str, Target]] = MappingProxyType(
    {
        "frames": Target(frames.frames, PER_BLOCK, is_frugal=True, share=2),
        "session": Target(frames.session, PER_BLOCK, share=2),
        "speech": Target(frames.speech),
        "handshake": Target(frames.handshake, PER_BLOCK),
        "headers": Target(frames.headers, PER_BLOCK),
        "control": Target(frames.control, PER_BLOCK),
        "scan": Target(values.scan_alone, PER_BLOCK, is_frugal=True),
        "strict": Target(values.strict, share=2),
        "run": Target(values.run, share=2),
        "words": Target(words.words),
        "reports": Target(words.reports),
        "batch": Target(words.batch, PER_BLOCK),
        "records": Target(words.records, PER_BLOCK, share=2),
        "rows": Target(words.rows, PER_BLOCK),
        "topology": Target(machines.topology, share=2),
        "stub": Target(machines.stub),
        "sending": Target(machines.sending, share=2),
        "receiving": Target(machines.receiving, share=2),
        "retained": Target(machines.retained),
        "sealed": Target(sealed.sealed),
        "texts": Target(texts.text_requests, PER_BLOCK, is_frugal=True),
        "address": Target(texts.address),
        "settings": Target(texts.settings),
        "context": Target(whole.context, share=4, largest=1024),
        "stranger": Target(whole.stranger, share=1, largest=1024),
    }
)
