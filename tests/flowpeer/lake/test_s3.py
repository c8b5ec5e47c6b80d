"""A lake on an object store: what is committed is committed once, whatever is killed or unknown.

The store is moto's: it answers conditions as S3 does, one request after the other. How a real one
arbitrates requests of the same moment, its permissions and its failures it cannot show; those are
played by servers of a few lines, or by the client.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, ConnectionClosedError
from object_store import Bucket
from small_units import BEGIN, add, forked, merge_one, state

from flowpeer import mirror
from flowpeer.errors import StoreError, UsageError
from flowpeer.lake import interface_names, s3
from flowpeer.lake.commit import commit, sweep
from flowpeer.lake.interface_names import document_key, exported
from flowpeer.lake.storage import ConflictError
from flowpeer.lake.storage import replace as replace_document
from flowpeer.lake.store import Lake
from flowpeer.lake.verify import verify_files
from flowpeer.pipeline.collect import SegmentUnit
from flowpeer_ingest.segments import SegmentSummary
from flowpeer_ingest.summary import CaptureSummary

CHANGES = ("PutObject", "DeleteObject")
Call = Callable[[], Any]


@contextmanager
def intercepted(what: Callable[[str, dict[str, Any], Call], Any]) -> Iterator[None]:
    """`what` is asked in place of each request to a store: its name, its parameters, and itself."""
    whole = BaseClient._make_api_call

    def call(self: BaseClient, name: str, given: dict[str, Any]) -> Any:
        return what(name, given, lambda: whole(self, name, given))

    BaseClient._make_api_call = call
    try:
        yield
    finally:
        BaseClient._make_api_call = whole


def faults_of(lake: Lake) -> list[str]:
    return [fault.what for _, fault in verify_files(lake.record()) if fault]


def test_a_unit_is_there_for_every_machine_and_done_twice_counts_once(bucket: Bucket) -> None:
    here = bucket.lake("one")
    add(here, 0)
    add(here, 1)
    there = bucket.lake("two")
    assert there.root != here.root
    assert state(there) == state(here)
    assert faults_of(there) == []
    before = bucket.objects()
    add(there, 1)
    assert bucket.objects() == before
    assert str(there) == bucket.address
    assert {key.split("/")[0] for key in before} == {
        "format.json", "manifests", "flows", "coverage",
    }  # fmt: skip


def killed(work: Callable[[Lake], object], lake: Lake, point: int, *, after: bool) -> int:
    """Do work in a process that is killed before or after its n-th change of the store; its wait
    status."""
    passed = 0

    def die(name: str, given: dict[str, Any], call: Call) -> Any:
        nonlocal passed
        passed += name in CHANGES
        if name in CHANGES and passed == point:
            with suppress(ClientError):  # a refused one
                if after:
                    call()
            os.kill(os.getpid(), signal.SIGKILL)
        return call()

    def child() -> None:
        with intercepted(die):
            work(Lake(lake.root))

    return forked(child)


@pytest.mark.parametrize("name", ["publish", "merge"])
def test_killed_at_each_request_all_of_it_is_there_or_nothing(name: str, bucket: Bucket) -> None:
    works: dict[str, Callable[[Lake], object]] = {
        "publish": lambda lake: add(lake, 3),
        "merge": lambda lake: merge_one(lake, 0),
    }
    work = works[name]
    made = bucket.lake()
    for number in range(2):
        add(made, number)
    begun = bucket.objects()

    def again() -> Lake:
        """The store as it was before, and a machine that has seen none of it."""
        found = bucket.objects()
        for key in found.keys() - begun.keys():
            bucket.client.delete_object(Bucket=bucket.name, Key=f"some/lake/{key}")
        for key, octets in begun.items() - found.items():
            bucket.client.put_object(Bucket=bucket.name, Key=f"some/lake/{key}", Body=octets)
        return bucket.lake()

    before = state(made)
    work(made)
    after = state(made)
    seen: Counter[str] = Counter()
    point, status = 0, int(signal.SIGKILL)
    while status == signal.SIGKILL:
        # Behind a request the store is what it is before the next one.
        point += 1
        lake = again()
        status = killed(work, lake, point, after=point > 1)
        found = state(lake)
        if name == "publish":
            assert found in (before, after), point
        assert all(found[hour] in (before[hour], after[hour]) for hour in found), point
        seen["before" if found == before else "after"] += 1
        work(lake)
        assert state(lake) == after, point
        assert all("no manifest names it" in what for what in faults_of(lake)), point
    assert status == 0
    assert point > 3
    assert seen["before"] > 2
    assert seen["after"] > 0 or name == "merge"


def of_status(status: int, code: str = "InternalError") -> ClientError:
    return ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject"
    )


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize(
    "error", [ConnectionClosedError(endpoint_url="x"), of_status(500), of_status(412)]
)
def test_an_unknown_outcome_is_read_back(bucket: Bucket, error: Exception, done: bool) -> None:
    """No answer, an error of the server, or the client's own repetition, which is refused."""
    lake = bucket.lake()
    add(lake, 0)
    refused = 0

    def lose(name: str, given: dict[str, Any], call: Call) -> Any:
        nonlocal refused
        if name == "PutObject" and "/manifests/flows/" in given["Key"] and not refused:
            refused += 1
            if done:
                call()
            raise error
        return call()

    conflict = isinstance(error, ClientError) and "412" in str(error.response)
    with intercepted(lose):
        if done or conflict:
            add(lake, 1)
        else:
            with pytest.raises(StoreError, match="write manifests/flows/"):
                add(lake, 1)
    assert refused == 1
    add(lake, 1)
    assert state(lake)["flows 00"] == (4, ["segment-0-run", "segment-1-run"])
    header = lake.record().header("flows", BEGIN)
    assert header is not None
    assert header.generation == 2


