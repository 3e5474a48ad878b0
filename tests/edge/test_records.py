"""The messages: their JSON, their ids, what is refused."""

import json
import re
import uuid

import pytest
from broker import make_record

from edge.errors import InputError
from edge.records import (
    RECORD_BYTES,
    FieldRecord,
    FieldReference,
    ImageReference,
    Status,
    decode_field,
    decode_record,
    encode,
    rfc3339,
    uuid7,
)


def test_json_has_the_contracts_fields_in_order_and_reads_back():
    record = make_record(image=ImageReference(name="a.png", sha256="2" * 64))
    assert list(json.loads(encode(record))) == [
        "schema",
        "id",
        "device",
        "sequence",
        "captured_at",
        "monotonic_ns",
        "specimen",
        "source",
        "verdict",
        "probabilities",
        "reasons",
        "quality",
        "timings_ms",
        "model",
        "settings_sha256",
        "software",
        "image",
        "clock_synchronised",
        "field",
        "kind",
    ]
    assert decode_record(encode(record)) == record
    assert json.loads(encode(make_record()))["image"] is None
    assert json.loads(encode(Status(state="online", since="x"))) == {"state": "online", "since": "x"}


def test_records_of_earlier_versions_have_no_field_and_no_kind():
    earlier = json.loads(encode(make_record()))
    del earlier["field"], earlier["kind"]
    record = decode_record(json.dumps(earlier).encode())
    assert (record.field, record.kind) == (None, None)


def test_a_cell_names_its_field_and_a_field_reads_back():
    field = FieldRecord(
        id=uuid7(),
        device="box",
        sequence=1,
        captured_at=rfc3339(0),
        specimen="slide 7",
        size=(1920, 1080),
        cells=3,
        ruler={"red_cell_px": 61.5, "scale": None},
        timings_ms={"find": 12.5},
    )
    assert decode_field(encode(field)) == field
    assert json.loads(encode(field))["size"] == [1920, 1080]
    cell = make_record(field=FieldReference(id=field.id, box=(1, 2, 30, 40)), kind="other", verdict="refer")
    assert decode_record(encode(cell)) == cell
    assert json.loads(encode(cell))["field"] == {"id": field.id, "box": [1, 2, 30, 40]}
    for change in ({"size": [1]}, {"cells": -1}, {"id": "x"}, {"device": 1}, {"specimen": "a\0"}):
        with pytest.raises(InputError, match=next(iter(change))):
            decode_field(json.dumps({**json.loads(encode(field)), **change}).encode())


def test_fields_of_a_later_version_are_ignored():
    later = {**json.loads(encode(make_record())), "colour": {"of": "later"}}
    assert decode_record(json.dumps(later).encode()).device == "box"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"verdict": "maybe"}, "verdict"),
        ({"id": "7"}, "id"),
        ({"sequence": -1}, "sequence"),
        ({"schema": 2}, "schema"),
        ({"probabilities": {"ALL": "high"}}, "probabilities"),
        ({"model": {}}, "model"),
        ({"source": "\0"}, "NUL"),
    ],
)
def test_what_does_not_fit_is_named(change, named):
    with pytest.raises(InputError, match=named):
        decode_record(json.dumps({**json.loads(encode(make_record())), **change}).encode())


@pytest.mark.parametrize(
    "payload", [b"", b"\xff\xfe", b"[]", b"{", b'{"device": "\xff"}', b'{"x":' + b"[" * 100_000]
)
def test_garbage_is_an_input_error(payload):
    with pytest.raises(InputError):
        decode_record(payload)


def test_a_file_name_that_is_not_utf8_is_an_input_error():
    with pytest.raises(InputError, match="Record cannot be written"):
        encode(make_record(source="a\udcff.png"))


def test_uuid7_is_rfc_9562_unique_and_in_order_of_time():
    ids = [uuid7() for _ in range(20_000)]
    assert len(set(ids)) == len(ids)
    assert all(uuid.UUID(i).variant == uuid.RFC_4122 and uuid.UUID(i).version == 7 for i in ids[::500])
    assert ids[::500] == sorted(ids[::500])
    assert all(str(uuid.UUID(i)) == i for i in ids[:100])


def test_rfc3339():
    assert rfc3339(0) == "1970-01-01T00:00:00.000000Z"
    assert rfc3339(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456Z"
    assert re.fullmatch(r".*\.000001Z", rfc3339(1_999))


def of_field(**changes: object) -> bytes:
    """The record of a field as JSON."""
    field = FieldRecord(
        id=uuid7(),
        device="box",
        sequence=1,
        captured_at=rfc3339(0),
        specimen="7",
        size=(640, 480),
        cells=3,
        timings_ms={},
    )
    return json.dumps({**json.loads(encode(field)), **changes}).encode()


@pytest.mark.parametrize("read", [decode_record, decode_field])
def test_a_record_longer_than_the_limit_is_refused_unread(read):
    whole = of_field() if read is decode_field else encode(make_record())
    longest = whole + b" " * (RECORD_BYTES - len(whole))
    assert read(longest).device == "box"
    with pytest.raises(InputError, match=f"of {RECORD_BYTES + 1} bytes: at most {RECORD_BYTES}"):
        read(longest + b" ")


@pytest.mark.parametrize("change", [{"reasons": ["a\0b"]}, {"ruler": {"a\0": 1.0}}])
def test_a_field_holds_no_nul_either(change):
    with pytest.raises(InputError, match=r"NUL|x00"):
        decode_field(of_field(**change))
