"""A decoder's memory as plain values, and back: templates, rates, sequence numbers, what waits.

`restore(snapshot(state))` behaves like `state` in every respect, the order in which things will
be forgotten included, so that decoding again from a saved state gives the same result.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from flowpeer_core.sampling_rates import AnnouncedRates
from flowpeer_ingest.wire.events import Message
from flowpeer_ingest.wire.layout import Field, Template
from flowpeer_ingest.wire.state import KEPT_CHANGES, DecoderState, ExporterState, ExportSession

FORMAT = 2
_MESSAGE = (
    "version", "exporter", "port", "domain", "sequence", "received_us", "export_ms", "uptime_ms",
    "sampling", "agent",
)  # fmt: skip


def _flat(message: Message) -> list[Any]:
    return [getattr(message, name) for name in _MESSAGE]


def snapshot(state: DecoderState) -> dict[str, Any]:
    """All of `state` in lists, dicts, text, integers and octets.

    Layouts are named by their place in `layouts`, templates by theirs in `templates`: many
    sessions share them.
    """
    layouts: dict[int, int] = {}
    fields: list[list[int]] = []
    templates: dict[int, int] = {}
    listed: list[list[int]] = []
    alive: list[object] = []  # an identity means something only while its object lives

    def place(template: Template) -> int:
        at = templates.get(id(template))
        if at is None:
            alive.append(template)
            layout = layouts.get(id(template.layout))
            if layout is None:
                layout = layouts[id(template.layout)] = len(fields)
                fields.append(
                    [n for f in template.layout.fields for n in (f.number, f.length, f.enterprise)]
                )
            at = templates[id(template)] = len(listed)
            listed.append([template.number, layout, template.scopes, int(template.options)])
        return at

    def places(table: dict[int, Template]) -> list[int]:
        return [place(t) for t in table.values()]

    def rates(known: AnnouncedRates | None) -> list[list[Any]]:
        return [] if known is None else [[s, i, at, *rate] for s, i, at, rate in known.rows()]

    exporters = []
    for exporter in state.exporters.values():
        exporters.append(
            {
                "address": exporter.address,
                "sessions": [
                    [s.port, s.version, s.number, s.first_us, s.last_us, int(s.inherited),
                     s.boot_ms, s.expected, s.missing, s.counts, s.previous, s.suspect, s.restarts,
                     places(s.templates),
                     [[n, place(Template(0, layout))] for n, layout in s.replaced.items()],
                     rates(s.rates),
                     [[number, [[_flat(message), octets] for message, octets in held]]
                      for number, held in s.pending.items()]]
                    for s in exporter.sessions.values()
                ],
                "dropped": [[*key, count] for key, count in exporter.dropped.items()],
                "work": [exporter.work_from_us, exporter.work],
            }
        )  # fmt: skip
    return {
        "format": FORMAT,
        "layouts": fields,
        "templates": listed,
        "exporters": exporters,
        "order": [list(key) for key in state.in_order()],
        "dropped": state.dropped,
    }


def restore(saved: dict[str, Any], configured: frozenset[str] = frozenset()) -> DecoderState:
    """A `DecoderState` that goes on where the saved one stood.

    Raises LookupError, TypeError or ValueError for what `snapshot` would not have written.
    """
    state = DecoderState(configured)
    if saved.get("format") != FORMAT:
        return _format_1(saved, state)

    def table(address: str, places: list[int]) -> dict[int, Template]:
        return {t.number: t for t in (template(address, p) for p in places)}

    def template(address: str, place: int) -> Template:
        number, layout, scopes, options = saved["templates"][place]
        flat = saved["layouts"][layout]
        fields = tuple(Field(*flat[i : i + 3]) for i in range(0, len(flat), 3))
        return Template(number, state.pool(address).layout(fields), scopes, bool(options))

    for entry in saved["exporters"]:
        exporter = ExporterState(str(entry["address"]))
        exporter.work_from_us, exporter.work = map(int, entry["work"])
        address = exporter.address
        for numbers in entry["sessions"]:
            *plain, places, replaced, rates, pending = numbers
            port, version, number, first_us, last_us, inherited, *counters = map(int, plain)
            session = ExportSession(
                exporter, port, version, number, first_us, last_us, table(address, places),
                {n: template(address, p).layout for n, p in replaced},
            )  # fmt: skip
            session.inherited = bool(inherited)
            (session.boot_ms, session.expected, session.missing, session.counts,
             session.previous, session.suspect, session.restarts) = counters  # fmt: skip
            if rates:
                session.rates = AnnouncedRates(kept=KEPT_CHANGES)
                for sampler, interface, at_us, *rate in rates:
                    session.rates.announce(sampler, interface, (int(rate[0]), int(rate[1])), at_us)
            session.pending = {int(n): _sets(held) for n, held in pending}
            exporter.sessions[session.key] = session
        _dropped(exporter, entry)
        state.take_back(exporter)
    state.order(tuple(key) for key in saved["order"])
    state.dropped = int(saved["dropped"])
    return state


def _format_1(saved: dict[str, Any], state: DecoderState) -> DecoderState:
    """What versions before this one wrote: templates of domains are not taken over, which belonged
    to no session."""
    for entry in saved["exporters"]:
        exporter = ExporterState(str(entry["address"]))
        pool = state.pool(exporter.address)
        boots = [int(domain[2]) for domain in entry["domains"]]
        for port, version, number, at, expected, missing, places, *v9 in entry["sessions"]:
            session = ExportSession(exporter, int(port), int(version), int(number))
            for place in places:
                template, layout, scopes, options = saved["templates"][place]
                flat = saved["layouts"][layout]
                fields = tuple(Field(*flat[i : i + 3]) for i in range(0, len(flat), 3))
                session.templates[template] = Template(
                    template, pool.layout(fields), scopes, bool(options)
                )
            session.boot_ms, session.expected, session.missing = boots[at], expected, missing
            session.counts, session.previous, session.suspect = (*map(int, v9), 0, -1, 0)[:3]
            exporter.sessions[session.key] = session
        for version, number, template, held in entry["pending"]:
            for message, octets in _sets(held):
                key = exporter.address, message.port, int(version), int(number)
                if key in exporter.sessions:
                    waiting = exporter.sessions[key].pending.setdefault(int(template), deque())
                    waiting.append((message, octets))
        _dropped(exporter, entry)
        state.dropped += sum(exporter.dropped.values())
        state.take_back(exporter)
    return state


def _sets(held: list[Any]) -> deque[tuple[Message, bytes]]:
    return deque(
        (Message(**dict(zip(_MESSAGE, message, strict=True))), bytes(octets))
        for message, octets in held
    )


def _dropped(exporter: ExporterState, entry: dict[str, Any]) -> None:
    for version, number, template, count in entry["dropped"]:
        exporter.dropped[version, number, template] = int(count)
