"""The messages: what the box sends, the outbox keeps and the subscriber reads."""

import os
import time
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge.errors import InputError

# What a database's 64-bit integer column holds.
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# A class of the model file, or "refer".
_Verdict = Annotated[str, Meta(min_length=1, max_length=100)]
_Uuid = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class ModelReference(msgspec.Struct, frozen=True, kw_only=True):
    """The model file that gave a result: its name and the sha256 of the file."""

    name: str
    sha256: str


class ImageReference(msgspec.Struct, frozen=True, kw_only=True):
    """The archived picture of a result: its name in the archive and its sha256."""

    name: str
    sha256: str


class FieldReference(msgspec.Struct, frozen=True, kw_only=True):
    """The field of view in which a cell was found: the id of its FieldRecord and the cell's box.

    Attributes:
        id: of the FieldRecord.
        box: x, y, width, height in pixels of the frame.
    """

    id: _Uuid
    box: tuple[int, int, int, int]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One result; research and second opinion only.

    Attributes:
        schema: version of this structure.
        id: UUIDv7, made once; a store that keys on it holds every result exactly once.
        device: the box's name.
        sequence: counts up by one per device without gaps; 0 until the outbox has given it.
        captured_at: RFC 3339, UTC.
        monotonic_ns: the same moment on the monotonic clock of that boot.
        specimen: slide or sample, or "".
        source: where the picture came from.
        verdict: the likelier class, by its name in the model file, or "refer" if a person has to look.
        probabilities: of each class, 0 to 1.
        reasons: why it was referred.
        quality: measures of the picture.
        timings_ms: milliseconds by stage.
        model: which model file.
        settings_sha256: of the settings.
        software: name and version.
        image: the archived picture, or None.
        clock_synchronised: whether the clock of `captured_at` followed a time source; None where that is not
            known. Without it, order by `sequence` and, within one boot, `monotonic_ns`.
        field: the field of view and the cell's box in it; None if the camera shows one cell.
        kind: whether the cell is lymphoid; None if this was not asked.
    """

    schema: Annotated[int, Meta(ge=1, le=1)] = 1
    id: _Uuid
    device: str
    sequence: _Count
    captured_at: str
    monotonic_ns: _Count
    specimen: str
    source: str
    verdict: _Verdict
    probabilities: dict[str, float]
    reasons: list[str]
    quality: dict[str, float]
    timings_ms: dict[str, float]
    model: ModelReference
    settings_sha256: str
    software: str
    image: ImageReference | None = None
    clock_synchronised: bool | None = None
    field: FieldReference | None = None
    kind: Literal["lymphoid", "other", "unclear"] | None = None


class FieldRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One field of view and how many white cells were found in it; research and second opinion only.

    Attributes:
        schema: version of this structure.
        id: UUIDv7, made once; the records of its cells refer to it.
        device: the box's name.
        sequence: counts up by one per device and topic without gaps; 0 until the outbox has given it.
        captured_at: RFC 3339, UTC.
        specimen: slide or sample, or "".
        size: width and height of the frame in pixels.
        cells: how many white cells were found.
        ruler: the measured size of red cells, such as `red_cell_px` and `scale`; None if it was not measured.
        timings_ms: milliseconds by stage.
    """

    schema: Annotated[int, Meta(ge=1, le=1)] = 1
    id: _Uuid
    device: str
    sequence: _Count
    captured_at: str
    specimen: str
    size: tuple[_Count, _Count]
    cells: _Count
    ruler: dict[str, float | None] | None = None
    timings_ms: dict[str, float]


class Status(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a box is there, and since when (RFC 3339).

    Attributes:
        state: "offline" is the last will; "stopped" was said in order.
        since: when this was so first.
        fault: why the box takes no new frames, such as a full outbox; absent where it does.
    """

    state: Literal["online", "offline", "stopped"]
    since: str
    fault: str = ""


_record_decoder = msgspec.json.Decoder(Record)
_field_decoder = msgspec.json.Decoder(FieldRecord)


def encode(message: Record | FieldRecord | Status) -> bytes:
    """A message as JSON.

    Raises:
        InputError: a field cannot be written as JSON, such as a file name that is not UTF-8.
    """
    try:
        return msgspec.json.encode(message)
    except (TypeError, ValueError) as error:
        raise InputError(f"{type(message).__name__} cannot be written as JSON: {error}") from error


def decode_record(payload: bytes) -> Record:
    """Read a record; fields that this version does not know are ignored.

    Raises:
        InputError: it is not JSON or does not fit the schema; the message names the field.
    """
    if b"\\u0000" in payload:
        raise InputError("record holds a NUL character, which no PostgreSQL text can hold")
    try:
        record = _record_decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InputError(f"record does not fit the schema: {error}") from error
    if record.verdict != "refer" and record.verdict not in record.probabilities:
        raise InputError("record does not fit the schema: its verdict is no class of its probabilities")
    return record


def decode_field(payload: bytes) -> FieldRecord:
    """Read the record of a field; fields that this version does not know are ignored.

    Raises:
        InputError: it is not JSON or does not fit the schema; the message names the field.
    """
    try:
        return _field_decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InputError(f"record of a field does not fit the schema: {error}") from error


def uuid7() -> str:
    """A UUIDv7 (RFC 9562 §5.7): milliseconds, 12 bits of their fraction (§6.2, method 3), then chance."""
    milliseconds, rest_ns = divmod(time.time_ns(), 1_000_000)
    fraction = rest_ns * 4096 // 1_000_000
    chance = int.from_bytes(os.urandom(8), "big") >> 2
    value = (milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | fraction << 64 | 2 << 62 | chance
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def rfc3339(ns: int) -> str:
    """A moment in nanoseconds since the Unix epoch as RFC 3339: UTC, microseconds, "Z"."""
    # Not by datetime, whose strftime is six times as slow and is called for every record.
    seconds, rest_ns = divmod(ns, 1_000_000_000)
    year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}.{rest_ns // 1000:06d}Z"


def seconds_since(moment: str) -> float:
    """Seconds from a moment as `rfc3339` writes it until now by the wall clock; never below 0."""
    then = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S.%f%z")
    return max(0.0, time.time() - then.timestamp())
