"""The daemon: camera, pipeline, outbox and publisher, connected and supervised."""

import logging
import signal
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING, Any

from edge.daemon.parts import Parts, open_parts
from edge.daemon.results import TICK_S, Results
from edge.daemon.views import Views
from edge.errors import ImageError, LeukoscopeError
from edge.health.homeassistant import discovery
from edge.health.reporter import Reporter
from edge.health.watchdog import Watchdog
from edge.host import threads
from edge.imaging.frame import Frame
from edge.mqtt.commands.remote import Handler
from edge.mqtt.commands.requests import CaptureRequest
from edge.mqtt.publisher import Publisher
from edge.notice import NOTICE
from edge.records import Record
from edge.settings import Settings

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from edge.health.metrics import MetricsServer

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 5.0
# At a stop, the longest wait for the broker to take the last records, if it is connected.
STOP_DRAIN_S = 2.0


def build(settings: Settings, metrics: str = "", again: bool = False) -> "Daemon":
    """Open model, archive, camera and outbox, and connect them.

    Args:
        settings: of the box.
        metrics: "HOST:PORT" at which Prometheus reads the metrics, or "".
        again: of a folder, also take images that an earlier run has classified.

    Raises:
        LeukoscopeError: one of them cannot be opened; what was opened before it is closed again.
    """
    with ExitStack() as opened:
        daemon = Daemon(settings, open_parts(settings, again, opened), metrics)
        opened.pop_all()  # from here on, `Daemon.run` closes them
        return daemon


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
        self._optics, self._stream = parts.fields or parts.preparation, parts.stream
        self._archive, self._outbox, self._progress = parts.archive, parts.outbox, parts.progress
        self._camera, self._capture, self.gate = parts.camera, parts.capture, parts.gate
        self._runs, self._health = parts.runs, parts.health
        self._specimens, self._models = parts.specimens, parts.models
        self._views = Views(self._newest, self._show, parts.crop_px)
        handlers = self._handlers()
        self._commands = sorted(handlers)
        self._publisher = Publisher(
            settings.mqtt,
            settings.device.id,
            self._outbox,
            handlers,
            others=discovery(settings.mqtt.home_assistant, settings.mqtt.topic, settings.device.id),
        )
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
        self._results = Results(parts, self._views, self._watchdog, self._stop, self._why_no_result)
        self._frames_seen = self._faults_seen = 0

    def stop(self, signal_number: int = 0, _frame: FrameType | None = None) -> None:
        """End the run; what was accepted stays in the outbox."""
        self._stop.set()

    def _handlers(self) -> dict[str, Handler]:
        """The functions behind the MQTT commands; see `edge.mqtt.commands.remote`."""
        handlers: dict[str, Handler] = {"health": lambda _request: self._report()}
        if self._camera.live:
            handlers["capture"] = self._requested
            handlers["specimen"] = lambda request: self.gate.set_specimen(request.specimen)
        if self._progress is None:  # with a folder, the folders' names are the specimens
            handlers["specimen_start"] = self._specimens.start
            handlers["specimen_stop"] = self._specimens.stop
        handlers["view"] = self._views.request
        handlers["model_install"], handlers["model_back"] = self._models.install, self._models.back
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
        if self._camera.live:
            self._capture.start()  # first: to open a camera takes longer than all that follows
        self._publisher.start()
        if self._stream is not None:
            self._stream.publisher.start()
        self._reporter.start()
        self._views.start(self._stop)
        self._specimens.announce(self._publisher, self._stop)
        metrics: MetricsServer | None = None
        fault = ""
        try:
            metrics = self._serve_metrics() if self._metrics else None
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

    def _serve_metrics(self) -> "MetricsServer":
        from edge.health.metrics import MetricsServer  # late: it loads an HTTP server

        return MetricsServer(self._metrics, self._prometheus)

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
        while not self._stop.is_set():
            self.gate.fail(self._why_no_result())
            self._look_at_camera()
            self._models.look()
            if not self._results.has_room() or not self.gate.wait(TICK_S):
                continue
            frame = self._capture.take(TICK_S, self.gate.after_ns)
            if frame is None:
                continue
            with self._specimens.frame:
                admitted = self.gate.admit(frame)
                if admitted is not None:
                    self.gate.answer(self._results.accept(admitted))
                else:
                    self._watchdog.worked()  # the camera works; the trigger wants no result now

    def _why_no_result(self) -> str:
        fault = self._outbox.fault()
        return f"outbox: {fault}" if fault else f"camera: {self._capture.state}"

    def _look_at_camera(self) -> None:
        """Ready after the first frame; while no result is wanted, each frame shows that the camera works."""
        read, faults = self._capture.counts.read, self._capture.counts.faults
        if read > self._frames_seen:
            self._watchdog.ready(f"{self._settings.device.id}: {self._capture.description}")
            if self.gate.idle:
                self._watchdog.worked()
        elif faults > self._faults_seen:  # an attempt to open it has ended; the next one follows
            self._watchdog.waits(f"camera: {self._capture.state}")
        self._frames_seen, self._faults_seen = read, faults

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
            self._models.look()
            if self._progress is None or self._progress.begins(frame):
                with self._specimens.frame:
                    self._results.accept(self.gate.named(frame))
            else:
                self._watchdog.worked()
            if self._settings.camera.trigger == "interval":
                self._stop.wait(self._settings.camera.interval_s)
        if self._progress is not None:
            self._health.unreadable += self._progress.refused
        self._outbox.flush()
        log.info("%s", self._summary())
        while not self._stop.is_set() and not self._drained(0.2):
            self._watchdog.worked()  # all is classified; only the broker is waited for

    def _summary(self) -> str:
        """What became of a folder: all of it is accepted, and only the broker is waited for."""
        verdicts = self._health.verdicts
        counted = ", ".join(f"{number} {name}" for name, number in sorted(verdicts.items()))
        facts = [
            f"{self._settings.camera.source}: {verdicts.total()} results{f': {counted}' if counted else ''}"
        ]
        if self._health.unreadable:
            facts.append(f"{self._health.unreadable} images could not be read")
        if self._progress is not None and self._progress.skipped:
            facts.append(f"{self._progress.skipped} images were done before")
        if waiting := self._outbox.depth():
            facts.append(f"{waiting} wait in {self._outbox.file} for the broker: {self._publisher.state()}")
        return f"{'; '.join(facts)}; {NOTICE}"

    def _drained(self, timeout_s: float) -> bool:
        if not self._publisher.wait_drained(timeout_s):
            return False
        return self._stream is None or self._stream.publisher.wait_drained(timeout_s)

    def _late(self) -> str:
        """Why systemd will soon restart the service, or ""."""
        late = self._watchdog.late()
        camera = self._camera_state()
        return f"{late}; camera: {camera}" if late and camera != "ok" else late

    def _camera_state(self) -> str:
        return self._capture.state if self._camera.live else "ok"

    def _optics_fault(self) -> str:
        return self._optics.fault if self._optics is not None else ""

    def _count(self) -> None:
        """Copy the counts of the other parts into health."""
        counts = self._capture.counts
        self._health.camera = "; ".join(filter(None, (self._camera_state(), self._optics_fault())))
        self._health.skipped = max(0, counts.read - self._health.accepted) if self._camera.live else 0
        self._health.withheld = counts.withheld
        self._health.camera_faults = counts.faults
        self._health.connections = self._publisher.connections

    def _report(self) -> dict[str, Any]:
        self._count()
        report = self._health.report(self._publisher.state(), self._late())
        more = self._models.report()
        return {
            **report,
            "model": {**report["model"], **more["model"]},
            "drift": more["drift"],
            "archive": self._archive.state(),
            "commands": self._commands,
        }

    def _prometheus(self) -> "Iterable[Metric]":
        self._count()
        return self._health.metrics(self._publisher.state(), self._late())
