"""The daemon: camera, pipeline, outbox and publisher, put together and watched over."""

import gc
import logging
import signal
import threading
from concurrent.futures import Future
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from edge.cameras.capture import Capture
from edge.cameras.preparation import Preparation
from edge.cameras.sources import make_camera
from edge.daemon.pipeline import Pipeline
from edge.daemon.trigger import Gate
from edge.errors import ImageError, LeukoscopeError
from edge.health.metrics import MetricsServer
from edge.health.report import Health
from edge.health.reporter import Reporter
from edge.health.runlog import RunLog
from edge.health.watchdog import Watchdog
from edge.imaging.frame import Frame
from edge.model.classifier import Classifier, default_model
from edge.model.file import read_model
from edge.mqtt.commands import Handler
from edge.mqtt.publisher import Publisher
from edge.outbox.archive import Archive
from edge.outbox.queue import Outbox, OutboxFullError
from edge.records import ModelReference, Record
from edge.settings import Settings

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 5.0
# How long the loop waits for a frame before it looks for a stop.
TICK_S = 0.5
# A stop sends what the last moments accepted, where the broker is there to take it.
STOP_DRAIN_S = 2.0


class Daemon:
    """One box at work.

    Args:
        settings: of the box.
        metrics: "HOST:PORT" where Prometheus is answered, or "".

    Raises:
        LeukoscopeError: model, outbox or camera cannot be opened.
    """

    def __init__(self, settings: Settings, metrics: str = ""):
        self._settings = settings
        self._stop = threading.Event()
        model = read_model(Path(settings.model.file) if settings.model.file else default_model())
        manifest = model.manifest
        crop_px = settings.camera.crop_px(manifest.geometry.crop, manifest.microns_per_pixel)
        classifier = Classifier(
            model, settings.model.threads, settings.model.refer_below, crop_px, settings.quality
        )
        self._preparation = Preparation(settings.camera, crop_px)
        self._pipeline = Pipeline(classifier, model, settings.device.id, settings.sha256(), self._preparation)
        self._archive = Archive(settings.archive)
        self._camera = make_camera(settings.camera, settings.simulator, crop_px)
        if not self._camera.live:
            self._camera.open()
        self._capture = Capture(
            lambda: make_camera(settings.camera, settings.simulator, crop_px), settings.camera.patience_s()
        )
        self.gate = Gate(settings.camera, crop_px)
        file = Path(settings.outbox.file)
        self._outbox = Outbox(file, settings.outbox.max_mb)
        self._runs = RunLog(file.parent)
        reference = ModelReference(name=manifest.name, sha256=model.sha256)
        self._health = Health(self._outbox, file.parent, reference, self._runs.begin())
        self._publisher = Publisher(settings.mqtt, settings.device.id, self._outbox, self._handlers())
        self._watchdog = Watchdog({"publisher": self._publisher.hangs, "outbox": self._outbox.hangs})
        self._reporter = Reporter(
            self._report,
            self._publisher.publish_health,
            self._late,
            self._runs.fault,
            settings.health.interval_s,
            file.parent,
        )
        self._metrics = metrics
        self._frames_seen = self._faults_seen = 0

    def stop(self, signal_number: int = 0, _frame: FrameType | None = None) -> None:
        """End the run; what was accepted stays in the outbox."""
        self._stop.set()

    def _handlers(self) -> dict[str, Handler]:
        """What the commands of MQTT do; see `edge.mqtt.commands`."""
        handlers: dict[str, Handler] = {"health": lambda _request: self._report()}
        if self._camera.live:
            handlers["capture"] = lambda request: self.gate.request(request.specimen)
            handlers["specimen"] = lambda request: self.gate.set_specimen(request.specimen)
        return handlers

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
        self._reporter.start()
        metrics: MetricsServer | None = None
        fault = ""
        gc.collect()
        gc.freeze()  # what is here now stays: a full collection need not go through it between two frames
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
        except LeukoscopeError as error:  # a full disk, say; what is in the outbox is still sent
            log.error("%s", error)
        if self._publisher.connected.is_set():  # what is left stays in the outbox for the next start
            self._publisher.wait_drained(STOP_DRAIN_S)
        self._reporter.stop()
        self._publisher.stop(STOP_TIMEOUT_S)
        self._runs.end(fault)
        self._outbox.close()

    def _watch(self) -> None:
        """A live camera: classify its newest frame whenever the trigger or a request says so."""
        self._capture.start()
        while not self._stop.is_set():
            self.gate.fail(f"camera: {self._capture.state}")
            self._look_at_camera()
            if not self._has_room() or not self.gate.wait(TICK_S):
                continue
            frame = self._capture.take(TICK_S, self.gate.after_ns)
            if frame is not None and (admitted := self.gate.admit(frame)):
                self.gate.answer(self._accept(admitted))
            elif frame is not None:
                self._watchdog.worked()  # the camera answers, and the trigger wants no result of it

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

    def _has_room(self) -> bool:
        """Whether the outbox takes records, waiting a moment for it; a full disk is no fault of this process."""
        if self._outbox.wait_for_room(TICK_S):
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
                continue
            if frame is None:
                break
            self._accept(frame)
        self._outbox.flush()
        while not self._stop.is_set() and not self._publisher.wait_drained(0.2):
            self._watchdog.worked()  # all is classified; only the broker is waited for

    def _accept(self, frame: Frame) -> "Future[Record] | None":
        self._watchdog.enters("in the classifier")
        record = self._pipeline.record(frame)
        self._watchdog.enters("at the archive")
        if self._pipeline.picture is not None:
            image = self._archive.keep(record.id, record.verdict, self._pipeline.picture)
            record = record if image is None else msgspec.structs.replace(record, image=image)
        self._watchdog.enters("at the outbox")
        stored = self._offer(record)
        if stored is not None:
            stored.add_done_callback(self._committed)
            self._health.result(frame, record)
        self._watchdog.enters("waiting for a frame")
        return stored

    def _committed(self, record: "Future[Record]") -> None:
        if record.exception() is None:
            self._watchdog.worked()

    def _offer(self, record: Record) -> "Future[Record] | None":
        """Give a record to the outbox as soon as it takes it; None where the stop came first."""
        while not self._stop.is_set():
            try:
                return self._outbox.accept(record)
            except OutboxFullError:
                self._has_room()
        return None

    def _late(self) -> str:
        """Why systemd will soon restart the service, or ""."""
        late = self._watchdog.late()
        camera = self._camera_state()
        return f"{late}; camera: {camera}" if late and camera != "ok" else late

    def _camera_state(self) -> str:
        return self._capture.state if self._camera.live else "ok"

    def _count(self) -> None:
        """Take over what others have counted."""
        counts = self._capture.counts
        self._health.camera = "; ".join(filter(None, (self._camera_state(), self._preparation.fault)))
        self._health.skipped = max(0, counts.read - self._health.accepted) if self._camera.live else 0
        self._health.withheld = counts.withheld
        self._health.camera_faults = counts.faults
        self._health.connections = self._publisher.connections

    def _report(self) -> dict[str, Any]:
        self._count()
        report = self._health.report(self._publisher.state(), self._late())
        return {**report, "archive": self._archive.state()}

    def _prometheus(self) -> str:
        self._count()
        return self._health.prometheus(self._publisher.state(), self._late())