def test_two_writers_of_one_hour_both_get_in(bucket: Bucket) -> None:
    here, there = bucket.lake("one"), bucket.lake("two")
    add(here, 0)
    conflicts = 0

    def meanwhile(name: str, given: dict[str, Any], call: Call) -> Any:
        nonlocal conflicts
        if name == "PutObject" and "hour=01.json" in given["Key"] and conflicts == 0:
            conflicts = 1
            add(there, 2)
            with pytest.raises(ClientError, match="PreconditionFailed"):
                call()
        return call()

    with intercepted(meanwhile):
        add(here, 1)
    assert conflicts == 1
    names = ["segment-0-run", "segment-1-run", "segment-2-run"]
    assert state(here) == state(there)
    assert all(found == (6, names) for found in state(here).values())
    assert faults_of(here) == []


def test_the_first_version_of_a_document_is_written_by_one(bucket: Bucket) -> None:
    storage = bucket.lake().storage
    storage.write("format.json", b"{}", replaces=None)
    with pytest.raises(ConflictError):
        storage.write("format.json", b"{} ", replaces=None)
    held = storage.read("format.json")
    assert held is not None
    assert held.octets == b"{}"
    storage.write("manifests/x.json", b"1", replaces=None)
    with pytest.raises(ConflictError):
        storage.write("manifests/x.json", b"2", replaces=held.version)
    with pytest.raises(ConflictError):
        storage.write("manifests/y.json", b"2", replaces=held.version)
    assert storage.read("manifests/y.json") is None
    assert replace_document(storage, "manifests/x.json", lambda held: (b"3", 3)) == 3


def test_packed_headers_of_a_changed_hour_are_not_used(bucket: Bucket) -> None:
    here, there = bucket.lake("one"), bucket.lake("two")
    add(here, 0)
    record = here.record()
    assert record.headers("flows")[BEGIN].files == 1
    record.pack()
    read: list[str] = []

    def listen(name: str, given: dict[str, Any], call: Call) -> Any:
        read.extend([given["Key"]] if name == "GetObject" else [])
        return call()

    with intercepted(listen):
        assert here.record().headers("flows")[BEGIN].files == 1
    assert not any("/manifests/" in key for key in read)
    add(there, 1)
    assert here.record().headers("flows")[BEGIN].files == 2


