"""The daemon: camera, pipeline, outbox and publisher, put together and watched over."""

import logging
import signal
import threading
from pathlib import Path
from types import FrameType

from edge.cameras.base import Camera
from edge.cameras.sources import make_camera
from edge.classifier import Classifier, default_model
from edge.errors import ImageError, LeukoscopeError
from edge.frame import Frame
from edge.health import Health
from edge.modelfile import read_model
from edge.mqtt import Publisher
from edge.outbox import Outbox, OutboxFullError
from edge.pipeline import Pipeline
from edge.records import Record
from edge.settings import Settings

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 5.0
# A stop sends what the last moments accepted, where the broker is there to take it.
STOP_DRAIN_S = 2.0


class NewestFrame:
    """Reads a live camera in a thread and keeps only the newest frame."""

    def __init__(self, camera: Camera):
        self._camera = camera
        self._frame: Frame | None = None
        self._error: Exception | None = None
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="camera", daemon=True).start()

    def _run(self) -> None:
        try:
            while (frame := self._camera.read()) is not None:
                with self._changed:
                    self._frame = frame
                    self._changed.notify()
        except Exception as error:  # at the thread's top: handed to the taker
            with self._changed:
                self._error = error
                self._changed.notify()

    def take(self, timeout_s: float) -> Frame | None:
        """The newest frame that was not taken yet, or None where none came in time.

        Raises:
            LeukoscopeError: the camera failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frame or self._error, timeout_s)
            if self._error is not None:
                raise self._error
            frame, self._frame = self._frame, None
            return frame


class Daemon:
    """One box at work.

    Raises:
        LeukoscopeError: model, outbox or camera cannot be opened.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._stop = threading.Event()
        model = read_model(Path(settings.model.file) if settings.model.file else default_model())
        classifier = Classifier(model, settings.model.threads, settings.model.refer_below)
        self._pipeline = Pipeline(classifier, model, settings.device.id, settings.sha256())
        self._camera = make_camera(settings)
        self._camera.open()
        file = Path(settings.outbox.file)
        self._outbox = Outbox(file, settings.outbox.max_mb)
        self._health = Health(self._outbox, file)
        self._publisher = Publisher(settings.mqtt, settings.device.id, self._outbox)

    def stop(self, signal_number: int = 0, _frame: FrameType | None = None) -> None:
        """End the run; what was accepted stays in the outbox."""
        self._stop.set()

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
        try:
            self._health.camera = "ok"
            if self._camera.live:
                self._watch()
            else:
                self._work_through()
        finally:
            self._stop.set()
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
        """A live camera: classify the newest frame, over and over."""
        newest = NewestFrame(self._camera)
        interval_s = self._settings.camera.interval_s
        while not self._stop.is_set():
            if not self._outbox.wait_for_room(timeout_s=0.5):
                continue
            frame = newest.take(timeout_s=0.5)
            if frame is not None:
                self._accept(frame)
                if self._settings.camera.trigger == "interval":
                    self._stop.wait(interval_s)

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

    def _accept(self, frame: Frame) -> None:
        record = self._pipeline.record(frame)
        if self._offer(record):
            self._health.result(frame, record)

    def _offer(self, record: Record) -> bool:
        """Give a record to the outbox as soon as it takes it; False where the stop came first."""
        while not self._stop.is_set():
            try:
                self._outbox.accept(record)
                return True
            except OutboxFullError:
                self._outbox.wait_for_room(timeout_s=0.5)
        return False

    def _report(self) -> bytes:
        return self._health.report(self._publisher.state())

    def _report_health(self) -> None:
        while not self._stop.wait(self._settings.health.interval_s):
            try:
                self._publisher.publish_health(self._report())
            except (OSError, LeukoscopeError) as error:
                log.warning("health not published: %s", error)
