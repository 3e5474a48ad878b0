"""Raw data of a damaged outbox: reads around bad sectors, searches for records, and rebuilds pages from SQLite's
log."""

import errno
import json
import os
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from edge.records import RECORD_BYTES

PIECE_BYTES = 1024 * 1024
BLOCK_BYTES = 4096
"""Block size of reads: a bad sector makes only its own block unreadable."""

ATTEMPTS = 4
"""Attempts per block: a disk may fail to read a block once and succeed the next time."""

_RECORD = re.compile(rb'\{"schema":1,"id":"')
"""How every record begins in the file."""

_LOG_HEADER, _FRAME_HEADER = struct.Struct(">8I"), struct.Struct(">6I")
_LOG_MAGIC = frozenset({0x377F0682, 0x377F0683})


def pieces(file: Path) -> Iterator[bytes]:
    """A file from its beginning to its end; blocks that cannot be read come as zeros.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        for offset in range(0, size, PIECE_BYTES):
            length = min(PIECE_BYTES, size - offset)
            yield _read(descriptor, offset, length) or b"".join(
                _read(descriptor, start, min(BLOCK_BYTES, offset + length - start))
                or bytes(min(BLOCK_BYTES, offset + length - start))
                for start in range(offset, offset + length, BLOCK_BYTES)
            )
    finally:
        os.close(descriptor)


def unreadable_bytes(descriptor: int) -> int:
    """How many bytes of an open file the disk cannot read; reads the whole file."""
    refused, size = 0, os.fstat(descriptor).st_size
    for offset in range(0, size, PIECE_BYTES):
        length = min(PIECE_BYTES, size - offset)
        if _read(descriptor, offset, length) is None:
            for start in range(offset, offset + length, BLOCK_BYTES):
                block = min(BLOCK_BYTES, offset + length - start)
                refused += block if _read(descriptor, start, block) is None else 0
    return refused


def _read(descriptor: int, offset: int, length: int) -> bytes | None:
    """That part of a file, or None if the disk refuses it each time."""
    for _ in range(ATTEMPTS):
        try:
            return os.pread(descriptor, length, offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
    return None


def carve(parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Every whole JSON object that begins as a record does, anywhere in some bytes.

    Args:
        parts: the bytes in order; an object may begin in one of them and end in the next.

    Returns:
        Its sequence and its JSON; it need not be a record that fits the schema.
    """
    window, decoder = b"", json.JSONDecoder()
    for part in parts:
        window += part
        # An object that begins in the last bytes may continue in the next part.
        end = max(0, len(window) - RECORD_BYTES)
        yield from _carve(window, end, decoder)
        window = window[end:]
    yield from _carve(window, len(window), decoder)


def _carve(window: bytes, end: int, decoder: json.JSONDecoder) -> Iterator[tuple[int, bytes]]:
    for match in _RECORD.finditer(window):
        if match.start() >= end:
            return
        raw = window[match.start() : match.start() + RECORD_BYTES]
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            text = raw[: error.start].decode()
        try:
            found, length = decoder.raw_decode(text)
        except (ValueError, RecursionError):
            continue
        if (sequence := sequence_of(found)) is not None:
            yield sequence, text[:length].encode()


def sequence_of(found: object) -> int | None:
    """The sequence in what was read of a record's JSON, or None if there is none."""
    sequence = found.get("sequence") if isinstance(found, dict) else None
    return sequence if isinstance(sequence, int) and not isinstance(sequence, bool) else None


def database_of(log: bytes) -> bytes:
    """The database rebuilt from SQLite's write-ahead log alone, up to its last commit; b"" if there is none.

    Pages that the log does not hold are zeros. https://www.sqlite.org/fileformat2.html#the_write_ahead_log
    """
    if len(log) < _LOG_HEADER.size:
        return b""
    magic, _version, page_bytes, _, *salt = _LOG_HEADER.unpack_from(log)
    if magic not in _LOG_MAGIC or not 512 <= page_bytes <= 65536:
        return b""
    pages: dict[int, bytes] = {}
    committed: dict[int, bytes] = {}
    page_count = 0
    for start in range(_LOG_HEADER.size, len(log), _FRAME_HEADER.size + page_bytes):
        if start + _FRAME_HEADER.size + page_bytes > len(log):
            break
        number, size_after_commit, *frame_salt = _FRAME_HEADER.unpack_from(log, start)
        if frame_salt[:2] != salt[:2]:  # of an earlier round of the log
            break
        pages[number] = log[start + _FRAME_HEADER.size : start + _FRAME_HEADER.size + page_bytes]
        if size_after_commit:
            committed.update(pages)
            pages, page_count = {}, size_after_commit
    return b"".join(committed.get(number, bytes(page_bytes)) for number in range(1, page_count + 1))
