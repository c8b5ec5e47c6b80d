"""One name, one meaning; and the words of the field in what people read."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("flowpeer", "core", "ingest", "reports", "sql", "sample_data")
ALIKE = {
    "Announcement", "Contract", "Exporter", "Interface", "Metro", "Provider", "RiskGroup",
    "Field", "Policy", "Tier", "Weights",
}  # fmt: skip
"""The same thing, of two packages that may not know each other: a setting, and what the sample
network or the reports hold of it."""
NO_TERMS = {"said", "told", "heard", "came", "went", "strange", "lot", "lots", "mend"}
"""Not to call anything by: each has a term of the field, like announced, seen, bytes_in, batch."""
IDIOM = re.compile(r"\b(anew|mend|mended|heard|told|said)\b")
FINE = re.compile(r"said (yes|to)\b|\{[^{}]*\}")


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def test_a_public_class_stands_once() -> None:
    found = defaultdict(list)
    for path in sources():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path.relative_to(ROOT)))
    assert len(found) > 300
    assert {n: w for n, w in found.items() if len(w) > 1 and n not in ALIKE} == {}
    assert {n for n in ALIKE if len(found[n]) < 2} == set(), "no longer needed in the list"


def test_variables_and_functions_are_called_by_terms() -> None:
    read, wrong = 0, []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Name(id=name) | ast.arg(arg=name) | ast.FunctionDef(name=name):
                    read += 1
                    if name.strip("_") in NO_TERMS:
                        wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {name}")
    assert read > 50_000
    assert wrong == []


def test_messages_and_docstrings_use_the_words_of_the_field() -> None:
    read, wrong = 0, []
    for path in sources():
        text = path.read_text(encoding="utf-8")
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type not in (tokenize.STRING, tokenize.COMMENT) or " " not in token.string:
                continue
            read += 1
            prose = FINE.sub("", re.sub(r"`[^`]*`", "", token.string))
            if found := IDIOM.search(prose):
                place = f"{path.relative_to(ROOT)}:{token.start[0]}"
                wrong.append(f"{place}: {found.group()}: recognised, reported, stated, announced?")
    assert read > 5_000
    assert wrong == []


def test_pages_queries_and_comments_of_c_use_them_too() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    queries = [*(ROOT / "sql").rglob("*.sql"), *(ROOT / "flowpeer").rglob("*.sql")]
    texts = {p: re.sub(r"(?s)```.*?```|`[^`]*`", "", p.read_text("utf-8")) for p in pages}
    texts |= {p: p.read_text("utf-8") for p in queries}
    for p in (ROOT / "core").rglob("*.[ch]"):
        texts[p] = "\n".join(re.findall(r"(?s)/\*.*?\*/", p.read_text("utf-8")))
    assert len(texts) > 100
    found = {str(p): IDIOM.findall(FINE.sub("", text)) for p, text in texts.items()}
    assert {p: words for p, words in found.items() if words} == {}
