"""The documentation says what is there: generated pages, examples, links, names."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow


REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "CHANGELOG.md",
    *sorted(DOCS.glob("*.md")),
]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current(generate: ModuleType) -> None:
    assert generate.out_of_date() == [], "run `make docs`"


def test_a_page_that_differs_or_is_missing_is_named(generate: ModuleType, tmp_path: Path) -> None:
    for name, make in generate.PAGES.items():
        (tmp_path / f"{name}.md").write_text(make(), encoding="utf-8")
    assert generate.out_of_date(tmp_path) == []
    (tmp_path / "tables.md").unlink()
    (tmp_path / "commands.md").write_text("something else")
    (tmp_path / "forgotten.md").write_text("made by nobody")
    assert generate.out_of_date(tmp_path) == ["tables.md", "commands.md", "forgotten.md"]


def test_every_command_and_option_has_its_entry(generate: ModuleType) -> None:
    page = (DOCS / "reference" / "commands.md").read_text("utf-8")
    sections = dict(re.findall(r"(?ms)^## ([a-z ]+)\n(.*?)(?=^## |\Z)", page))
    found = dict(generate.walk(generate.application()))
    assert {"demo", "rib load", "sql", "verify"} <= set(found)
    for name, command in found.items():
        for parameter in command.params:
            for word in parameter.opts:
                if word.startswith("-"):
                    assert f"`{word}`" in sections[name], f"{name} {word}"


def test_every_column_has_its_entry() -> None:
    from flowpeer.schema import CROSSINGS, TABLES
    from flowpeer_reports import columns

    page = (DOCS / "reference" / "tables.md").read_text("utf-8")
    sections = dict(re.findall(r"(?ms)^## (\w+)\n(.*?)(?=^## |\Z)", page))
    tables = {**TABLES, "crossings": CROSSINGS}
    assert set(sections) == set(tables)
    for name, stated in tables.items():
        listed = re.findall(r"(?m)^\| `(\w+)`", sections[name])
        assert listed == [c.name for c in stated]
    page = (DOCS / "reference" / "report-columns.md").read_text("utf-8")
    for column in (*columns.CANDIDATES, *columns.NOT_LISTED, *columns.IMBALANCE):
        assert f"| `{column.name}` |" in page


def test_every_question_and_element_has_its_entry() -> None:
    import flowpeer_sql
    from flowpeer_ingest.wire.elements import ELEMENTS

    page = (DOCS / "reference" / "questions.md").read_text("utf-8")
    names = [q.name for q in flowpeer_sql.questions()] + [v.name for v in flowpeer_sql.views()]
    for name in names:
        assert f"\n## {name}\n" in page
    page = (DOCS / "reference" / "wire-fields.md").read_text("utf-8")
    for element in ELEMENTS:
        assert f"| {element.number} | `{element.name}` |" in page


def test_a_setting_without_a_meaning_is_refused(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (DOCS / "settings.toml").read_text("utf-8")
    assert 'path = "Folder' in text
    (tmp_path / "settings.toml").write_text(text.replace('path = "Folder', 'paht = "Folder'))
    monkeypatch.setattr(generate, "HERE", tmp_path)
    with pytest.raises(SystemExit) as refused:
        generate.settings_page()
    assert str(refused.value).splitlines() == [
        "docs/settings.toml: no meaning for `path` of [lake]",
        "docs/settings.toml: `paht` of [lake] is no setting",
    ]


def _calls(text: str) -> Iterator[list[str]]:
    """Words of each `flowpeer …` in code of a page, up to what the shell takes."""
    code = re.findall(r"(?ms)^```(?:sh|console)\n(.*?)^```", text)
    lines = [line.removeprefix("$ ") for block in code for line in block.splitlines()]
    lines += re.findall(r"`(flowpeer [^`]*)`", text)
    for line in lines:
        for call in re.findall(r"(?:^|[|&;]\s*|bin/)flowpeer ([^|&;>#]*)", line):
            yield call.split()


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_every_command_that_a_page_names_exists(path: Path, generate: ModuleType) -> None:
    known = dict(generate.walk(generate.application()))
    root = {opt for p in generate.application().params for opt in p.opts} | {"-h", "--help"}
    groups = {name.split()[0] for name in known if " " in name}
    for words in _calls(path.read_text("utf-8")):
        plain = [w for w in words if w not in root]
        if not plain or plain[0].isupper() or plain[0] == "…":
            continue
        name = " ".join(plain[:2]) if plain[0] in groups and len(plain) > 1 else plain[0]
        assert name in known or name in groups, f"{path.name}: flowpeer {' '.join(words)}"
        if name not in known:
            continue
        options = {opt for p in known[name].params for opt in p.opts} | root
        for word in plain:
            if re.fullmatch(r"--[a-z-]+", word):
                assert word in options, f"{path.name}: flowpeer {' '.join(words)}"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_page_is_reached_from_the_readme() -> None:
    text = (REPOSITORY / "README.md").read_text("utf-8")
    linked = {Path(t).name for t in re.findall(r"\]\((docs/[^)#\s]+)\)", text)}
    missing = {p.name for p in DOCS.rglob("*.md")} - linked
    assert not missing, "add them to the list under Documentation"


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (REPOSITORY / "Makefile").read_text()))
    for path in PAGES:
        for target in re.findall(r"`make ([a-z-]+)", path.read_text("utf-8")):
            assert target in targets, f"{path.name}: make {target}"


def test_methods_cited_in_the_code_are_described() -> None:
    page = (DOCS / "concepts-methods.md").read_text("utf-8")
    described = set(re.findall(r"(?m)^## (M\d+)\b", page))
    cited: set[str] = set()
    for package in ("flowpeer", "flowpeer_ingest", "flowpeer_reports", "flowpeer_sql"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        for path in Path(spec.origin).parent.rglob("*"):
            if path.suffix in (".py", ".sql"):
                cited |= set(re.findall(r"METHODS (M\d+)\b", path.read_text("utf-8")))
    assert {"M1", "M5", "M13"} <= cited
    assert cited <= described


def _examples(path: Path) -> list[tuple[str, list[str]]]:
    """(command, lines shown after it) of every console block of a page."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"(?ms)^```console\n(\$ .*?)^```", path.read_text("utf-8")):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def _shown(line: str, printed: list[str]) -> bool:
    """Whether some printed line has the parts of `line` between its `…`, in their order."""
    parts = [re.escape(" ".join(part.split())) for part in line.split("…")]
    pattern = re.compile(".*".join(parts) + ("" if line.endswith("…") else "$"))
    return any(pattern.match(" ".join(p.split())) for p in printed)


