"""The daemon: camera, pipeline, outbox and publisher, put together and watched over."""

import logging
import signal
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import msgspec

from edge.cameras.backends.files import FilesCamera
from edge.cameras.base import Camera
from edge.cameras.capture import Capture
from edge.cameras.preparation import Preparation
from edge.cameras.sources import make_camera
from edge.daemon.fields import FieldPipeline, FieldStream
from edge.daemon.pipeline import Pipeline
from edge.daemon.progress import Progress
from edge.daemon.specimens import Specimens
from edge.daemon.trigger import Gate
from edge.daemon.views import Views
from edge.errors import ImageError, InputError, LeukoscopeError
from edge.health.metrics import MetricsServer
from edge.health.report import Health
from edge.health.reporter import Reporter
from edge.health.runlog import RunLog
from edge.health.watchdog import Watchdog
from edge.host import threads
from edge.imaging.frame import Frame, Pixels
from edge.model.classifier import Classifier
from edge.model.file import read_model
from edge.model.installed import find_model
from edge.mqtt.commands import CaptureRequest, Handler
from edge.mqtt.publisher import Publisher
from edge.outbox.archive import Archive
from edge.outbox.queue import Outbox, OutboxFullError, Sent
from edge.records import ModelReference, Record
from edge.settings import Settings
from edge.specimen import tally
from edge.specimen.counting import Classes
from edge.specimen.summary import errors_in

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 5.0
# How long the loop waits for a frame before it looks for a stop.
TICK_S = 0.5
# At a stop, so long is waited for the broker to take the last records, if it is connected.
STOP_DRAIN_S = 2.0


@dataclass
class Parts:
    """What a daemon is made of, besides what it makes itself; see `build`."""

    pipeline: Pipeline
    preparation: Preparation | None
    fields: FieldPipeline | None
    stream: FieldStream | None
    archive: Archive
    camera: Camera
    capture: Capture
    gate: Gate
    outbox: Outbox
    progress: Progress | None
    runs: RunLog
    health: Health
    specimens: Specimens
    crop_px: int


def build(settings: Settings, metrics: str = "", again: bool = False) -> "Daemon":
    """Open model, archive, camera and outbox, and put them together.

    Args:
        settings: of the box.
        metrics: "HOST:PORT" at which Prometheus reads the metrics, or "".
        again: of a folder, take images too that an earlier run has classified.

    Raises:
        LeukoscopeError: one of them cannot be opened; what was opened before it is closed again.
    """
    with ExitStack() as opened:
        daemon = Daemon(settings, _open(settings, again, opened), metrics)
        opened.pop_all()  # from here on, `Daemon.run` closes them
        return daemon


def _open(settings: Settings, again: bool, opened: ExitStack) -> Parts:
    model = read_model(find_model(settings.model.file))
    manifest = model.manifest
    crop_px = settings.camera.crop_px(manifest.geometry.crop, manifest.microns_per_pixel)
    classifier = Classifier(
        model, settings.model.threads, settings.model.refer_below, crop_px, settings.quality
    )
    whole = settings.camera.view == "field"
    region_px = 0 if whole else crop_px  # of a frame, what is looked at; 0 for all of it
    preparation = None if whole else Preparation(settings.camera, crop_px)
    pipeline = Pipeline(classifier, model, settings.device.id, settings.sha256(), preparation)
    fields = (
        FieldPipeline(model, classifier, settings.camera, pipeline, settings.device.id) if whole else None
    )
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
    stream = FieldStream(settings, outbox.file) if whole else None
    if stream is not None:
        opened.callback(stream.outbox.close)
    once = not camera.live and not settings.camera.loop
    progress = Progress(outbox, settings, model.sha256, again) if once else None
    if progress is not None and isinstance(camera, FilesCamera):
        camera.wants = progress.wants
    folder = outbox.file.parent
    runs = RunLog(folder)
    restarts = runs.begin()
    opened.callback(runs.end)  # a start that is refused is no crash
    reference = ModelReference(name=manifest.name, sha256=model.sha256)
    gate = Gate(settings.camera, crop_px)
    health = Health(outbox, folder, reference, restarts)
    errors, adapted = errors_in(manifest.calibration), bool(getattr(manifest, "adaptation", None))
    specimens = Specimens(
        outbox,
        reference,
        errors,
        adapted,
        settings.specimen.target,
        gate.set_specimen,
        Classes(*manifest.classes()),
    )
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
        crop_px=crop_px,
    )


