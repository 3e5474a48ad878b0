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
    manifest = model.manifest
    crop_px = settings.camera.crop_px(manifest.geometry.crop, manifest.microns_per_pixel)
    classifier = classifier_of(model, settings, crop_px)
    whole = settings.camera.view == "field"
    region_px = 0 if whole else crop_px  # side of the square that is used of a frame; 0 for all of it
    preparation = None if whole else Preparation(settings.camera, crop_px)
    pipeline = Pipeline(classifier, model, settings.device.id, settings.sha256(), preparation)
    fields = None
    if whole:
        from edge.daemon import fields as field_view  # late: a box that sees single cells starts sooner

        fields = field_view.FieldPipeline(model, classifier, settings.camera, pipeline, settings.device.id)
    archive = Archive(settings.archive)
    camera = make_camera(settings.camera, settings.simulator, region_px)
    opened.callback(camera.close)
    if not camera.live:
        camera.open()
    capture = Capture(
        lambda: make_camera(settings.camera, settings.simulator, region_px), settings.camera.patience_s()
    )
    outbox = Outbox(Path(settings.outbox.file), settings.outbox.max_mb, settings.outbox.resend_s)
    opened.callback(outbox.close)
    stream = field_view.FieldStream(settings, outbox.file) if whole else None
    if stream is not None:
        opened.callback(stream.outbox.close)
    once = not camera.live and not settings.camera.loop
    progress = Progress(outbox, settings, model.sha256, again) if once else None
    if progress is not None:
        from edge.cameras.backends.files import FilesCamera

        if isinstance(camera, FilesCamera):
            camera.wants = progress.wants
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
