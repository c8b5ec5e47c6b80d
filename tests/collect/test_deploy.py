"""The deployment files are accepted by what reads them, and the socket is held over a restart."""

from __future__ import annotations

import re
import runpy
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from collector_rig import Rig

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
EXPOSURE = 30
"""Of systemd's 100; what it calls OK ends at 50."""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def units(tmp_path: Path) -> Path:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in (DEPLOY / "systemd").iterdir():
        text = re.sub(r"/(opt/flowpeer|usr/local)/bin/[a-z-]+", "/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def test_systemd_accepts_the_units(units: Path) -> None:
    names = [p for p in units.iterdir() if p.suffix in (".service", ".socket", ".timer")]
    assert len(names) == 10
    done = subprocess.run(
        ["systemd-analyze", "verify", *names], capture_output=True, text=True, check=False
    )
    if "Failed to initialize manager" in done.stderr:
        pytest.skip("systemd-analyze cannot verify in this environment")
    assert done.returncode == 0, done.stderr
    assert "Unknown" not in done.stderr


def test_every_service_is_hardened(units: Path) -> None:
    for service in units.glob("*.service"):
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", service],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


def command_lines() -> set[tuple[str, ...]]:
    """Every call of flowpeer in the files, without the common options."""
    found: list[list[str]] = []
    for unit in (DEPLOY / "systemd").glob("*.service"):
        found += [line.split()[1:] for line in unit.read_text().splitlines()
                  if line.startswith("ExecStart=/opt/flowpeer")]  # fmt: skip
    for line in (DEPLOY / "cron" / "flowpeer").read_text().splitlines():
        if not line.startswith("#") and " flowpeer  flowpeer " in line:
            found.append(line.split()[7:])
    for document in yaml.safe_load_all((DEPLOY / "kubernetes" / "flowpeer.yaml").read_text()):
        found += [list(c["args"]) for c in containers(document)]
    compose = yaml.safe_load((DEPLOY / "container" / "compose.yml").read_text())
    found.append(list(compose["services"]["collect"]["command"]))
    script = compose["services"]["schedule"]["command"][0]
    found += [
        text.split() for text in re.findall(r"flowpeer (--textfile.*?)(?: [|][|]|$)", script, re.M)
    ]
    dags = (DEPLOY / "airflow" / "flowpeer_dags.py").read_text()
    found += [re.findall(r'"([^"]+)"', call) for call in re.findall(r"flowpeer\((\".*?)\)", dags)]
    return {tuple(plain(words)) for words in found}


def plain(words: list[str]) -> Iterator[str]:
    rest = iter(words)
    for word in rest:
        if word in ("--config", "--textfile"):
            next(rest, None)
        elif word != "-q":
            yield word


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    spec = document.get("spec", {})
    template = spec.get("jobTemplate", {}).get("spec", spec).get("template", {})
    return list(template.get("spec", {}).get("containers", []))


def test_every_command_line_in_the_deployment_exists(run: Run) -> None:
    lines = command_lines()
    assert {words[0] for words in lines} == {
        "collect", "run", "compact", "prune", "peeringdb", "status"}  # fmt: skip
    for words in sorted(lines):
        done = run(*words, "--help")  # an option that does not exist is refused before
        assert done.returncode == 0, (words, done.stderr)


def test_kubernetes_runs_it_without_rights_and_without_latest() -> None:
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "flowpeer.yaml").read_text()))
    claims = {d["metadata"]["name"] for d in documents if d["kind"] == "PersistentVolumeClaim"}
    jobs = [d for d in documents if d["kind"] == "CronJob"]
    assert len(jobs) == 4
    assert all(d["spec"]["concurrencyPolicy"] == "Forbid" for d in jobs)
    seen = [c for d in documents for c in containers(d)]
    assert len(seen) == 5
    for container in seen:
        assert re.fullmatch(r".*:\d+\.\d+\.\d+", container["image"])
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert container["resources"]["limits"]["memory"]
    for document in documents:
        spec = document["spec"]
        pod = spec.get("jobTemplate", {}).get("spec", spec).get("template", {}).get("spec")
        if pod is None:
            continue
        assert pod["securityContext"]["runAsNonRoot"] is True
        given = {v["name"]: v for v in pod["volumes"]}
        for mount in pod["containers"][0]["volumeMounts"]:
            assert mount["name"] in given
        assert given["lake"]["persistentVolumeClaim"]["claimName"] in claims
    collect = containers(documents[1])[0]
    assert collect["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert collect["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert collect["ports"][0]["hostPort"] == 2055


def test_the_image_is_unprivileged_and_made_of_what_is_there() -> None:
    folder = DEPLOY.parent
    text = (DEPLOY / "container" / "Dockerfile").read_text()
    assert "latest" not in text
    assert text.index("USER 10001:10001") > text.rindex("FROM ")
    assert "/healthz" in text
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.M):
        assert all((folder / source).exists() for source in sources.split())
    ignored = (folder / ".dockerignore").read_text().split()
    for needed in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "flowpeer", "core"):
        assert (folder / needed).exists()
        assert needed not in ignored


def test_compose_is_read_only_and_its_script_is_shell() -> None:
    compose = yaml.safe_load((DEPLOY / "container" / "compose.yml").read_text())
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
    script = compose["services"]["schedule"]["command"][0].replace("$$", "$")
    checked = subprocess.run(
        ["sh", "-n"], input=script, text=True, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("status", "raised"), [(0, None), (1, None), (75, "AirflowException"),
                           (2, "AirflowFailException"), (3, "AirflowFailException")]
)  # fmt: skip
def test_airflow_understands_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, status: int, raised: str | None
) -> None:
    made: list[str] = []

    def dag(**options: Any) -> Callable[..., Any]:
        return lambda function: lambda: (made.append(options["schedule"]), function())

    class Task:
        def __rshift__(self, other: Any) -> Any:
            return other

    errors = {name: type(name, (Exception,), {}) for name in ("AirflowException",
                                                             "AirflowFailException")}  # fmt: skip
    decorators = {"dag": dag, "task": lambda function: lambda: Task()}
    for name, members in (("airflow", {}), ("airflow.decorators", decorators),
                          ("airflow.exceptions", errors)):  # fmt: skip
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    space = runpy.run_path(str(DEPLOY / "airflow" / "flowpeer_dags.py"))
    assert made == ["7 * * * *", "37 2 * * *", "30 4 * * 1"]
    space["FLOWPEER"][:] = [sys.executable, "-c", f"import sys; sys.exit({status})"]
    if raised is None:
        assert space["flowpeer"]() == status
    else:
        with pytest.raises(errors[raised]):
            space["flowpeer"]()


def test_a_socket_that_is_held_loses_nothing_over_restarts(rig: Rig) -> None:
    held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with suppress(PermissionError):
        held.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
    held.bind(("127.0.0.1", 0))
    rig.hold(held)
    rig.start()
    sender = threading.Thread(target=lambda: rig.send(12_000, rate=3_000))
    sender.start()
    rig.until(lambda: rig.sent > 3_000)
    first = rig.end()
    rig.start()
    rig.until(lambda: rig.sent > 9_000)
    second = rig.end()
    rig.start()
    sender.join()
    rig.until(lambda: rig.totals(first, second) + rig.watermark()["received"] >= 12_000)
    third = rig.end()
    held.close()
    assert third["listen"][0]["inherited"] is True
    assert sorted(rig.numbers().tolist()) == list(range(12_000))
    assert rig.lost_by_sequence() == 0
    assert rig.totals(first, second, third) == 12_000
    rig.clean()
