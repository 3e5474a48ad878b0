"""The version that records name is that of the package."""

import re
from pathlib import Path

import edge

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_stands_in_two_places_alike() -> None:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert found is not None and found[1] == edge.__version__
