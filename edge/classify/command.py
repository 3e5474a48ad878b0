"""`leukoscope classify`: image files or folders, one line each; a summary, a table, a contact sheet, heat maps."""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from edge import settings as settings_file
from edge.cameras.preparation import Preparation
from edge.classify.contact_sheet import Tile, contact_sheet, thumbnail
from edge.classify.fields import OTHER, Line, classify_fields
from edge.errors import LeukoscopeError
from edge.host.ahead import ahead
from edge.host.durable import replace_file
from edge.host.journal import safe_lines
from edge.host.terminal import console
from edge.host.terminal.progress import progress
from edge.host.text import spreadsheet_cell
from edge.imaging.cores import use_cores
from edge.imaging.files import find_images, read_or_fault, shown
from edge.imaging.frame import Pixels
from edge.model.classifier import Classifier, Prediction
from edge.model.explain import Explanations
from edge.model.file import ModelFile, read_model
from edge.model.installation.install import of_settings
from edge.model.installed import find_model
from edge.model.summary import Summary, label_of
from edge.notice import NOTICE

_COLOURS = ("31", "32")
"""Of the first and the second class of the model, as on every surface: red and green; "refer" is yellow."""

_YELLOW, _GREY = "33", "90"


def _colours_of(model: ModelFile) -> dict[str, str]:
    """Of each verdict, as the parameter of an ANSI sequence."""
    return {**dict(zip(model.manifest.classes(), _COLOURS, strict=True)), "refer": _YELLOW, OTHER: _GREY}


def command(options: argparse.Namespace) -> int:
    """Classify every image; 1 if one could not be read.

    Raises:
        LeukoscopeError: model, settings or paths are wrong, or a file cannot be written.
        KeyboardInterrupt: it was stopped; what was done is in the table and the contact sheet.
    """
    if options.field:
        settings = settings_file.load(options.config) if options.config else settings_file.Settings()
        model = _model(options, settings)
        return classify_fields(options, settings, model, _colours_of(model))
    reader = Reader(options)
    paths = find_images(options.paths)[: options.limit]
    report = _Report(options, reader.model)
    if not (options.json or options.quiet):
        console.note(f"{reader.model.manifest.name}: {NOTICE}")
    try:
        with (
            progress("classify", len(paths), not options.quiet) as (step, show),
            closing(ahead(read_or_fault, paths)) as pictures,
        ):
            for path, read in zip(paths, pictures, strict=True):
                line, picture = reader.classify(path, read)
                report.add(line, picture)
                report.show(line, show)
                step()
    except KeyboardInterrupt:
        report.write()
        raise KeyboardInterrupt(f"{len(report.lines)} of {len(paths)} images are classified") from None
    report.write()
    if not (options.json or options.quiet):
        report.summary.show(sys.stderr)
    return 1 if report.summary.failed else 0


def _model(options: argparse.Namespace, settings: settings_file.Settings) -> ModelFile:
    """The one that is named, else the one that the box of the settings runs, else the default one."""
    if options.model or not options.config:
        return read_model(find_model(options.model))
    return of_settings(settings.model)


