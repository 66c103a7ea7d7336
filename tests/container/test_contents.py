"""What is in the image: a welcome, the core alone, a bill of materials, licences; and its threads."""

from __future__ import annotations

import json

import pytest

import medseg
from tests.container.conftest import Image

pytestmark = [pytest.mark.container, pytest.mark.timeout(300)]
DOCS = "/opt/medseg/share/doc/medseg"
ABSENT = ("mlflow", "monai", "lightning_fabric", "matplotlib", "pip", "pytest", "cyclonedx", "piplicenses")


def test_a_bare_run_says_in_five_lines_what_to_do(image: Image) -> None:
    done = image.run()
    assert done.code == 0
    assert len(done.said.splitlines()) == 5
    assert "segment /in /out" in done.said


def test_the_version_is_this_one(image: Image) -> None:
    assert image.run("--version").said == f"medseg {medseg.__version__}\n"


def test_the_environment_holds_the_core_and_dicom_alone(image: Image) -> None:
    look = f"import importlib.util as u; print([n for n in {ABSENT} if u.find_spec(n)])"
    assert image.inside("/opt/medseg/bin/python", "-c", look) == "[]\n"
    use = "import gdcm, highdicom, jpeg_ls, SimpleITK, scipy.ndimage, tifffile, nibabel; print('all there')"
    assert image.inside("/opt/medseg/bin/python", "-c", use) == "all there\n"


def test_the_bill_of_materials_names_every_distribution_and_the_base(image: Image) -> None:
    bill = json.loads(image.inside("cat", f"{DOCS}/sbom.cdx.json"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    named = {(part["name"].lower().replace("_", "-"), part["version"]) for part in bill["components"]}
    look = (
        "import importlib.metadata as m; print(*((d.name, d.version) for d in m.distributions()), sep='\\n')"
    )
    for line in image.inside("/opt/medseg/bin/python", "-c", look).splitlines():
        name, version = line.strip("()").replace("'", "").split(", ")
        if name != "medseg":  # the subject of the bill, not one of its parts
            assert (name.lower().replace("_", "-"), version) in named
    assert bill["metadata"]["component"]["name"] == "medseg"
    assert any(
        part["purl"].startswith("pkg:deb/debian/libc6@") for part in bill["components"] if "purl" in part
    )


def test_every_licence_is_known_and_its_text_is_kept(image: Image) -> None:
    rows = image.inside("cat", f"{DOCS}/licences.csv").splitlines()
    assert len(rows) > 20
    assert [row for row in rows if "UNKNOWN" in row] == []
    texts = image.inside("cat", f"{DOCS}/licences.txt")
    for holder in ("PyTorch", "Apache License", "SimpleITK"):
        assert holder in texts


def test_a_limit_of_processors_is_the_number_of_threads(image: Image) -> None:
    told = image.run("info", "--json", flags=("--cpus=1",))
    assert json.loads(told.said)["threads"] == 1


def test_files_belong_to_root_and_nobody_else_can_write_them(image: Image) -> None:
    assert image.inside("find", "/opt/medseg", "!", "-user", "0") == ""
    assert image.inside("find", "/opt/medseg", "-perm", "/022", "!", "-type", "l") == ""
