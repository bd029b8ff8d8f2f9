"""The project's own papers: one version everywhere, a changelog that knows it, and pages that name what exists."""

import configparser
import re
from pathlib import Path

import pytest

import tsslbp_ref
from tools import public_api

ROOT = Path(__file__).resolve().parents[1]


def test_the_version_stands_in_one_place():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["version"] == "attr: tsslbp_ref.__version__"
    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)[1] == tsslbp_ref.__version__


def test_the_changelog_begins_with_this_version():
    versions = re.findall(r"^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == tsslbp_ref.__version__
    assert versions == sorted(set(versions), key=lambda version: [int(n) for n in version.split(".")], reverse=True)


def test_no_public_name_or_signature_changes_unseen():
    ask = "write the snapshot anew with `python -m tools.public_api`, and name what was renamed in CHANGELOG.md"
    assert public_api.SNAPSHOT.read_text() == public_api.public_api(), ask


@pytest.mark.parametrize("page", ["CHANGELOG.md", "CONTRIBUTING.md"])
def test_a_page_names_files_and_targets_that_exist(page):
    text = (ROOT / page).read_text()
    for path in re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", text):
        assert "NN" in path or (ROOT / path).exists(), path
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make ([a-z-]+)`", text)) <= targets