class Daemon:
    """One box at work; `build` makes it.

    Args:
        settings: of the box.
        parts: what was opened for it; it closes them at the end of `run`.
        metrics: "HOST:PORT" at which Prometheus reads the metrics, or "".

    Raises:
        InputError: a password or certificate file cannot be read.
    """

    def __init__(self, settings: Settings, parts: Parts, metrics: str = ""):
        self._settings, self._metrics = settings, metrics
        self._stop = threading.Event()
        self._pipeline, self._preparation = parts.pipeline, parts.preparation
        self._fields, self._stream = parts.fields, parts.stream
        self._archive, self._outbox, self._progress = parts.archive, parts.outbox, parts.progress
        self._camera, self._capture, self.gate = parts.camera, parts.capture, parts.gate
        self._runs, self._health = parts.runs, parts.health
        self._specimens = parts.specimens
        self._views = Views(self._newest, self._show, parts.crop_px)
        self._publisher = Publisher(settings.mqtt, settings.device.id, self._outbox, self._handlers())
        self._reporter = Reporter(
            self._report,
            self._publisher.publish_health,
            self._late,
            self._runs.fault,
            settings.health.interval_s,
            self._outbox.file.parent,
        )
        stream = {} if self._stream is None else self._stream.watched()
        self._watchdog = Watchdog(
            {
                "publisher": self._publisher.hangs,
                "outbox": self._outbox.hangs,
                **stream,
                "health": self._reporter.hangs,
                "threads": threads.fault,
            }
        )
        self._frames_seen = self._faults_seen = 0
        self._told_unfit = ""

    def stop(self, signal_number: int = 0, _frame: FrameType | None = None) -> None:
        """End the run; what was accepted stays in the outbox."""
        self._stop.set()

    def _handlers(self) -> dict[str, Handler]:
        """What the commands of MQTT do; see `edge.mqtt.commands`."""
        handlers: dict[str, Handler] = {"health": lambda _request: self._report()}
        if self._camera.live:
            handlers["capture"] = self._requested
            handlers["specimen"] = lambda request: self.gate.set_specimen(request.specimen)
        if self._progress is None:  # a folder that is worked through once names its specimens itself
            handlers["specimen_start"] = self._specimens.start
            handlers["specimen_stop"] = self._specimens.stop
        handlers["view"] = self._views.request
        return handlers

    def _newest(self) -> Frame | None:
        return self._capture.look() if self._camera.live else None

    def _show(self, view: bytes) -> None:
        self._publisher.publish_view(view)

    def _requested(self, request: CaptureRequest) -> "Future[Record]":
        if fault := self._outbox.fault():  # no frame would be taken
            raise LeukoscopeError(f"no result: outbox: {fault}")
        return self.gate.request(request.specimen)

    def run(self) -> int:
        """Work until stopped or until the camera has no more frames and all records are delivered.

        Returns:
            How many images could not be read.

        Raises:
            LeukoscopeError: the camera failed for good; the reason is kept for the next start.
        """
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        self._publisher.start()
        if self._stream is not None:
            self._stream.publisher.start()
        self._reporter.start()
        self._views.start(self._stop)
        self._specimens.announce(self._publisher, self._stop)
        metrics: MetricsServer | None = None
        fault = ""
        try:
            metrics = MetricsServer(self._metrics, self._prometheus) if self._metrics else None
            if self._camera.live:
                self._watch()
            else:
                self._work_through()
        except LeukoscopeError as error:
            fault = str(error)
            raise
        finally:
            self._watchdog.stopping()
            self._stop.set()
            self.gate.fail("the box was stopped", at_once=True)
            if metrics is not None:
                metrics.close()
            self._capture.close()
            self._camera.close()
            self._close(fault)
        return self._health.unreadable

    def _close(self, fault: str) -> None:
        """Send what the broker takes, keep the rest, and note how the run ended."""
        try:
            self._outbox.flush()
        except LeukoscopeError as error:  # such as a full disk; what is in the outbox is still sent
            log.error("%s", error)
        if self._publisher.connected.is_set():  # what is left stays in the outbox for the next start
            self._publisher.wait_drained(STOP_DRAIN_S)
        if self._stream is not None:
            self._stream.close(STOP_DRAIN_S, STOP_TIMEOUT_S)
        self._specimens.announce_once(self._publisher)
        self._reporter.stop()
        self._publisher.stop(STOP_TIMEOUT_S)
        if self._progress is not None:
            self._progress.close()
        self._runs.end(fault)
        self._outbox.close()

    def _watch(self) -> None:
        """A live camera: classify its newest frame whenever the trigger or a request wants it."""
        self._capture.start()
        while not self._stop.is_set():
            self.gate.fail(self._why_no_result())
            self._look_at_camera()
            if not self._has_room() or not self.gate.wait(TICK_S):
                continue
            frame = self._capture.take(TICK_S, self.gate.after_ns)
            if frame is None:
                continue
            with self._specimens.frame:
                admitted = self.gate.admit(frame)
                if admitted is not None:
                    self.gate.answer(self._accept(admitted))
                else:
                    self._watchdog.worked()  # the camera works; the trigger wants no result now

    def _why_no_result(self) -> str:
        fault = self._outbox.fault()
        return f"outbox: {fault}" if fault else f"camera: {self._capture.state}"

    def _look_at_camera(self) -> None:
        """Ready with its first frame; while no result is wanted, each frame shows that it answers."""
        read, faults = self._capture.counts.read, self._capture.counts.faults
        if read > self._frames_seen:
            self._watchdog.ready(f"{self._settings.device.id}: {self._capture.description}")
            if self.gate.idle:
                self._watchdog.worked()
        elif faults > self._faults_seen:  # an attempt to open it came to an end; the next one follows
            self._watchdog.waits(f"camera: {self._capture.state}")
        self._frames_seen, self._faults_seen = read, faults

    def _has_room(self, outbox: Outbox | None = None) -> bool:
        """Whether the outbox takes records, waiting a moment for it; a full disk is no fault of this process."""
        if (outbox or self._outbox).wait_for_room(TICK_S):
            return True
        self._watchdog.worked()  # a restart would lose what waits in memory, and free nothing
        return False

    def _work_through(self) -> None:
        """A folder: every image once, then wait until all is delivered."""
        self._watchdog.ready(f"{self._settings.device.id}: {self._settings.camera.source}")
        while not self._stop.is_set():
            try:
                frame = self._camera.read()
            except ImageError as error:
                self._health.unreadable += 1
                log.error("%s", error)
                if self._progress is not None:
                    self._progress.unreadable()
                continue
            if frame is None:
                break
            if self._progress is None or self._progress.begins(frame):
                with self._specimens.frame:
                    self._accept(self.gate.named(frame))
            else:
                self._watchdog.worked()
            if self._settings.camera.trigger == "interval":
                self._stop.wait(self._settings.camera.interval_s)
        if self._progress is not None:
            self._health.unreadable += self._progress.refused
        self._outbox.flush()
        while not self._stop.is_set() and not self._drained(0.2):
            self._watchdog.worked()  # all is classified; only the broker is waited for

    def _drained(self, timeout_s: float) -> bool:
        if not self._publisher.wait_drained(timeout_s):
            return False
        return self._stream is None or self._stream.publisher.wait_drained(timeout_s)

    def _accept(self, frame: Frame) -> "Future[Any] | None":
        """Classify a frame or all cells of a field, and give the records to the outbox; the first answers a request."""
        self._watchdog.enters("in the classifier")
        if self._fields is not None and self._stream is not None:
            stored = self._accept_field(self._fields, self._stream, frame)
        else:
            prediction, picture = self._pipeline.classify(frame)
            record = self._pipeline.write_up(frame, prediction)
            stored = self._keep(frame, record, picture, self._mark())
        self._watchdog.enters("waiting for a frame")
        return stored

    def _accept_field(self, fields: FieldPipeline, stream: FieldStream, frame: Frame) -> "Future[Any] | None":
        """The records of a field's new cells, then that of the field."""
        results = fields.results(frame, self.gate.asked)
        mark = self._mark()
        if results is None:  # it has not moved
            self._finish(mark)
            self._watchdog.worked()
            return None
        stored = [self._keep(frame, record, picture) for record, picture in results.cells]
        field = self._offer(results.field, stream.outbox)
        if field is not None:
            field.add_done_callback(self._committed)
        self._finish(mark)
        return next((future for future in stored if future is not None), field)

    def _finish(self, mark: bytes) -> None:
        if mark:
            self._outbox.mark(mark)

    def _mark(self) -> bytes:
        """Of an image of a folder: it has not ended the program."""
        return self._progress.classified() if self._progress is not None else b""

    def _keep(
        self, frame: Frame, record: Record, picture: Pixels, mark: bytes = b""
    ) -> "Future[Record] | None":
        """Keep a record's picture, and give it to the outbox."""
        self._watchdog.enters("at the archive")
        image = self._archive.keep(record.id, record.verdict, picture)
        self._watchdog.enters("at the outbox")
        whole = record if image is None else msgspec.structs.replace(record, image=image)
        stored = self._offer(whole, self._outbox, mark)
        if stored is not None:
            stored.add_done_callback(self._committed)
            self._health.result(frame, record)
            self._views.judged(frame, record)
        return stored

    def _committed(self, record: "Future[Any]") -> None:
        if record.exception() is None:
            self._watchdog.worked()

    def _offer(self, record: Sent, outbox: Outbox, mark: bytes = b"") -> "Future[Sent] | None":
        """Give a record to the outbox as soon as it takes it; None if a stop came first, or it can never take it."""
        while not self._stop.is_set():
            try:
                change = tally.counted(record) if isinstance(record, Record) else None
                return outbox.accept(record, mark, change)
            except OutboxFullError:
                self.gate.fail(self._why_no_result())
                self._has_room(outbox)
            except InputError as error:  # a fault in the program; the next frame has its chance
                self._health.unreadable += 1
                self.gate.fail(str(error))
                if str(error) != self._told_unfit:
                    self._told_unfit = str(error)
                    log.error("no record %s: %s", record.id, error)
                return None
        return None

    def _late(self) -> str:
        """Why systemd will soon restart the service, or ""."""
        late = self._watchdog.late()
        camera = self._camera_state()
        return f"{late}; camera: {camera}" if late and camera != "ok" else late

    def _camera_state(self) -> str:
        return self._capture.state if self._camera.live else "ok"

    def _optics_fault(self) -> str:
        source = self._fields or self._preparation
        return source.fault if source is not None else ""

    def _count(self) -> None:
        """Take over what others have counted."""
        counts = self._capture.counts
        self._health.camera = "; ".join(filter(None, (self._camera_state(), self._optics_fault())))
        self._health.skipped = max(0, counts.read - self._health.accepted) if self._camera.live else 0
        self._health.withheld = counts.withheld
        self._health.camera_faults = counts.faults
        self._health.connections = self._publisher.connections

    def _report(self) -> dict[str, Any]:
        self._count()
        report = self._health.report(self._publisher.state(), self._late())
        return {**report, "archive": self._archive.state()}

    def _prometheus(self) -> "Iterable[Metric]":
        self._count()
        return self._health.metrics(self._publisher.state(), self._late())
