"""The daemon's steps around the classifier, each timed: transfer of the frame, record, outbox."""

import tempfile
import threading
import time
from itertools import cycle
from pathlib import Path

import numpy as np

from edge.cameras.capture import Capture
from edge.daemon.pipeline import Pipeline
from edge.errors import LeukoscopeError
from edge.imaging.frame import Frame, Pixels
from edge.imaging.preprocess import centre
from edge.model.classifier import Classifier
from edge.model.file import ModelFile
from edge.outbox.queue import Outbox

TIMEOUT_S = 30.0
"""Timeout of every wait here; each should take milliseconds."""


class HeldCamera:
    """A live camera that gives its next frame when asked, stamped at that moment.

    Args:
        images: whole frames.
        region_px: side of the centred square that is given of each, as the other cameras do.
    """

    live = True

    description = "frames of the bench"

    def __init__(self, images: list[Pixels], region_px: int):
        images = [centre(image, region_px) for image in images]
        # Capture withholds a picture that is the same as the last, as of a frozen camera.
        self._images = cycle(images if len(images) > 1 else [images[0], images[0] ^ np.uint8(1)])
        self._asked = threading.Semaphore(0)
        self._closed = False

    def show(self) -> None:
        """Let one frame through."""
        self._asked.release()

    def open(self) -> None:
        """Nothing to open."""

    def read(self) -> Frame | None:
        """The next frame, once `show` was called; None after `close`."""
        self._asked.acquire()
        if self._closed:
            return None
        return Frame(next(self._images), time.time_ns(), time.monotonic_ns(), "bench")

    def close(self) -> None:
        """End a `read` that waits."""
        self._closed = True
        self._asked.release()


def daemon_stages(
    classifier: Classifier, model: ModelFile, images: list[Pixels], runs: int
) -> dict[str, list[float]]:
    """Frames one after the other through the daemon's own parts.

    Returns:
        Milliseconds of each run: "capture" from the camera's stamp until the daemon has the frame,
        "record" from the verdict to the record, "accept" until the outbox has it, and "durable" from there
        until it is on the disk of the folder for temporary files (TMPDIR).
    """
    stages: dict[str, list[float]] = {"capture": [], "record": [], "accept": [], "durable": []}
    camera = HeldCamera(images, model.manifest.geometry.crop)
    pipeline = Pipeline(classifier, model, "bench", "0" * 64)
    with tempfile.TemporaryDirectory(prefix="leukoscope-bench-") as folder:
        outbox = Outbox(Path(folder) / "outbox.db")
        newest = Capture(lambda: camera, TIMEOUT_S)
        newest.start()
        try:
            for run in range(-2, runs):
                times = _one(camera, newest, pipeline, outbox)
                if run >= 0:
                    for stage, duration_ns in times.items():
                        stages[stage].append(duration_ns / 1e6)
        finally:
            newest.close()
            outbox.close()
    return stages


def _one(camera: HeldCamera, newest: Capture, pipeline: Pipeline, outbox: Outbox) -> dict[str, int]:
    """Nanoseconds of each stage of one frame."""
    camera.show()
    frame = newest.take(TIMEOUT_S)
    taken = time.monotonic_ns()
    if frame is None:
        raise LeukoscopeError(f"no frame came in {TIMEOUT_S:g} s; is the machine overloaded?")
    prediction, _ = pipeline.classify(frame)
    classified = time.monotonic_ns()
    record = pipeline.write_up(frame, prediction)
    written = time.monotonic_ns()
    durable = outbox.accept(record)
    accepted = time.monotonic_ns()
    durable.result(TIMEOUT_S)
    return {
        "capture": taken - frame.monotonic_ns,
        "record": written - classified,
        "accept": accepted - written,
        "durable": time.monotonic_ns() - accepted,
    }
