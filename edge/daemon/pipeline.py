"""Frame → prediction → record."""

import math
import time

from edge.cameras.preparation import Preparation
from edge.daemon.judge import reference_of
from edge.host import clock
from edge.host.machine import software_version
from edge.imaging.frame import Frame, Pixels
from edge.model.classifier import Classifier, Prediction
from edge.model.file import ModelFile
from edge.records import TEXT_LENGTH, Record, fitting, rfc3339, uuid7

CLOCK_INTERVAL_S = 1.0
"""Interval at which the kernel is asked whether its clock follows a time source."""


class Pipeline:
    """Classifies frames and writes their records; the outbox gives each record its sequence number.

    Args:
        preparation: the steps before the classifier; None for none.
    """

    def __init__(
        self,
        classifier: Classifier,
        model: ModelFile,
        device: str,
        settings_sha256: str,
        preparation: Preparation | None = None,
    ):
        self._classifier = classifier
        self._preparation = preparation
        self._device = device
        self._settings_sha256 = settings_sha256
        self._model = reference_of(model)
        self._software = software_version()
        self._clock: bool | None = None
        self._ask_clock_at_s = 0.0

    def use(self, classifier: Classifier, model: ModelFile) -> None:
        """From the next frame on, another model file."""
        self._classifier = classifier
        self._model = reference_of(model)

    def record(self, frame: Frame) -> Record:
        """The record of one frame, its sequence still 0."""
        prediction, _ = self.classify(frame)
        return self.write_up(frame, prediction)

    def classify(self, frame: Frame) -> tuple[Prediction, Pixels]:
        """The classifier's prediction of one frame, and the picture of it for a person.

        Returns:
            The prediction; the cell's square, (H, W, 3) uint8 RGB, or the whole frame without a preparation.

        Raises:
            InputError: the calibration is for frames of another size.
        """
        if self._preparation is None:
            return self._classifier.classify(frame.pixels), frame.pixels
        picture = self._preparation.picture(frame.pixels)
        return self._classifier.classify(self._preparation.input(picture)), picture

    def write_up(self, frame: Frame, prediction: Prediction) -> Record:
        """The record of a prediction, its sequence still 0."""
        return Record(
            id=uuid7(),
            device=self._device,
            sequence=0,
            captured_at=rfc3339(frame.captured_at_ns),
            monotonic_ns=frame.monotonic_ns,
            specimen=fitting(frame.specimen),
            source=fitting(frame.source, TEXT_LENGTH),
            verdict=prediction.verdict,
            probabilities=prediction.probabilities,
            reasons=prediction.reasons,
            quality=_finite(prediction.quality),
            timings_ms=prediction.timings_ms,
            model=self._model,
            settings_sha256=self._settings_sha256,
            software=self._software,
            image=None,
            clock_synchronised=self._clock_synchronised(),
        )

    def _clock_synchronised(self) -> bool | None:
        """Cached for a second: it changes once per boot, and asking takes as long as making the record."""
        now_s = time.monotonic()
        if now_s >= self._ask_clock_at_s:
            self._ask_clock_at_s, self._clock = now_s + CLOCK_INTERVAL_S, clock.synchronised()
        return self._clock


def _finite(measures: dict[str, float]) -> dict[str, float]:
    """The measures that JSON can hold: not infinite and not NaN."""
    if all(map(math.isfinite, measures.values())):
        return measures
    return {name: value for name, value in measures.items() if math.isfinite(value)}
