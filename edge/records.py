"""The messages: what the box sends, the outbox keeps and the logger reads. Their limits stand here, once."""

import os
import time
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from edge.errors import InputError
from edge.host.text import harmless

NAME_LENGTH = 255
"""Characters of a name. A file system's names are no longer, and 255 characters of 4 bytes each fit into an
index of every database (PostgreSQL's takes 2,704 bytes)."""

TEXT_LENGTH = 4096
"""Characters of a text, as of a path."""

MOST_ENTRIES = 100
"""Reasons of a record, and measures of each kind."""

RECORD_BYTES = 64 * 1024
"""The longest record as JSON; an ordinary one has about a thousand bytes."""

Name = Annotated[str, Meta(max_length=NAME_LENGTH)]
_Plain = Annotated[str, Meta(max_length=NAME_LENGTH, pattern=r"^[^\x00]*$")]
"""A name without NUL characters, which no PostgreSQL text can hold."""

Specimen = _Plain
"""The name of a slide or sample, in settings, commands and records."""

_Text = Annotated[str, Meta(max_length=TEXT_LENGTH)]
_Hash = Annotated[str, Meta(max_length=128)]
_Measures = Annotated[dict[Name, float], Meta(max_length=MOST_ENTRIES)]
# What a database's 64-bit integer column holds.
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# A class of the model file, or "refer".
_Verdict = Annotated[str, Meta(min_length=1, max_length=100)]
_Uuid = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![\s\S])")]


class ModelReference(msgspec.Struct, frozen=True, kw_only=True):
    """The model file that gave a result: its name and the sha256 of the file."""

    name: Name
    sha256: _Hash


class ImageReference(msgspec.Struct, frozen=True, kw_only=True):
    """The archived picture of a result: its name in the archive and its sha256."""

    name: Name
    sha256: _Hash


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

    No text in it holds a NUL character, no number is infinite or NaN, and as JSON it has at most `RECORD_BYTES`.

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
        probabilities: of each class, 0 to 1; the positive class, which must not be missed, stands first.
        reasons: why it was referred.
        quality: measures of the picture.
        timings_ms: milliseconds by stage.
        model: which model file.
        settings_sha256: of the settings.
        software: name and version.
        image: the archived picture, or None.
        clock_synchronised: whether the clock of `captured_at` followed a time source; None if that is not
            known. Without it, order by `sequence` and, within one boot, `monotonic_ns`.
        field: the field of view and the cell's box in it; None if the camera shows one cell.
        kind: whether the cell is lymphoid; None if this was not asked.
    """

    schema: Annotated[int, Meta(ge=1, le=1)] = 1
    id: _Uuid
    device: Name
    sequence: _Count
    captured_at: Name
    monotonic_ns: _Count
    specimen: Specimen
    source: _Text
    verdict: _Verdict
    probabilities: _Measures
    reasons: Annotated[list[_Text], Meta(max_length=MOST_ENTRIES)]
    quality: _Measures
    timings_ms: _Measures
    model: ModelReference
    settings_sha256: _Hash
    software: Name
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
        cells: how many white cells were found, those that the border cuts and those that were seen before included.
        new_cells: how many of them have a record of their own.
        reasons: why no cell could be found, or why none of them can be judged.
        ruler: the measured size of red cells, such as `red_cell_px` and `scale`; None if it was not measured.
        timings_ms: milliseconds by stage.
    """

    schema: Annotated[int, Meta(ge=1, le=1)] = 1
    id: _Uuid
    device: _Plain
    sequence: _Count
    captured_at: _Plain
    specimen: Specimen
    size: tuple[_Count, _Count]
    cells: _Count
    new_cells: _Count = 0
    reasons: Annotated[list[_Text], Meta(max_length=MOST_ENTRIES)] = []
    ruler: Annotated[dict[_Plain, float | None], Meta(max_length=MOST_ENTRIES)] | None = None
    timings_ms: Annotated[dict[_Plain, float], Meta(max_length=MOST_ENTRIES)]


