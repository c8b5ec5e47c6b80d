"""What the recipe for Grafana configures, sent to an explorer as its data source would send it."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from explorer_client import serving

import flowpeer

PAGE = Path(__file__).parents[2] / "docs" / "howto-sql-tools.md"
START, END = datetime(2026, 9, 16, 6, tzinfo=UTC), datetime(2026, 9, 16, 18, tzinfo=UTC)
TOKEN = "a-token-of-the-recipe"
INTERVAL_MS = 1_800_000
VARIABLES = {
    "${__from:date:iso}": f"{START:%Y-%m-%dT%H:%M:%S}.000Z",
    "${__to:date:iso}": f"{END:%Y-%m-%dT%H:%M:%S}.000Z",
    "${__interval_ms}": str(INTERVAL_MS),
}
CELLS = {
    "timestamp": lambda text: datetime.fromisoformat(text).astimezone(UTC),
    "number": float,
    "string": str,
}


def filled(text: str) -> str:
    """With Grafana's variables, as a dashboard of that time fills them in."""
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert "${__" not in text
    return text


@pytest.mark.slow
def test_requests_of_the_recipe_give_the_columns_that_it_states(demo_folder: Path) -> None:
    section = PAGE.read_text("utf-8").partition("\n## Grafana\n")[2]
    (source,) = yaml.safe_load(re.findall(r"(?ms)^```yaml\n(.*?)^```", section)[0])["datasources"]
    assert source["secureJsonData"]["bearerToken"] == "$FLOWPEER_SERVE_TOKEN"
    (allowed,) = source["jsonData"]["allowedHosts"]
    panels = [json.loads(text) for text in re.findall(r"(?ms)^```json\n(.*?)^```", section)]
    given = re.findall(r"--host\s+(\S+)`", section)
    with serving(demo_folder, "--public", "--host", *given, token=TOKEN) as address:
        frames = [read(panel, allowed, address) for panel in panels]
        refused = httpx.get(f"{address}/api/sql.json?q=SELECT+1", headers={"host": given[0]})
        assert refused.status_code == 401
    series, networks = frames
    network = flowpeer.open(demo_folder / "flowpeer.toml")
    wanted: dict[tuple[datetime, str], int] = {}
    slots = network.sql(
        "SELECT slot, provider, bytes FROM provider_slots WHERE metro = 'ams'"
        f" AND direction = 'out' AND slot >= '{START}' AND slot < '{END}'"
    )
    step = timedelta(milliseconds=INTERVAL_MS)
    for slot, provider, size in slots.iter_rows():
        at = START + (slot.astimezone(UTC) - START) // step * step
        wanted[at, provider] = wanted.get((at, provider), 0) + size
    assert len(series) == len(wanted) == 72
    for row in series:
        bps = wanted[row["time"], row["provider"]] * 8000 / INTERVAL_MS
        assert row["bps"] == pytest.approx(bps)
    assert [row["time"] for row in series] == sorted(row["time"] for row in series)
    top = network.sql(
        "top_remote_asns", metro="ams", top=10, period_start=f"{START}", period_end=f"{END}"
    )
    assert [(r["provider"], r["network"], r["Mbit/s"]) for r in networks] == [
        (r["provider"], r["name"] or "", pytest.approx(r["mean_mbps"])) for r in top.to_dicts()
    ]


def read(panel: dict[str, Any], allowed: str, address: str) -> list[dict[str, Any]]:
    """The rows of a panel's request, with the columns that it names, of the types that it says."""
    url, options = urlsplit(panel["url"]), panel["url_options"]
    assert f"{url.scheme}://{url.netloc}" == allowed
    answer = httpx.request(
        options["method"], f"{address}{url.path}", timeout=300,
        params={p["key"]: filled(p["value"]) for p in options["params"]},
        headers={"host": url.netloc, "authorization": f"Bearer {TOKEN}",
                 "content-type": "application/json", "user-agent": "Go-http-client/1.1"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    kind = panel["type"]
    rows = answer.json() if kind == "json" else list(csv.DictReader(io.StringIO(answer.text)))
    assert rows
    return [
        {c["text"]: CELLS[c["type"]](row[c["selector"]]) for c in panel["columns"]} for row in rows
    ]
