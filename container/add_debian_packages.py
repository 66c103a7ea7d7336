"""Add the base image's Debian packages to a CycloneDX bill of materials.

usage: add_debian_packages.py SBOM STATUS OUT     (STATUS: the file /var/lib/dpkg/status of the base)
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def debian_components(status: str) -> Iterator[dict[str, Any]]:
    """Give a component for every installed package of dpkg's status file."""
    for paragraph in status.strip().split("\n\n"):
        package = Parser().parsestr(paragraph)
        if package["Status"] != "install ok installed":
            continue
        address = f"pkg:deb/debian/{quote(package['Package'])}@{quote(package['Version'], safe='')}"
        address += f"?arch={package['Architecture']}"
        yield {
            "bom-ref": address,
            "type": "library",
            "name": package["Package"],
            "version": package["Version"],
            "purl": address,
        }


def main(source: str, status: str, out: str) -> None:
    """Write the joint bill of materials, or end with the error if it is not valid CycloneDX."""
    bill = json.loads(Path(source).read_text(encoding="utf-8"))
    bill["components"] += debian_components(Path(status).read_text(encoding="utf-8"))
    text = json.dumps(bill, indent=1, sort_keys=True)
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        sys.exit(f"the bill of materials is not valid: {error}")
    Path(out).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
