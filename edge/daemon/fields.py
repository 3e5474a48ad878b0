"""Whole fields in the daemon: one record a field, and one for each of its white cells that was not seen before."""

from dataclasses import dataclass

import msgspec

from edge.daemon.pipeline import Pipeline
from edge.imaging.frame import Frame, Pixels
from edge.imaging.registration import Walk
from edge.model.fields import FieldClassifier, JudgedCell
from edge.records import FieldRecord, FieldReference, Record, rfc3339, uuid7


@dataclass(frozen=True, slots=True)
class FieldResults:
    """What one frame gives.

    Attributes:
        field: its record, the sequence still 0.
        cells: a record for each new cell, the sequences still 0, and the picture that a person is shown of it.
    """

    field: FieldRecord
    cells: list[tuple[Record, Pixels]]


class FieldPipeline:
    """From a frame to the records of its cells.

    Cells that the border cuts give no record: the next field shows them whole, and a cell must not count twice.

    Args:
        fields: judges them.
        pipeline: writes records.
        device: the box's name.
    """

    def __init__(self, fields: FieldClassifier, pipeline: Pipeline, device: str):
        self._fields, self._pipeline, self._device = fields, pipeline, device
        self._walk = Walk()

    def results(self, frame: Frame, pixels: Pixels) -> FieldResults:
        """Judge one frame.

        Args:
            frame: as the camera gave it.
            pixels: of it, (H, W, 3) uint8 RGB, corrected where there is a calibration.

        Raises:
            InputError: they are not (H, W, 3) uint8.
        """
        judged = self._fields.judge(pixels, frame.specimen)
        whole = [cell for cell in judged.cells if not cell.cell.at_edge]
        new = self._new(pixels, frame.specimen, whole)
        field = FieldRecord(
            id=uuid7(),
            device=self._device,
            sequence=0,
            captured_at=rfc3339(frame.captured_at_ns),
            specimen=frame.specimen,
            size=(pixels.shape[1], pixels.shape[0]),
            cells=len(judged.cells),
            new_cells=len(new),
            reasons=judged.reasons,
            ruler={"red_cell_px": round(judged.red_cell_px, 2), "scale": round(judged.scale, 4)},
            timings_ms=judged.timings_ms,
        )
        return FieldResults(field, [(self._record(frame, field.id, cell), cell.crop) for cell in new])

    def _new(self, pixels: Pixels, specimen: str, cells: list[JudgedCell]) -> list[JudgedCell]:
        placed = self._walk.place(pixels, specimen)
        widths = [max(cell.cell.box[2:]) for cell in cells]
        answers = self._walk.new(placed, [cell.cell.centre for cell in cells], widths)
        return [cell for cell, is_new in zip(cells, answers, strict=True) if is_new]

    def _record(self, frame: Frame, field: str, cell: JudgedCell) -> Record:
        record = self._pipeline.write_up(frame, cell.prediction)
        left, top, width, height = cell.box_px
        reference = FieldReference(id=field, box=(left, top, width, height))
        return msgspec.structs.replace(record, field=reference, kind=cell.kind)
