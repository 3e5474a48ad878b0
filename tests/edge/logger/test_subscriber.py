"""The logger against a real broker and real databases: every result once, nothing acknowledged that is not stored."""

import csv
import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from functools import partial

import paho.mqtt.client as paho
import pytest
from broker import Mosquitto, eventually, free_port, make_record, wait_for_port
from hypothesis import given, settings
from hypothesis import strategies as st

import edge.logger.subscriber
import edge.logger.writer
from edge.errors import InputError, LeukoscopeError
from edge.logger.inbox import Inbox
from edge.logger.stores.rows import CELL_COLUMNS
from edge.logger.stores.sink import Reject
from edge.logger.subscriber import Subscriber, open_sink
from edge.mqtt.publisher import MqttSettings, Publisher
from edge.outbox.queue import Outbox
from edge.records import encode


@pytest.fixture
def mosquitto(tmp_path):
    with Mosquitto(tmp_path) as broker:
        yield broker


def rows(file, query):
    with sqlite3.connect(file, timeout=5) as database:
        return database.execute(query).fetchall()


def send(port, payloads, topic="leukoscope/box/cells"):
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for info in [client.publish(topic, payload, qos=1) for payload in payloads]:
        info.wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def test_bad_payloads_are_rejected_and_a_duplicate_id_is_stored_once(mosquitto, tmp_path):
    mosquitto.start()
    file = tmp_path / "results.db"
    seen = []
    subscriber = Subscriber(
        f"mqtt://127.0.0.1:{mosquitto.port}",
        open_sink(f"sqlite:///{file}"),
        on_stored=lambda record, new: seen.append((record.id, new)),
    )
    subscriber.start()
    assert subscriber.subscribed.wait(40)
    record, other = make_record(sequence=1), make_record(sequence=2)
    send(mosquitto.port, [encode(record), b"no json", b'{"id": "\xff\x00"}', encode(record), encode(other)])
    eventually(lambda: len(seen) == 3)
    subscriber.stop()
    assert seen == [(record.id, True), (record.id, False), (other.id, True)]
    assert rows(file, "SELECT id, sequence, specimen, image FROM cells ORDER BY sequence") == [
        (record.id, 1, record.specimen, None),
        (other.id, 2, other.specimen, None),
    ]
    (model,) = rows(file, "SELECT model FROM cells")[0]
    assert json.loads(model) == {"name": "m", "sha256": "0" * 64}
    rejects = rows(file, "SELECT payload, topic, reason FROM rejects")
    assert [r[:2] for r in rejects] == [
        (b"no json", "leukoscope/box/cells"),
        (b'{"id": "\xff\x00"}', "leukoscope/box/cells"),
    ]
    assert all("schema" in reason for *_, reason in rejects)


def test_broker_killed_and_restarted_every_id_once_in_order(mosquitto, tmp_path):
    mosquitto.start()
    file = tmp_path / "results.db"
    subscriber = Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}", open_sink(f"sqlite:///{file}"))
    subscriber.start()
    assert subscriber.subscribed.wait(40)
    outbox = Outbox(tmp_path / "outbox.db")
    publisher = Publisher(MqttSettings(port=mosquitto.port), "box", outbox)
    publisher.start()
    records = [make_record() for _ in range(2000)]
    feeder = threading.Thread(target=lambda: [(outbox.accept(r), time.sleep(0.001)) for r in records])
    feeder.start()
    eventually(lambda: rows(file, "SELECT count(*) FROM cells")[0][0] > 300)
    mosquitto.process.send_signal(signal.SIGTERM)
    mosquitto.process.wait()
    time.sleep(0.3)
    mosquitto.start()
    feeder.join()
    assert publisher.wait_drained(60)
    eventually(lambda: rows(file, "SELECT count(*) FROM cells")[0][0] == 2000)
    publisher.stop(5)
    outbox.close()
    subscriber.stop()
    assert rows(file, "SELECT id, sequence FROM cells ORDER BY rowid") == [
        (record.id, number) for number, record in enumerate(records, 1)
    ]
    assert rows(file, "SELECT * FROM rejects") == []


def test_broker_keeps_results_for_a_logger_that_is_away(mosquitto, tmp_path):
    mosquitto.start()
    target = f"sqlite:///{tmp_path / 'results.db'}"
    for wanted in (0, 50):
        subscriber = Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}", open_sink(target))
        subscriber.start()
        assert subscriber.subscribed.wait(40)
        eventually(lambda: rows(tmp_path / "results.db", "SELECT count(*) FROM cells")[0][0] == wanted)
        subscriber.stop()
        if not wanted:
            send(mosquitto.port, [encode(make_record()) for _ in range(50)])


