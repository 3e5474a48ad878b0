"""`leukoscope classify --field`: every white cell of whole fields, one line a field."""

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from edge import settings as settings_file
from edge.errors import LeukoscopeError
from edge.imaging.files import find_images, read_image, shown
from edge.model.classifier import Classifier
from edge.model.fields import FieldClassifier, JudgedCell, JudgedField
from edge.model.file import ModelFile, read_model
from edge.model.installed import find_model
from edge.notice import NOTICE


def classify(options: argparse.Namespace) -> int:
    """One line a field; 1 where an image could not be read."""
    settings = settings_file.load(options.config) if options.config else settings_file.Settings()
    model = read_model(find_model(options.model or settings.model.file))
    classifier = Classifier(
        model, settings.model.threads, settings.model.refer_below, limits=settings.quality
    )
    fields = FieldClassifier(model, classifier, microns_per_pixel=settings.camera.microns_per_pixel)
    failed = 0
    if not (options.json or options.quiet):
        print(f"{model.manifest.name}: {NOTICE}", file=sys.stderr)
    for path in find_images(options.paths)[: options.limit]:
        line = _one(path, fields, model)
        failed += "error" in line
        if options.json:
            print(msgspec.json.encode(line).decode(), flush=True)
        elif "error" in line:
            print(f"leukoscope: {line['error']}", file=sys.stderr)
        else:
            print("\n".join(_for_people(line)), flush=True)
    return 1 if failed else 0


def _one(path: Path, fields: FieldClassifier, model: ModelFile) -> dict[str, Any]:
    fields.forget()  # files need not be of one specimen
    try:
        judged = fields.judge(read_image(path))
    except LeukoscopeError as error:
        return {"source": shown(path), "error": str(error).replace(str(path), shown(path))}
    return {
        "source": shown(path),
        "cells": [cell_line(cell) for cell in judged.cells],
        "ruler": ruler_line(judged),
        "reasons": judged.reasons,
        "timings_ms": judged.timings_ms,
        "model": {"name": model.manifest.name, "sha256": model.sha256},
    }


def cell_line(cell: JudgedCell) -> dict[str, Any]:
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


def _for_people(line: dict[str, Any]) -> list[str]:
    red, reasons = line["ruler"]["red_cell_px"], "; ".join(line["reasons"])
    head = f"{line['source']}: {len(line['cells'])} white cells, red cells {red:.0f} px"
    lines = [head + (f"  ({reasons})" if reasons else "")]
    for cell in line["cells"]:
        left, top, width, height = cell["box"]
        label = next(iter(cell["probabilities"]))
        why = f"  ({'; '.join(cell['reasons'])})" if cell["reasons"] else ""
        lines.append(
            f"  {cell['verdict']:5}  {label} {cell['probabilities'][label]:.3f}  {cell['kind'] or '-':8}  "
            f"{width}x{height} at {left},{top}{why}"
        )
    return lines
