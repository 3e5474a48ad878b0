"""From the frame to the broker's acknowledgement, through the daemon's own parts."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge.bench import DRAWN_SIDE_PX, drawn_images, percentiles
from edge.bench.stages import TIMEOUT_S, HeldCamera
from edge.cameras.capture import Capture
from edge.daemon.pipeline import Pipeline
from edge.errors import LeukoscopeError
from edge.imaging.frame import Frame, Pixels
from edge.model.classifier import Classifier
from edge.model.file import ModelFile
from edge.mqtt.brokers.local import broker
from edge.mqtt.publisher import Publisher
from edge.mqtt.settings import MqttSettings
from edge.outbox.queue import Outbox
from edge.records import Record

WARM_UP_FRAMES = 20

WINDOW_S = 2.0
"""For throughput, the daemon's loop and the bare interpreter alternate after this time."""


class WatchedOutbox(Outbox):
    """An outbox that records when the broker has acknowledged each of its latest records."""

    def __init__(self, file: Path):
        super().__init__(file)
        self._acknowledged_ns: dict[int, int] = {}  # of the last commit's removals
        self._more = threading.Condition()

    def acknowledged(self, sequences: Iterable[int]) -> None:
        """As in `Outbox`; called when the broker has them."""
        now = time.monotonic_ns()
        sequences = tuple(sequences)
        with self._more:
            self._acknowledged_ns = dict.fromkeys(sequences, now)
            self._more.notify_all()
        super().acknowledged(sequences)

    def acknowledged_ns(self, sequence: int) -> int:
        """When that record was acknowledged, on the monotonic clock; waits for it. Only one record may be under way.

        Raises:
            LeukoscopeError: it was not, in `TIMEOUT_S`.
        """
        with self._more:
            if not self._more.wait_for(lambda: sequence in self._acknowledged_ns, TIMEOUT_S):
                raise LeukoscopeError(f"the broker did not acknowledge a record in {TIMEOUT_S:g} s")
            return self._acknowledged_ns[sequence]


