"""The container image: built and tried where an engine runs; else its steps in a plain root folder.

    python .ci/image.py FOLDER

Docker or Podman build deploy/container/Dockerfile, and run the image as compose does: without
rights, on a read-only root. Where neither runs, the steps of the file are carried out one by one on
Debian in FOLDER (debootstrap, as root), and its command is run in there in the same way. Either way
it must become healthy, publish a datagram that it is sent, and end on SIGTERM with status 0.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DOCKERFILE = REPOSITORY / "deploy" / "container" / "Dockerfile"
BASE = "python3,python3-venv,python3-dev,python-is-python3"
"""Debian's packages for what the base image has."""
TOML = """\
[network]
asn = 64500
name = "Example"
prefixes = ["198.18.0.0/15"]
[lake]
path = "/var/lib/flowpeer/lake"
[collector]
seal_after = "1s"
"""
SEND = """\
import socket, struct, time
head = struct.pack(">HHIIIIBBH", 5, 1, 9, int(time.time()), 0, 0, 0, 0, 0)
record = struct.pack(">IIIHHIIIIHHBBBBHHBBH", 0xC6120001, 0x08080808, 0, 1, 2, 1, 1500, 0, 0, 9, 9,
                     0, 0, 6, 0, 0, 0, 0, 0, 0)
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(head + record, ("127.0.0.1", 2055))
"""
SQL = "SELECT count(*) AS n, sum(bytes)::BIGINT AS bytes FROM flows"
FOUND = [{"n": 1, "bytes": 1500}]


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """The instructions of a Dockerfile: word and rest, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            yield word.upper(), rest.strip()


def command(*words: str | Path, **options: object) -> str:
    """Run a command; its output. What it says goes on to stderr."""
    print("$", shlex.join(map(str, words))[:160], flush=True)
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]
    return str(done.stdout)


def engine() -> str:
    """An engine that runs here, or nothing."""
    for name in ("docker", "podman"):
        if shutil.which(name):
            asked = subprocess.run([name, "info"], capture_output=True, check=False)
            if asked.returncode == 0 and b"Cannot connect" not in asked.stderr + asked.stdout:
                return name
    return ""


def by_engine(name: str) -> None:
    """Build the image, and run it."""
    image = "flowpeer:check"
    command(name, "build", "-f", DOCKERFILE, "-t", image, REPOSITORY)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "flowpeer.toml").write_text(TOML)
        Path(folder).chmod(0o755)
        common = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL",
                  "--security-opt", "no-new-privileges", "-v", "flowpeer-check:/var/lib/flowpeer",
                  "-v", f"{folder}:/etc/flowpeer:ro")  # fmt: skip
        running = command(name, "run", "-d", *common, image).strip()
        try:
            health = ("inspect", "--format", "{{.State.Health.Status}}", running)
            _until(lambda: command(name, *health).strip() == "healthy")
            command(name, "exec", running, "python", "-c", SEND)
            asking = ("run", "--rm", *common, image, "sql", "--format", "json", SQL)
            _until(lambda: json.loads(command(name, *asking)) == FOUND)
            command(name, "stop", "--time", "30", running)
            assert command(name, "inspect", "--format", "{{.State.ExitCode}}", running) == "0\n"
        finally:
            command(name, "rm", "-f", running)
            command(name, "volume", "rm", "flowpeer-check")
            command(name, "image", "rm", image)


def _until(true: object, seconds: float = 120) -> None:
    import time

    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(1)


class Root:
    """A stage of the image: a root folder, and what the file has set so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}
        self.settings: dict[str, str] = {}

    def run(self, script: str) -> None:
        """A RUN line, as root; /proc and /dev are there, and the network of this machine."""
        mounted = 'mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; exec chroot "$0" "$@"'
        passed = {
            k: v for k, v in os.environ.items() if re.match(r"(PIP_|SSL_|\w*PROXY$)", k, re.I)
        }
        here = self.settings.get("WORKDIR", "/")
        command("unshare", "--mount", "sh", "-euc", mounted, self.folder, "env", "-i",
                *(f"{k}={v}" for k, v in {**passed, **self.variables()}.items()),
                "sh", "-euc", f"cd {here}; {script}")  # fmt: skip

    def variables(self) -> dict[str, str]:
        """What ENV has set, over the least that there is."""
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive",
                **self.environment}  # fmt: skip

    def copy(self, words: list[str], stages: dict[str, Root]) -> None:
        """A COPY line: of another stage, or of the files that git knows."""
        *sources, target = [word for word in words if not word.startswith("--")]
        there = self.folder / (self.settings.get("WORKDIR", "") + "/" + target).lstrip("/")
        if target.startswith("/"):
            there = self.folder / target.lstrip("/")
        stage = next((w.partition("=")[2] for w in words if w.startswith("--from=")), "")
        if stage:
            command("cp", "-a", stages[stage].folder / sources[0].lstrip("/"), there)
            return
        there.mkdir(parents=True, exist_ok=True)
        listed = command("git", "-C", REPOSITORY, "ls-files", "-z", "--", *sources)
        for name in filter(None, listed.split("\0")):
            (there / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, there / name)


