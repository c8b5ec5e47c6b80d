"""The documentation says what is there: generated pages, examples, links, names."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import shlex
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.slow


Run = Callable[..., "subprocess.CompletedProcess[str]"]
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
    from flowpeer.schema import SQL_TABLES
    from flowpeer_reports import columns

    page = (DOCS / "reference" / "tables.md").read_text("utf-8")
    sections = dict(re.findall(r"(?ms)^## (\w+)\n(.*?)(?=^## |\Z)", page))
    assert set(sections) == set(SQL_TABLES)
    for name, stated in SQL_TABLES.items():
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


@pytest.fixture(scope="module")
def known(generate: ModuleType) -> dict[str, Any]:
    """Every command by its words."""
    return dict(generate.walk(generate.application()))


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_every_command_that_a_page_names_exists(
    path: Path, generate: ModuleType, known: dict[str, Any]
) -> None:
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


def test_every_page_is_in_the_menu() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text("utf-8")
    listed = re.findall(r"(?m)^ *- (?:\w+: )?(\S+\.md)$", text)
    assert sorted(listed) == sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md"))


def test_what_a_site_fetches_or_leads_nowhere_is_named(tmp_path: Path) -> None:
    site = runpy.run_path(str(DOCS / "site.py"))
    (tmp_path / "sub").mkdir()
    (tmp_path / "style.css").write_text("a { src: url(https://fonts.example/x) }")
    (tmp_path / "sub" / "index.html").write_text('<h1 id="there">x</h1><img src="../none.png">')
    (tmp_path / "index.html").write_text(
        '<script src="https://cdn.example/x.js"></script><link href="//cdn.example/x.css">'
        '<a href="sub/#there">good</a><a href="#nowhere">x</a><a href="sub/index.html#gone">x</a>'
        '<a href="lost.html">x</a><a href="https://elsewhere.example/">may be</a>'
    )
    assert list(site["faults"](tmp_path)) == [
        "index.html: fetches https://cdn.example/x.js",
        "index.html: fetches //cdn.example/x.css",
        "index.html: #nowhere leads to no place of that page",
        "index.html: sub/index.html#gone leads to no place of that page",
        "index.html: lost.html is not there",
        "sub/index.html: ../none.png is not there",
        "style.css: fetches from elsewhere",
    ]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert list(site["faults"](empty)) == [f"{empty}: no pages"]


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


SYSTEMCTL = f"""#!/bin/sh
# Stands in for the service manager, which is not here: the units must be ones that are shipped.
for unit in "$@"; do
    case $unit in
    start | stop | restart | enable | --now) ;;
    *.*) [ -f "{REPOSITORY}/deploy/systemd/$unit" ] || exit 5 ;;
    *) [ -f "{REPOSITORY}/deploy/systemd/$unit.service" ] || exit 5 ;;
    esac
done
"""
PIP = '#!/bin/sh\n[ "$*" = "install --upgrade flowpeer" ]\n'


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Of the examples: flowpeer and what is shipped beside it, and a place on another disk."""
    stands_in = tmp_path / "bin"
    stands_in.mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("pip", PIP)):
        (stands_in / name).write_text(text)
        (stands_in / name).chmod(0o755)
    other = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    found = {k: v for k, v in os.environ.items() if not k.startswith(("FLOWPEER_", "COV"))}
    here = (stands_in, Path(sys.executable).parent, REPOSITORY / "deploy" / "backup")
    path = os.pathsep.join([*map(str, here), os.environ["PATH"]])
    with tempfile.TemporaryDirectory(dir=other, prefix="flowpeer-") as new:
        yield {**found, "PATH": path, "PYTHONUTF8": "1", "NEW": new}


def _folder(page: Path, demo_copy: Path) -> tuple[list[Path], Path]:
    """Pages whose examples come before those of `page`, and the folder that all begin in."""
    stated = re.search(r"<!-- tested: (.*) -->", page.read_text("utf-8"))
    if stated is None:
        return [], demo_copy
    if stated[1] == "in a lake of format 2":
        with tarfile.open(Path(__file__).parent / "lake/format2/plain.tar.xz") as packed:
            packed.extractall(demo_copy.parent, filter="data")
        return [], demo_copy.parent / "plain"
    return [DOCS / stated[1].removeprefix("after ")], demo_copy


@pytest.mark.parametrize("page", [p for p in PAGES if _examples(p)], ids=lambda p: p.name)
def test_a_page_shows_what_its_commands_print(
    page: Path, demo_copy: Path, environment: dict[str, str], run: Run
) -> None:
    before, folder = _folder(page, demo_copy)
    examples = [example for each in (*before, page) for example in _examples(each)]
    for n, (command, lines) in enumerate(examples):
        if command == "echo $?":
            continue
        if re.fullmatch(r"flowpeer [^|&;<>$`*]*", command):
            done = run(*shlex.split(command)[1:], cwd=folder)
        else:
            done = subprocess.run(
                ["bash", "-c", command.replace("/opt/flowpeer/bin/", "")],
                cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
                check=False,
            )  # fmt: skip
        expected = 0
        if n + 1 < len(examples) and examples[n + 1][0] == "echo $?":
            expected = int(examples[n + 1][1][0])
        assert done.returncode == expected, f"{command}\n{done.stderr}"
        printed = [*done.stdout.splitlines(), *done.stderr.splitlines()]
        for line in lines:
            assert _shown(line, printed), f"{command}\nshown: {line}\n{done.stdout}{done.stderr}"
