"""`leukoscope classify --field`: every white cell of each image, numbered; a table, a page with boxes, heat maps."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edge import settings as settings_file
from edge.classify.contact_sheet import FieldTile, boxed, field_sheet
from edge.classify.report import OTHER, Line, Report, model_of, table, unreadable, was_asked
from edge.errors import LeukoscopeError
from edge.host.journal import safe_lines
from edge.host.terminal import console
from edge.imaging.cores import use_cores
from edge.imaging.files import shown
from edge.imaging.frame import Pixels
from edge.model.classifier import Classifier
from edge.model.explain import Explanations
from edge.model.fields import FieldClassifier, JudgedCell, JudgedField
from edge.model.file import ModelFile
from edge.model.summary import Summary

_HEAD = ("cell", "left_px", "top_px", "width_px", "height_px", "kind", "verdict")


def classify_fields(options: argparse.Namespace, settings: settings_file.Settings, model: ModelFile) -> int:
    """Judge every field; 1 if one could not be read.

    Raises:
        LeukoscopeError: the networks for fields are missing, or a file cannot be written.
        KeyboardInterrupt: it was stopped; what was done is in the table and the page.
    """
    reader = _FieldReader(options, settings, model)
    return _FieldReport(options, model).go_through(reader.judge)


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
            return unreadable(path, error), ""
        line: Line = {
            "source": shown(path),
            "cells": [cell_line(cell) for cell in judged.cells],
            "ruler": ruler_line(judged),
            "reasons": judged.reasons,
            "timings_ms": judged.timings_ms,
            "model": model_of(self._model),
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
                self._explanations.write_crop(path, cell.crop, cell.prediction, number)


class _FieldReport(Report[str]):
    def __init__(self, options: argparse.Namespace, model: ModelFile):
        super().__init__(options, model, Summary([*model.manifest.classes(), OTHER], counted="cells"))
        self._tiles: list[FieldTile] = []

    def add(self, line: Line, picture: str) -> None:
        self.lines.append(line)
        source = Path(line["source"])
        if "error" in line:
            self.summary.add(source, None)
        for cell in line.get("cells", []):
            self.summary.add(source, OTHER if cell["kind"] == OTHER else cell["verdict"])
        if self._options.html:
            self._tiles.append(FieldTile(line, picture))

    def text(self, line: Line) -> str:
        return "\n".join([safe_lines(headline(line)), *map(self._cell, _numbered(line))])

    def _cell(self, numbered: tuple[int, Line]) -> str:
        number, cell = numbered
        left, top, width, height = cell["box"]
        first = self._classes[0]
        likely = f"{first} {cell['probabilities'][first]:.3f}" if was_asked(cell["kind"]) else ""
        why = f"  ({'; '.join(cell['reasons'])})" if cell["reasons"] else ""
        word = OTHER if cell["kind"] == OTHER else cell["verdict"]
        box = f"{width}x{height} px at {left},{top}"
        return f"{number:4}  {self._coloured(word)}  {likely:9}  {box:21}" + safe_lines(why)

    def write(self) -> None:
        if self._options.csv:
            what = f"a table of the cells of {len(self.lines)} fields"
            self._written(self._options.csv, self._table(), what)
        if self._options.html:
            page = field_sheet(self._tiles, self.summary, self._model)
            content = page.encode(errors="replace")
            self._written(self._options.html, content, f"{len(self._tiles)} fields with every cell numbered")
        if self._options.explain:
            console.note(f"{self._options.explain}: a heat map of each lymphoid or unclear cell")

    def _table(self) -> bytes:
        """A row per cell; a field without cells, or one that could not be read, has a row of its own."""
        probabilities = [f"p_{name.lower()}" for name in self._classes]
        head = ("source", *_HEAD, *probabilities, "reasons", "red_cell_px", "model", "model_sha256", "error")
        return table(head, (row for line in self.lines for row in self._rows(line)))

    def _rows(self, line: Line) -> Iterator[Sequence[Any]]:
        model, red = line.get("model", {}), line.get("ruler", {}).get("red_cell_px", "")
        tail = (red, model.get("name", ""), model.get("sha256", ""), line.get("error", ""))
        if not line.get("cells"):
            empty = [""] * (len(_HEAD) + len(self._classes))
            yield line["source"], *empty, "; ".join(line.get("reasons", [])), *tail
            return
        for number, cell in _numbered(line):
            asked = was_asked(cell["kind"])
            likely = [cell["probabilities"][name] if asked else "" for name in self._classes]
            kind, reasons = cell["kind"] or "", "; ".join(cell["reasons"])
            yield line["source"], number, *cell["box"], kind, cell["verdict"], *likely, reasons, *tail


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
