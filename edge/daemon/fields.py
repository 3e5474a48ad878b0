"""Whole fields in the daemon: one record per field, and one for each of its white cells that was not seen before."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge.cameras.optics import Correction
from edge.cameras.settings import LARGEST_SIDE_PX, CameraSettings
from edge.daemon.pipeline import Pipeline
from edge.errors import LeukoscopeError
from edge.imaging.field.registration import Placed, Walk
from edge.imaging.frame import Frame, Pixels
from edge.model.classifier import Classifier, Prediction
from edge.model.fields import FieldClassifier, JudgedCell
from edge.model.file import ModelFile
from edge.mqtt.publisher import Publisher
from edge.outbox.queue import Outbox
from edge.outbox.settings import fields_file
from edge.records import FieldRecord, FieldReference, Record, fitting, rfc3339, uuid7
from edge.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FieldResults:
    """What one frame gives.

    Attributes:
        field: its record, the sequence still 0.
        cells: a record for each new cell, the sequences still 0, and the picture of it for a person.
        predictions: of those of them that the classifier was asked about.
    """

    field: FieldRecord
    cells: list[tuple[Record, Pixels]]
    predictions: list[Prediction]


class FieldPipeline:
    """From a frame to the records of its cells.

    Cells cut by the border give no record: the next field shows them whole, and a cell must not count twice.

    Args:
        model, classifier: these classify the cells.
        camera: scale and calibration of the frames.
        pipeline: writes records.
        device: the box's name.

    Raises:
        InputError: a network is missing, or the calibration was made with other settings.
    """

    def __init__(
        self,
        model: ModelFile,
        classifier: Classifier,
        camera: CameraSettings,
        pipeline: Pipeline,
        device: str,
    ):
        self._fields = FieldClassifier(model, classifier, microns_per_pixel=camera.microns_per_pixel)
        self._pipeline, self._device = pipeline, device
        file = camera.calibration
        self._correction = Correction(Path(file), camera, LARGEST_SIDE_PX) if file else None
        self._walk = Walk()
        self._unjudged = False  # the classifier failed at the field that lies here

    def use(self, classifier: Classifier) -> None:
        """From the next frame on, another classifier of the same geometry and scale."""
        self._fields.use(classifier)

    @property
    def fault(self) -> str:
        """Why the calibration no longer fits, or ""."""
        return self._correction.fault if self._correction is not None else ""

    def results(self, frame: Frame, asked: bool = False) -> FieldResults | None:
        """Judge one frame; None if the field has not moved since it was judged, and nothing new can be in it.

        Args:
            frame: as the camera gave it.
            asked: somebody has asked for a result: judge it all the same.

        Raises:
            InputError: it is not (H, W, 3) uint8, or not of the size that the calibration is for.
        """
        pixels = frame.pixels if self._correction is None else self._correction.apply(frame.pixels)
        placed = self._walk.place(pixels, frame.specimen)
        if not (placed.moved or asked or self._unjudged):
            return None
        self._unjudged = True
        judged = self._fields.judge(pixels, frame.specimen)
        self._unjudged = False
        whole = [cell for cell in judged.cells if not cell.cell.at_edge]
        new = self._new(placed, whole)
        field = FieldRecord(
            id=uuid7(),
            device=self._device,
            sequence=0,
            captured_at=rfc3339(frame.captured_at_ns),
            specimen=fitting(frame.specimen),
            size=(pixels.shape[1], pixels.shape[0]),
            cells=len(judged.cells),
            new_cells=len(new),
            reasons=judged.reasons,
            ruler={"red_cell_px": round(judged.red_cell_px, 2), "scale": round(judged.scale, 4)},
            timings_ms=judged.timings_ms,
        )
        cells = [(self._record(frame, field.id, cell), cell.crop) for cell in new]
        return FieldResults(
            field, cells, [cell.prediction for cell in new if cell.prediction.timings_ms["invoke"]]
        )

    def _new(self, placed: Placed, cells: list[JudgedCell]) -> list[JudgedCell]:
        widths = [max(cell.cell.box[2:]) for cell in cells]
        answers = self._walk.new(placed, [cell.cell.centre for cell in cells], widths)
        return [cell for cell, is_new in zip(cells, answers, strict=True) if is_new]

    def _record(self, frame: Frame, field: str, cell: JudgedCell) -> Record:
        record = self._pipeline.write_up(frame, cell.prediction)
        left, top, width, height = cell.box_px
        reference = FieldReference(id=field, box=(left, top, width, height))
        return msgspec.structs.replace(record, field=reference, kind=cell.kind)


class FieldStream:
    """The records of fields on their way to the broker: an outbox and a publisher of their own.

    Args:
        settings: of the box.
        cells: file of the outbox of the cells' records.

    Raises:
        LeukoscopeError: the outbox cannot be opened.
        InputError: a password or certificate file cannot be read.
    """

    def __init__(self, settings: Settings, cells: Path):
        self.outbox = Outbox(fields_file(cells), settings.outbox.max_mb, settings.outbox.resend_s)
        self.publisher = Publisher(settings.mqtt, settings.device.id, self.outbox, topic="fields")

    def watched(self) -> dict[str, Callable[[], str]]:
        """What the watchdog asks, by name."""
        return {"publisher of fields": self.publisher.hangs, "outbox of fields": self.outbox.hangs}

    def close(self, drain_s: float, timeout_s: float) -> None:
        """Send what the broker takes in this time, keep the rest."""
        try:
            self.outbox.flush()
            if self.publisher.connected.is_set():
                self.publisher.wait_drained(drain_s)
            self.publisher.stop(timeout_s)
            self.outbox.close()
        except LeukoscopeError as error:  # such as a full disk; the cells' records still have their turn
            log.error("%s", error)
