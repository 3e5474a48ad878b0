"""Strangers' text is shown, never obeyed."""

import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.host.text import harmless, safe_json, shortened, spreadsheet_cell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("slide 7", "slide 7"),
        ("Блок-3 é", "Блок-3 é"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\x9b31mb", "a\\x9b31mb"),
        ("a\nERROR forged", "a\\x0aERROR forged"),
        ("\u202eLLA", "\\u202eLLA"),
        ("a\u2028b", "a\\u2028b"),
        ("\ud800", "\\ud800"),
        (7, "7"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(text: object, shown: str) -> None:
    assert harmless(text) == shown


@given(st.text(), st.integers(1, 300))
def test_any_text_becomes_one_bounded_printable_line(text: str, limit: int) -> None:
    shown = harmless(text, limit)
    assert len(shown) <= limit
    assert not any(unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") for sign in shown)
    assert harmless(shown, limit) == shown


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1+cmd", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_spreadsheet_takes_no_cell_for_a_formula(text: str) -> None:
    assert spreadsheet_cell(text) == "'" + text


def test_other_cells_stay_as_they_are() -> None:
    assert [spreadsheet_cell(value) for value in ("slide", "", None, -3, 0.5)] == ["slide", "", None, -3, 0.5]


@pytest.mark.parametrize(
    "text", ["plain", "\x1b[31m", "Müller \x9b31m", "é\x7f", "a\u202eb", "\U000e0001", "\u2028", '"\\"']
)
def test_json_for_a_terminal_is_the_same_document(text: str) -> None:
    shown = safe_json(msgspec.json.encode({text: [text]}))
    assert msgspec.json.decode(shown) == {text: [text]}
    assert not set(shown) & set("\x1b\x9b\u202e\U000e0001\u2028")
    assert "Müller" in shown or "Müller" not in text


@pytest.mark.parametrize(
    ("path", "columns", "shown"),
    [
        ("results.db", 10, "results.db"),
        ("sqlite:////home/lab/november/results.db", 22, "…/november/results.db"),
        ("sqlite:////home/lab/november/results.db", 12, "…/results.db"),
        ("sqlite:////home/lab/november/results.db", 8, "…ults.db"),
        ("/home/lab/november/", 6, "…mber/"),
    ],
)
def test_a_long_path_keeps_its_end(path: str, columns: int, shown: str) -> None:
    assert shortened(path, columns) == shown


@given(st.text(), st.integers(2, 300))
def test_a_shortened_path_fits_and_a_short_one_is_whole(path: str, columns: int) -> None:
    shown = shortened(path, columns)
    assert len(shown) <= columns and (shown == path or len(path) > columns)
