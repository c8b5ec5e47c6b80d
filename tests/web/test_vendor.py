"""What lies in the repository of others is what they deliver."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import flowpeer.web

FOLDERS = [
    Path(flowpeer.web.__file__).parent / "static" / "vendor",
    Path(__file__).with_name("vendor"),
]


@pytest.mark.parametrize("folder", FOLDERS, ids=["explorer", "tests"])
def test_each_file_is_in_the_manifest_and_unmodified(folder: Path) -> None:
    packages = json.loads((folder / "manifest.json").read_text("utf-8"))
    stated = {name: file for package in packages for name, file in package["files"].items()}
    assert {p.name for p in folder.iterdir()} - {"manifest.json"} == set(stated)
    for name, file in stated.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == file["sha256"], name
    for package in packages:
        assert package["licence"] in ("0BSD", "Apache-2.0", "MPL-2.0")
        assert package["integrity"].startswith("sha512-")
        assert any("LICENSE" in name for name in package["files"])
