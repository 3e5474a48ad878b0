"""How the daemon's runs ended: restarts are counted, and the reason of the last one is kept.

Two small files lie beside the outbox. `runs.json` is written by the daemon: that it began, in which boot, what
it last found wrong, and that it ended. `last-stop` is written by systemd after each end (ExecStopPost of the
unit): what systemd itself saw, such as "watchdog killed ABRT".
"""

import logging
import time
from pathlib import Path

import msgspec

from edge.errors import LeukoscopeError
from edge.host.durable import replace_file
from edge.host.machine import boot_id
from edge.records import rfc3339

log = logging.getLogger(__name__)

POWER_LOST = "the machine went down: power lost, or a reset"
# A process may end again before it has read this.
ENDS_KEPT = 3
UNKNOWN = "the process ended without a reason in the log"


class Restarts(msgspec.Struct, kw_only=True):
    """For health: how often the daemon was started again after an unwanted end.

    Attributes:
        count: since the files were made.
        reason: of the last one; "" if there was none.
        at: RFC 3339, when the daemon was back; "" if there was none.
    """

    count: int = 0
    reason: str = ""
    at: str = ""


class _Runs(msgspec.Struct, kw_only=True):
    restarts: Restarts = msgspec.field(default_factory=Restarts)
    running: bool = False
    boot: str = ""
    fault: str = ""


class RunLog:
    """Notes this run's beginning, faults and end; what cannot be written is logged and never stops a run.

    Args:
        folder: of the files; made if it is missing.
    """

    def __init__(self, folder: Path):
        self._file, self._last_stop = folder / "runs.json", folder / "last-stop"
        self._runs = self._read()

    @property
    def restarts(self) -> Restarts:
        """Count and last reason."""
        return self._runs.restarts

    def begin(self) -> Restarts:
        """Note that a run begins, and count a restart if the last one was not ended on purpose."""
        runs, reason = self._runs, ""
        if runs.running or runs.fault:
            reason = POWER_LOST if runs.running and runs.boot != boot_id() else self._reason()
        if reason:
            count = runs.restarts.count + 1
            runs.restarts = Restarts(count=count, reason=reason, at=rfc3339(time.time_ns()))
            log.warning("restart %d: %s", count, reason, extra={"event": "restart"})
        self._last_stop.unlink(missing_ok=True)
        runs.running, runs.boot, runs.fault = True, boot_id(), ""
        self._write()
        return runs.restarts

    def fault(self, reason: str) -> None:
        """Keep what may become the reason of a restart; "" if the fault is over."""
        if reason != self._runs.fault:
            self._runs.fault = reason
            self._write()

    def end(self, fault: str = "") -> None:
        """Note that the run ends: on purpose, or for a fault."""
        self._runs.running, self._runs.fault = False, fault
        self._write()

    def _reason(self) -> str:
        try:
            seen = "; ".join(self._last_stop.read_text(errors="replace").splitlines()[-ENDS_KEPT:])
        except OSError:
            seen = ""
        known = [text for text in (seen, self._runs.fault) if text]
        return "; ".join(known) or UNKNOWN

    def _read(self) -> _Runs:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Runs)
        except FileNotFoundError:
            return _Runs()
        except (OSError, ValueError, RecursionError) as error:  # truncated, or written by an older version
            log.warning("%s: %s; restarts are counted anew", self._file, error)
            return _Runs()

    def _write(self) -> None:
        try:
            replace_file(self._file, msgspec.json.encode(self._runs))
        except LeukoscopeError as error:
            log.warning("%s; the reason of a restart may be lost", error)
