"""The specimen under the microscope: started and stopped by command, counted, and announced."""

import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from edge.daemon.judge import Judge
from edge.errors import LeukoscopeError
from edge.host import threads
from edge.mqtt.commands.requests import SpecimenStartRequest, SpecimenStopRequest
from edge.outbox.queue import Outbox
from edge.records import rfc3339
from edge.specimen import tally as tallies
from edge.specimen.tally import SpecimenMessage

# Shortest interval between announcements of the count, and longest delay after a new connection.
STEP_S = 0.25
# A commit takes milliseconds; longer means that the disk refuses.
COMMIT_S = 5.0


class Announcer(Protocol):
    """What this needs of the publisher."""

    @property
    def connections(self) -> int:
        """How often the broker has accepted the connection."""

    def publish_specimen(self, payload: bytes) -> bool:
        """Send the retained message of the topic `specimen`; whether there was a connection."""


class Specimens:
    """Counts the specimen in the outbox and publishes the count.

    Args:
        outbox: keeps the tally.
        judge: what the count tells of the model file that judges.
        target: white cells to count, unless a command says otherwise.
        set_specimen: names the specimen of all frames from now on; None for the one of the settings.

    Attributes:
        frame: held from the naming of a frame until its record is accepted: between two frames a count begins and
            ends, so that each record either has the name and counts, or neither.
    """

    def __init__(
        self,
        outbox: Outbox,
        judge: Judge,
        target: int,
        set_specimen: Callable[[str | None], None],
    ):
        self._outbox, self._judge = outbox, judge
        self._target, self._set_specimen = target, set_specimen
        self.frame = threading.Lock()
        self._announced: tuple[bytes, int, Judge] | None = None
        tally = tallies.read(outbox.tally())
        if tally is not None and tally.state == "counting":  # it goes on after a restart
            set_specimen(tally.specimen)

    def use(self, judge: Judge) -> None:
        """From now on another model file judges."""
        self._judge = judge

    def start(self, request: SpecimenStartRequest) -> SpecimenMessage:
        """`specimen_start`: a count begins at 0, with the next frame.

        Raises:
            LeukoscopeError: it is not on the disk yet; it will be once the disk takes it.
        """
        target = self._target if request.target is None else request.target
        change = tallies.start(request.specimen, target, rfc3339(time.time_ns()), self._judge.classes)
        return self._change(change, request.specimen)

    def stop(self, _request: SpecimenStopRequest) -> SpecimenMessage:
        """`specimen_stop`: the count stays as it is from now on.

        Raises:
            LeukoscopeError: nothing was started, or the disk refuses.
        """
        if tallies.read(self._outbox.tally()) is None:
            raise LeukoscopeError("no specimen was started")
        return self._change(tallies.stop, None)

    def message(self) -> SpecimenMessage | None:
        """What the topic `specimen` says; None if no specimen was ever started."""
        return _message(self._outbox.tally(), self._judge)

    def announce(self, announcer: Announcer, stopping: threading.Event) -> threading.Thread:
        """Publish the count whenever it has changed or after a new connection, in its own thread, until a stop."""

        def run() -> None:
            while not stopping.wait(STEP_S):
                self.announce_once(announcer)

        return threads.keep("specimen", run, stopping)

    def announce_once(self, announcer: Announcer) -> None:
        """Publish the count if it has changed or after a new connection."""
        state = tally, connections, judge = self._outbox.tally(), announcer.connections, self._judge
        if state == self._announced or not connections:
            return
        message = _message(tally, judge)
        if message is None or announcer.publish_specimen(msgspec.json.encode(message)):
            self._announced = state

    def _change(self, change: tallies.Change, specimen: str | None) -> SpecimenMessage:
        if not self.frame.acquire(timeout=COMMIT_S):
            raise LeukoscopeError("the box has been busy with a frame for too long; see its health")
        try:
            changed = self._outbox.change_tally(change)
            self._set_specimen(specimen)
        finally:
            self.frame.release()
        try:
            changed.result(COMMIT_S)
        except concurrent.futures.TimeoutError:
            raise LeukoscopeError("the disk of the outbox does not respond; see the box's health") from None
        message = self.message()
        if message is None:
            raise LeukoscopeError("the tally cannot be read; start the specimen again")
        return message


def _message(state: bytes, judge: Judge) -> SpecimenMessage | None:
    tally = tallies.read(state)
    return None if tally is None else tallies.message(tally, judge.model, judge.errors, judge.checked_here)
