"""What the outbox accepts is given back equal by the wire, SQLite, PostgreSQL, CSV and JSON lines."""

import contextlib
import csv
import json

import pytest
from broker import Mosquitto, eventually
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres import PostgreSQL

from edge.errors import LeukoscopeError
from edge.logger.stores.rows import from_csv, record_of
from edge.logger.stores.sinks import open_sink
from edge.logger.subscriber import Subscriber
from edge.mqtt.publisher import MqttSettings, Publisher
from edge.outbox.queue import Outbox
from edge.records import (
    FieldRecord,
    FieldReference,
    ImageReference,
    ModelReference,
    Record,
    decode_record,
    encode,
    uuid7,
)

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.floats(0, 1)
TEXT = st.text(max_size=60) | st.sampled_from(
    [
        "C:\\u0000x",
        "\\",
        "\\\\u0000",
        "\x00",
        "=1+1",
        "'=x",
        "'",
        "a\nb\r\nc",
        '"',
        "\u2028",
        "\x1b[2J",
        "\x85",
        "null",
    ]
)
MEASURES = st.dictionaries(TEXT, NUMBERS, max_size=3)
WHOLE = st.integers(0, 2**31)
RECORDS = st.builds(
    Record,
    id=st.builds(uuid7),
    device=st.just("box"),
    sequence=st.just(0),
    captured_at=TEXT,
    monotonic_ns=st.integers(0, 2**63 - 1),
    specimen=TEXT,
    source=TEXT,
    verdict=st.sampled_from(["ALL", "HEM", "refer"]),
    probabilities=MEASURES.map(lambda extra: {"ALL": 0.75, "HEM": 0.25, **extra}),
    reasons=st.lists(TEXT, max_size=3),
    quality=MEASURES,
    timings_ms=MEASURES,
    model=st.builds(ModelReference, name=TEXT, sha256=TEXT),
    settings_sha256=TEXT,
    software=TEXT,
    image=st.none() | st.builds(ImageReference, name=TEXT, sha256=TEXT),
    clock_synchronised=st.sampled_from([None, True, False]),
    field=st.none()
    | st.builds(FieldReference, id=st.builds(uuid7), box=st.tuples(WHOLE, WHOLE, WHOLE, WHOLE)),
    kind=st.sampled_from([None, "lymphoid", "other", "unclear"]),
)


@pytest.fixture(scope="module")
def accepted(tmp_path_factory):
    """The records of an outbox that took what it could of some hundreds, and where four loggers stored them."""
    folder = tmp_path_factory.mktemp("round")
    with PostgreSQL() as server, Mosquitto(folder, persistent=False) as broker:
        broker.start()
        targets = {
            "SQLite": f"sqlite:///{folder}/r.db",
            "PostgreSQL": server.address,
            "CSV": f"{folder}/r.csv",
            "JSON lines": f"{folder}/r.jsonl",
        }
        counts = dict.fromkeys(targets, 0)

        def counter(name):
            def stored(_record, _new):
                counts[name] += 1

            return stored

        loggers = [
            Subscriber(f"mqtt://127.0.0.1:{broker.port}", open_sink(target), on_stored=counter(name))
            for name, target in targets.items()
        ]
        for logger in loggers:
            logger.start()
            assert logger.subscribed.wait(40)
        outbox = Outbox(folder / "outbox.db")
        taken = []

        @settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(RECORDS)
        def collect(record):
            with contextlib.suppress(LeukoscopeError):  # refused at once, and so never lost
                taken.append(outbox.accept(record).result())

        collect()
        publisher = Publisher(MqttSettings(port=broker.port), "box", outbox)
        publisher.start()
        assert publisher.wait_drained(60)
        eventually(lambda: min(counts.values()) >= len(taken))
        publisher.stop(5)
        outbox.close()
        for logger in loggers:
            logger.stop()
        yield taken, folder, server


def from_database(address, kind=Record, table="cells"):
    import sqlalchemy

    engine = sqlalchemy.create_engine(address.replace("postgresql:", "postgresql+psycopg:"))
    from edge.logger.stores.tables import tables

    with engine.connect() as connection:
        rows = connection.execute(sqlalchemy.select(getattr(tables(), table))).mappings().all()
    engine.dispose()
    return sorted((record_of(row, kind) for row in rows), key=lambda record: record.sequence)


@pytest.mark.parametrize("store", ["SQLite", "PostgreSQL", "CSV", "JSON lines"])
def test_every_record_comes_back_equal(accepted, store):
    expected, folder, server = accepted
    assert len(expected) > 50
    if store == "SQLite":
        found = from_database(f"sqlite:///{folder}/r.db")
    elif store == "PostgreSQL":
        found = from_database(server.address)
    elif store == "CSV":
        with (folder / "r.csv").open(newline="", encoding="utf-8") as stream:
            found = [record_of(from_csv(row), Record) for row in csv.DictReader(stream)]
    else:
        found = [decode_record(line) for line in (folder / "r.jsonl").read_bytes().splitlines()]
    assert found == expected


FIELDS = st.builds(
    FieldRecord,
    id=st.builds(uuid7),
    device=st.just("box"),
    sequence=st.integers(0, 2**63 - 1),
    captured_at=TEXT,
    specimen=TEXT,
    size=st.tuples(WHOLE, WHOLE),
    cells=WHOLE,
    ruler=st.none() | st.dictionaries(TEXT, st.none() | st.floats(0, 100), max_size=2),
    timings_ms=st.dictionaries(TEXT, st.floats(0, 100), max_size=2),
)


def test_every_field_comes_back_equal(tmp_path):
    written = []

    @settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(FIELDS.filter(lambda field: b"\\u0000" not in encode(field)))
    def collect(field):
        written.append(field)

    collect()
    for target in (f"sqlite:///{tmp_path}/r.db", f"{tmp_path}/r.csv"):
        sink = open_sink(target)
        for _ in range(2):
            assert sink.store([], [], written) == []
        sink.close()
    found = from_database(f"sqlite:///{tmp_path}/r.db", FieldRecord, "fields")
    assert sorted(found, key=lambda field: field.id) == sorted(written, key=lambda field: field.id)
    lines = (tmp_path / "r.csv.fields.jsonl").read_text().split("\n")[:-1]
    assert [json.loads(line)["id"] for line in lines] == [field.id for field in written]
