"""`leukoscope classify --field`: every white cell of each image, numbered; a table, a page with boxes, heat maps."""

import argparse
import csv
import io
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from edge import settings as settings_file
from edge.classify.contact_sheet import FieldTile, boxed, field_sheet
from edge.errors import LeukoscopeError
from edge.host.ahead import ahead
from edge.host.durable import replace_file
from edge.host.journal import safe_lines
from edge.host.terminal import console
from edge.host.terminal.progress import Show, progress
from edge.host.text import spreadsheet_cell
from edge.imaging.cores import use_cores
from edge.imaging.files import find_images, read_or_fault, shown
from edge.imaging.frame import Pixels
from edge.model.classifier import Classifier
from edge.model.explain import Explanations
from edge.model.fields import FieldClassifier, JudgedCell, JudgedField
from edge.model.file import ModelFile
from edge.model.summary import Summary
from edge.notice import NOTICE

Line = dict[str, Any]
"""One JSON line: the contract's keys, or "source" and "error"."""

OTHER = "other"
"""Counted apart from "refer": a white cell that is not lymphoid."""

_HEAD = ("cell", "left_px", "top_px", "width_px", "height_px", "kind", "verdict")


def classify_fields(
    options: argparse.Namespace, settings: settings_file.Settings, model: ModelFile, colours: dict[str, str]
) -> int:
    """Judge every field; 1 if one could not be read.

    Args:
        colours: of each verdict, as the parameter of an ANSI sequence.

    Raises:
        LeukoscopeError: the networks for fields are missing, or a file cannot be written.
        KeyboardInterrupt: it was stopped; what was done is in the table and the page.
    """
    reader = _FieldReader(options, settings, model)
    report = _FieldReport(options, model, colours)
    paths = find_images(options.paths)[: options.limit]
    talks = not (options.json or options.quiet)
    if talks:
        console.note(f"{model.manifest.name}: {NOTICE}")
    try:
        with (
            progress("classify", len(paths), not options.quiet) as (step, show),
            closing(ahead(read_or_fault, paths)) as pictures,
        ):
            for path, read in zip(paths, pictures, strict=True):
                report.add(*reader.judge(path, read))
                report.show(show)
                step()
    except KeyboardInterrupt:
        report.write()
        raise KeyboardInterrupt(f"{len(report.lines)} of {len(paths)} images are classified") from None
    report.write()
    if talks:
        report.summary.show(sys.stderr)
    return 1 if report.summary.failed else 0


class _FieldReader:
    """From a path to its line, and the picture with its cells numbered."""

    def __init__(self, options: argparse.Namespace, settings: settings_file.Settings, model: ModelFile):
        use_cores(settings.model.threads)
        self._model, self._draws = model, bool(options.html)
        self._classifier = Classifier(
            model, settings.model.threads, settings.model.refer_below, limits=settings.quality
        )
        self._fields = FieldClassifier(
            model, self._classifier, microns_per_pixel=settings.camera.microns_per_pixel
        )
        self._explanations = (
            Explanations(self._classifier, model.manifest, options.explain) if options.explain else None
        )

    def judge(self, path: Path, field: Pixels | LeukoscopeError) -> tuple[Line, str]:
        """The line of one field and its picture, a data: address; "" if none is wanted.

        Args:
            path: of the image.
            field: what `read_or_fault` gave.
        """
        self._fields.forget()  # files need not be of one specimen
        try:
            if isinstance(field, LeukoscopeError):
                raise field
            judged = self._fields.judge(field)
        except LeukoscopeError as error:
            return {"source": shown(path), "error": str(error).replace(str(path), shown(path))}, ""
        line: Line = {
            "source": shown(path),
            "cells": [cell_line(cell) for cell in judged.cells],
            "ruler": ruler_line(judged),
            "reasons": judged.reasons,
            "timings_ms": judged.timings_ms,
            "model": {"name": self._model.manifest.name, "sha256": self._model.sha256},
        }
        self._explain(path, judged)
        return line, boxed(field, line["cells"], self._model.manifest.classes()) if self._draws else ""

    def _explain(self, path: Path, judged: JudgedField) -> None:
        """A heat map of each cell that the network was asked about."""
        if self._explanations is None:
            return
        for number, cell in enumerate(judged.cells, 1):
            if was_asked(cell.kind):
                self._classifier.classify_crop(cell.crop)  # the map is that of the last crop
                named = path.with_name(f"{path.stem}-cell-{number}{path.suffix}")
                self._explanations.write_crop(named, cell.crop, cell.prediction)


