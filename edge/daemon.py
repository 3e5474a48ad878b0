"""The daemon: camera, pipeline, outbox and publisher, put together and watched over."""

import gc
import logging
import signal
import threading
from concurrent.futures import Future
from pathlib import Path
from types import FrameType

import msgspec

from edge.cameras.sources import make_camera
from edge.capture import Capture
from edge.classifier import Classifier, default_model
from edge.errors import ImageError, LeukoscopeError
from edge.frame import Frame
from edge.health import Health
from edge.modelfile import read_model
from edge.mqtt import Publisher
from edge.outbox import Outbox, OutboxFullError
from edge.pipeline import Pipeline
from edge.records import Record
from edge.remote_commands import Handler
from edge.settings import Settings
from edge.trigger import Gate

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 5.0
# How long the loop waits for a frame before it looks for a stop.
TICK_S = 0.5
# A stop sends what the last moments accepted, where the broker is there to take it.
STOP_DRAIN_S = 2.0


class Daemon:
    """One box at work.

    Raises:
        LeukoscopeError: model, outbox or camera cannot be opened.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._stop = threading.Event()
        model = read_model(Path(settings.model.file) if settings.model.file else default_model())
        manifest = model.manifest
        crop_px = settings.camera.crop_px(manifest.geometry.crop, manifest.microns_per_pixel)
        classifier = Classifier(
            model, settings.model.threads, settings.model.refer_below, crop_px, settings.quality
        )
        self._pipeline = Pipeline(classifier, model, settings.device.id, settings.sha256())
        self._camera = make_camera(settings.camera, settings.simulator, crop_px)
        if not self._camera.live:
            self._camera.open()
        self._capture = Capture(
            lambda: make_camera(settings.camera, settings.simulator, crop_px), settings.camera.patience_s()
        )
        self.gate = Gate(settings.camera, crop_px)
        file = Path(settings.outbox.file)
        self._outbox = Outbox(file, settings.outbox.max_mb)
        self._health = Health(self._outbox, file)
        self._publisher = Publisher(settings.mqtt, settings.device.id, self._outbox, self._handlers())

    def stop(self, signal_number: int = 0, _frame: FrameType | None = None) -> None:
        """End the run; what was accepted stays in the outbox."""
        self._stop.set()

    def _handlers(self) -> dict[str, Handler]:
        """What the commands of MQTT do; see `edge.remote_commands`."""
        handlers: dict[str, Handler] = {"health": lambda _request: msgspec.Raw(self._report())}
        if self._camera.live:
            handlers["capture"] = lambda request: self.gate.request(request.specimen)
            handlers["specimen"] = lambda request: self.gate.set_specimen(request.specimen)
        return handlers

    def run(self) -> int:
        """Work until stopped or until the camera has no more frames and all records are delivered.

        Returns:
            How many images could not be read.
        """
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        self._publisher.start()
        reporter = threading.Thread(target=self._report_health, name="health", daemon=True)
        reporter.start()
        gc.collect()
        gc.freeze()  # what is here now stays: a full collection need not go through it between two frames
        try:
            if self._camera.live:
                self._watch()
            else:
                self._work_through()
        finally:
            self._stop.set()
            self._capture.close()
            self._camera.close()
            try:
                self._outbox.flush()
            except LeukoscopeError as error:  # a full disk, say; what is in the outbox is still sent
                log.error("%s", error)
            if self._publisher.connected.is_set():  # what is left stays in the outbox for the next start
                self._publisher.wait_drained(STOP_DRAIN_S)
            self._publisher.publish_health(self._report())
            self._publisher.stop(STOP_TIMEOUT_S)
            self._outbox.close()
        return self._health.unreadable

    def _watch(self) -> None:
        """A live camera: classify its newest frame whenever the trigger or a request says so."""
        self._capture.start()
        while not self._stop.is_set():
            self.gate.fail(f"camera: {self._capture.state}")
            if not self._outbox.wait_for_room(TICK_S) or not self.gate.wait(TICK_S):
                continue
            frame = self._capture.take(TICK_S, self.gate.after_ns)
            if frame is not None and (admitted := self.gate.admit(frame)):
                self.gate.answer(self._accept(admitted))

    def _work_through(self) -> None:
        """A folder: every image once, then wait until all is delivered."""
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
            pass

    def _accept(self, frame: Frame) -> "Future[Record] | None":
        record = self._pipeline.record(frame)
        stored = self._offer(record)
        if stored is not None:
            self._health.result(frame, record)
        return stored

    def _offer(self, record: Record) -> "Future[Record] | None":
        """Give a record to the outbox as soon as it takes it; None where the stop came first."""
        while not self._stop.is_set():
            try:
                return self._outbox.accept(record)
            except OutboxFullError:
                self._outbox.wait_for_room(timeout_s=0.5)
        return None

    def _report(self) -> bytes:
        self._health.camera = self._capture.state if self._camera.live else "ok"
        return self._health.report(self._publisher.state())

    def _report_health(self) -> None:
        while not self._stop.wait(self._settings.health.interval_s):
            try:
                self._publisher.publish_health(self._report())
            except (OSError, LeukoscopeError) as error:
                log.warning("health not published: %s", error)
