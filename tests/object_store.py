"""A bucket on a small object store, for tests."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from flowpeer.lake.store import Lake
from flowpeer.mirror import lake_folder

STORE = """
import sys
from moto.server import ThreadedMotoServer
store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
store.start()
print(*store.get_host_and_port(), flush=True)
sys.stdin.read()
"""
"""An object store in a process of its own, so that tests may fork. It ends with its stdin."""


class Bucket:
    """A bucket of a test, as several machines see it."""

    def __init__(self, endpoint: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import boto3

        self._folder, self._monkeypatch = folder, monkeypatch
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in {
            "ENDPOINT_URL_S3": endpoint, "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret",
            "REGION": "us-east-1", "EC2_METADATA_DISABLED": "true", "MAX_ATTEMPTS": "2",
            "CONFIG_FILE": os.devnull, "SHARED_CREDENTIALS_FILE": os.devnull,
        }.items():  # fmt: skip
            monkeypatch.setenv(f"AWS_{name}", value)
        self.name = f"lake-{secrets.token_hex(6)}"
        self.address = f"s3://{self.name}/some/lake"
        self.client = boto3.client("s3", region_name="us-east-1")
        self.client.create_bucket(Bucket=self.name)
        self.machine("one")

    def machine(self, name: str) -> Path:
        """From now on this process is on that machine: the folder of the lake there."""
        self._monkeypatch.setenv("XDG_CACHE_HOME", str(self._folder / f"cache-{name}"))
        return lake_folder(self.address, self._folder)

    def lake(self, machine: str = "one") -> Lake:
        """The lake as a machine sees it."""
        return Lake(self.machine(machine))

    def objects(self) -> dict[str, bytes]:
        """Everything in it, by key below the lake."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return {
            key.removeprefix("some/lake/"): self.client.get_object(Bucket=self.name, Key=key)[
                "Body"
            ].read()
            for key in keys
        }
