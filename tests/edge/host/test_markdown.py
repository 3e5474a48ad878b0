"""Markdown on standard output: even lines where it is piped, the terminal's width on a terminal."""

import re
import textwrap

import pytest
from command import leukoscope
from terminal import on_terminal

from edge.host.terminal.markdown import WIDTH, even_lines

CARD = textwrap.dedent("""\
    # A model
    **Only for
    research.** It was trained on many cells of many people, each of whom weighs the same
    as every
    other.

    - one
      thing
    - another thing that goes on and on until it is longer than a line may be, and a little further than that

    | shown | AUC |
    |---|---|
    | as it is | 0.96 |
    ```
    code   stays
    as it is
    ```
    """)


def test_paragraphs_and_items_are_filled_and_nothing_is_lost() -> None:
    lines = list(even_lines(CARD))
    assert max(map(len, lines)) <= WIDTH
    assert lines[:2] == [
        "# A model",
        "**Only for research.** It was trained on many cells of many people, each of whom weighs the same as",
    ]
    assert "- one thing" in lines
    assert lines[lines.index("```") :] == ["```", "code   stays", "as it is", "```"]
    assert re.findall(r"\w+", "\n".join(lines)) == re.findall(r"\w+", CARD)


def test_the_rest_of_an_item_stands_under_its_text() -> None:
    lines = list(even_lines("- " + "word " * 30))
    assert lines[0].startswith("- word") and lines[1].startswith("  word")


def test_columns_of_a_table_stand_under_each_other() -> None:
    lines = [line for line in even_lines(CARD) if line.startswith("|")]
    assert lines == ["| shown    | AUC  |", "| -------- | ---- |", "| as it is | 0.96 |"]


def test_a_table_that_cannot_be_aligned_stays_as_it_is() -> None:
    uneven = ["| a | b |", "|---|---|", "| c |"]
    assert list(even_lines("\n".join(uneven))) == uneven
    wide = ["| a |", "|---|", f"| {'x' * 200} |"]
    assert list(even_lines("\n".join(wide))) == wide


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_card_fits_the_terminal(columns: int) -> None:
    lines = on_terminal(columns, "model", "show")
    card = lines[: next(number for number, line in enumerate(lines) if line.startswith("file "))]
    widest = max(map(len, card))
    assert min(columns, WIDTH) - 5 <= widest <= min(columns, WIDTH)
    assert "What it is" in card and not any("|---" in line for line in card)


def test_a_piped_card_is_even_markdown() -> None:
    lines = leukoscope("model", "show").stdout.splitlines()
    assert "## What it is" in lines
    text = [line for line in lines if not line.startswith("|")]
    assert max(map(len, text)) <= WIDTH
    assert not any(before.endswith("from") for before in text), "a line of the card's source ends there"
