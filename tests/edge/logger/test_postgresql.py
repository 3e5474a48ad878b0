"""The logger into a real PostgreSQL: once each, over its crash, by several loggers, from older tables, and asked."""

import threading

import pytest
from broker import Mosquitto, eventually, make_record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres import PostgreSQL

import edge.logger.writer
from edge.errors import InputError
from edge.logger.queries import Results
from edge.logger.stores.rows import CELL_COLUMNS
from edge.logger.stores.sink import Reject
from edge.logger.stores.sinks import open_sink
from edge.logger.stores.tables import VERSION
from edge.logger.subscriber import Subscriber
from edge.mqtt.publisher import MqttSettings, Publisher
from edge.outbox.queue import Outbox
from edge.records import decode_record

LATER = ("clock_synchronised", "field", "kind")


@pytest.fixture(scope="module")
def server():
    with PostgreSQL() as server:
        yield server


@pytest.fixture
def postgres(server):
    server.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public;")
    return server


@pytest.mark.timeout(360)
def test_three_loggers_of_a_group_and_a_server_that_crashes_store_each_result_once(
    postgres, tmp_path, monkeypatch
):
    monkeypatch.setattr(edge.logger.writer, "RETRY_S", 0.2)
    with Mosquitto(tmp_path, persistent=False) as broker:
        broker.start()
        counts = [0, 0, 0]

        def stored(which):
            def count(_record, _new):
                counts[which] += 1

            return count

        url = f"mqtt://127.0.0.1:{broker.port}"
        loggers = [
            Subscriber(url, open_sink(postgres.address), group="lab", on_stored=stored(n)) for n in range(3)
        ]
        for logger in loggers:
            logger.start()
            assert logger.subscribed.wait(40)
        outbox = Outbox(tmp_path / "outbox.db")
        publisher = Publisher(MqttSettings(port=broker.port), "box", outbox)
        publisher.start()
        records = [make_record(clock_synchronised=True) for _ in range(1500)]
        for n, record in enumerate(records):
            outbox.accept(record)
            if n == 500:
                eventually(lambda: postgres.query("SELECT count(*) FROM cells")[0][0] > 50)
                postgres.stop()
                eventually(lambda: any("cannot store" in logger.state() for logger in loggers))
                postgres.start()
        assert publisher.wait_drained(150)
        eventually(lambda: postgres.query("SELECT count(*) FROM cells")[0][0] == 1500, 150)
        for logger in loggers:
            logger.stop()
        publisher.stop(5)
        outbox.close()
    assert postgres.query("SELECT id, sequence, clock_synchronised FROM cells ORDER BY sequence") == [
        (record.id, n, True) for n, record in enumerate(records, 1)
    ]
    assert postgres.query("SELECT count(*) FROM rejects") == [(0,)]
    assert min(counts) > 0


def test_tables_of_the_first_version_are_migrated_once_by_loggers_that_start_together(postgres):
    columns = ", ".join(f"{n} TEXT" for n in CELL_COLUMNS if n not in (*LATER, "sequence"))
    postgres.query(
        f"CREATE TABLE cells ({columns}, sequence BIGINT, PRIMARY KEY (id));"
        "CREATE TABLE rejects (received_at TEXT, topic TEXT, payload BYTEA, reason TEXT);"
        "INSERT INTO cells (id, verdict) VALUES ('old', 'HEM')"
    )
    faults = []

    def start():
        try:
            open_sink(postgres.address).close()
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert faults == []
    assert postgres.query("SELECT id, clock_synchronised, kind FROM cells") == [("old", None, None)]
    assert (
        postgres.query("SELECT count(*) FROM fields")
        == postgres.query("SELECT count(*) FROM reviews")
        == [(0,)]
    )
    assert postgres.query("SELECT version FROM leukoscope_schema") == [(VERSION,)]
    postgres.query("UPDATE leukoscope_schema SET version = 99")
    with pytest.raises(InputError, match="update this logger"):
        open_sink(postgres.address)


def test_totals_and_rows(postgres):
    sink = open_sink(postgres.address)
    sink.store(
        [
            make_record(sequence=1, specimen="a", probabilities={"ALL": 0.9, "HEM": 0.1}),
            make_record(sequence=2, specimen="a", verdict="HEM", probabilities={"ALL": 0.2, "HEM": 0.8}),
            make_record(sequence=3, specimen="b", verdict="refer"),
        ],
        [],
    )
    sink.close()
    results = Results(postgres.address)
    found = [
        (t.key, t.results, *list(t.counts.values())[:3], round(t.mean_probability, 3))
        for t in results.totals("specimen")
    ]
    assert sorted(found) == [("a", 2, 1, 1, 0, 0.55), ("b", 1, 0, 0, 1, 0.9)]
    assert [row[CELL_COLUMNS.index("sequence")] for row in results.rows(specimen="a")] == [1, 2]
    assert results.totals("device", last_s=3600) == []
    sink = open_sink(postgres.address)
    own = {"probabilities": {"blast": 0.7, "normal": 0.3}, "verdict": "blast", "specimen": "own"}
    sink.store([make_record(sequence=4, **own)], [])
    sink.close()
    (own_total,) = results.totals("specimen", specimen="own")
    assert own_total.counts == {"blast": 1, "normal": 0, "refer": 0, "other": 0}
    assert own_total.mean_probability == pytest.approx(0.7)


@pytest.fixture(scope="module")
def sinks(server, tmp_path_factory):
    """PostgreSQL, SQLite, CSV and JSON lines."""
    folder = tmp_path_factory.mktemp("sinks")
    opened = [
        open_sink(target)
        for target in (server.address, f"sqlite:///{folder}/r.db", f"{folder}/r.csv", f"{folder}/r.jsonl")
    ]
    yield opened
    for sink in opened:
        sink.close()


TEXT = st.text(max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(payload=st.binary(max_size=200), specimen=TEXT, source=TEXT, reason=TEXT, value=st.floats())
def test_no_payload_and_no_text_keeps_any_store_from_storing(sinks, payload, specimen, source, reason, value):
    """What the schema lets through can be stored everywhere; what it does not becomes a reject everywhere."""
    records, rejects = [], []
    try:
        wire = make_record(specimen=specimen, source=source, reasons=[reason], quality={"x": value})
        from edge.records import encode

        records.append(decode_record(encode(wire)))
    except InputError as error:
        rejects.append(
            Reject(received_at="now", topic="t", payload=payload, reason=str(error).replace("\0", ""))
        )
    for sink in sinks:
        assert sink.store(records * 2, rejects) == [True, False][: 2 * len(records)]