def test_what_cannot_be_stored_is_not_acknowledged(mosquitto, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(edge.logger.writer, "RETRY_S", 0.2)
    mosquitto.start()
    file = tmp_path / "results.db"
    subscriber = Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}", open_sink(f"sqlite:///{file}"))
    subscriber.start()
    assert subscriber.subscribed.wait(40)
    with sqlite3.connect(file) as database:  # what a full disk does to every insert
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON cells BEGIN SELECT raise(FAIL, 'disk is full'); END"
        )
    send(mosquitto.port, [encode(make_record()) for _ in range(30)])
    eventually(lambda: "disk is full" in subscriber.state())
    time.sleep(0.6)
    subscriber.stop()
    assert sum("disk is full" in r.message for r in caplog.records) == 1
    assert rows(file, "SELECT count(*) FROM cells") == [(0,)]
    with sqlite3.connect(file) as database:
        database.execute("DROP TRIGGER full")
    subscriber = Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}", open_sink(f"sqlite:///{file}"))
    subscriber.start()
    eventually(lambda: rows(file, "SELECT count(*) FROM cells") == [(30,)])
    subscriber.stop()


def test_a_group_shares_and_each_result_is_stored_once(mosquitto, tmp_path):
    mosquitto.start()
    target = f"sqlite:///{tmp_path / 'results.db'}"
    counts = [0, 0]

    def count(which):
        def stored(_record, _new):
            counts[which] += 1

        return stored

    group = [
        Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}", open_sink(target), group="lab", on_stored=count(n))
        for n in (0, 1)
    ]
    for subscriber in group:
        subscriber.start()
        assert subscriber.subscribed.wait(40)
    send(mosquitto.port, [encode(make_record()) for _ in range(100)])
    eventually(lambda: sum(counts) == 100)
    for subscriber in group:
        subscriber.stop()
    assert min(counts) > 0 and rows(tmp_path / "results.db", "SELECT count(*) FROM cells") == [(100,)]


def test_mqtt_311(tmp_path):
    pytest.importorskip("amqtt")
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "edge.mqtt.brokers.embedded", "127.0.0.1", str(port)])
    try:
        wait_for_port(port, process)
        seen = []
        subscriber = Subscriber(
            f"mqtt://127.0.0.1:{port}",
            open_sink(str(tmp_path / "r.jsonl")),
            on_stored=lambda record, _new: seen.append(record.id),
        )
        subscriber.start()
        assert subscriber.subscribed.wait(40) and subscriber.version == "3.1.1"
        records = [make_record() for _ in range(20)]
        send(port, [encode(record) for record in records])
        eventually(lambda: seen == [record.id for record in records])
        subscriber.stop()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", ["results.csv", "results.jsonl"])
def test_files_hold_each_id_once_over_restarts_and_torn_lines(tmp_path, name):
    file = tmp_path / name
    records = [make_record(sequence=n, specimen='a,"b"\nc') for n in range(4)]
    sink = open_sink(str(file))
    assert sink.store([records[0], records[1], records[0]], []) == [True, True, False]
    with pytest.raises(LeukoscopeError, match="another logger"):
        open_sink(str(file))
    sink.close()
    with file.open("ab") as torn:
        torn.write(b'{"id": "torn')
    sink = open_sink(str(file))
    reject = Reject(received_at="now", topic="t", payload=b"\xff", reason="why")
    assert sink.store([records[1], records[2]], [reject]) == [False, True]
    sink.close()
    text = file.read_text()
    if name.endswith("csv"):
        table = list(csv.DictReader(text.splitlines(keepends=True)))
        assert tuple(table[0]) == CELL_COLUMNS and table[0]["specimen"] == records[0].specimen
    else:
        table = [json.loads(line) for line in text.splitlines()]
    assert [row["id"] for row in table] == [record.id for record in records[:3]]
    assert json.loads((tmp_path / "results.rejects.jsonl").read_text())["reason"] == "why"


