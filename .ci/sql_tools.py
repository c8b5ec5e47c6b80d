"""The recipes of docs/howto-sql-tools.md, each run by its tool: `make test-sql-tools`.

    python .ci/sql_tools.py TOOLS SPARK

Both are environments, made once: TOOLS by uv, of these tools alone; SPARK is that of `make
test-spark`. The sample network is rolled up and its catalog written; then what stands in a section
of the page is given to the tool of its heading, as it stands there, and what comes out is held
against `flowpeer sql`.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from separate import environment, extra

PAGE = Path(__file__).parents[1] / "docs" / "howto-sql-tools.md"
LOCK = Path(__file__).with_name("sql-tools.lock")
TIMEOUT_S = 300.0
NOTEBOOK = """
import sys
import nbformat
from nbclient import NotebookClient

cells = [nbformat.v4.new_code_cell(cell) for cell in sys.argv[1:]]
notebook = nbformat.v4.new_notebook(cells=cells)
NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
shown = [str(out.get("data", {}).get("text/plain", "")) for c in cells for out in c.outputs]
assert len(shown) == len(cells), shown
print("\\n".join(shown))
"""
SUPERSET = """
import json, sys
from pathlib import Path
import superset
from flask_migrate import upgrade
from superset.app import create_app

given, statement, catalog = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
given["sqlalchemy_uri"] = f"duckdb:///{catalog}"
app = create_app()
with app.app_context():
    upgrade(directory=str(Path(superset.__file__).parent / "migrations"))
    app.appbuilder.add_permissions(update_perms=True)
    security = app.appbuilder.sm
    security.sync_role_definitions()
    security.add_user("admin", "a", "b", "a@b.example", security.find_role("Admin"), "secret")
client = app.test_client()

def ask(path, **words):
    answer = client.post(f"/api/v1/{path}", json=words, headers=headers)
    if answer.status_code not in (200, 201):
        sys.exit(f"{path}: {answer.status_code} {answer.text[:2000]}")
    return answer.json