def test_files_that_were_replaced_stay_for_the_grace_and_go_then(bucket: Bucket) -> None:
    lake = bucket.lake()
    add(lake, 0)
    add(lake, 1)
    reader = bucket.lake("two")
    old = reader.record().header("flows", BEGIN)
    assert old is not None
    merge_one(lake, 0)
    assert all(path.is_file() for path in reader.paths(old.paths))
    header = lake.record().header("flows", BEGIN)
    assert header is not None
    assert {r.path for r in header.retired} == set(old.paths)
    due = max(r.due for r in header.retired)
    assert sweep(lake, "flows", BEGIN, replace(header, retired=())) == 0
    mirror.limit(lake.root, 1 << 30, 1)
    lake = bucket.lake()
    assert lake.storage.grace_s == 1
    later = datetime.fromisoformat(due) + timedelta(seconds=1)
    assert sweep(lake, "flows", BEGIN, header, later) == 2
    assert not set(old.paths) & bucket.objects().keys()
    assert faults_of(lake) == []


def test_a_damaged_or_missing_object_is_named(bucket: Bucket) -> None:
    lake = bucket.lake()
    add(lake, 0)
    header = lake.record().header("flows", BEGIN)
    assert header is not None
    (key,) = header.paths
    assert lake.path(key).is_file()
    bucket.client.put_object(Bucket=bucket.name, Key=f"some/lake/{key}", Body=b"other")
    assert faults_of(lake) == ["the content is not what was published"]
    bucket.client.delete_object(Bucket=bucket.name, Key=f"some/lake/{key}")
    assert faults_of(lake) == ["the file is missing"]
    assert not lake.path(key).exists()


def test_files_that_were_not_used_for_longest_make_room(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = bucket.lake()
    for number in range(3):
        add(lake, number)
    there = bucket.lake("two")
    mirror.limit(there.root, 16_000, 3600)
    monkeypatch.setattr(s3, "USED_S", -3600)
    monkeypatch.setattr(s3, "OPENED_S", -3600)
    there = bucket.lake("two")
    header = there.record().header("flows", BEGIN)
    assert header is not None
    for key in header.paths:
        assert there.path(key).is_file()
    kept = list(there.root.rglob("*.parquet"))
    assert 0 < len(kept) < 3 + 1
    assert sum(path.stat().st_size for path in kept) <= 16_000 + 7_000
    with pytest.raises(UsageError, match="octets of `flows` are to be read"):
        there.check_room("flows", 20_000)


def test_a_large_file_goes_in_parts(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PART_OCTETS", 5 << 20)
    lake = bucket.lake()
    octets = os.urandom(6 << 20)
    staged = lake.staging.path("x.parquet")
    staged.write_bytes(octets)
    parts: Counter[str] = Counter()

    def listen(name: str, given: dict[str, Any], call: Call) -> Any:
        parts[name] += 1
        return call()

    with intercepted(listen):
        lake.storage.put(staged, "flows/x.parquet")
    assert parts["UploadPart"] == 2
    (path,) = bucket.lake("two").places(["flows/x.parquet"])
    assert path.read_bytes() == octets


def test_a_transfer_that_breaks_off_is_done_again(bucket: Bucket) -> None:
    lake = bucket.lake()
    add(lake, 0)
    header = lake.record().header("flows", BEGIN)
    assert header is not None
    there = bucket.lake("two")
    broken = 0

    def cut(name: str, given: dict[str, Any], call: Call) -> Any:
        nonlocal broken
        answer = call()
        if name == "GetObject" and given["Key"].endswith(".parquet") and not broken:
            broken = 1
            answer["Body"]._raw_stream.read(100)  # lost on the way
        return answer

    with intercepted(cut):
        (path,) = there.paths(header.paths)
    assert broken == 1
    assert path.read_bytes() == lake.path(header.paths[0]).read_bytes()


def test_names_of_interfaces_are_there_for_every_machine(bucket: Bucket) -> None:
    here, there = bucket.lake("one"), bucket.lake("two")
    for lake, word, text in ((here, "a", "et-0"), (there, "a", "et-1"), (there, "b", "et-2")):
        summary = CaptureSummary(path="x")
        summary.interfaces = {"192.0.2.1": {len(text) + ord(text[-1]): {"name": (1, text)}}}
        interface_names.merge(lake, word, summary, ["192.0.2.1"])
    said = exported(here.root, ["192.0.2.1", "192.0.2.2"]).texts
    assert sorted(t["name"][1] for t in said["192.0.2.1"].values()) == ["et-0", "et-1", "et-2"]
    assert list(said) == ["192.0.2.1"]
    key = document_key("a", "192.0.2.1")
    bucket.client.put_object(Bucket=bucket.name, Key=f"some/lake/{key}", Body=b"torn")
    assert exported(there.root, ["192.0.2.1"]).damaged == [key]


# What a store may say


class Canned(BaseHTTPRequestHandler):
    """Answers each request with one status and error code."""

    status = 200
    code = ""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        if self.code:
            body = f"<Error><Code>{self.code}</Code><Message>said</Message></Error>".encode()
        elif self.command == "GET":
            body = b'{"format": 3}'
        if self.command == "HEAD":
            body = b""
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = _answer

    def log_message(self, *words: object) -> None:
        pass


@contextmanager
def canned(status: int, code: str) -> Iterator[str]:
    handler = type("Handler", (Canned,), {"status": status, "code": code})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "code", "said", "exit_code"),
    [
        (403, "AccessDenied", "permission denied: read format.json (AccessDenied)", 2),
        (403, "InvalidAccessKeyId", "permission denied", 2),
        (404, "NoSuchBucket", "there is no such bucket", 2),
        (400, "AuthorizationHeaderMalformed", "another region", 2),
        (503, "SlowDown", "SlowDown", 3),
    ],
)
def test_what_a_store_refuses_is_one_line(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch,
    status: int, code: str, said: str, exit_code: int,
) -> None:  # fmt: skip
    with canned(status, code) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(StoreError) as raised:
            bucket.lake().check_format()
    assert said in raised.value.what
    assert raised.value.what.startswith(bucket.address)
    assert "\n" not in raised.value.what
    assert raised.value.advice
    assert raised.value.exit_code == exit_code


