"""A decoder's memory as plain values, and back: templates, sequence numbers, what waits.

`restore(snapshot(state))` behaves like `state` in every respect, the order in which things will
be forgotten included, so that decoding again from a saved state gives the same result.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from flowpeer_ingest.wire.events import Message
from flowpeer_ingest.wire.layout import Field, Template
from flowpeer_ingest.wire.state import HELD_OCTETS, Domain, Exporter, Session, State

_MESSAGE = (
    "version", "exporter", "port", "domain", "sequence", "received_us", "export_ms", "uptime_ms",
    "sampling", "agent",
)  # fmt: skip


def _flat(message: Message) -> list[Any]:
    return [getattr(message, name) for name in _MESSAGE]


def snapshot(state: State) -> dict[str, Any]:
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

    exporters = []
    for exporter in state.exporters.values():
        domains = [*exporter.domains.values()]
        at = {id(d): i for i, d in enumerate(domains)}
        for session in exporter.sessions.values():
            if id(session.domain) not in at:  # forgotten by the exporter, not by its session
                at[id(session.domain)] = len(domains)
                domains.append(session.domain)
        exporters.append(
            {
                "address": exporter.address,
                "fields": exporter.fields,
                "known": len(exporter.domains),
                "domains": [[d.version, d.number, d.boot_ms, places(d.templates)] for d in domains],
                "sessions": [
                    [port, version, number, at[id(s.domain)], s.expected, s.missing,
                     places(s.templates), s.counts, s.previous, s.suspect]
                    for (port, version, number), s in exporter.sessions.items()
                ],
                "pending": [
                    [*key, [[_flat(message), octets] for message, octets in held]]
                    for key, held in exporter.pending.items()
                ],
                "dropped": [[*key, count] for key, count in exporter.dropped.items()],
            }
        )  # fmt: skip
    return {"layouts": fields, "templates": listed, "exporters": exporters}


def restore(saved: dict[str, Any]) -> State:
    """A `State` that goes on where the saved one stood.

    Raises LookupError, TypeError or ValueError for what `snapshot` would not have written.
    """
    state = State()
    layouts = [
        state.layout(tuple(Field(*flat[i : i + 3]) for i in range(0, len(flat), 3)))
        for flat in saved["layouts"]
    ]
    templates = [
        Template(number, layouts[layout], scopes, bool(options))
        for number, layout, scopes, options in saved["templates"]
    ]

    def table(places: list[int]) -> dict[int, Template]:
        return {templates[p].number: templates[p] for p in places}

    waiting = 0
    for said in saved["exporters"]:
        address = str(said["address"])
        exporter = Exporter(address, fields=int(said["fields"]))
        domains = [
            Domain(exporter, int(version), int(number), table(places), int(boot_ms))
            for version, number, boot_ms, places in said["domains"]
        ]
        for domain in domains[: said["known"]]:
            exporter.domains[domain.version, domain.number] = domain
        for port, version, number, at, expected, missing, places, *v9 in said["sessions"]:
            session = Session(
                domains[at], table(places), int(expected), int(missing), *map(int, v9[:3])
            )
            exporter.sessions[port, version, number] = session
            state.adopt(address, (port, version, number), session)
        for version, number, template, held in said["pending"]:
            sets = deque(
                (Message(**dict(zip(_MESSAGE, message, strict=True))), bytes(octets))
                for message, octets in held
            )
            exporter.pending[version, number, template] = sets
            exporter.pending_octets += sum(len(octets) + HELD_OCTETS for _, octets in sets)
        for version, number, template, count in said["dropped"]:
            exporter.dropped[version, number, template] = int(count)
        waiting += exporter.pending_octets
        state.exporters[address] = exporter
    state.waits(waiting)
    return state
