"""The log: one readable line per event; under systemd with structured fields beside it.

`journalctl -u leukoscope` shows the lines; `journalctl -u leukoscope -o json` or `LEUKOSCOPE_EVENT=restart` the
fields. The protocol is systemd's own: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

import logging
import os
import socket
import sys
from pathlib import Path

from edge.host.secrets import redact
from edge.host.text import harmless

SOCKET = Path("/run/systemd/journal/socket")
# A datagram holds about 200 kB; a longer traceback helps nobody.
MESSAGE_LIMIT = 50_000
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def set_up(level: int = logging.INFO) -> None:
    """Log to the journal if standard error goes there, else readable lines to standard error."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter("%(levelname)s %(message)s"))
    if _stderr_is_journal():
        try:
            handler = JournalHandler(SOCKET)
            handler.setFormatter(SafeFormatter("%(message)s"))
        except OSError:  # without it the lines still arrive, through standard error
            pass
    logging.basicConfig(level=level, handlers=[handler], force=True)


class SafeFormatter(logging.Formatter):
    """The one place where log text leaves the process: without secrets, and without control characters for a terminal.

    A message of several lines has all but the first indented, so that no text of another program can look like
    a line of this log.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, with a traceback below it if there is one."""
        return safe_lines(super().format(record))


def safe_lines(text: str, indent: str = "    ") -> str:
    """Log text as it may leave the process: redacted, control characters shown as escapes, lines indented."""
    lines = redact(text).split("\n")
    return f"\n{indent}".join(harmless(line, MESSAGE_LIMIT) for line in lines)


def _stderr_is_journal() -> bool:
    """Whether systemd connected standard error to the journal: it gives the stream's device and inode."""
    stream = os.environ.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


class JournalHandler(logging.Handler):
    """Sends records with the fields PRIORITY, LOGGER, THREAD, CODE_*, and those of `extra`.

    `log.info("…", extra={"event": "ready"})` becomes the field LEUKOSCOPE_EVENT.

    Args:
        address: the journal's socket.

    Raises:
        OSError: there is none.
    """

    def __init__(self, address: Path):
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(str(address))
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; a journal that does not respond must not stop the box."""
        try:
            self._socket.send(b"".join(_field(name, text) for name, text in self._fields(record).items()))
        except OSError:
            self.handleError(record)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        fields = {
            "MESSAGE": self.format(record)[:MESSAGE_LIMIT],
            "PRIORITY": str(_priority(record.levelno)),
            "SYSLOG_IDENTIFIER": "leukoscope",
            "LOGGER": record.name,
            "THREAD": str(record.threadName),
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
        }
        for name, value in record.__dict__.items():
            if name not in _STANDARD:
                fields[f"LEUKOSCOPE_{name.upper()}"] = harmless(redact(str(value)), MESSAGE_LIMIT)
        return fields


_STANDARD = {*logging.makeLogRecord({}).__dict__, "message", "asctime"}


def _priority(level: int) -> int:
    return next((priority for least, priority in _PRIORITIES if level >= least), 7)


def _field(name: str, text: str) -> bytes:
    """One field; text of several lines is preceded by its length."""
    data = text.encode(errors="replace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
