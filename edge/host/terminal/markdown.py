"""Markdown for people: on a terminal as it is meant, elsewhere as its source with even lines."""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import ClassVar

from edge.host.terminal import console

WIDTH = 100
"""Columns at most: longer lines are hard to read. On a narrower terminal: its width."""

_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+")
_WHOLE = re.compile(r"\s*$|#|```|    |\t|---")
"""Lines that stay as they are: empty ones, headings, code, rules."""
_RULE = re.compile(r"\s*:?-+:?\s*")
TABLE_WIDTH = 160
"""Columns that a table in Markdown may take: its rows cannot be wrapped."""
SHORT_CELL = 12
"""Characters of a table's cell that are kept on one line: a word or a number."""


def show(text: str) -> None:
    """Print Markdown to standard output.

    Args:
        text: its lines hold nothing that a terminal would interpret; see `edge.host.text.harmless`.
    """
    if not console.is_terminal(sys.stdout):
        print("\n".join(even_lines(text)))
        return
    from rich.console import Console

    columns = min(WIDTH, shutil.get_terminal_size().columns)
    Console(width=columns, no_color=not console.colours(sys.stdout)).print(_rendered(text))


def even_lines(text: str, columns: int = WIDTH) -> Iterator[str]:
    """The same Markdown: paragraphs and items of lists filled to the width again, the columns of tables aligned."""
    for kind, lines in _blocks(text):
        yield from {"paragraph": _filled, "table": _aligned}.get(kind, _as_is)(lines, columns)


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Lines that belong together: paragraphs (an item of a list is one), tables, and others as they are."""
    block: list[str] = []
    kind, fenced = "", False
    for line in text.splitlines():
        fence = line.lstrip().startswith("```")
        before = kind
        if fenced or fence or _WHOLE.match(line):
            kind = "other"
        else:
            kind = "table" if line.startswith("|") else "paragraph"
        if block and (kind != before or (kind == "paragraph" and _ITEM.match(line))):
            yield before, block
            block = []
        block.append(line)
        fenced ^= fence
    if block:
        yield kind, block


def _as_is(lines: list[str], _: int) -> list[str]:
    return lines


def _filled(lines: list[str], columns: int) -> list[str]:
    item = _ITEM.match(lines[0])
    hanging = len(item[0]) if item else 0
    indent = len(lines[0]) - len(lines[0].lstrip()) if item else 0
    return textwrap.wrap(
        " ".join(line.strip() for line in lines),
        columns,
        initial_indent=" " * indent,
        subsequent_indent=" " * hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _aligned(lines: list[str], _: int) -> list[str]:
    """A table's rows with columns of one width each; as they are if that is far too wide."""
    rows = [
        [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        for line in lines
    ]
    if len({len(row) for row in rows}) > 1:
        return lines
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    if sum(widths) + 3 * len(widths) + 1 > TABLE_WIDTH:
        return lines
    padded = [
        [
            cell.ljust(width, "-" if _RULE.fullmatch(cell) else " ")
            for cell, width in zip(row, widths, strict=True)
        ]
        for row in rows
    ]
    return [f"| {' | '.join(row)} |" for row in padded]


def _rendered(text: str) -> object:
    """What rich prints: as its own Markdown, but in a table the long cells make room for the short ones."""
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.markdown import Markdown, TableElement
    from rich.table import Table

    class EvenTable(TableElement):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            for part in super().__rich_console__(console, options):
                if isinstance(part, Table):
                    for column in part.columns:
                        column.overflow = "fold"
                        column.no_wrap = all(
                            len(str(cell)) <= SHORT_CELL for cell in [column.header, *column.cells]
                        )
                yield part

    class Even(Markdown):
        elements: ClassVar = {**Markdown.elements, "table_open": EvenTable}

    return Even(text, hyperlinks=False)
