"""What the daemon's parts know of the model file that judges; made in the same way at the start and for another file."""

from typing import NamedTuple

from edge.model.classifier import Classifier
from edge.model.file import ModelFile
from edge.records import ModelReference, fitting
from edge.settings import Settings
from edge.specimen.counting import Classes
from edge.specimen.errors import ModelErrors, errors_in


class Judge(NamedTuple):
    """What a count tells of the model file.

    Attributes:
        model: as records name it.
        errors: its error rates: of its card, or of the adaptation to this laboratory.
        checked_here: whether it was adapted to this laboratory.
        classes: its class names.
    """

    model: ModelReference
    errors: ModelErrors | None
    checked_here: bool
    classes: Classes


def reference_of(model: ModelFile) -> ModelReference:
    """The model file as records name it."""
    return ModelReference(name=fitting(model.manifest.name), sha256=model.sha256)


def judge_of(model: ModelFile) -> Judge:
    """What a count tells of this model file."""
    manifest = model.manifest
    return Judge(
        reference_of(model),
        errors_in(manifest.calibration, manifest.adaptation),
        manifest.adaptation is not None,
        Classes(*manifest.classes()),
    )


def classifier_of(model: ModelFile, settings: Settings, crop_px: int) -> Classifier:
    """The classifier with the settings of the box.

    Args:
        crop_px: side of the square that shows the cell.
    """
    return Classifier(model, settings.model.threads, settings.model.refer_below, crop_px, settings.quality)