headers = {}
who = {"username": "admin", "password": "secret", "provider": "db"}
headers["Authorization"] = "Bearer " + ask("security/login", **who)["access_token"]
database = ask("database/", **given)["id"]
rows = ask("sqllab/execute/", database_id=database, sql=statement, schema="main")["data"]
made = ask("dataset/", database=database, schema="main", table_name="provider_slots")
slot = next(c for c in made["data"]["columns"] if c["column_name"] == "slot")
assert slot["is_dttm"], slot
chart = ask(
    "chart/data", datasource={"id": made["id"], "type": "table"}, result_type="full",
    result_format="json",
    queries=[{
        "columns": ["metro"], "granularity": "slot", "is_timeseries": True, "row_limit": 1000,
        "time_range": "2026-09-16T00:00:00 : 2026-09-16T06:00:00",
        "extras": {"time_grain_sqla": "PT1H"},
        "metrics": [{"expressionType": "SQL", "sqlExpression": "sum(bytes)", "label": "bytes"}],
    }],
)
Path(sys.argv[4]).write_text(json.dumps({"rows": rows, "chart": chart["result"][0]["data"]}))
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """The sample network in `folder`, with its catalog, and the environment of the tools."""

    folder: Path
    tools: Path

    def run(self, *words: str | Path, **more: str) -> str:
        """What a program prints; it works in the folder of the sample."""
        path = f"{self.tools.parent}:{os.environ['PATH']}"
        done = subprocess.run(
            words, check=False, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=self.folder,
            env=os.environ | {"PATH": path, "TZ": "UTC", "PYTHONWARNINGS": "ignore"} | more,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"error: {words[0]}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.stdout

    def asked(self, *words: str) -> list[dict[str, object]]:
        """The rows of `flowpeer sql`."""
        given = ["-m", "flowpeer", "--config", "flowpeer.toml", "--json", "sql", *words]
        found: list[dict[str, object]] = json.loads(self.run(sys.executable, *given))
        return found


Blocks = dict[str, list[str]]
"""Code of a section by its language."""


def cli(trial: Trial, blocks: Blocks) -> None:
    (command,) = blocks["sh"]
    same(list(csv.DictReader(trial.run("bash", "-c", command).splitlines())), p95(trial))


def p95(trial: Trial) -> list[dict[str, object]]:
    return trial.asked("p95_per_provider", "-p", "metro=ams")


def python(trial: Trial, blocks: Blocks) -> None:
    for block in blocks["python"]:
        trial.run(trial.tools, "-c", block)


def notebook(trial: Trial, blocks: Blocks) -> None:
    shown = trial.run(trial.tools, "-c", NOTEBOOK, *blocks["python"])
    for row in trial.asked("top_remote_asns", "-p", "metro=ams", "-p", "top=3"):
        holds(str(row["name"]) in shown, f"{row['name']} is not shown: {shown}")
    holds("2026-09-16 23:55:00+00:00" in shown, f"no last slot: {shown}")


def superset(trial: Trial, blocks: Blocks) -> None:
    (given,), (statement,) = blocks["json"], blocks["sql"]
    settings, answer = trial.folder / "superset_config.py", trial.folder / "superset.json"
    database = trial.folder / "superset.db"
    settings.write_text(
        f"SECRET_KEY = {'x' * 42!r}\nSQLALCHEMY_DATABASE_URI = 'sqlite:///{database}'\n"
        "WTF_CSRF_ENABLED = TALISMAN_ENABLED = False\n"
    )
    trial.run(
        trial.tools, "-c", SUPERSET, given, statement, trial.folder / "lake/catalog.duckdb", answer,
        SUPERSET_CONFIG_PATH=str(settings), SUPERSET_HOME=str(trial.folder / "superset"),
    )  # fmt: skip
    found = json.loads(answer.read_text())
    same(found["rows"], trial.asked(statement))
    chart = {(r["__timestamp"], r["metro"]): int(r["bytes"]) for r in found["chart"]}
    wanted = trial.asked(
        "SELECT metro, epoch_ms(time_bucket(INTERVAL 1 HOUR, slot)) AS at, sum(bytes) AS bytes"
        " FROM provider_slots WHERE slot < '2026-09-16 06:00' GROUP BY ALL"
    )
    holds(chart == {(r["at"], r["metro"]): r["bytes"] for r in wanted} != {}, f"chart: {chart}")


def dbt(trial: Trial, blocks: Blocks) -> None:
    (profile,), (model,) = blocks["yaml"], blocks["sql"]
    (trial.folder / "models").mkdir()
    (trial.folder / "models/networks.sql").write_text(model)
    (trial.folder / "profiles.yml").write_text(profile)
    (trial.folder / "dbt_project.yml").write_text("name: peering\nprofile: peering\n")
    trial.run("dbt", "run", "--profiles-dir", ".", DO_NOT_TRACK="1")
    program = (
        "import duckdb, json; print(json.dumps(duckdb.connect('work.duckdb').execute("
        "'SELECT metro, remote_asn, name, mean_mbps FROM networks').fetchall()))"
    )
    made = json.loads(trial.run(trial.tools, "-c", program))
    names = ("metro", "remote_asn", "name", "mean_mbps")
    wanted = [[r[name] for name in names] for r in trial.asked("top_remote_asns", "-p", "top=5")]
    holds(sorted(made) == sorted(wanted) != [], f"{len(made)} rows of {len(wanted)}")


RECIPES: dict[str, Callable[[Trial, Blocks], None]] = {
    "duckdb CLI": cli, "pandas": python, "Notebook": notebook, "SQLAlchemy": python,
    "Superset": superset, "dbt": dbt,
}  # fmt: skip


def same(found: list[dict[str, object]], wanted: list[dict[str, object]]) -> None:
    """The same rows, their numbers to the last digits but one, as text or not."""

    def alike(one: object, other: object) -> bool:
        if isinstance(other, int | float) and not isinstance(other, bool):
            return math.isclose(float(str(one)), other, rel_tol=1e-12)
        return (one or None) == other

    names = list(found[0]) if found else []
    holds(
        len(found) == len(wanted) > 0
        and all(
            alike(one[n], other[n]) for one, other in zip(found, wanted, strict=True) for n in names
        ),
        f"{found[:3]} is not {wanted[:3]}",
    )


def holds(what: bool, words: str) -> None:
    if not what:
        raise SystemExit(f"error: {words}")


def sections() -> dict[str, Blocks]:
    """The code of the page by heading and language."""
    found: dict[str, Blocks] = {}
    for part in re.split(r"(?m)^## ", PAGE.read_text("utf-8"))[1:]:
        blocks = found.setdefault(part.partition("\n")[0], {})
        for language, code in re.findall(r"(?ms)^```(\w+)\n(.*?)^```", part):
            blocks.setdefault(language, []).append(code)
    return found


def sample(folder: Path) -> None:
    """The sample network, rolled up, with a catalog."""
    for words in (
        ["flowpeer_sample", str(folder)],
        ["flowpeer", "-q", "--config", f"{folder}/flowpeer.toml", "ingest", f"{folder}/captures"],
        ["flowpeer", "-q", "--config", f"{folder}/flowpeer.toml", "rollup"],
        ["flowpeer", "-q", "--config", f"{folder}/flowpeer.toml", "sql", "--write-catalog",
         f"{folder}/lake/catalog.duckdb"],
    ):  # fmt: skip
        subprocess.run([sys.executable, "-m", *words], check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tools", type=Path)
    parser.add_argument("spark", type=Path)
    parser.add_argument("--only", default="", help="headings, with commas")
    arguments = parser.parse_args()
    page, chosen = sections(), arguments.only.split(",") if arguments.only else [*RECIPES, "Spark"]
    with tempfile.TemporaryDirectory(prefix="sql-tools-") as temporary:
        folder = Path(temporary) / "sample"
        sample(folder)
        for name in chosen:
            began = time.monotonic()
            if name == "Spark":
                if shutil.which("java") is None:
                    print("SKIPPED: Spark needs Java (Debian: openjdk-17-jre-headless)")
                    continue
                tools = environment(arguments.spark, extra("spark", "dask"))
            else:
                tools = environment(arguments.tools, LOCK.read_text().splitlines(), alone=True)
            if tools is None:
                print(f"SKIPPED: {name} cannot be installed")
                continue
            RECIPES.get(name, python)(Trial(folder, tools), page[name])
            print(f"{name}: as the page says ({time.monotonic() - began:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
