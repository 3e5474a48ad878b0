"""From an admitted frame to the outbox: classify it, keep its picture, queue its record."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import msgspec

from edge.daemon.parts import Parts
from edge.daemon.views import Views
from edge.errors import InputError
from edge.health.watchdog import Watchdog
from edge.imaging.frame import Frame, Pixels
from edge.outbox.queue import Outbox, Sent
from edge.outbox.waiting import OutboxFullError
from edge.records import Record
from edge.specimen import tally

if TYPE_CHECKING:
    from edge.daemon.fields import FieldPipeline, FieldStream

log = logging.getLogger(__name__)

TICK_S = 0.5
"""How long the loop waits for room in the outbox, or for a frame, before it checks for a stop."""


class _StoppedError(Exception):
    """A stop came while a record waited for room in the outbox: it was not accepted."""


class Results:
    """Makes the results of frames and gives them to the outbox.

    Args:
        parts: of the daemon.
        views: shows what was judged.
        watchdog: is told which step is under way.
        stop: set at the end of the run.
        why_not: gives the reason why no result is made now, for requests that wait.
    """

    def __init__(
        self,
        parts: Parts,
        views: Views,
        watchdog: Watchdog,
        stop: threading.Event,
        why_not: Callable[[], str],
    ):
        self._pipeline, self._fields, self._stream = parts.pipeline, parts.fields, parts.stream
        self._archive, self._outbox, self._progress = parts.archive, parts.outbox, parts.progress
        self._gate, self._health, self._models = parts.gate, parts.health, parts.models
        self._views, self._watchdog, self._stop, self._why_not = views, watchdog, stop, why_not
        self._told_unfit = ""

    def accept(self, frame: Frame) -> "Future[Any] | None":
        """Classify a frame or all cells of a field, and give the records to the outbox.

        Returns:
            The record that answers a request, in a future that is done when it is on the disk; None if there is none.
        """
        self._watchdog.enters("in the classifier")
        try:
            if self._fields is not None and self._stream is not None:
                return self._accept_field(self._fields, self._stream, frame)
            return self._accept_cell(frame)
        except _StoppedError:
            return None
        finally:
            self._watchdog.enters("waiting for a frame")

    def _accept_cell(self, frame: Frame) -> "Future[Any] | None":
        """The record of the centred cell."""
        prediction, picture = self._models.trying(lambda: self._pipeline.classify(frame))
        record = self._pipeline.write_up(frame, prediction)  # first: `judged` may give its model up
        self._models.judged(prediction)
        return self._keep(frame, record, picture, self._mark())

    def _accept_field(
        self, fields: "FieldPipeline", stream: "FieldStream", frame: Frame
    ) -> "Future[Any] | None":
        """The records of a field's new cells, then that of the field."""
        asked = self._gate.asked
        results = self._models.trying(lambda: fields.results(frame, asked))
        mark = self._mark()
        if results is None:  # it has not moved
            self._image_done(mark, None)
            self._watchdog.worked()
            return None
        for prediction in results.predictions:
            self._models.judged(prediction)
        stored = [self._keep(frame, record, picture) for record, picture in results.cells]
        field = self._offer(results.field, stream.outbox)
        if field is not None:
            field.add_done_callback(self._committed)
        self._image_done(mark, field)
        return next((future for future in stored if future is not None), field)

    def _mark(self) -> bytes:
        """The mark of an image of a folder, which did not crash the program; else b""."""
        return self._progress.classified() if self._progress is not None else b""

    def _image_done(self, mark: bytes, field: "Future[Any] | None") -> None:
        """Mark an image of a folder as done, not before its field's record, if it has one, is on the disk.

        Of what a stop cut short there is no mark: the next start takes it again.
        """

        if not mark:
            return
        if field is None:
            self._outbox.mark(mark)
            return

        def written(record: "Future[Any]") -> None:
            if record.exception() is None:
                self._outbox.mark(mark)

        field.add_done_callback(written)

    def _keep(
        self, frame: Frame, record: Record, picture: Pixels, mark: bytes = b""
    ) -> "Future[Record] | None":
        """Keep a record's picture, and give it to the outbox."""
        self._watchdog.enters("at the archive")
        image = self._archive.keep(record.id, record.verdict, picture)
        self._watchdog.enters("at the outbox")
        whole = record if image is None else msgspec.structs.replace(record, image=image)
        stored = self._offer(whole, self._outbox, mark)
        if stored is not None:
            stored.add_done_callback(self._committed)
            self._health.result(frame, record)
            self._views.judged(frame, record)
        return stored

    def _committed(self, record: "Future[Any]") -> None:
        if record.exception() is None:
            self._watchdog.worked()

    def _offer(self, record: Sent, outbox: Outbox, mark: bytes = b"") -> "Future[Sent] | None":
        """Give a record to the outbox, waiting for room; None if the outbox can never take it.

        Raises:
            _StoppedError: there is no room, and a stop came.
        """
        while True:
            try:
                change = tally.counted(record) if isinstance(record, Record) else None
                return outbox.accept(record, mark, change)
            except OutboxFullError as error:
                if self._stop.is_set():
                    raise _StoppedError from error
                self._gate.fail(self._why_not())
                self.has_room(outbox)
            except InputError as error:  # a fault in the program; continue with the next frame
                self._health.unreadable += 1
                self._gate.fail(str(error))
                if str(error) != self._told_unfit:
                    self._told_unfit = str(error)
                    log.error("no record %s: %s", record.id, error)
                return None

    def has_room(self, outbox: Outbox | None = None) -> bool:
        """Whether the outbox takes records; waits for a moment. A full disk is not a fault of this process."""
        if (outbox or self._outbox).wait_for_room(TICK_S):
            return True
        self._watchdog.worked()  # a restart would lose what waits in memory, and free nothing
        return False
