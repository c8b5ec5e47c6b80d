"""README.md of the sample: what it is, how it was made, and the right answers."""

from __future__ import annotations

from datetime import date, timedelta

from flowpeer_sample import answers as a
from flowpeer_sample import world as w
from flowpeer_sample.balance import balance
from flowpeer_sample.facts import day_bps, facts, month_bill, name_of
from flowpeer_sample.networks import internet
from flowpeer_sample.ranking import rank

_RATE = {
    "options": "options data", "options-late": "options data, from 00:07 on",
    "header": "packet header", "config": "flowpeer.toml", "record": "every record",
    "nowhere": "nowhere",
}  # fmt: skip
_METERING = {
    "ingress": "ingress on all interfaces",
    "both": "ingress on all, egress on external ones: double (field 61)",
    "split": "external interfaces: ingress in, egress out",
}


def _intro() -> str:
    net = internet()
    return f"""\
# The sample network

**Everything here is synthetic, and every name is invented.** {w.NAME} (AS{w.ASN}) sends content
to {len(net.networks)} networks from nine metros, one router each, over three transit providers,
{sum(m.exchange is not None for m in w.METROS)} exchanges, private peerings and one customer. The
data are one UTC day, {w.DAY_TEXT}, 288 slots of five minutes, sampled 1:{w.SAMPLING}. AS numbers
are from a public range of which no registry had handed out a number at the time of writing.

A generator in integers makes every file, the same to the byte each time; the answers below come
from its own ground truth, not from the program that they test.

| file | what |
|---|---|
| `flowpeer.toml` | the configuration, with comments |
| `captures/*.pcap[.gz]` | export packets as they reached the collector |
| `next-day/*.pcap[.gz]` | the first hours of {w.NEXT_TEXT}, left for you to ingest |
| `ribs/*.mrt.gz` | a RIB of 22:00 the day before, by view: each provider, a session in London |
| `peeringdb.json` | PeeringDB objects: networks, exchanges, facilities, ports |
| `as-rel2.txt.bz2` | AS relationships, with the clique |
| `asns.csv` | AS names |
| `asks.csv` | the log of asks: one is live, one was declined |

`flowpeer demo DIR` writes these files and runs the whole pipeline on them.
"""


def _exporters() -> str:
    head = ("exporter", "format", "sampling rate in", "metering", "records", "bytes as exported",
            "scaled bytes")  # fmt: skip
    lines = ["## Exporters\n", f"| {' | '.join(head)} |", "|---|---|---|---|--:|--:|--:|"]
    for e, sent in zip(w.EXPORTERS, a.exported(), strict=True):
        scaled = "unknown" if sent.scaled_bytes is None else str(sent.scaled_bytes)
        lines.append(
            f"| {e.id} | {e.format} | {_RATE[e.rate]} | {_METERING[e.metering]} | {sent.records} "
            f"| {sent.bytes} | {scaled} |"
        )
    total = sum(e.records for e in a.exported())
    scaled_total = sum(e.scaled_bytes or 0 for e in a.exported())
    lines.append(f"| all | | | | {total} | | {scaled_total} |")
    return "\n".join(lines) + "\n"


def _planted() -> str:
    lines = ["## What was planted, and the right answers\n"]
    lines.append("Bytes are of the whole day, outbound, after scaling; bps are bit/s.\n")
    for k, fact in enumerate(facts(), 1):
        about = []
        if fact.asn is not None:
            about.append(f"AS{fact.asn} {name_of(fact.asn)}")
        if fact.metro is not None:
            about.append(w.METRO[fact.metro].name)
        who = f" ({', '.join(about)})" if about else ""
        lines.append(f"{k}. **{fact.key}**{who}. {fact.claim}")
        shown = "; ".join(
            f"{name} {value:.3f}" if isinstance(value, float) and value < 100
            else f"{name} {value:.0f}" for name, value in fact.figures.items()
        )  # fmt: skip
        lines.append(f"   - right: {fact.must}")
        lines.append(f"   - figures: {shown}")
    lines.append(
        "\nBesides: traffic to space that nobody announces (one view has a default route, which "
        "does not\ncount), to an AS_SET origin and to a private origin; spoofed packets with our "
        "own source;\ntraffic that stays inside, traffic that is dropped (output interface 0), and "
        "a customer's traffic\nfrom border to border in New York.\n"
    )
    return "\n".join(lines)


