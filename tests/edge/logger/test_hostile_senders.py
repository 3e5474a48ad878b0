"""Whoever may write to the broker: no message stops a logger, speaks for another box or takes a box's connection."""

import json
import logging
import sqlite3
import time

import paho.mqtt.client as paho
import pytest
from broker import Mosquitto, eventually, make_record

import edge.logger.group
from edge.logger.stores.sinks import open_sink
from edge.logger.subscriber import Subscriber
from edge.records import encode

LOGGERS = "leukoscope/loggers/lab"


@pytest.fixture
def mosquitto(tmp_path):
    with Mosquitto(tmp_path) as broker:
        yield broker.start()


def rows(file, query):
    with sqlite3.connect(file, timeout=5) as database:
        return database.execute(query).fetchall()


def send(port, messages, retain=False):
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for info in [client.publish(topic, payload, qos=1, retain=retain) for topic, payload in messages]:
        info.wait_for_publish(40)
    client.disconnect()
    client.loop_stop()


def start(port, target, **options):
    subscriber = Subscriber(f"mqtt://127.0.0.1:{port}", open_sink(target), **options)
    subscriber.start()
    assert subscriber.subscribed.wait(40)
    return subscriber


PRESENCES = {
    "not UTF-8": ("zzz", b'{"state":"\xff"}'),
    "nested without end": ("zzz", b'{"state":' + b"[" * 50_000),
    "no JSON": ("zzz", b"\x00\x01"),
    "another state": ("leukolog-0000000000000000", b'{"state":"maybe"}'),
    "a logger's id, not UTF-8": ("leukolog-0000000000000000", b'{"state":"\xff"}'),
    "a logger's id, nested": ("leukolog-0000000000000000", b'{"state":' + b"[" * 1000),
    "large": ("leukolog-0000000000000001", b'{"state":"offline","x":"' + b"y" * 200_000 + b'"}'),
    "a name with control characters": ("z\x1b[2J\u202e", b'{"state":"offline"}'),
}


@pytest.mark.parametrize("kind", PRESENCES)
def test_no_presence_stops_a_logger_of_the_group(mosquitto, tmp_path, caplog, kind):
    name, payload = PRESENCES[kind]
    target = tmp_path / "r.db"
    send(mosquitto.port, [(f"{LOGGERS}/{name}", payload)], retain=True)
    subscriber = start(mosquitto.port, f"sqlite:///{target}", group="lab")
    send(mosquitto.port, [(f"{LOGGERS}/{name}", payload)])
    record = make_record()
    send(mosquitto.port, [("leukoscope/box/cells", encode(record))])
    eventually(lambda: rows(target, "SELECT id FROM cells") == [(record.id,)], 20)
    subscriber.stop()
    said = [r.message for r in caplog.records if "no logger sends" in r.message]
    assert len(said) <= 1 and not any("\x1b" in text or "\u202e" in text for text in said)
    assert not any(r.levelno >= logging.ERROR for r in caplog.records)


def test_presences_without_end_fill_no_memory(mosquitto, tmp_path, caplog):
    subscriber = start(mosquitto.port, f"sqlite:///{tmp_path / 'r.db'}", group="lab")
    names = [f"leukolog-{n:016x}" for n in range(2000)] + [f"x{n}" for n in range(500)]
    send(mosquitto.port, [(f"{LOGGERS}/{name}", b'{"state":"online"}') for name in names])
    record = make_record()
    send(mosquitto.port, [("leukoscope/box/cells", encode(record))])
    eventually(lambda: rows(tmp_path / "r.db", "SELECT count(*) FROM cells") == [(1,)])
    assert len(subscriber._group._members) <= edge.logger.group.MEMBERS
    subscriber.stop()
    assert sum("no logger sends" in r.message for r in caplog.records) <= edge.logger.group.LOGGED_LIMIT


def test_a_forged_presence_named_like_a_box_does_not_cut_the_box_off(mosquitto, tmp_path, monkeypatch):
    monkeypatch.setattr(edge.logger.group, "GRACE_S", 0.5)
    ends = []
    box = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="leukoscope-bench-2", protocol=paho.MQTTv5)
    box.on_disconnect = lambda *arguments: ends.append(str(arguments[3]))
    box.connect("127.0.0.1", mosquitto.port)
    box.loop_start()
    target = tmp_path / "r.db"
    subscriber = start(mosquitto.port, f"sqlite:///{target}", group="lab")
    send(mosquitto.port, [(f"{LOGGERS}/leukoscope-bench-2", b'{"state":"offline"}')], retain=True)
    time.sleep(4)
    assert ends == []
    box.publish("leukoscope/bench-2/cells", encode(make_record(device="bench-2")), qos=1).wait_for_publish(10)
    eventually(lambda: rows(target, "SELECT device FROM cells") == [("bench-2",)])
    box.disconnect()
    box.loop_stop()
    subscriber.stop()