def test_examples_are_told_from_what_was_not_printed() -> None:
    printed = ["rank  metro     asn", "   1  ams    500622  Fjordlantern Carrier"]
    assert _shown("1 ams 500622 …", printed)
    assert _shown("… Fjordlantern Carrier", printed)
    assert not _shown("1 ams 500622", printed)
    assert not _shown("2 ams …", printed)


def test_the_tutorial_has_examples() -> None:
    assert len(_examples(DOCS / "tutorial.md")) > 10


@pytest.mark.parametrize("page", [p for p in PAGES if _examples(p)], ids=lambda p: p.name)
def test_a_page_shows_what_its_commands_print(page: Path, demo_copy: Path) -> None:
    examples = _examples(page)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("FLOWPEER_", "COV"))}
    for n, (command, lines) in enumerate(examples):
        if command == "echo $?":
            continue
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=demo_copy,
            env={**environment, "PATH": path, "PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        expected = 0
        if n + 1 < len(examples) and examples[n + 1][0] == "echo $?":
            expected = int(examples[n + 1][1][0])
        assert done.returncode == expected, f"{command}\n{done.stderr}"
        printed = [*done.stdout.splitlines(), *done.stderr.splitlines()]
        for line in lines:
            assert _shown(line, printed), f"{command}\nshown: {line}\n{done.stdout}{done.stderr}"