class Reader:
    """From a path to its verdict, with the model and settings of the options.

    Raises:
        LeukoscopeError: model or settings are wrong.
    """

    def __init__(self, options: argparse.Namespace):
        settings = settings_file.load(options.config) if options.config else settings_file.Settings()
        self.model = _model(options, settings)
        use_cores(settings.model.threads)
        manifest = self.model.manifest
        crop_px = settings.camera.crop_px(manifest.geometry.crop, manifest.microns_per_pixel)
        self._classifier = Classifier(
            self.model, settings.model.threads, settings.model.refer_below, crop_px, settings.quality
        )
        self._preparation = Preparation(settings.camera, crop_px) if options.config else None
        self._explanations = (
            Explanations(self._classifier, manifest, options.explain) if options.explain else None
        )

    def classify(self, path: Path, read: Pixels | LeukoscopeError) -> tuple[Line, Pixels | None]:
        """The line of one image, and the image itself; an unreadable one gives its error.

        Args:
            path: of the image.
            read: what `read_or_fault` gave.
        """
        try:
            if isinstance(read, LeukoscopeError):
                raise read
            pixels = read
            if self._preparation is not None:
                pixels = self._preparation.input(self._preparation.picture(pixels))
            prediction = self._classifier.classify(pixels)
        except LeukoscopeError as error:
            return {"source": shown(path), "error": str(error).replace(str(path), shown(path))}, None
        line = self._line(path, prediction)
        if self._explanations:
            line["explanation"] = shown(self._explanations.write(path, pixels, prediction))
        return line, pixels

    def _line(self, path: Path, prediction: Prediction) -> Line:
        return {
            "source": shown(path),
            "verdict": prediction.verdict,
            "probabilities": prediction.probabilities,
            "reasons": prediction.reasons,
            "quality": prediction.quality,
            "timings_ms": prediction.timings_ms,
            "model": {"name": self.model.manifest.name, "sha256": self.model.sha256},
        }


class _Report:
    """Everything that is shown and written about the lines."""

    def __init__(self, options: argparse.Namespace, model: ModelFile):
        self._options, self._model = options, model
        self._colours = console.colours(sys.stdout) and not options.json
        self._tiles: list[Tile] = []
        self.lines: list[Line] = []
        self._positive = model.manifest.positive_label()
        # The positive class first: red on every surface.
        self._classes = sorted(model.manifest.labels, key=lambda name: name != self._positive)
        self.summary = Summary(self._classes)

    def add(self, line: Line, picture: Pixels | None) -> None:
        self.lines.append(line)
        source = Path(line["source"])
        self.summary.add(source, line.get("verdict"))
        if self._options.html:
            image = thumbnail(picture) if picture is not None else ""
            self._tiles.append(Tile(line, image, label_of(source, self._classes)))

    def show(self, line: Line, show: Any) -> None:
        if self._options.json:
            show(msgspec.json.encode(line).decode())
        elif "error" in line:
            console.error(line["error"])
        else:
            reasons = f"  ({'; '.join(line['reasons'])})" if line["reasons"] else ""
            first = self._positive
            rest = f"  {first} {line['probabilities'][first]:.3f}  {line['source']}{reasons}"
            show(self._coloured(line["verdict"]) + safe_lines(rest))

    def _note(self, text: str) -> None:
        if not self._options.quiet:
            console.note(text)

    def _coloured(self, verdict: str) -> str:
        if not self._colours:
            return f"{verdict:5}"
        colour = _colours_of(self._model)[verdict]
        return f"\x1b[{colour}m{verdict:5}\x1b[0m"

    def write(self) -> None:
        """The files that were asked for."""
        if self._options.csv:
            replace_file(self._options.csv, _csv(self.lines, self._classes))
            self._note(f"{self._options.csv}: a table of {len(self.lines)} images")
        if self._options.html:
            page = contact_sheet(self._tiles, self.summary, self._model)
            replace_file(self._options.html, page.encode(errors="replace"))
            self._note(f"{self._options.html}: a contact sheet of {len(self._tiles)} images")


def _csv(lines: Sequence[Line], classes: Sequence[str]) -> bytes:
    """A row per image, with a probability per class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    probabilities = [f"p_{name.lower()}" for name in classes]
    writer.writerow(
        ("source", "verdict", *probabilities, "reasons", "label", "model", "model_sha256", "error")
    )
    for line in lines:
        model = line.get("model", {})
        row = (
            line["source"],
            line.get("verdict", ""),
            *(line.get("probabilities", {}).get(name, "") for name in classes),
            "; ".join(line.get("reasons", [])),
            label_of(Path(line["source"]), classes),
            model.get("name", ""),
            model.get("sha256", ""),
            line.get("error", ""),
        )
        writer.writerow([spreadsheet_cell(value) for value in row])
    return text.getvalue().encode("utf-8-sig", errors="replace")  # the mark tells Excel that it is UTF-8