def test_a_collector_tries_again_where_the_store_does_not_answer(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the collector an OSError is what may pass: a segment stays in the spool."""
    with canned(503, "SlowDown") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        unit = SegmentUnit(bucket.lake(), "segment-1-run", collector="one")
        with pytest.raises(OSError, match="SlowDown"):
            unit.publish(SegmentSummary(path="x"))


def test_a_store_that_passes_over_conditions_is_refused(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with canned(200, "") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        with pytest.raises(StoreError, match="does not keep to conditions"):
            bucket.lake().storage.write("manifests/x.json", b"1", replaces=None)


def test_no_bucket_no_credentials_nobody_there(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    run: Callable[..., Any],
) -> None:  # fmt: skip
    (tmp_path / "flowpeer.toml").write_text(
        f'[network]\nasn = 64500\nname = "T"\nprefixes = ["198.18.0.0/15"]\n'
        f'[lake]\npath = "{bucket.address}x"\n'
    )
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    def said(*words: str) -> tuple[int, str]:
        done = run(*words, cwd=tmp_path)
        assert "Traceback" not in done.stderr
        first, *rest = done.stderr.splitlines()
        assert len(rest) == 1
        assert rest[0].startswith("try: ")
        return done.returncode, first

    bucket.client.delete_bucket(Bucket=bucket.name)
    status, line = said("rollup")
    assert (status, "there is no such bucket" in line) == (2, True), line
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    status, line = said("rollup")
    assert (status, "no credentials" in line) == (2, True), line
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    status, line = said("sql", "SELECT count(*) FROM traffic")
    assert (status, "cannot be reached" in line) == (3, True), line
    status, line = said("adopt")
    assert (status, "`adopt` is not possible on an object store" in line) == (2, True), line


def test_addresses() -> None:
    assert mirror.split("s3://some-bucket") == ("some-bucket", "")
    assert mirror.split("s3://some-bucket/a/b/") == ("some-bucket", "a/b")
    for bad in ("s3://", "s3:///a", "s3://B/a", "s3://bucket//a", "s3://bucket/a/../b", "x"):
        with pytest.raises(ValueError, match="s3://BUCKET/FOLDER"):
            mirror.split(bad)
    assert mirror.lake_folder("lake", Path("/etc")) == Path("/etc/lake")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot be kept here"):
        mirror.lake_folder("s3://bucket/x", tmp_path, "file/cache")


def test_a_commit_that_changes_nothing_writes_nothing(bucket: Bucket) -> None:
    lake = bucket.lake()
    add(lake, 0)
    before = bucket.objects()
    assert commit(lake, "flows", BEGIN, lambda manifest: None) is None
    assert bucket.objects() == before