def _contracts() -> str:
    """Commits against what is billed, ends and the last day to give notice."""
    note = (
        "Prices in USD per Mbps and month; notice is given `notice_days` before the end. Billed is "
        "the 95th\npercentile of the day with 18 octets of framing a packet (exact), which the "
        "month is taken to be\nlike. Where it is below the commit, an ask saves nothing before the "
        "contract ends.\n"
    )
    head = ("contract", "commit", "billed bps", "a month", "price", "overage", "at renewal", "ends",
            "notice by")  # fmt: skip
    lines = [
        "## Contracts\n", note, f"| {' | '.join(head)} |",
        "|---|--:|--:|--:|--:|--:|--:|---|---|",
    ]  # fmt: skip
    for c in w.CONTRACTS:
        notice = date.fromisoformat(c.ends) - timedelta(days=c.notice_days)
        lines.append(
            f"| {c.id} | {c.commit} | {a.billed_bps(c.id):.0f} | {month_bill(c):.2f} "
            f"| {c.price:.2f} | {c.overage:.2f} | {c.renewal:.2f} | {c.ends} | {notice} |"
        )
    return "\n".join(lines) + "\n"


def _roles() -> str:
    note = (
        "External to external counts at both interfaces: Σ of this table = Σ scaled exported bytes "
        f"+ through\n({sum(a.through_bytes().values())} bytes). `set_aside` is the second metering "
        "of the same crossing.\n"
    )
    lines = [
        "## Scaled bytes by metro, role, provider and direction\n",
        note,
        "| metro | role | provider | direction | bytes |", "|---|---|---|---|--:|",
    ]  # fmt: skip
    for (metro, role, provider, way), total in sorted(
        a.role_bytes().items(), key=lambda item: [str(part) for part in item[0]]
    ):
        text = "" if provider is None else f"AS{provider}"
        lines.append(f"| {metro} | {role} | {text} | {way} | {total} |")
    return "\n".join(lines) + "\n"


def _imbalance() -> str:
    note = (
        "Targets are shares of the commits, each split over its contract's ports by capacity; `d` "
        "is the\nbyte-weighted mean over slots.\n"
    )
    lines = [
        "## Imbalance, outbound\n",
        note,
        "| metro | d | provider | share | target | average bps | p95 bps | p95 / capacity |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    for m in w.METROS:
        if m.id == a.UNSCALED_METRO:
            continue
        balanced = balance(m.id, "out")
        for link in balanced.links:
            lines.append(
                f"| {m.id} | {balanced.d:.4f} | AS{link.provider_asn} | {link.share:.4f} "
                f"| {link.target_share:.4f} | {link.avg_bps:.0f} | {link.p95_bps:.0f} "
                f"| {link.p95_bps / link.capacity_bps:.3f} |"
            )
    return "\n".join(lines) + "\n"


def _first_asks() -> str:
    note = (
        "If everybody says yes; inferred evidence weighs 0.3. Acceptance and meeting places "
        "reorder them.\n"
    )
    lines = [
        "## First asks of each metro\n",
        note,
        "| metro | 1 | 2 | 3 |",
        "|---|---|---|---|",
    ]
    for m in w.METROS:
        if m.id == a.UNSCALED_METRO:
            continue
        asks = rank(m.id, 3, lambda asn: 1.0)
        cells = [
            f"AS{ask.asn} {name_of(ask.asn)}, {day_bps(ask.marginal) / 1e6:.0f} Mbps"
            for ask in asks
        ]
        lines.append(f"| {m.id} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def readme() -> str:
    """The page beside the whole day."""
    return "\n".join(
        [_intro(), _exporters(), _planted(), _contracts(), _first_asks(), _imbalance(), _roles()]
    )


def example_readme(minutes: int) -> str:
    """The page beside the small selection that is kept with the source."""
    return f"""\
# Ready files to look at

**Synthetic: every name is invented.** The reference files of the sample network as they are, and
the first {minutes} minutes of three of its nine exporters, one per format (NetFlow v5 edge1.dfw,
v9 edge1.ams, IPFIX edge1.fra). `../README.md` says what is in them. The whole day is made on the
spot by `flowpeer demo` or `python -m flowpeer_sample DIR`.
"""
