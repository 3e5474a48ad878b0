"""What the commands of the box do with their options."""

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from edge import settings as settings_file
from edge.daemon.daemon import build
from edge.errors import LeukoscopeError
from edge.imaging.files import find_images, read_image, shown
from edge.model.classifier import Classifier, default_model
from edge.model.explain import Explanations
from edge.model.file import ModelFile, read_model, verify
from edge.notice import NOTICE


def run(options: argparse.Namespace) -> int:
    """`leukoscope run`; 1 where a folder's images could not all be read."""
    unreadable = build(settings_file.load(options.config), options.metrics, options.again).run()
    return 1 if unreadable else 0


def check(options: argparse.Namespace) -> int:
    """`leukoscope check`."""
    settings_file.load(options.config)
    print(f"{options.config}: valid")
    return 0


def classify(options: argparse.Namespace) -> int:
    """`leukoscope classify`: one line an image; 1 where an image could not be read."""
    model = read_model(options.model or default_model())
    classifier = Classifier(model)
    explanations = Explanations(classifier, model.manifest, options.explain) if options.explain else None
    failed, positive = 0, model.manifest.positive_label()
    if not options.json:
        print(f"{model.manifest.name}: {NOTICE}", file=sys.stderr)
    for path in find_images(options.paths):
        line = _classify_one(path, classifier, model, explanations)
        failed += "error" in line
        if options.json:
            print(msgspec.json.encode(line).decode(), flush=True)
        elif "error" in line:
            print(f"leukoscope: {line['error']}", file=sys.stderr)
        else:
            reasons = f"  ({'; '.join(line['reasons'])})" if line["reasons"] else ""
            print(
                f"{line['verdict']:5}  {positive} {line['probabilities'][positive]:.3f}  {shown(path)}{reasons}",
                flush=True,
            )
    return 1 if failed else 0


def _classify_one(
    path: Path, classifier: Classifier, model: ModelFile, explanations: Explanations | None
) -> dict[str, Any]:
    try:
        pixels = read_image(path)
        prediction = classifier.classify(pixels)
    except LeukoscopeError as error:
        return {"source": shown(path), "error": str(error).replace(str(path), shown(path))}
    line = {
        "source": shown(path),
        "verdict": prediction.verdict,
        "probabilities": prediction.probabilities,
        "reasons": prediction.reasons,
        "quality": prediction.quality,
        "timings_ms": prediction.timings_ms,
        "model": {"name": model.manifest.name, "sha256": model.sha256},
    }
    if explanations:
        line["explanation"] = shown(explanations.write(path, pixels, prediction))
    return line


def model(options: argparse.Namespace) -> int:
    """`leukoscope model show|verify`."""
    file = read_model(options.file)
    if options.action == "verify":
        verify(file)
        print(f"{options.file}: {file.manifest.name}, sha256 {file.sha256}, fits")
    else:
        encoded = msgspec.json.encode(file.manifest)
        print((encoded if options.json else msgspec.json.format(encoded, indent=2)).decode())
        if not options.json:
            print(f"\n{file.card}")
    return 0
