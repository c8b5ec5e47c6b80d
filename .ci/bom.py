"""What flowpeer is made of: a bill of materials (CycloneDX), and a check of the licences in it.

    python .ci/bom.py [FILE]       [dist/flowpeer.cdx.json]

Of each package in requirements.lock: name, version, digests of its files as the lock states them,
and the licence that the installed package states. The same lock makes the same file. A licence that
is not in LICENCES ends it with 1: somebody has to read it first.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
LICENCES = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT",
    "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
}  # fmt: skip
"""May be shipped beside a program under Apache-2.0."""
SAID = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "isc license (iscl)": "ISC",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl-2.0": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "psf": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}
"""Older words for them, in small letters."""
READ = {"pytricia": "LGPL-3.0-only"}
"""Of packages that state none, what their files say; each was read."""
APART = {"LGPL-3.0-only"}
"""Of a package of its own, that is imported as it is and that a user may replace."""


def locked(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """(name, version, sha256 digests) of each package of a lock file that Linux needs."""
    for block in re.finditer(r"(?m)^([a-z0-9._-]+)==([^ ;\\]+)([^\\\n]*)(.*\n(?:    .*\n)*)", text):
        name, version, marker, rest = block.groups()
        if "win32" not in marker and "Windows" not in marker:
            yield name, version, re.findall(r"sha256:([0-9a-f]{64})", rest)


def licence(name: str) -> str:
    """The licence of an installed package as an SPDX expression, or what it says instead."""
    if name in READ:
        return READ[name]
    try:
        stated = distribution(name).metadata
    except PackageNotFoundError:
        return ""
    if expression := stated.get("License-Expression"):
        return str(expression)
    classified = [
        c.rpartition(" :: ")[2] for c in stated.get_all("Classifier") or () if "License ::" in c
    ]
    for text in (*classified, str(stated.get("License") or "").splitlines()[:1]):
        word = text if isinstance(text, str) else "".join(text)
        found = SAID.get(word.strip().lower(), word.strip())
        if found in LICENCES:
            return found
    return ", ".join(classified) or str(stated.get("License") or "").strip()[:60]


def allowed(expression: str) -> bool:
    """Whether one may choose only licences of the list; exceptions to them are fine."""
    plain = re.sub(r" WITH [\w.-]+", "", expression.replace("(", " ").replace(")", " "))
    return bool(plain.strip()) and all(
        any(part.strip() in LICENCES | APART for part in each.split(" OR "))
        for each in plain.split(" AND ")
    )


def document(lock: str, version: str) -> dict[str, Any]:
    """The bill of materials."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application", "name": "flowpeer", "version": version,
                "licenses": [{"expression": "Apache-2.0"}],
            }
        },
        "components": [
            {
                "type": "library", "name": name, "version": number,
                "purl": f"pkg:pypi/{name}@{number}",
                "licenses": [{"expression": licence(name)}],
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in digests],
            }
            for name, number, digests in locked(lock)
        ],
    }  # fmt: skip


def main(words: list[str]) -> int:
    """Write it, and name every package whose licence is not known to be fine."""
    target = Path(words[0]) if words else REPOSITORY / "dist" / "flowpeer.cdx.json"
    text = (REPOSITORY / "flowpeer" / "__init__.py").read_text("utf-8")
    version = re.search(r'__version__ = "([^"]+)"', text)
    assert version is not None
    made = document((REPOSITORY / "requirements.lock").read_text("utf-8"), version[1])
    wrong = 0
    for component in made["components"]:
        said = component["licenses"][0]["expression"]
        if not allowed(said):
            sys.stderr.write(f"{component['name']}: licence {said!r} is not in the list\n")
            wrong = 1
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{target.name}: {len(made['components'])} packages\n")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
