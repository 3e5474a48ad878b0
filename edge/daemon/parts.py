"""The parts of a daemon: model, camera, outbox and the others, opened in order."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge.cameras.base import Camera
from edge.cameras.capture import Capture
from edge.cameras.preparation import Preparation
from edge.cameras.sources import make_camera
from edge.daemon.judge import classifier_of, judge_of
from edge.daemon.models import Models
from edge.daemon.pipeline import Pipeline
from edge.daemon.progress import Progress
from edge.daemon.specimens import Specimens
from edge.daemon.trigger import Gate
from edge.health.report import Health
from edge.health.runlog import RunLog
from edge.model.file import ModelFile
from edge.model.installation import install as installation
from edge.outbox.archive import Archive
from edge.outbox.queue import Outbox
from edge.settings import Settings

if TYPE_CHECKING:
    from edge.daemon.fields import FieldPipeline, FieldStream


class Parts(msgspec.Struct):
    """The parts of a daemon that are opened for it; see `open_parts`."""

    pipeline: Pipeline
    preparation: Preparation | None
    fields: "FieldPipeline | None"
    stream: "FieldStream | None"
    archive: Archive
    camera: Camera
    capture: Capture
    gate: Gate
    outbox: Outbox
    progress: Progress | None
    runs: RunLog
    health: Health
    specimens: Specimens
    models: Models
    crop_px: int


def open_parts(settings: Settings, again: bool, opened: ExitStack) -> Parts:
    """Open all parts in order.

    Args:
        settings: of the box.
        again: of a folder, also take images that an earlier run has classified.
        opened: gets the function that closes each part, as soon as the part is open.

    Raises:
        LeukoscopeError: one of them cannot be opened.
    """
    installation.begins(settings.model)
    model = installation.of_settings(settings.model)
    pipeline, preparation, fields, crop_px = _judging(model, settings)
    archive = Archive(settings.archive)
    camera, capture = _camera(settings, 0 if fields is not None else crop_px, opened)
    outbox = Outbox(Path(settings.outbox.file), settings.outbox.max_mb, settings.outbox.resend_s)
    opened.callback(outbox.close)
    stream = _stream(settings, outbox, opened) if fields is not None else None
    progress = _progress(camera, outbox, settings, model, again)
    folder = outbox.file.parent
    runs = RunLog(folder)
    restarts = runs.begin()
    opened.callback(runs.end)  # a start that fails is not a crash
    judge = judge_of(model)
    gate = Gate(settings.camera, crop_px)
    health = Health(outbox, folder, judge.model, restarts)
    specimens = Specimens(outbox, judge, settings.specimen.target, gate.set_specimen)
    models = Models(settings, model, crop_px, pipeline, fields, specimens, health)
    return Parts(
        pipeline=pipeline,
        preparation=preparation,
        fields=fields,
        stream=stream,
        archive=archive,
        camera=camera,
        capture=capture,
        gate=gate,
        outbox=outbox,
        progress=progress,
        runs=runs,
        health=health,
        specimens=specimens,
        models=models,
        crop_px=crop_px,
    )


def _judging(
    model: ModelFile, settings: Settings
) -> "tuple[Pipeline, Preparation | None, FieldPipeline | None, int]":
    """What makes records of a frame: for single cells with their preparation, or for whole fields; and the side of the
    square that shows a cell, pixels."""
    crop_px = settings.camera.crop_px(model.manifest.geometry.crop, model.manifest.microns_per_pixel)
    classifier = classifier_of(model, settings, crop_px)
    if settings.camera.view == "cell":
        preparation = Preparation(settings.camera, crop_px)
        pipeline = Pipeline(classifier, model, settings.device.id, settings.sha256(), preparation)
        return pipeline, preparation, None, crop_px
    from edge.daemon.fields import FieldPipeline  # late: a box that sees single cells starts sooner

    pipeline = Pipeline(classifier, model, settings.device.id, settings.sha256(), None)
    fields = FieldPipeline(model, classifier, settings.camera, pipeline, settings.device.id)
    return pipeline, None, fields, crop_px


def _camera(settings: Settings, region_px: int, opened: ExitStack) -> tuple[Camera, Capture]:
    """The camera, and what keeps a live one open.

    Args:
        settings: of the box.
        region_px: side of the square that is used of a frame; 0 for all of it.
        opened: see `open_parts`.
    """
    camera = make_camera(settings.camera, settings.simulator, region_px)
    opened.callback(camera.close)
    if not camera.live:
        camera.open()
    capture = Capture(
        lambda: make_camera(settings.camera, settings.simulator, region_px), settings.camera.patience_s()
    )
    return camera, capture


def _stream(settings: Settings, outbox: Outbox, opened: ExitStack) -> "FieldStream":
    """The outbox and publisher of the fields' records."""
    from edge.daemon.fields import FieldStream  # late, as above

    stream = FieldStream(settings, outbox.file)
    opened.callback(stream.outbox.close)
    return stream


def _progress(
    camera: Camera, outbox: Outbox, settings: Settings, model: ModelFile, again: bool
) -> Progress | None:
    """Which images of a folder are done; None for what does not end."""
    if camera.live or settings.camera.loop:
        return None
    from edge.cameras.backends.files import FilesCamera

    progress = Progress(outbox, settings, model.sha256, again)
    if isinstance(camera, FilesCamera):
        camera.wants = progress.wants
    return progress
