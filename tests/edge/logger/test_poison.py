"""A record that a database cannot take goes to `rejects`, and what is behind it is stored."""

import random
import sqlite3

import paho.mqtt.client as paho
import pytest
from broker import Mosquitto, eventually, make_record
from postgres import PostgreSQL

import edge.logger.writer
from edge.logger.stores.sinks import open_sink
from edge.logger.subscriber import Subscriber
from edge.records import encode


@pytest.fixture
def mosquitto(tmp_path):
    with Mosquitto(tmp_path) as broker:
        yield broker.start()


def send(port, records):
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for info in [client.publish(f"leukoscope/{r.device}/cells", encode(r), qos=1) for r in records]:
        info.wait_for_publish(40)
    client.disconnect()
    client.loop_stop()


def test_sqlite_refuses_a_row_and_the_rest_is_stored_in_order(mosquitto, tmp_path, caplog):
    file = tmp_path / "r.db"
    sink = open_sink(f"sqlite:///{file}")
    with sqlite3.connect(file) as database:
        database.execute(
            "CREATE TRIGGER poison BEFORE INSERT ON cells WHEN NEW.specimen = 'poison' "
            "BEGIN SELECT raise(ABORT, 'this laboratory has no such specimen'); END"
        )
    subscriber = Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}", sink)
    subscriber.start()
    assert subscriber.subscribed.wait(40)
    poison = {0, 7, 8, 99}
    records = [
        make_record(device="ab"[n % 2], sequence=n, specimen="poison" if n in poison else "s")
        for n in range(100)
    ]
    send(mosquitto.port, records)
    with sqlite3.connect(file, timeout=5) as database:
        eventually(lambda: database.execute("SELECT count(*) FROM rejects").fetchone() == (4,))
        stored = database.execute("SELECT sequence FROM cells ORDER BY rowid").fetchall()
        rejects = database.execute("SELECT topic, payload, reason FROM rejects ORDER BY rowid").fetchall()
    subscriber.stop()
    assert [n for (n,) in stored] == [n for n in range(100) if n not in poison]
    assert [payload for _, payload, _ in rejects] == [encode(records[n]) for n in sorted(poison)]
    assert all("does not take it: this laboratory has no such specimen" in reason for *_, reason in rejects)
    assert subscriber._writer.fault == ""


def test_a_store_that_takes_nothing_at_all_is_tried_again(tmp_path, mosquitto, monkeypatch):
    """It is the store's fault, not the record's: nothing goes to `rejects`."""
    monkeypatch.setattr(edge.logger.writer, "RETRY_S", 0.2)
    file = tmp_path / "r.db"
    sink = open_sink(f"sqlite:///{file}")
    with sqlite3.connect(file) as database:
        database.execute("CREATE TRIGGER shut BEFORE INSERT ON cells BEGIN SELECT raise(ABORT, 'shut'); END")
    subscriber = Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}", sink)
    subscriber.start()
    assert subscriber.subscribed.wait(40)
    send(mosquitto.port, [make_record() for _ in range(20)])
    eventually(lambda: "shut" in subscriber.state())
    with sqlite3.connect(file, timeout=5) as database:
        database.execute("DROP TRIGGER shut")
        database.commit()
        eventually(lambda: database.execute("SELECT count(*) FROM cells").fetchone() == (20,))
        assert database.execute("SELECT count(*) FROM rejects").fetchone() == (0,)
    subscriber.stop()


def test_an_unexpected_error_of_a_store_has_the_results_sent_again(mosquitto, caplog):
    class Shaky:
        name = "shaky"

        def __init__(self):
            self.calls, self.stored = 0, []

        def store(self, records, _rejects, _fields):
            self.calls += 1
            if self.calls == 1:
                raise RuntimeError("nobody thought of this")
            self.stored.extend(record.id for record in records)
            return [True] * len(records)

        def close(self):
            pass

    sink = Shaky()
    subscriber = Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}", sink)
    subscriber.start()
    assert subscriber.subscribed.wait(40)
    records = [make_record() for _ in range(30)]
    send(mosquitto.port, records)
    eventually(lambda: set(sink.stored) == {record.id for record in records})
    subscriber.stop()
    assert sum("unexpected error" in r.message for r in caplog.records) == 1


@pytest.fixture(scope="module")
def postgres():
    with PostgreSQL() as server:
        yield server


def test_postgresql_cannot_index_a_long_value_and_the_other_boxes_go_on(mosquitto, postgres):
    noise = random.Random(1)
    long = "".join(chr(noise.randrange(0x20, 0x7F)) for _ in range(12_000))
    sink = open_sink(postgres.address)
    postgres.query("ALTER TABLE cells ADD CONSTRAINT seen CHECK (verdict <> 'HEM'); SELECT 1")
    subscriber = Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}", sink)
    subscriber.start()
    assert subscriber.subscribed.wait(40)
    records = [
        make_record(device="a", sequence=1),
        make_record(device="b", sequence=1, specimen=long),
        make_record(device="a", sequence=2, verdict="HEM"),
        *(make_record(device="a", sequence=n) for n in range(3, 60)),
    ]
    send(mosquitto.port, records)
    eventually(lambda: postgres.query("SELECT count(*) FROM cells") == [(58,)])
    eventually(lambda: postgres.query("SELECT count(*) FROM rejects") == [(2,)])
    subscriber.stop()
    kept = [bytes(payload) for (payload,) in postgres.query("SELECT payload FROM rejects")]
    assert kept == [encode(records[1]), encode(records[2])]


def test_a_database_that_is_not_unicode_stores_what_it_can(mosquitto, postgres):
    import psycopg

    with psycopg.connect(postgres.address, autocommit=True) as connection:
        connection.execute("CREATE DATABASE old ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    address = postgres.address.rpartition("/")[0] + "/old"
    subscriber = Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}", open_sink(address))
    subscriber.start()
    assert subscriber.subscribed.wait(40)
    send(
        mosquitto.port, [make_record(specimen="é"), make_record(specimen="Блок 3"), make_record(specimen="b")]
    )
    with psycopg.connect(address, autocommit=True) as connection:
        eventually(lambda: connection.execute("SELECT count(*) FROM cells").fetchone() == (2,))
        eventually(lambda: connection.execute("SELECT count(*) FROM rejects").fetchone() == (1,))
    subscriber.stop()