def test_targets_and_addresses_that_cannot_be(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for target in ("results.txt", "mysql://u:secret@h/d", str(tmp_path / "other.csv")):
        with pytest.raises(InputError) as caught:
            open_sink(target)
        assert "secret" not in str(caught.value)
    with pytest.raises(LeukoscopeError, match="cannot open"):
        open_sink(f"sqlite:///{tmp_path}/none/results.db")
    with pytest.raises(LeukoscopeError) as caught:
        open_sink(f"postgresql://u:secret@127.0.0.1:{free_port()}/d")
    assert "secret" not in str(caught.value)
    sink = open_sink(str(tmp_path / "r.jsonl"))
    for address in ("http://x", "mqtt://", "mqtt://h:port", "host"):
        with pytest.raises(InputError, match="mqtt://"):
            Subscriber(address, sink)
    sink.close()


def test_without_sqlalchemy_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(LeukoscopeError, match=r"pip install 'leukoscope\[log\]'"):
        open_sink("sqlite:///x.db")


def test_a_million_random_bytes_and_what_hypothesis_finds_crash_nothing(mosquitto, tmp_path, caplog):
    mosquitto.start()
    file = tmp_path / "results.db"
    noise = random.Random(0).randbytes(1_000_000)
    payloads = [noise, *(noise[start : start + 5000] for start in range(0, len(noise), 5000))]
    template = json.loads(encode(make_record()))
    kinds = st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=8,
    )

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.fixed_dictionaries({}, optional=dict.fromkeys(template, kinds)) | kinds)
    def collect(change):
        whole = {**template, **change} if isinstance(change, dict) else change
        payloads.append(json.dumps(whole).encode())

    collect()
    subscriber = Subscriber(f"mqtt://127.0.0.1:{mosquitto.port}", open_sink(f"sqlite:///{file}"))
    subscriber.start()  # after Hypothesis, which wants the module random to itself
    assert subscriber.subscribed.wait(40)
    last = make_record(device="last")
    send(mosquitto.port, payloads)
    send(mosquitto.port, [encode(last)], "leukoscope/last/cells")
    eventually(lambda: rows(file, "SELECT id FROM cells WHERE device = 'last'") == [(last.id,)])
    subscriber.stop()
    ((longest,),) = rows(file, "SELECT max(length(payload)) FROM rejects")
    assert longest == edge.logger.writer.REJECT_BYTES
    ((reasons,),) = rows(file, "SELECT count(*) FROM rejects WHERE reason LIKE '%of 1000000 bytes%'")
    assert reasons == 1
    assert sum("rejected" in r.message for r in caplog.records) <= edge.logger.writer.LOGGED_LIMIT
    assert not any("unexpected error" in r.message for r in caplog.records)


def test_a_broker_that_comes_back_without_its_sessions_costs_no_record(tmp_path):
    """The box finds it before the logger does: until somebody takes them, records stay in the outbox."""
    file = tmp_path / "results.db"
    with Mosquitto(tmp_path, persistent=False) as broker:
        broker.start()

        def logger():
            started = Subscriber(f"mqtt://127.0.0.1:{broker.port}", open_sink(f"sqlite:///{file}"))
            started.start()
            assert started.subscribed.wait(40)
            return started

        subscriber = logger()
        outbox = Outbox(tmp_path / "outbox.db")
        publisher = Publisher(MqttSettings(port=broker.port), "box", outbox)
        publisher.start()
        for _ in range(50):
            outbox.accept(make_record())
        eventually(lambda: rows(file, "SELECT count(*) FROM cells") == [(50,)])
        subscriber.stop()
        broker.kill()
        broker.start()
        for _ in range(50):
            outbox.accept(make_record())
        eventually(publisher.connected.is_set)
        assert not publisher.wait_drained(3)
        subscriber = logger()
        assert publisher.wait_drained(60)
        eventually(lambda: rows(file, "SELECT count(*) FROM cells") == [(100,)])
        subscriber.stop()
        publisher.stop(5)
        outbox.close()
    assert rows(file, "SELECT sequence FROM cells ORDER BY rowid") == [(n,) for n in range(1, 101)]


def test_a_slow_store_is_not_flooded_by_what_the_broker_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(edge.logger.subscriber, "BATCH_LIMIT", 50)
    monkeypatch.setattr(edge.logger.writer, "BATCH_LIMIT", 50)
    monkeypatch.setattr(edge.logger.subscriber, "Inbox", partial(Inbox, messages=200))

    class Slow:
        name = "slow"
        stored = 0

        def store(self, records, _rejects, _fields):
            time.sleep(0.03)
            self.stored += len(records)
            return [True] * len(records)

        def close(self):
            pass

    with Mosquitto(tmp_path, persistent=False) as broker:
        broker.start()
        url = f"mqtt://127.0.0.1:{broker.port}"
        first = Subscriber(url, Slow(), client_id="slow")
        first.start()
        assert first.subscribed.wait(40)
        first.stop()
        send(broker.port, [encode(make_record(sequence=n)) for n in range(3000)])
        sink = Slow()
        second = Subscriber(url, sink, client_id="slow")
        second.start()
        eventually(lambda: sink.stored == 3000, 60)
        second.stop()
    assert 0 < second._inbox.peak_messages <= 200
