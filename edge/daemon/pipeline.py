"""Frame → prediction → record."""

import time
from importlib.metadata import PackageNotFoundError, version

from edge.cameras.preparation import Preparation
from edge.host import clock
from edge.imaging.frame import Frame, Pixels
from edge.model.classifier import Classifier, Prediction
from edge.model.file import ModelFile
from edge.records import ModelReference, Record, rfc3339, uuid7

CLOCK_INTERVAL_S = 1.0
"""The kernel is asked so often whether its clock follows a time source."""


def software_version() -> str:
    """The installed version, as records and health name it."""
    try:
        return f"leukoscope {version('leukoscope')}"
    except PackageNotFoundError:
        return "leukoscope (not installed)"


class Pipeline:
    """Classifies frames and writes them up; the outbox gives each record its sequence number.

    Args:
        preparation: what is done to frames first; None for nothing.

    Attributes:
        picture: of the last frame, what a person is shown; None without a preparation.
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
        self.picture: Pixels | None = None
        self._device = device
        self._settings_sha256 = settings_sha256
        self._model = ModelReference(name=model.manifest.name, sha256=model.sha256)
        self._software = software_version()
        self._clock: bool | None = None
        self._ask_clock_at_s = 0.0

    def record(self, frame: Frame) -> Record:
        """The record of one frame, its sequence still 0."""
        return self.write_up(frame, self.classify(frame))

    def classify(self, frame: Frame) -> Prediction:
        """What the classifier says about one frame."""
        if self._preparation is None:
            return self._classifier.classify(frame.pixels)
        self.picture = self._preparation.picture(frame.pixels)
        return self._classifier.classify(self._preparation.input(self.picture))

    def write_up(self, frame: Frame, prediction: Prediction) -> Record:
        """The record of what the classifier said, its sequence still 0."""
        return Record(
            id=uuid7(),
            device=self._device,
            sequence=0,
            captured_at=rfc3339(frame.captured_at_ns),
            monotonic_ns=frame.monotonic_ns,
            specimen=frame.specimen,
            source=frame.source,
            verdict=prediction.verdict,
            probabilities=prediction.probabilities,
            reasons=prediction.reasons,
            quality=prediction.quality,
            timings_ms=prediction.timings_ms,
            model=self._model,
            settings_sha256=self._settings_sha256,
            software=self._software,
            image=None,
            clock_synchronised=self._clock_synchronised(),
        )

    def _clock_synchronised(self) -> bool | None:
        """As it was within the last second: it changes once in a boot, and asking costs as much as the record."""
        now_s = time.monotonic()
        if now_s >= self._ask_clock_at_s:
            self._ask_clock_at_s, self._clock = now_s + CLOCK_INTERVAL_S, clock.synchronised()
        return self._clock