def deliver(
    model: ModelFile,
    images: list[Pixels],
    runs: int,
    threads: int,
    address: str,
    seconds: float,
    step: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Frames one at a time from the camera's stamp to PUBACK, then as many as the classifier can.

    Args:
        address: HOST:PORT of the broker; "" for a Mosquitto on a free loopback port.
        seconds: of the second part, in turns with the bare interpreter.
        step: is called after each of the PARTS: for a progress bar.

    Returns:
        "frame_to_durable_ms", "frame_to_puback_ms" and "bare_invoke_ms" of each frame, taken in turn, and
        "throughput".

    Raises:
        LeukoscopeError: there is no broker, or it does not answer.
    """
    images = images or drawn_images(DRAWN_SIDE_PX, DRAWN_SIDE_PX)
    classifier = Classifier(model, threads)
    pipeline = Pipeline(classifier, model, "bench", "0" * 64)
    with (
        tempfile.TemporaryDirectory(prefix="leukoscope-bench-") as folder,
        started_delivery(Path(folder), address) as (outbox, publisher),
    ):
        camera = HeldCamera(images, model.manifest.geometry.crop)
        latencies = _one_at_a_time(camera, classifier, pipeline, outbox, runs)
        step()
        rates = _throughput(images, classifier, pipeline, outbox, seconds)
        step()
        return {**latencies, "throughput": rates, "broker": publisher.state()}


@contextmanager
def started_delivery(folder: Path, address: str) -> Iterator[tuple[WatchedOutbox, Publisher]]:
    """An outbox in `folder` whose publisher is connected to a broker.

    Args:
        address: HOST:PORT; "" for a broker of its own on a free loopback port.

    Raises:
        LeukoscopeError: there is no broker, or it does not answer.
    """
    with broker(address or None, folder) as (host, port):
        outbox = WatchedOutbox(folder / "outbox.db")
        publisher = Publisher(MqttSettings(host=host, port=port), "bench", outbox)
        publisher.start()
        try:
            if not publisher.connected.wait(TIMEOUT_S):
                raise LeukoscopeError(f"broker {host}:{port}: {publisher.state()}")
            yield outbox, publisher
        finally:
            publisher.stop(TIMEOUT_S)
            outbox.close()


def _one_at_a_time(
    camera: HeldCamera, classifier: Classifier, pipeline: Pipeline, outbox: WatchedOutbox, runs: int
) -> dict[str, Any]:
    newest = Capture(lambda: camera, TIMEOUT_S)
    newest.start()
    times: dict[str, list[float]] = {
        "frame_to_durable_ms": [],
        "frame_to_puback_ms": [],
        "bare_invoke_ms": [],
    }
    try:
        for run in range(-WARM_UP_FRAMES, runs):
            durable_ms, acknowledged_ms = one_frame(camera, newest, pipeline, outbox)
            started = time.monotonic_ns()
            classifier.bare_invoke()
            bare_ns = time.monotonic_ns() - started
            if run >= 0:
                times["frame_to_durable_ms"].append(durable_ms)
                times["frame_to_puback_ms"].append(acknowledged_ms)
                times["bare_invoke_ms"].append(bare_ns / 1e6)
    finally:
        newest.close()
    return {name: percentiles(values) for name, values in times.items()}


def one_frame(
    camera: HeldCamera, newest: Capture, pipeline: Pipeline, outbox: WatchedOutbox
) -> tuple[float, float]:
    """Milliseconds from the camera's stamp until the record is on the disk, and until the broker has acknowledged it.

    Raises:
        LeukoscopeError: no frame or no acknowledgement came in `TIMEOUT_S`.
    """
    camera.show()
    frame = newest.take(TIMEOUT_S)
    if frame is None:
        raise LeukoscopeError(f"no frame came in {TIMEOUT_S:g} s; is the machine overloaded?")
    record, durable_ns = _written(outbox.accept(pipeline.record(frame)))
    acknowledged_ns = outbox.acknowledged_ns(record.sequence)
    outbox.wait_empty(TIMEOUT_S)  # so that its removal does not delay the next frame
    return (durable_ns - frame.monotonic_ns) / 1e6, (acknowledged_ns - frame.monotonic_ns) / 1e6


def _written(durable: "Future[Record]") -> tuple[Record, int]:
    """The record with its sequence, and when it was on the disk."""
    at: list[int] = []
    durable.add_done_callback(lambda _: at.append(time.monotonic_ns()))  # in the writer's own thread
    record = durable.result(TIMEOUT_S)
    while not at:  # `result` returns before the callbacks are called
        time.sleep(0)
    return record, at[0]


def _throughput(
    images: list[Pixels], classifier: Classifier, pipeline: Pipeline, outbox: WatchedOutbox, seconds: float
) -> dict[str, Any]:
    """Records a second that the broker has acknowledged, beside the bare interpreter's rate."""
    done, busy_s, bare_done, bare_busy_s = 0, 0.0, 0, 0.0
    end = time.monotonic() + seconds
    while time.monotonic() < end or not done:
        started = now = time.monotonic()
        while now < started + WINDOW_S:
            pixels = images[done % len(images)]
            outbox.accept(pipeline.record(Frame(pixels, time.time_ns(), time.monotonic_ns(), "bench")))
            done += 1
            now = time.monotonic()
        if not outbox.wait_empty(TIMEOUT_S):
            raise LeukoscopeError(f"records were not acknowledged in {TIMEOUT_S:g} s")
        busy_s += time.monotonic() - started  # including the delivery of the last records
        bare_started = now = time.monotonic()
        while now < bare_started + WINDOW_S:
            classifier.bare_invoke()
            bare_done += 1
            now = time.monotonic()
        bare_busy_s += now - bare_started
    rate, bare_rate = done / busy_s, bare_done / bare_busy_s
    return {
        "records": done,
        "per_s": round(rate, 1),
        "bare_per_s": round(bare_rate, 1),
        "ratio": round(rate / bare_rate, 4),
    }