def test_a_logger_that_is_there_contradicts_who_calls_it_lost(mosquitto, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(edge.logger.group, "GRACE_S", 3.0)
    stored = []
    pair = [
        start(
            mosquitto.port,
            f"sqlite:///{tmp_path / 'r.db'}",
            group="lab",
            on_stored=lambda record, _new: stored.append(record.id),
        )
        for _ in range(2)
    ]
    topics = [f"{LOGGERS}/{subscriber._identity.client_id}" for subscriber in pair]
    send(mosquitto.port, [(topic, b'{"state":"offline"}') for topic in topics], retain=True)
    time.sleep(5)
    send(mosquitto.port, [("leukoscope/box/cells", encode(make_record())) for _ in range(40)])
    eventually(lambda: len(stored) == 40)
    assert not any("is gone" in r.message for r in caplog.records)
    for subscriber in pair:
        subscriber.stop()


def test_a_first_member_that_does_not_exist_is_not_waited_for(mosquitto, tmp_path, monkeypatch):
    """Forged as there, and before all others by its name: what is kept for a lost one is stored all the same."""
    monkeypatch.setattr(edge.logger.group, "GRACE_S", 1.0)
    monkeypatch.setattr(edge.logger.group, "QUIET_S", 1.0)
    target = tmp_path / "r.db"
    forged = [(f"{LOGGERS}/leukolog-{n:016x}", b'{"state":"online"}') for n in range(10)]
    send(mosquitto.port, forged, retain=True)
    lost, other = (start(mosquitto.port, f"sqlite:///{target}", group="lab") for _ in range(2))
    lost.stop()
    send(mosquitto.port, [("leukoscope/box/cells", encode(make_record())) for _ in range(40)])
    eventually(lambda: rows(target, "SELECT count(*) FROM cells") == [(40,)], 60)
    other.stop()


def test_a_record_is_of_the_device_of_its_topic(mosquitto, tmp_path, caplog):
    target = tmp_path / "r.db"
    subscriber = start(mosquitto.port, f"sqlite:///{target}")
    own, forged = make_record(device="a"), make_record(device="b")
    field = {
        "schema": 1,
        "id": own.id,
        "device": "b",
        "sequence": 1,
        "captured_at": "x",
        "specimen": "",
        "size": [1, 1],
        "cells": 0,
        "ruler": None,
        "timings_ms": {},
    }
    send(
        mosquitto.port,
        [
            ("leukoscope/a/cells", encode(forged)),
            ("leukoscope/a/cells", encode(make_record(device="a\n"))),
            ("leukoscope/a/fields", json.dumps(field).encode()),
            ("leukoscope/a/cells", encode(own)),
        ],
    )
    eventually(lambda: rows(target, "SELECT id, device FROM cells") == [(own.id, "a")])
    eventually(lambda: rows(target, "SELECT count(*) FROM rejects") == [(3,)])
    subscriber.stop()
    reasons = [reason for (reason,) in rows(target, "SELECT reason FROM rejects")]
    assert all("the topic is that of a, but" in reason for reason in reasons)
    assert rows(target, "SELECT count(*) FROM fields") == [(0,)]
    assert not any("\n" in r.message for r in caplog.records if "rejected" in r.message)


def test_rejects_and_the_log_are_bounded_in_bytes_and_number(mosquitto, tmp_path, caplog):
    target = tmp_path / "r.db"
    subscriber = start(mosquitto.port, f"sqlite:///{target}")
    template = json.loads(encode(make_record()))
    large = {**template, "verdict": "x" * 800_000}
    nonsense = [("leukoscope/other/cells", b"nonsense %d" % n) for n in range(3000)]
    send(mosquitto.port, [("leukoscope/box/cells", json.dumps(large).encode()), *nonsense])
    last = make_record()
    send(mosquitto.port, [("leukoscope/box/cells", encode(last))])
    eventually(lambda: rows(target, "SELECT count(*) FROM cells") == [(1,)])
    subscriber.stop()
    ((count, longest, reason),) = rows(
        target, "SELECT count(*), max(length(payload)), max(length(reason)) FROM rejects"
    )
    assert 500 <= count <= 1001 and longest <= 16 * 1024 and reason < 1000
    # Nonsense on one topic does not displace what came on another.
    assert rows(target, "SELECT count(*) FROM rejects WHERE topic = 'leukoscope/box/cells'") == [(1,)]
    logged = [r.message for r in caplog.records if "rejected" in r.message]
    assert len(logged) <= 50 and max(map(len, logged)) < 1200


def test_fields_are_stored_once_beside_the_cells(mosquitto, tmp_path):
    from edge.records import FieldRecord, FieldReference, uuid7

    field = FieldRecord(
        id=uuid7(),
        device="box",
        sequence=1,
        captured_at="2026-01-01T00:00:00.000000Z",
        specimen="s",
        size=(1920, 1080),
        cells=1,
        ruler={"red_cell_px": 60.0, "scale": 1.1},
        timings_ms={"find": 8.0},
    )
    cell = make_record(field=FieldReference(id=field.id, box=(1, 2, 3, 4)), kind="lymphoid")
    target, file = tmp_path / "r.db", tmp_path / "r.csv"
    loggers = [start(mosquitto.port, where) for where in (f"sqlite:///{target}", str(file))]
    messages = [("leukoscope/box/fields", encode(field)), ("leukoscope/box/cells", encode(cell))]
    send(mosquitto.port, messages * 2)
    eventually(lambda: rows(target, "SELECT kind FROM cells") == [("lymphoid",)])
    eventually(lambda: len(file.read_text().splitlines()) > 1)
    query = "SELECT id, size, cells, ruler FROM fields"
    eventually(
        lambda: rows(target, query) == [(field.id, "[1920,1080]", 1, '{"red_cell_px":60.0,"scale":1.1}')]
    )
    for logger in loggers:
        logger.stop()
    assert rows(target, "SELECT json_extract(field, '$.box') FROM cells") == [("[1,2,3,4]",)]
    beside = (tmp_path / "r.csv.fields.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in beside] == [field.id]
    assert rows(target, "SELECT count(*) FROM rejects") == [(0,)]
