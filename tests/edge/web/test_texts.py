"""Every language has every text, and every text that is used is there."""

import json
import re
from pathlib import Path

import pytest

from edge.host.languages import LANGUAGES
from edge.web.texts import NAMES, catalogue, chosen

WEB = Path(__file__).resolve().parents[3] / "edge" / "web"
TEXTS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (WEB / "texts").glob("*.json")}
PLACE = re.compile(r"\{(\w+)\}")


def used() -> set[str]:
    """The keys that templates, scripts and refusals name in full."""
    keys = set()
    for path in (*(WEB / "templates").glob("*.html"), *(WEB / "static").glob("*.js")):
        keys |= set(re.findall(r"""\bt(?:\(|\[)["']([\w. ]+)["'](?:\)|\]|,)""", path.read_text()))
    refusal = re.compile(
        r"""(?:refused|PageError|BoxError)\((?:[^()]|\([^()]*\))*?"(\w+)"(?:, \d+)?\)""", re.S
    )
    for path in WEB.rglob("*.py"):
        keys |= {f"error.{code}" for code in refusal.findall(path.read_text())}
    return keys


def test_there_is_a_catalogue_for_every_language() -> None:
    assert set(TEXTS) == set(LANGUAGES) == set(NAMES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_missing(language: str) -> None:
    assert set(TEXTS["en"]) - set(TEXTS[language]) == set()
    assert set(TEXTS[language]) - set(TEXTS["en"]) == set()
    assert [key for key, text in TEXTS[language].items() if not text.strip()] == []
    for key, text in TEXTS["en"].items():
        assert sorted(PLACE.findall(text)) == sorted(PLACE.findall(TEXTS[language][key])), key


def test_every_text_that_is_used_is_there() -> None:
    found = used()
    assert len(found) > 60
    assert found - set(TEXTS["en"]) == set()


def test_no_text_is_a_copy_of_the_english_one_by_oversight() -> None:
    for language in ("fr", "es", "pt"):
        same = [key for key, text in TEXTS[language].items() if text == TEXTS["en"][key] and len(text) > 12]
        assert same == [], language


def test_the_language_of_a_request() -> None:
    assert chosen("pt", "fr", "en") == "pt"
    assert chosen("xx", "de-DE, fr;q=0.8", "en") == "fr"
    assert chosen("", "de", "es") == "es"
    assert catalogue("nowhere")["yes"] == "yes"
