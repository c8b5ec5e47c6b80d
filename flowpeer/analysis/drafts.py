"""What a list of asks leads to: drafts of e-mails, and imports of other tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowpeer.analysis.answers import Answer, title_of
from flowpeer.analysis.inputs import Gathered
from flowpeer.analysis.scratch import FileStore
from flowpeer.errors import InputError
from flowpeer_reports.ask_exports import Tool, ask_export
from flowpeer_reports.candidates import candidates
from flowpeer_reports.columns.drafts import DRAFTS
from flowpeer_reports.drafts import TEMPLATE, drafts, message, template_of
from flowpeer_reports.errors import ReportError
from flowpeer_reports.render import table_page
from flowpeer_reports.render.cells import clean

MAX_TEMPLATE_BYTES = 1 << 16
NO_CONTACTS = (
    "no contacts are loaded: they are PeeringDB's `poc`, in its dumps and in what `flowpeer "
    "peeringdb sync` fetches; most are shown to those alone who give an API key"
)


@dataclass(frozen=True)
class Drafts(Answer):
    """The drafts; on a screen they are text to paste."""

    def on_screen(self, width: int, *, asks: int | None = None) -> str:
        """Every draft, with its contacts above it and the notes below all."""
        parts = []
        for row in self.rows.iter_rows(named=True):
            about = "".join(f"# {contact}\n" for contact in row["contacts"])
            parts.append(about + message(row))
        parts += [f"note: {clean(note)}\n" for note in self.notes]
        return "\n".join(parts)


def draft_answer(
    gathered: Gathered,
    asns: Sequence[int] = (),
    *,
    metros: Sequence[str] | None = None,
    template: Path | None = None,
) -> Drafts:
    """A draft for each ask of the organisations' list, or for some networks of it.

    Args:
        metros: only what is to be carried there, and these places.
        template: file with a line `Subject: …`, an empty line and the words.

    Raises:
        InputError: the template cannot be read, or is wrong.
        ReportError: a network is not on the list.
    """
    inputs = gathered.inputs
    text = TEMPLATE if template is None else _template(template)
    found = candidates(inputs, metros=metros or None, stores=FileStore)
    rows = drafts(inputs, found, asns=asns, template=text)
    notes = []
    nobody = [f"AS{asn}" for asn, to in rows.select("asn", "to").iter_rows() if not to]
    if inputs.peeringdb.get("poc") is None:
        notes.append(NO_CONTACTS)
    elif nobody:
        notes.append(f"PeeringDB shows no address to write to for {', '.join(nobody)}")
    party = found.universe.parties.of
    there = {party(a.asn): a for a in inputs.asks if a.open and a.concerns(metros or ())}
    asked = [
        f"AS{asn} ({there[asn].status.replace('_', ' ')} {there[asn].since})"
        for asn in rows["asn"] if asn in there and there[asn].status != "planned"
    ]  # fmt: skip
    if asked:
        notes.append(f"asked already, by the log of asks: {', '.join(asked)}")
    title = title_of(inputs, "drafts of asks")
    return Drafts(
        "drafts", title, rows, DRAFTS, found, lambda: table_page(rows, DRAFTS, title=title),
        notes=notes, provenance=gathered.provenance,
    )  # fmt: skip


def ask_export_text(
    gathered: Gathered,
    tool: Tool,
    *,
    metros: Sequence[str] | None = None,
    asks: int | None = None,
    rir: str = "",
) -> str:
    """The asks of the organisations' list as Peering Manager or NetBox imports them.

    Raises:
        ReportError: an unknown tool, or NetBox without the name of a RIR.
    """
    found = candidates(gathered.inputs, metros=metros or None, asks=asks, stores=FileStore)
    return ask_export(gathered.inputs, found, tool, rir=rir)


def _template(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_TEMPLATE_BYTES:
            raise InputError(str(path), f"larger than {MAX_TEMPLATE_BYTES} octets, not read")
        text = path.read_text(encoding="utf-8")
        template_of(text)
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"not UTF-8 at offset {error.start}") from None
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror}") from None
    except ReportError as error:
        raise InputError(str(path), str(error), advice=error.advice) from None
    return text