class _FieldReport:
    """Everything that is shown and written about the fields."""

    def __init__(self, options: argparse.Namespace, model: ModelFile, colours: dict[str, str]):
        self._options, self._model = options, model
        self._colours = colours if console.colours(sys.stdout) and not options.json else {}
        self._classes = model.manifest.classes()
        self._tiles: list[FieldTile] = []
        self.lines: list[Line] = []
        self.summary = Summary([*self._classes, OTHER], counted="cells")

    def add(self, line: Line, picture: str) -> None:
        self.lines.append(line)
        source = Path(line["source"])
        if "error" in line:
            self.summary.add(source, None)
        for cell in line.get("cells", []):
            self.summary.add(source, OTHER if cell["kind"] == OTHER else cell["verdict"])
        if self._options.html:
            self._tiles.append(FieldTile(line, picture))

    def show(self, show: Show) -> None:
        """The last line."""
        line = self.lines[-1]
        if self._options.json:
            show(msgspec.json.encode(line).decode())
        elif "error" in line:
            console.error(line["error"])
        else:
            show("\n".join([safe_lines(headline(line)), *map(self._cell, _numbered(line))]))

    def _cell(self, numbered: tuple[int, Line]) -> str:
        number, cell = numbered
        left, top, width, height = cell["box"]
        first = self._classes[0]
        likely = f"{first} {cell['probabilities'][first]:.3f}" if was_asked(cell["kind"]) else ""
        why = f"  ({'; '.join(cell['reasons'])})" if cell["reasons"] else ""
        word = OTHER if cell["kind"] == OTHER else cell["verdict"]
        colour = self._colours.get(word, "")
        shown_word = f"\x1b[{colour}m{word:5}\x1b[0m" if colour else f"{word:5}"
        box = f"{width}x{height} at {left},{top}"
        return f"{number:4}  {shown_word}  {likely:9}  {box:18}" + safe_lines(why)

    def write(self) -> None:
        """The files that were asked for."""
        if self._options.csv:
            replace_file(self._options.csv, _csv(self.lines, self._classes))
            self._note(f"{self._options.csv}: a table of the cells of {len(self.lines)} fields")
        if self._options.html:
            page = field_sheet(self._tiles, self.summary, self._model)
            replace_file(self._options.html, page.encode(errors="replace"))
            self._note(f"{self._options.html}: {len(self._tiles)} fields with every cell numbered")
        if self._options.explain:
            self._note(f"{self._options.explain}: a heat map of each lymphoid or unclear cell")

    def _note(self, text: str) -> None:
        if not self._options.quiet:
            console.note(text)


def was_asked(kind: str | None) -> bool:
    """Whether the network was asked about a cell of this kind."""
    return kind not in (None, OTHER)


def headline(line: Line) -> str:
    """ "field.jpg: 2 white cells, red cells 82 px wide"."""
    count = len(line["cells"])
    text = f"{line['source']}: {count} white cell{'' if count == 1 else 's'}"
    if red := line["ruler"]["red_cell_px"]:
        text += f", red cells {red:.0f} px wide"
    return text + (f"  ({'; '.join(line['reasons'])})" if line["reasons"] else "")


def _numbered(line: Line) -> list[tuple[int, Line]]:
    return list(enumerate(line["cells"], 1))


def cell_line(cell: JudgedCell) -> Line:
    """One cell as `classify --field --json` prints it."""
    return {
        "box": cell.box_px,
        "kind": cell.kind,
        "verdict": cell.prediction.verdict,
        "probabilities": cell.prediction.probabilities,
        "reasons": cell.prediction.reasons,
        "certainty": round(cell.cell.certainty, 4),
        "at_edge": cell.cell.at_edge,
        "quality": cell.prediction.quality,
        "timings_ms": cell.prediction.timings_ms,
    }


def ruler_line(judged: JudgedField) -> dict[str, float]:
    """The ruler as it stands in that line and in a field's record."""
    return {"red_cell_px": round(judged.red_cell_px, 2), "scale": round(judged.scale, 4)}


def _csv(lines: list[Line], classes: tuple[str, str]) -> bytes:
    """A row per cell; a field without cells, or one that could not be read, has a row of its own."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    probabilities = [f"p_{name.lower()}" for name in classes]
    writer.writerow(
        ("source", *_HEAD, *probabilities, "reasons", "red_cell_px", "model", "model_sha256", "error")
    )
    for line in lines:
        model, red = line.get("model", {}), line.get("ruler", {}).get("red_cell_px", "")
        tail = (red, model.get("name", ""), model.get("sha256", ""), line.get("error", ""))
        for number, cell in _numbered(line) if line.get("cells") else [(0, None)]:
            if cell is None:
                row: list[Any] = [""] * (len(_HEAD) + len(classes)) + ["; ".join(line.get("reasons", []))]
            else:
                asked = was_asked(cell["kind"])
                likely = [cell["probabilities"][name] if asked else "" for name in classes]
                row = [number, *cell["box"], cell["kind"] or "", cell["verdict"], *likely]
                row.append("; ".join(cell["reasons"]))
            writer.writerow([spreadsheet_cell(value) for value in (line["source"], *row, *tail)])
    return text.getvalue().encode("utf-8-sig", errors="replace")  # the mark tells Excel that it is UTF-8
