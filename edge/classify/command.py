"""`leukoscope classify`: image files or folders, one line each; a summary, a table, a contact sheet, heat maps."""

import argparse
from pathlib import Path

import numpy as np

from edge import settings as settings_file
from edge.cameras.preparation import Preparation
from edge.classify.contact_sheet import Tile, contact_sheet, thumbnail
from edge.classify.fields import classify_fields
from edge.classify.report import Line, Report, model_of, table, unreadable
from edge.errors import LeukoscopeError
from edge.host.journal import safe_lines
from edge.host.terminal import console
from edge.imaging.cores import use_cores
from edge.imaging.files import shown
from edge.imaging.frame import Pixels
from edge.model.classifier import Classifier, Prediction
from edge.model.explain import Explanations
from edge.model.file import ModelFile, read_model
from edge.model.installation.install import of_settings
from edge.model.installed import find_model
from edge.model.summary import Summary, label_of

BLACK_BELOW, LEAST_BLACK = 25, 0.3
"""A segmented cell stands on black: four fifths of C-NMC's pictures; the rim of a field through an eyepiece is a fifth."""


def command(options: argparse.Namespace) -> int:
    """Classify every image; 1 if one could not be read.

    Raises:
        LeukoscopeError: model, settings or paths are wrong, or a file cannot be written.
        KeyboardInterrupt: it was stopped; what was done is in the table and the contact sheet.
    """
    if options.field:
        settings = settings_file.load(options.config) if options.config else settings_file.Settings()
        model = _model(options, settings)
        return classify_fields(options, settings, model)
    reader = Reader(options)
    return _Report(options, reader.model).go_through(reader.classify)


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
            return unreadable(path, error), None
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
            "model": model_of(self.model),
        }


class _Report(Report[Pixels | None]):
    def __init__(self, options: argparse.Namespace, model: ModelFile):
        super().__init__(options, model, Summary(model.manifest.classes()))
        self._tiles: list[Tile] = []
        self._on_light = 0

    def add(self, line: Line, picture: Pixels | None) -> None:
        self.lines.append(line)
        source = Path(line["source"])
        self.summary.add(source, line.get("verdict"))
        self._on_light += picture is not None and _black_share(picture) < LEAST_BLACK
        if self._options.html:
            image = thumbnail(picture) if picture is not None else ""
            self._tiles.append(Tile(line, image, label_of(source, self._classes)))

    def text(self, line: Line) -> str:
        reasons = f"  ({'; '.join(line['reasons'])})" if line["reasons"] else ""
        first = self._classes[0]
        rest = f"  {first} {line['probabilities'][first]:.3f}  {line['source']}{reasons}"
        return self._coloured(line["verdict"]) + safe_lines(rest)

    def write(self) -> None:
        if self._options.csv:
            self._written(self._options.csv, self._table(), f"a table of {len(self.lines)} images")
        if self._options.html:
            page = contact_sheet(self._tiles, self.summary, self._model)
            content = page.encode(errors="replace")
            self._written(self._options.html, content, f"a contact sheet of {len(self._tiles)} images")
        if self._options.explain:
            maps = sum("explanation" in line for line in self.lines)
            console.note(f"{self._options.explain}: heat maps of {maps} images")

    def hint(self) -> str:
        if not self._on_light or self._options.config:
            return ""
        return (
            f"{self._on_light} of {len(self.lines)} images are not single cells on black, which the model expects: "
            "whole fields need --field, pictures of a box's camera --config FILE"
        )

    def _table(self) -> bytes:
        """A row per image, with a probability per class."""
        probabilities = [f"p_{name.lower()}" for name in self._classes]
        head = ("source", "verdict", *probabilities, "reasons", "label", "model", "model_sha256", "error")
        return table(head, map(self._row, self.lines))

    def _row(self, line: Line) -> tuple[str, ...]:
        model = line.get("model", {})
        return (
            line["source"],
            line.get("verdict", ""),
            *(line.get("probabilities", {}).get(name, "") for name in self._classes),
            "; ".join(line.get("reasons", [])),
            label_of(Path(line["source"]), self._classes),
            model.get("name", ""),
            model.get("sha256", ""),
            line.get("error", ""),
        )


def _black_share(pixels: Pixels) -> float:
    """The share of black pixels, 0 to 1, by every fourth row and column.

    Args:
        pixels: (H, W, 3) uint8 RGB.
    """
    return float(np.mean(pixels[::4, ::4].max(axis=-1) < BLACK_BELOW))
