"""The lock of an outbox: one process at a time, whatever path it uses for the file; it also keeps the last sequence."""

import contextlib
import fcntl
import logging
import os
from pathlib import Path

from edge.errors import LeukoscopeError

log = logging.getLogger(__name__)

LAST_POSSIBLE = 10**15
"""No outbox reaches this: at a thousand records per second it takes 30,000 years. A higher number is damage."""

IN_USE = "another process uses it; stop that one first"


class Lock:
    """Locks an outbox for this process: two processes would give the same sequence twice.

    The lock file beside the outbox also holds the last sequence that was given, so that damage to the
    database cannot make it be given twice. The database file is locked too, since a hard link gives it
    another name. (SQLite's own locks are of another kind and are not affected.)

    Args:
        file: the outbox, its path resolved.

    Raises:
        LeukoscopeError: another process holds it.
        OSError: the lock file cannot be made.
    """

    def __init__(self, file: Path):
        self._file = file
        self._mark = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._database = -1
        try:
            _take(self._mark)
        except LeukoscopeError:
            os.close(self._mark)
            raise

    @property
    def database(self) -> int:
        """The database file, open; to close another descriptor of it would end SQLite's locks."""
        return self._database

    def hold_database(self) -> None:
        """Lock the database file itself; to be called before SQLite opens it, and again after it was replaced.

        Raises:
            LeukoscopeError: another process holds it under another name.
            OSError: it cannot be opened.
        """
        self.release_database()
        self._database = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            _take(self._database)
        except LeukoscopeError:
            self.release_database()
            raise

    def release_database(self) -> None:
        """Unlock the database file; only while SQLite has it closed, whose locks this would end."""
        if self._database >= 0:
            os.close(self._database)
            self._database = -1

    def read_last(self) -> int:
        """The last sequence that was noted; 0 if there is none, or if it is impossible."""
        text = os.pread(self._mark, 32, 0).strip()
        last = int(text) if text.isdigit() else 0
        if last <= LAST_POSSIBLE:
            return last
        log.warning("outbox %s.lock: %d cannot be the last sequence; it is ignored", self._file, last)
        return 0

    def write_last(self, last: int) -> None:
        """Note the last sequence that was given."""
        # Not synced: after a power cut it is behind the database, which is synced, and so never misleads.
        with contextlib.suppress(OSError):  # a disk that is full at the first record
            os.pwrite(self._mark, b"%020d\n" % last, 0)

    def close(self) -> None:
        """Release the outbox."""
        self.release_database()
        os.close(self._mark)


def _take(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise LeukoscopeError(IN_USE) from error