def mirror() -> list[str]:
    """Where this machine has Debian from, if it says so."""
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    known = [line for line in asked.stdout.splitlines() if line.rstrip("/").endswith("/debian")]
    return known[:1]


def may_mount() -> bool:
    """May a root folder be entered here as the container is?"""
    apart = (
        "unshare",
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "mount",
        "-t",
        "tmpfs",
        "none",
        "/mnt",
    )
    return subprocess.run(apart, capture_output=True, check=False).returncode == 0


def base(folder: Path) -> Path:
    """A plain Debian, made once."""
    made = folder / "base"
    if not (made / "usr").exists():
        new = folder / "base.new"  # whole, or not at all
        shutil.rmtree(new, ignore_errors=True)
        command("debootstrap", "--variant=minbase", f"--include={BASE},ca-certificates", "trixie",
                new, *mirror(), stderr=sys.stdout)  # fmt: skip
        new.rename(made)
    return made


def built(folder: Path) -> Root:
    """The last stage of the Dockerfile, made in a plain folder."""
    plain = base(folder)
    for known in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt", "etc/pip.conf"):
        if Path("/", known).exists():
            shutil.copy(Path("/", known), plain / known)
    stages: dict[str, Root] = {}
    root = Root(plain)
    for word, rest in instructions(DOCKERFILE.read_text()):
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "image"
            shutil.rmtree(folder / name, ignore_errors=True)
            command("cp", "-a", plain, folder / name)
            root = stages[name] = Root(folder / name)
        elif word == "RUN":
            root.run(rest)
        elif word == "COPY":
            root.copy(rest.split(), stages)
        elif word == "ENV":
            for pair in shlex.split(rest):
                key, _, value = pair.partition("=")
                root.environment[key] = value.replace("$PATH", root.variables()["PATH"])
        elif word == "WORKDIR":
            root.settings[word] = rest
            (root.folder / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        else:
            root.settings[word] = rest
    return root


TRY = """
ip link set lo up
mount --bind "$root" "$root"; mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount --bind "$lake" "$root/var/lib/flowpeer"; mount --bind "$etc" "$root/etc/flowpeer"
within() { exec setpriv --no-new-privs chroot --userspec=$user "$root" env -i $env \
    sh -c 'cd /var/lib/flowpeer && exec "$@"' sh "$@"; }
within $entry $cmd & running=$!
tries=0
until (within python -c "$health" 2>/dev/null); do
    tries=$((tries + 1)); [ $tries -lt 120 ]; kill -0 $running; sleep 1
done
(within python -c "$send")
sleep 5
kill -TERM $running; wait $running
within $entry --json sql "$sql"
"""


def in_a_folder(folder: Path) -> None:
    """Carry out the steps in a plain root folder, and run what they made."""
    root = built(folder)
    lake, etc = folder / "lake", folder / "etc"
    for made in (lake, etc):
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
    (etc / "flowpeer.toml").write_text(TOML)
    user = root.settings["USER"]
    os.chown(lake, *map(int, user.split(":")))
    told = {
        "root": root.folder, "lake": lake, "etc": etc, "user": user, "send": SEND, "sql": SQL,
        "env": " ".join(f"{k}={v}" for k, v in root.variables().items()),
        "entry": " ".join(json.loads(root.settings["ENTRYPOINT"])),
        "cmd": " ".join(json.loads(root.settings["CMD"])),
        "health": json.loads(root.settings["HEALTHCHECK"].partition("CMD")[2])[2],
    }  # fmt: skip
    said = command("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-euc",
                   TRY, env={**os.environ, **{k: str(v) for k, v in told.items()}})  # fmt: skip
    assert json.loads(said.strip()) == FOUND, said
    for stage in ("build", "image"):
        shutil.rmtree(folder / stage)


def main(folder: Path) -> int:
    """By an engine, in a folder, or not at all: it says which."""
    name = engine()
    if name:
        by_engine(name)
        print(f"image: built and run by {name}")
    elif os.geteuid() == 0 and all(map(shutil.which, ("debootstrap", "unshare"))) and may_mount():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            base(folder)
        except subprocess.CalledProcessError as error:
            print(f"image: not tried: no engine runs here, and Debian cannot be had ({error})")
            return 0
        in_a_folder(folder)
        print("image: no engine runs here; its steps were carried out in a plain root folder")
    else:
        print("image: not tried: no engine runs here, and a plain root needs root and debootstrap,")
        print("       and a machine that lets root mount")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
