"""Makes Prometheus' alert rules, their tests and Grafana's dashboard from the tables of counters.

`python deploy/monitoring.py` writes the files beside it, `--check` says whether they are current.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from flowpeer_ingest import metrics
from flowpeer_ingest.health import CODES, STUCK_AFTER_S
from flowpeer_ingest.stats import LOSSES

HERE = Path(__file__).resolve().parent
HOUR, DAY = 3600, 86_400

ALERTS: list[tuple[str, str, str, str, str]] = [
    # name, expression, for, severity, what it means and what to do
    ("FlowpeerCollectorDown", 'up{job="flowpeer"} == 0 or absent(up{job="flowpeer"})', "2m",
     "critical",
     "Nothing is received: `systemctl status flowpeer-collect`."),
    ("FlowpeerNoDatagrams", (f"time() - flowpeer_last_datagram_timestamp_seconds > {STUCK_AFTER_S} "
     "and flowpeer_last_datagram_timestamp_seconds > 0"), "5m", "critical",
     "No exporter sends any more: look at the network before the collector."),
    ("FlowpeerNotPublishing", f"flowpeer_lag_seconds > {STUCK_AFTER_S * 2}", "5m", "critical",
     "What is received does not get into the lake: see the collector's log."),
    ("FlowpeerSegmentsSetAside", "flowpeer_spool_failed_segments > 0", "0m", "warning",
     "Segments could not be decoded: report the *.failed files of the spool."),
    ("FlowpeerExporterSilent", 'flowpeer_troubles{code="silent"} > 0', "5m", "warning",
     "`flowpeer status` names the routers."),
    ("FlowpeerReceiverStopped", 'flowpeer_troubles{code="receiver"} > 0', "1m", "critical",
     "A receiver does not commit: a disk that hangs?"),
    ("FlowpeerSpoolNearlyFull", 'flowpeer_troubles{code="disk"} > 0', "1m", "critical",
     "Datagrams will be, or are, dropped: make room on the disk of the spool."),
    ("FlowpeerTwoSenders", "increase(flowpeer_exporter_conflicts_total[1h]) > 0", "0m", "warning",
     "Two senders speak under one address: forged, or set up alike. See `flowpeer check`."),
    ("FlowpeerRunMissing", ('time() - flowpeer_command_finished_timestamp_seconds{command="run"} > '
     f'{2 * HOUR} or absent(flowpeer_command_finished_timestamp_seconds{{command="run"}})'), "10m",
     "warning", "The hourly run does not end, or node_exporter does not read its file."),
    ("FlowpeerNightlyMissing", ("time() - flowpeer_command_finished_timestamp_seconds"
     f'{{command=~"backup|compact|prune"}} > {2 * DAY}'), "10m", "warning",
     "A nightly command has not run for two days: see its timer."),
    ("FlowpeerCommandFailed", ("flowpeer_command_exit_status > 1 and flowpeer_command_exit_status "
     "!= 75"), "0m", "warning", "A scheduled command failed: see its log."),
    ("FlowpeerDataWarnings", 'flowpeer_command_warnings{command="run"} > 0', "3h", "info",
     "`flowpeer check` says what is wrong with the data."),
    ("FlowpeerRollupBehind", f"flowpeer_flows_until - flowpeer_rolled_up_until > {2 * HOUR}", "1h",
     "warning", "Hours are not rolled up: `flowpeer rollup --explain`."),
    ("FlowpeerRoutesOld", f"time() - flowpeer_rib_taken > {8 * DAY}", "1h", "warning",
     "Load a newer table dump."),
    ("FlowpeerPeeringDBOld", f"time() - flowpeer_peeringdb_fetched > {15 * DAY}", "1h", "warning",
     "`flowpeer peeringdb sync` has not run for two weeks."),
    ("FlowpeerDiskFullSoon", "flowpeer_days_until_full < 14", "1h", "warning",
     "Keep flow records for less long (`keep_flows`), or get a larger disk."),
]  # fmt: skip
LOSS_ALERT = "FlowpeerLoss"


def loss_alert(name: str) -> str:
    """`kernel_drops` → `FlowpeerLossKernelDrops`."""
    return LOSS_ALERT + "".join(word.title() for word in name.split("_"))


def loss_alerts() -> list[tuple[str, str, str, str, str]]:
    """One alert for each loss."""
    return [
        (loss_alert(name), f"increase(flowpeer_loss_{name}_total[1h]) > 0", "0m", "warning",
         f"Lost: {text}.")
        for name, text in LOSSES.items()
    ]  # fmt: skip


def rules() -> str:
    """The alert rules: one for each loss, one for each stage that is behind."""
    lines = [
        "# Made by deploy/monitoring.py from the tables of counters. Load it with `rule_files:`;",
        "# the collector's job is called flowpeer, the textfiles come through node_exporter.",
        "groups:", "  - name: flowpeer", "    rules:",
    ]  # fmt: skip
    for name, expression, lasting, severity, text in [*ALERTS, *loss_alerts()]:
        lines += [
            f"      - alert: {name}",
            f"        expr: {json.dumps(expression)}",
            f"        for: {lasting}",
            f"        labels: {{severity: {severity}}}",
            f"        annotations: {{summary: {json.dumps(text)}}}",
        ]
    return "\n".join(lines) + "\n"


# For each alert: a series that sets it off, and one that does not; values a minute apart.
FIRING: dict[str, tuple[str, str, str]] = {
    "FlowpeerCollectorDown": ('up{job="flowpeer"}', "0x300", "1x300"),
    "FlowpeerNoDatagrams": ("flowpeer_last_datagram_timestamp_seconds", "1x300", "0+60x300"),
    "FlowpeerNotPublishing": ("flowpeer_lag_seconds", "900x300", "30x300"),
    "FlowpeerSegmentsSetAside": ("flowpeer_spool_failed_segments", "1x300", "0x300"),
    "FlowpeerExporterSilent": ('flowpeer_troubles{code="silent"}', "1x300", "0x300"),
    "FlowpeerReceiverStopped": ('flowpeer_troubles{code="receiver"}', "1x300", "0x300"),
    "FlowpeerSpoolNearlyFull": ('flowpeer_troubles{code="disk"}', "1x300", "0x300"),
    "FlowpeerTwoSenders": (
        'flowpeer_exporter_conflicts_total{exporter="192.0.2.1"}', "5x40 6x60", "5x300"),
    "FlowpeerRunMissing": (
        'flowpeer_command_finished_timestamp_seconds{command="run"}', "-9000x300", "0+60x300"),
    "FlowpeerNightlyMissing": (
        'flowpeer_command_finished_timestamp_seconds{command="backup"}', "-180000x300", "0x300"),
    "FlowpeerCommandFailed": ('flowpeer_command_exit_status{command="run"}', "3x300", "75x300"),
    "FlowpeerDataWarnings": ('flowpeer_command_warnings{command="run"}', "2x300", "0x300"),
    "FlowpeerDiskFullSoon": ("flowpeer_days_until_full", "5x300", "90x300"),
}  # fmt: skip
OLD = {"FlowpeerRoutesOld": "flowpeer_rib_taken", "FlowpeerPeeringDBOld":
       "flowpeer_peeringdb_fetched"}  # fmt: skip


def rule_tests() -> str:
    """Tests for promtool: each alert fires on its series, and not on a good one."""
    lines = [
        "# Made by deploy/monitoring.py; run with `promtool test rules`.",
        "rule_files: [flowpeer.rules.yml]",
        "evaluation_interval: 5m",
        "tests:",
    ]
    by_name = {name: severity for name, _, _, severity, _ in ALERTS}
    texts = {name: text for name, _, _, _, text in [*ALERTS, *loss_alerts()]}

    def case(alert: str, series: list[tuple[str, str]], at: str, *, fires: str | None) -> None:
        lines.append("  - interval: 1m")
        lines.append("    input_series:")
        for name, values in series:
            lines.append(f"      - series: {json.dumps(name)}")
            lines.append(f"        values: {json.dumps(values)}")
        lines.append("    alert_rule_test:")
        lines.append(f"      - eval_time: {at}")
        lines.append(f"        alertname: {alert}")
        if fires is None:
            lines.append("        exp_alerts: []")
        else:
            lines.append(f"        exp_alerts: [{{exp_labels: {{{fires}}}, exp_annotations: "
                         f"{{summary: {json.dumps(texts[alert])}}}}}]")  # fmt: skip

    def labels(alert: str, series: str) -> str:
        inner = series.partition("{")[2].removesuffix("}")
        pairs = [part.split("=") for part in inner.split(",") if part]
        own = "".join(f"{key}: {value}, " for key, value in pairs)
        return f"{own}severity: {by_name.get(alert, 'warning')}"

    for alert, (series, bad, good) in FIRING.items():
        at = "190m" if alert == "FlowpeerDataWarnings" else "65m"
        case(alert, [(series, bad)], at, fires=labels(alert, series))
        case(alert, [(series, good)], at, fires=None)
    for alert, label in (("FlowpeerCollectorDown", "job: flowpeer"),
                         ("FlowpeerRunMissing", "command: run")):  # fmt: skip
        case(alert, [("another", "1x300")], "65m", fires=f"{label}, {labels(alert, '')}")
    for name in LOSSES:
        series = f"flowpeer_loss_{name}_total"
        case(loss_alert(name), [(series, "5x40 6x60")], "65m", fires="severity: warning")
        case(loss_alert(name), [(series, "5x90")], "65m", fires=None)
    both = ("flowpeer_flows_until", "flowpeer_rolled_up_until")
    case("FlowpeerRollupBehind", [(both[0], "9000x300"), (both[1], "0x300")], "65m",
         fires="severity: warning")  # fmt: skip
    case("FlowpeerRollupBehind", [(both[0], "9000x300"), (both[1], "5400x300")], "65m", fires=None)
    for alert, series in OLD.items():  # the clock of a test begins at 0: a month before, and then
        case(alert, [(series, "-2700000x100")], "70m", fires="severity: warning")
        case(alert, [(series, "0x100")], "70m", fires=None)
    return "\n".join(lines) + "\n"


def _panel(number: int, title: str, queries: list[tuple[str, str]], unit: str, y: int, x: int,
           kind: str = "timeseries", text: str = "") -> dict[str, Any]:  # fmt: skip
    return {
        "id": number, "title": title, "type": kind, "description": text,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"h": 7, "w": 8, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(65 + i), "expr": expression, "legendFormat": legend,
             "datasource": {"type": "prometheus", "uid": "${datasource}"}}
            for i, (expression, legend) in enumerate(queries)
        ],
    }  # fmt: skip


def dashboard() -> str:
    """Grafana's dashboard: what is wrong, what is lost, what comes, how fresh everything is."""
    panels: list[tuple[str, list[tuple[str, str]], str, str, str]] = [
        ("Troubles", [("flowpeer_troubles > 0", "{{code}}")], "none", "timeseries",
         "; ".join(f"{code}: {text}" for code, text in CODES.items())),
        ("Losses in an hour", [(f"increase(flowpeer_loss_{name}_total[1h])", name)
                               for name in LOSSES], "none", "timeseries", ""),
        ("Lag", [("flowpeer_lag_seconds", "oldest unpublished datagram")], "s", "timeseries",
         metrics.GAUGES["lag_seconds"]),
        ("Datagrams a second", [("rate(flowpeer_receiver_received_total[5m])",
                                 "receiver {{receiver}}")], "none", "timeseries", ""),
        ("Flow records a second", [("rate(flowpeer_records_total[5m])", "decoded"),
                                   ("rate(flowpeer_rows_total[5m])", "published")], "none",
         "timeseries", ""),
        ("Octets a second by exporter", [("rate(flowpeer_exporter_octets_total[5m])",
                                          "{{exporter}}")], "Bps", "timeseries", ""),
        ("Silence of exporters", [("time() - flowpeer_exporter_last_seen_seconds",
                                   "{{exporter}}")], "s", "timeseries", ""),
        ("Lost by sequence, an hour", [("increase(flowpeer_exporter_lost_total[1h])",
                                        "{{exporter}}")], "none", "timeseries", ""),
        ("Records without a sampling rate, an hour", [
            ("increase(flowpeer_exporter_unknown_sampling_total[1h])", "{{exporter}}")], "none",
         "timeseries", ""),
        ("Signs of two senders, an hour", [
            ("increase(flowpeer_exporter_conflicts_total[1h])", "{{exporter}}")], "none",
         "timeseries", ""),
        ("Clock error", [("flowpeer_exporter_clock_error_seconds", "{{exporter}}")], "s",
         "timeseries", ""),
        ("Refused, an hour", [(f"increase(flowpeer_{name}_total[1h])", name + ": {{reason}}")
                              for name in metrics.REASONS], "none", "timeseries", ""),
        ("Spool", [("flowpeer_spool_octets", "waiting"), ("flowpeer_spool_free_octets", "free")],
         "decbytes", "timeseries", ""),
        ("Age of what each stage made", [
            ("time() - flowpeer_last_datagram_timestamp_seconds", "datagram"),
            ("time() - flowpeer_last_sealed_timestamp_seconds", "sealed"),
            ("time() - flowpeer_last_published_timestamp_seconds", "published"),
            ("time() - flowpeer_rolled_up_until", "rolled up")], "s", "timeseries", ""),
        ("Age of sources", [("time() - flowpeer_rib_taken", "routes"),
                            ("time() - flowpeer_peeringdb_fetched", "PeeringDB")], "s",
         "timeseries", ""),
        ("Days until the lake's disk is full", [("flowpeer_days_until_full", "days")], "d",
         "timeseries", ""),
        ("Scheduled commands: exit status", [("flowpeer_command_exit_status", "{{command}}")],
         "none", "timeseries", ""),
        ("Scheduled commands: duration", [("flowpeer_command_duration_seconds", "{{command}}")],
         "s", "timeseries", ""),
        ("Warnings of the last run", [("flowpeer_command_warnings", "{{command}}")], "none",
         "timeseries", ""),
    ]  # fmt: skip
    document = {
        "title": "flowpeer", "uid": "flowpeer", "schemaVersion": 39, "timezone": "utc",
        "refresh": "1m", "time": {"from": "now-24h", "to": "now"}, "tags": ["flowpeer"],
        "templating": {"list": [{"name": "datasource", "type": "datasource",
                                 "query": "prometheus", "label": "Prometheus"}]},
        "panels": [
            _panel(n + 1, title, queries, unit, 7 * (n // 3), 8 * (n % 3), kind, text)
            for n, (title, queries, unit, kind, text) in enumerate(panels)
        ],
    }  # fmt: skip
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


FILES = {
    "prometheus/flowpeer.rules.yml": rules,
    "prometheus/flowpeer.rules.test.yml": rule_tests,
    "grafana/flowpeer.json": dashboard,
}


def stale() -> list[str]:
    """Files that are not what they would be made."""
    return [
        name for name, make in FILES.items()
        if not (HERE / name).is_file() or (HERE / name).read_text("utf-8") != make()
    ]  # fmt: skip


def main(words: list[str]) -> int:
    """Write the files, or say which are stale."""
    if words == ["--check"]:
        for name in stale():
            sys.stderr.write(f"deploy/{name} is stale: run python deploy/monitoring.py\n")
        return bool(stale())
    for name, make in FILES.items():
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_text(make(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
