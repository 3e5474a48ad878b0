"""What verdicts add up to, and how many agree with the label of their folder."""

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from edge.host.terminal import console
from edge.host.text import harmless
from edge.notice import NOTICE

REFER = "refer"
_COLOURS = ("red", "green")
"""Of the first and the second class of a model."""


def label_of(source: Path, classes: Sequence[str]) -> str:
    """The class that an image has by the name of its folder, in any case; "" if the folder is named otherwise."""
    return next((name for name in classes if name.lower() == source.parent.name.lower()), "")


class Summary:
    """Counts verdicts by folder.

    Args:
        classes: the two classes of the model, and what else is counted beside "refer".
        counted: what each verdict is of: "images", or "cells" of fields, which have no label.

    Attributes:
        failed: images that could not be read.
        verdicts: how many of each.
        right, wrong: verdicts other than "refer" that agree with the folder's label, or not.
    """

    def __init__(self, classes: Sequence[str], counted: str = "images") -> None:
        self._classes, self._counted = list(classes), counted
        self.failed = self.right = self.wrong = 0
        self.verdicts: collections.Counter[str] = collections.Counter()
        self.folders: dict[str, collections.Counter[str]] = {}

    def add(self, source: Path, verdict: str | None) -> None:
        """Count one image; its verdict, or None if it could not be read."""
        counts = self.folders.setdefault(str(source.parent), collections.Counter())
        counts[verdict or "unreadable"] += 1
        if verdict is None:
            self.failed += 1
            return
        self.verdicts[verdict] += 1
        label = label_of(source, self._classes) if self._counted == "images" else ""
        if label and verdict != REFER:
            self.right += verdict == label
            self.wrong += verdict != label
            counts["right" if verdict == label else "wrong"] += 1

    def sentence(self) -> str:
        """ "17 ALL, 1 HEM, 6 referred; 15 right and 3 wrong by the folders' labels"."""
        counted = [f"{self.verdicts[name]} {name}" for name in self._classes]
        text = ", ".join([*counted, f"{self.verdicts[REFER]} referred"])
        if self.failed:
            text += f", {self.failed} unreadable"
        if self.right or self.wrong:
            text += f"; {self.right} right and {self.wrong} wrong by the folders' labels"
        return text

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """The table: its head, and a row per folder with a total if there are several."""
        has_labels, has_failed = bool(self.right or self.wrong), bool(self.failed)
        head = ["folder", self._counted, *self._classes, REFER]
        head += ["right", "wrong"] * has_labels + ["unreadable"] * has_failed
        total: collections.Counter[str] = collections.Counter()
        rows = []
        for folder, counts in self.folders.items():
            total.update(counts)
            rows.append([harmless(folder), *self._cells(counts, head[2:])])
        if len(rows) > 1:
            rows.append(["total", *self._cells(total, head[2:])])
        return head, rows

    def show(self, stream: IO[str]) -> None:
        """Print the table, and what it is not."""
        head, rows = self.rows()
        if not rows:
            return
        if console.is_terminal(stream):
            self._rich_table(head, rows, stream)
        else:
            widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
            for row in [head, *rows]:
                cells = [f"{row[0]:<{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:]))]
                console.note("  ".join(cells))
        console.note(f"{NOTICE}; one cell decides nothing")

    def _cells(self, counts: collections.Counter[str], head: list[str]) -> list[str]:
        images = sum(counts[name] for name in (*self._classes, REFER, "unreadable"))
        return [str(images), *(str(counts[name]) for name in head)]

    def _rich_table(self, head: list[str], rows: list[list[str]], stream: IO[str]) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        colours = {**dict(zip(self._classes, _COLOURS, strict=False)), REFER: "yellow", "wrong": "bold"}
        table = Table()
        table.add_column(head[0], overflow="fold")  # two folders that are cut look alike
        for name in head[1:]:
            table.add_column(name, justify="right", style=colours.get(name))
        for row in rows:
            table.add_row(*map(Text, row), end_section=len(rows) > 1 and row is rows[-2])
        Console(file=stream).print(table)
