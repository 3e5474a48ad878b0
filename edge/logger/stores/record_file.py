"""One file of records, CSV or JSON lines: recognised before it is touched, repaired after a crash, appended to."""

import fcntl
import logging
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.host.durable import PARTIAL_SUFFIX, flush_folder
from edge.host.text import harmless
from edge.logger.stores.rows import csv_line

log = logging.getLogger(__name__)

# Columns that CSV files of earlier versions lack at their end: those of the first version, and the next.
_LACKING = (3, 2)
# A longer line is not ours: it is refused before it fills the memory.
LONGEST_ROW = 64 * 1024 * 1024
# So much of a header is not in a foreign file by chance.
_SURE = 16
_BOM = b"\xef\xbb\xbf"
_UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


class _Row(msgspec.Struct):
    """The fields by which a line of ours is known among other JSON."""

    schema: int
    id: str
    device: str
    sequence: int


class RecordFile:
    """An open file of records, locked against other loggers.

    Args:
        path: the file; it is made if it is missing.
        columns: of CSV; None for JSON lines.

    Raises:
        InputError: it holds something else; it is not touched.
        LeukoscopeError: it cannot be opened, or another logger writes to it.
    """

    def __init__(self, path: Path, columns: tuple[str, ...] | None):
        self.path, self.columns = path, columns
        self._header = csv_line(columns).encode() if columns else b""
        self._ids: set[bytes] = set()
        try:
            self._file = self._opened()
            try:
                self._lock(self._file)
                self._recover()
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise LeukoscopeError(f"cannot open {path}: {error.strerror}") from error

    def __contains__(self, record_id: str) -> bool:
        return _key(record_id.encode()) in self._ids

    def add(self, lines: Mapping[str, bytes]) -> None:
        """Append whole lines by the id of their record, on the disk when this returns.

        Raises:
            OSError: it failed, and the file is as it was.
        """
        append(self._file, b"".join(lines.values()))
        self._ids.update(_key(record_id.encode()) for record_id in lines)

    def close(self) -> None:
        """Give back the file and its lock."""
        self._file.close()

    def _opened(self) -> IO[bytes]:
        fresh = not self.path.exists()
        if not fresh and not stat.S_ISREG(self.path.stat().st_mode):
            raise InputError(f"{self.path} is no regular file; name another one")
        file = open(self.path, "a+b")
        if fresh:
            flush_folder(self.path.parent)
        return file

    def _lock(self, file: IO[bytes]) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LeukoscopeError(f"{self.path}: another logger writes to it; name another file") from error

    def _recover(self) -> None:
        """Read the ids; set aside what a crash left unfinished, which was never acknowledged."""
        self._file.seek(0)
        lacking = self._recognise()
        if lacking is None:
            append(self._file, self._header)
            return
        end = self._file.tell()
        for row in self._rows():
            record_id = self._id(row)
            if not row.strip():  # an editor may leave empty lines
                end += len(row)
                continue
            if record_id is None:
                raise InputError(
                    f"{self.path} holds no results from byte {end} on: {harmless(row[:60])}; name another file"
                )
            self._ids.add(_key(record_id))
            end += len(row)
        self._set_aside(end)
        if lacking:
            self._widen(lacking)

    def _recognise(self) -> int | None:
        """How many columns it lacks; None if it is empty. The position is behind the header.

        Raises:
            InputError: it is not ours.
        """
        first = self._file.readline(LONGEST_ROW)
        if not first:
            return None
        if self.columns is None:
            begun = not first.endswith(b"\n") and first.startswith(b'{"schema":')
            if not begun and self._id(first) is None:
                raise InputError(f"{self.path} holds no results: {harmless(first[:60])}; name another file")
            self._file.seek(0)
            return 0
        if len(first) >= _SURE and self._header.startswith(first) and first != self._header:
            self._file.truncate(0)  # the header itself, cut off by a crash
            return None
        header = first.removeprefix(_BOM).rstrip(b"\r\n")
        for lacking in (0, *_LACKING):
            if header == csv_line(self.columns[: len(self.columns) - lacking]).encode().rstrip(b"\n"):
                return lacking
        raise InputError(
            f"{self.path} holds no results: its columns are {harmless(header)}; name another file"
        )

    def _rows(self) -> Iterator[bytes]:
        """The whole rows from here on; one of CSV may have lines within quotes, and ends when they are closed."""
        pending: list[bytes] = []
        quotes = length = 0
        while line := self._file.readline(LONGEST_ROW):
            pending.append(line)
            quotes, length = quotes + line.count(b'"'), length + len(line)
            if length >= LONGEST_ROW:
                raise InputError(
                    f"{self.path} holds a row of more than {LONGEST_ROW} bytes; name another file"
                )
            if line.endswith(b"\n") and (self.columns is None or quotes % 2 == 0):
                yield b"".join(pending)
                pending, quotes, length = [], 0, 0

    def _id(self, row: bytes) -> bytes | None:
        """The id of a row, or None if it is none of ours."""
        if self.columns is None:
            try:
                found = msgspec.json.decode(row, type=_Row).id.encode()
            except (msgspec.MsgspecError, ValueError, RecursionError):
                return None
        else:
            found = b"".join(row.split(b",", 2)[1:2]).strip(b'"')
        return found if _UUID.match(found) else None

    def _set_aside(self, end: int) -> None:
        """Move what stands behind the last whole row to a file of its own, or finish it."""
        self._file.seek(end)
        rest = self._file.read(LONGEST_ROW)
        if not rest:
            return
        if self.columns is None and (record_id := self._id(rest)) is not None:
            append(self._file, b"\n")  # an editor took the last line end away
            self._ids.add(_key(record_id))
            return
        torn = self.path.with_name(self.path.name + ".torn")
        with open(torn, "ab") as file:
            append(file, rest + b"\n")
        flush_folder(torn.parent)
        self._file.truncate(end)
        os.fsync(self._file.fileno())
        log.warning(
            "%s: the last %d bytes are an unfinished row and were moved to %s", self.path, len(rest), torn
        )

    def _widen(self, lacking: int) -> None:
        """Give a file of an earlier version the columns that came later, all at once or not at all."""
        fresh = self.path.with_name(f".{self.path.name}{PARTIAL_SUFFIX}")
        self._file.seek(0)
        self._file.readline()
        file = open(fresh, "a+b")
        try:
            self._lock(file)
            file.truncate(0)
            fresh.chmod(stat.S_IMODE(self.path.stat().st_mode))
            file.write(self._header)
            for row in self._rows():
                if row.strip():
                    file.write(row.rstrip(b"\r\n") + b"," * lacking + b"\n")
            file.flush()
            os.fsync(file.fileno())
            fresh.replace(self.path)
        except BaseException:
            file.close()
            fresh.unlink(missing_ok=True)
            raise
        flush_folder(self.path.parent)
        self._file.close()
        self._file = file


def append(file: IO[bytes], data: bytes) -> None:
    """Write at the end and sync, or leave the file as it was.

    Raises:
        OSError: it failed.
    """
    if not data:
        return
    size = os.fstat(file.fileno()).st_size
    try:
        rest = memoryview(data)
        while rest:  # past the buffer of `file`, which would keep what could not be written
            rest = rest[os.write(file.fileno(), rest) :]
        os.fsync(file.fileno())
    except OSError:
        os.ftruncate(file.fileno(), size)
        raise


def _key(record_id: bytes) -> bytes:
    """An id in 16 bytes, since all of them stay in memory."""
    return bytes.fromhex(record_id.replace(b"-", b"").decode())
