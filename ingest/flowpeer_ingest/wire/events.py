"""What a datagram says, as values. Times received are integer microseconds since the epoch."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import TypeAlias

from flowpeer_core.sampling_rates import Rate, rounded
from flowpeer_ingest.wire.layout import Template


@dataclass(frozen=True, slots=True)
class Message:
    """The header of an export packet and how it came; always the first event of a datagram.

    `domain`: source id (v9), observation domain (IPFIX), engine type × 256 + engine id (v5),
    sub-agent (sFlow). `export_ms`: the exporter's own clock, ms since the epoch, −1 if the
    header has none (sFlow). `uptime_ms`: sysUptime at that moment, −1 unknown; for IPFIX derived
    from systemInitTimeMilliseconds in options data. `sequence`: the header's. `sampling`: the v5
    header's interval, else 0. `sample`: the number of an sFlow flow sample itself, else −1.
    """

    version: int
    exporter: str
    port: int
    domain: int
    sequence: int
    received_us: int
    export_ms: int
    uptime_ms: int = -1
    sampling: int = 0
    agent: str = ""
    sample: int = -1

    @property
    def session(self) -> int:
        """The transport session as columns call it: the source port, of sFlow with the agent."""
        return session_number(_agent_octets(self.agent), self.port) if self.agent else self.port

    @property
    def format(self) -> str:
        """The name of the wire format, as in column `format`."""
        return FORMATS[self.version]


def session_number(agent: bytes, port: int) -> int:
    """A source port, with an sFlow agent's 4 or 16 octets above it (those of IPv6 as CRC-32)."""
    number = int.from_bytes(agent, "big")
    return (number if number < 1 << 32 else zlib.crc32(agent)) << 16 | port


@lru_cache(maxsize=1_024)
def _agent_octets(text: str) -> bytes:
    return ip_address(text).packed


SFLOW5 = 105
"""`Message.version` of sFlow, whose own number 5 is NetFlow's too."""
FORMATS = {
    1: "netflow1",
    5: "netflow5",
    7: "netflow7",
    9: "netflow9",
    10: "ipfix",
    SFLOW5: "sflow5",
}


@dataclass(frozen=True, slots=True)
class TemplateLearned:
    """A template was announced for the first time, or its number got another layout.

    `back`: the layout that the number had before the last one, as where two senders differ.
    """

    message: Message
    template: Template
    replaced: bool
    back: bool = False


@dataclass(frozen=True, slots=True)
class TemplateWithdrawn:
    """RFC 7011 section 8.1: the exporter took template `template_id` back."""

    message: Message
    template_id: int


@dataclass(frozen=True, slots=True)
class Records:
    """`count` flow records: the template and the octets of its set, padding left out.

    `flat` is the same records at the fixed size `template.layout.flat_size`: identical to
    `octets` unless the template has fields of variable length (see `layout.flatten`).
    """

    message: Message
    template: Template
    octets: bytes
    flat: bytes
    count: int


@dataclass(frozen=True, slots=True)
class OptionsRecords:
    """`count` options data records; they are never flows."""

    message: Message
    template: Template
    octets: bytes
    count: int


@dataclass(frozen=True, slots=True)
class SessionInherited:
    """A session of v9 took over from the one on source port `port`, which had fallen silent."""

    message: Message
    port: int


@dataclass(frozen=True, slots=True)
class SamplingLearned:
    """Options data announced a rate for this sampler and interface (None: any).

    `replaced`: the rate that held before, if it was another one.
    """

    message: Message
    sampler_id: int | None
    interface: int | None
    rate: Rate
    replaced: Rate | None = None

    @property
    def interval(self) -> int:
        """The rate as the N of 1:N, rounded."""
        return rounded(self.rate)


@dataclass(frozen=True, slots=True)
class InterfaceLearned:
    """Options data announced how an interface is called; None: not stated, "": said to have none.

    Texts are at most `MAX_TEXT` characters, without any that a terminal would obey.
    """

    message: Message
    interface: int
    name: str | None
    description: str | None

    def __post_init__(self) -> None:
        if not 0 < self.interface < 1 << 32:
            raise ValueError(f"interface {self.interface}")


MAX_TEXT = 200
"""Routers export 32 to 80 octets; an ifAlias ends at 64 characters, an ifDescr at 255 octets."""


@dataclass(frozen=True, slots=True)
class MissingTemplate:
    """A data set came before its template; `held`: it is kept and decoded once that arrives."""

    message: Message
    template_id: int
    held: bool


@dataclass(frozen=True, slots=True)
class SequenceGap:
    """`lost` units are missing before this message; negative: that many came late after all.

    Units: flow records (v5, v7), datagrams (v9, sFlow), data records (IPFIX); flows for exporters
    of v9 that count those (see `state.advance9`).
    """

    message: Message
    lost: int


@dataclass(frozen=True, slots=True)
class Malformed:
    """Octets that break a rule; the rest of the datagram is decoded where that is safe."""

    reason: str
    offset: int
    clause: str
    octets: bytes = b""


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A format, sample or element that is recognised and not decoded."""

    name: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The datagram is no export packet that can be read; nothing of it was used."""

    reason: str


Event: TypeAlias = (
    Message
    | TemplateLearned
    | TemplateWithdrawn
    | SessionInherited
    | Records
    | OptionsRecords
    | SamplingLearned
    | InterfaceLearned
    | MissingTemplate
    | SequenceGap
    | Malformed
    | Unsupported
    | Rejected
)
