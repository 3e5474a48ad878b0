"""What both views of `classify` do alike: go through the images, show each line, write table and page, count."""

import argparse
import csv
import io
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from edge.errors import LeukoscopeError
from edge.host.ahead import ahead
from edge.host.durable import replace_file
from edge.host.terminal import console
from edge.host.terminal.progress import Show, progress
from edge.host.text import safe_json, spreadsheet_cell
from edge.imaging.files import find_images, read_or_fault, shown
from edge.imaging.frame import Pixels
from edge.model.file import ModelFile
from edge.model.summary import Summary
from edge.notice import NOTICE

Line = dict[str, Any]
"""One JSON line: the contract's keys, or "source" and "error"."""

Picture = TypeVar("Picture")
"""What a view keeps of an image for its page."""

OTHER = "other"
"""Counted apart from "refer": a white cell that is not lymphoid."""

_COLOURS = ("31", "32")
"""Of the first and the second class of the model, as on every surface: red and green; "refer" is yellow."""

_YELLOW, _GREY = "33", "90"


class Report(ABC, Generic[Picture]):
    """Everything that is shown and written about the images.

    Args:
        options: of the command line.
        model: that judges.
        summary: counts them.
    """

    def __init__(self, options: argparse.Namespace, model: ModelFile, summary: Summary):
        self._options, self._model = options, model
        self._classes = model.manifest.classes()
        self._colours: dict[str, str] = {}
        if console.colours(sys.stdout) and not options.json:
            colours = dict(zip(self._classes, _COLOURS, strict=True))
            self._colours = {**colours, "refer": _YELLOW, OTHER: _GREY}
        self.lines: list[Line] = []
        self.summary = summary

    @abstractmethod
    def add(self, line: Line, picture: Picture) -> None:
        """One more image."""

    @abstractmethod
    def text(self, line: Line) -> str:
        """What people read of an image that could be read."""

    @abstractmethod
    def write(self) -> None:
        """The files that were asked for."""

    def hint(self) -> str:
        """What the user may have meant instead; "" for nothing."""
        return ""

    def go_through(self, judge: Callable[[Path, Pixels | LeukoscopeError], tuple[Line, Picture]]) -> int:
        """Judge every image; 1 if one could not be read.

        Args:
            judge: from a path and what `read_or_fault` gave to the line and the picture.

        Raises:
            LeukoscopeError: a file cannot be written.
            KeyboardInterrupt: it was stopped; what was done is in the files.
        """
        paths = find_images(self._options.paths)[: self._options.limit]
        talks = not (self._options.json or self._options.quiet)
        if talks:
            console.note(f"{self._model.manifest.name}: {NOTICE}")
        try:
            with (
                progress("classify", len(paths)) as (step, show),
                closing(ahead(read_or_fault, paths)) as pictures,
            ):
                for path, read in zip(paths, pictures, strict=True):
                    line, picture = judge(path, read)
                    self.add(line, picture)
                    self._show(line, show)
                    step()
        except KeyboardInterrupt:
            self.write()
            raise KeyboardInterrupt(f"{len(self.lines)} of {len(paths)} images are classified") from None
        self.write()
        if talks:
            self.summary.show(sys.stderr)
            if hint := self.hint():
                console.note(hint)
        return 1 if self.summary.failed else 0

    def _show(self, line: Line, show: Show) -> None:
        if self._options.json:
            show(safe_json(msgspec.json.encode(line)))
        elif "error" in line:
            console.error(line["error"])
        else:
            show(self.text(line))

    def _coloured(self, word: str) -> str:
        colour = self._colours.get(word, "")
        return f"\x1b[{colour}m{word:5}\x1b[0m" if colour else f"{word:5}"

    def _written(self, file: Path, content: bytes, what: str) -> None:
        replace_file(file, content)
        console.note(f"{file}: {what}")


def was_asked(kind: str | None) -> bool:
    """Whether the network was asked about a cell of this kind."""
    return kind not in (None, OTHER)


def unreadable(path: Path, error: LeukoscopeError) -> Line:
    """The line of an image that could not be read."""
    return {"source": shown(path), "error": str(error).replace(str(path), shown(path))}


def model_of(model: ModelFile) -> dict[str, str]:
    """The model as every line names it."""
    return {"name": model.manifest.name, "sha256": model.sha256}


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """A CSV that a spreadsheet opens; no cell of it is a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([spreadsheet_cell(value) for value in row])
    return text.getvalue().encode("utf-8-sig", errors="replace")  # the mark tells Excel that it is UTF-8