class Status(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a box is there, and since when (RFC 3339).

    Attributes:
        state: "offline" is the last will; "stopped" was sent before an orderly end.
        since: when this state began.
        fault: why the box takes no new frames, such as a full outbox; absent if it takes them.
    """

    state: Literal["online", "offline", "stopped"]
    since: Name
    fault: _Text = ""


_Kind = TypeVar("_Kind", Record, FieldRecord)
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


def encode_checked(record: Record | FieldRecord) -> bytes:
    """A record as JSON that `decode_sent` reads back equal.

    Raises:
        InputError: a reader would refuse it; the message names the field.
    """
    payload = encode(record)
    if decode_sent(payload) != record:
        raise InputError("record is not read back as it was written")
    return payload


def decode_record(payload: bytes) -> Record:
    """Read a record; fields that this version does not know are ignored.

    Raises:
        InputError: it is too long, is not JSON or does not fit the schema; the message names the field.
    """
    record = _decoded(payload, _record_decoder, "record")
    if record.verdict != "refer" and record.verdict not in record.probabilities:
        raise InputError("record does not fit the schema: its verdict is no class of its probabilities")
    return record


def _decoded(payload: bytes, decoder: "msgspec.json.Decoder[_Kind]", what: str) -> _Kind:
    """A record of either kind: not too long, of the schema, and without NUL characters."""
    if len(payload) > RECORD_BYTES:
        raise InputError(f"{what} of {len(payload)} bytes: at most {RECORD_BYTES} are allowed")
    try:
        record = decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InputError(f"{what} does not fit the schema: {_short(str(error))}") from error
    # In JSON a NUL character is always written like this, but this may also be a backslash and "u0000".
    if b"\\u0000" in payload and _holds_nul(msgspec.to_builtins(record)):
        raise InputError(f"{what} holds a NUL character, which no PostgreSQL text can hold")
    return record


def fitting(text: str, length: int = NAME_LENGTH) -> str:
    """The text as a record can hold it: NUL characters and halves of surrogate pairs replaced, and cut to `length`.

    Text that fits is given back as it is.
    """
    if len(text) > length:
        text = text[: length - 1] + "…"
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _short(error: str) -> str:
    """The parser's error without most of the value that it may quote: the field stands at its end."""
    return harmless(error) if len(error) <= 200 else f"{harmless(error[:100])} … {harmless(error[-80:])}"


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(map(_holds_nul, value))


def decode_field(payload: bytes) -> FieldRecord:
    """Read the record of a field; fields that this version does not know are ignored.

    Raises:
        InputError: it is too long, is not JSON or does not fit the schema; the message names the field.
    """
    return _decoded(payload, _field_decoder, "record of a field")


def decode_sent(payload: bytes) -> Record | FieldRecord:
    """Read what an outbox holds: the record of a cell, or of a field.

    Raises:
        InputError: it is neither; the message is that of `decode_record`.
    """
    try:
        return decode_record(payload)
    except InputError as error:
        try:
            return decode_field(payload)
        except InputError:
            raise error from None


def uuid7() -> str:
    """A UUIDv7 (RFC 9562 §5.7): milliseconds, 12 bits of their fraction (§6.2, method 3), then random bits."""
    milliseconds, rest_ns = divmod(time.time_ns(), 1_000_000)
    fraction = rest_ns * 4096 // 1_000_000
    random_bits = int.from_bytes(os.urandom(8), "big") >> 2
    value = (milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | fraction << 64 | 2 << 62 | random_bits
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def rfc3339(ns: int) -> str:
    """A moment in nanoseconds since the Unix epoch as RFC 3339: UTC, microseconds, "Z"."""
    # datetime.strftime is six times as slow, and this is called for every record.
    seconds, rest_ns = divmod(ns, 1_000_000_000)
    year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}.{rest_ns // 1000:06d}Z"


def seconds_since(moment: str) -> float:
    """Seconds from a moment as `rfc3339` writes it until now by the wall clock; never below 0."""
    then = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S.%f%z")
    return max(0.0, time.time() - then.timestamp())
