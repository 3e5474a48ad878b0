"""The publisher against a real broker: everything arrives, in order, whatever happens to the broker."""

import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time

import msgspec
import paho.mqtt.client as paho
import pytest
from broker import Mosquitto, eventually, free_port, make_record, wait_for_port

import edge.mqtt.connection
import edge.mqtt.delivery
from edge.errors import InputError
from edge.mqtt.publisher import MqttSettings, Publisher
from edge.outbox.queue import Outbox
from edge.outbox.waiting import OutboxFullError


class Listener:
    """What anybody sees on the broker."""

    def __init__(self, port, topic="leukoscope/box/#", client_id="listener"):
        self.messages = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
        self.client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self.client.on_message = lambda _c, _u, m: self.messages.append(
            (m.topic.split("/")[-1], m.payload, m.retain)
        )
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert subscribed.wait(40)

    def sequences(self):
        return [
            json.loads(payload)["sequence"] for name, payload, _ in list(self.messages) if name == "cells"
        ]

    def states(self):
        return [json.loads(payload)["state"] for name, payload, _ in list(self.messages) if name == "status"]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def mosquitto(tmp_path):
    with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.fixture
def outbox(tmp_path):
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


def test_online_in_order_health_and_stopped(mosquitto, outbox):
    mosquitto.start()
    listener = Listener(mosquitto.port)
    publisher = Publisher(MqttSettings(port=mosquitto.port), "box", outbox)
    publisher.start()
    for _ in range(300):
        outbox.accept(make_record())
    assert publisher.wait_drained(60)
    assert publisher.state() == "connected, MQTT 5"
    publisher.publish_health(b'{"a": 1}')
    publisher.stop(5)
    eventually(lambda: listener.states() == ["online", "stopped"])
    assert listener.sequences() == list(range(1, 301))
    listener.close()
    late = Listener(mosquitto.port, client_id="late")
    eventually(lambda: len(late.messages) >= 2)
    retained = sorted((name, retained) for name, _, retained in late.messages)
    assert retained == [("health", True), ("status", True)]
    late.close()


def test_last_will_says_offline_when_the_box_dies(mosquitto, tmp_path):
    mosquitto.start()
    listener = Listener(mosquitto.port)
    program = (
        "import sys, time; from pathlib import Path; from edge.mqtt.publisher import *; from edge.outbox.queue import Outbox\n"
        "p = Publisher(MqttSettings(port=int(sys.argv[1])), 'box', Outbox(Path(sys.argv[2]))); p.start()\n"
        "time.sleep(30)"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(mosquitto.port), str(tmp_path / "dies.db")])
    try:
        eventually(lambda: listener.states() == ["online"])
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    eventually(lambda: listener.states() == ["online", "offline"])
    listener.close()


def test_broker_that_is_absent_at_boot(mosquitto, outbox, caplog):
    publisher = Publisher(MqttSettings(port=mosquitto.port), "box", outbox)
    publisher.start()
    for _ in range(100):
        outbox.accept(make_record())
    assert not publisher.wait_drained(2) and outbox.depth() == 100
    assert publisher.state().startswith("not connected: cannot connect:")
    mosquitto.start()
    listener = Listener(mosquitto.port)
    assert publisher.wait_drained(60)
    publisher.stop(5)
    eventually(
        lambda: set(listener.sequences()) == set(range(1, 101)) or listener.states()[-1:] == ["stopped"]
    )
    assert sum("cannot connect" in r.message for r in caplog.records) == 1
    listener.close()


def test_broker_killed_in_the_middle_loses_nothing(mosquitto, outbox):
    mosquitto.start()
    listener = Listener(mosquitto.port)
    publisher = Publisher(MqttSettings(port=mosquitto.port), "box", outbox)
    publisher.start()
    eventually(publisher.connected.is_set)
    stop = threading.Event()
    feeder = threading.Thread(
        target=lambda: [outbox.accept(make_record()) for _ in range(2000) if not stop.wait(0.001)]
    )
    feeder.start()
    eventually(lambda: len(listener.sequences()) > 200)
    mosquitto.process.send_signal(signal.SIGTERM)  # writes its sessions down; a crash of it may lose its own
    mosquitto.process.wait()
    time.sleep(0.5)
    mosquitto.start()
    feeder.join()
    assert publisher.wait_drained(120)
    publisher.stop(5)
    eventually(lambda: set(listener.sequences()) == set(range(1, 2001)))
    first = list(dict.fromkeys(listener.sequences()))
    assert first == sorted(first)
    listener.close()


def test_mqtt_311_where_the_broker_has_only_that(outbox, caplog):
    pytest.importorskip("amqtt")
    caplog.set_level(logging.INFO)
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "edge.mqtt.brokers.embedded", "127.0.0.1", str(port)])
    try:
        wait_for_port(port, process)
        listener = Listener(port)
        publisher = Publisher(MqttSettings(port=port), "box", outbox)
        publisher.start()
        outbox.accept(make_record())
        assert publisher.wait_drained(60)
        assert publisher.state() == "connected, MQTT 3.1.1"
        publisher.stop(5)
        eventually(lambda: listener.sequences() == [1])
        assert sum("MQTT 3.1.1" in r.message for r in caplog.records) == 1
        listener.close()
    finally:
        process.kill()
        process.wait()


def test_a_connection_closed_by_chance_does_not_pin_311(mosquitto, outbox):
    with socket.socket() as closer:
        closer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        closer.bind(("127.0.0.1", mosquitto.port))
        closer.listen()
        publisher = Publisher(MqttSettings(port=mosquitto.port), "box", outbox)
        publisher.start()
        for _ in range(2):
            closer.accept()[0].close()
        assert not publisher.connected.is_set()
    mosquitto.start()
    eventually(publisher.connected.is_set)
    mosquitto.kill()
    eventually(lambda: not publisher.connected.is_set())
    mosquitto.start()
    eventually(lambda: publisher.state() == "connected, MQTT 5")
    publisher.stop(5)


def test_refused_connection_is_said_once_and_is_not_connected(tmp_path, outbox, caplog):
    with Mosquitto(tmp_path, extra="allow_anonymous false") as broker:
        broker.start()
        publisher = Publisher(MqttSettings(port=broker.port), "box", outbox)
        publisher.start()
        outbox.accept(make_record())
        eventually(lambda: "Not authorized" in publisher.state())
        assert not publisher.wait_drained(1.5) and not publisher.connected.is_set()
        assert sum("Not authorized" in r.message for r in caplog.records) == 1
        publisher.stop(1)
    assert outbox.depth() == 1


def test_record_that_the_broker_refuses_stays(tmp_path, outbox, caplog, monkeypatch):
    monkeypatch.setattr(edge.mqtt.delivery, "REFUSED_RETRY_S", 0.5)
    acl = tmp_path / "acl"
    acl.write_text("topic write leukoscope/box/status\ntopic read #\n")
    with Mosquitto(tmp_path, extra=f"acl_file {acl}") as broker:
        broker.start()
        publisher = Publisher(MqttSettings(port=broker.port), "box", outbox)
        publisher.start()
        for _ in range(50):
            outbox.accept(make_record())
        eventually(lambda: "refuses records: Not authorized" in publisher.state())
        assert not publisher.wait_drained(1.5) and outbox.depth() == 50
        assert sum("refuses records" in r.message for r in caplog.records) == 1
        acl.write_text("topic readwrite #\n")
        broker.process.send_signal(signal.SIGHUP)
        listener = Listener(broker.port)
        assert publisher.wait_drained(60)
        publisher.stop(5)
        assert "refuses" not in publisher.state()
        listener.close()


def test_settings_and_secrets_that_cannot_be_are_named(tmp_path, outbox):
    for text, key in (("port = 0", "port"), ("topic = 'a/#'", "topic"), ("hosts = 'x'", "hosts")):
        with pytest.raises(msgspec.ValidationError, match=key):
            msgspec.toml.decode(text, type=MqttSettings)
    for key in ("password_file", "ca_file"):
        with pytest.raises(InputError, match=key):
            Publisher(MqttSettings(**{key: str(tmp_path / "none")}), "box", outbox)


def test_a_full_outbox_shows_in_the_retained_status_until_it_has_room(mosquitto, tmp_path):
    outbox = Outbox(tmp_path / "small.db", max_mb=1)
    mosquitto.start()
    publisher = Publisher(MqttSettings(port=mosquitto.port), "box", outbox)
    with pytest.raises(OutboxFullError):
        while True:
            outbox.accept(make_record(source="x" * 2000))
    listener = Listener(mosquitto.port, topic="leukoscope/box/status")
    publisher.start()
    eventually(lambda: publisher.wait_drained(0.1) and len(listener.messages) >= 2)
    said = [json.loads(payload) for _, payload, _ in listener.messages]
    assert any("full: 1 MB" in status.get("fault", "") for status in said)
    assert said[-1]["state"] == "online" and "fault" not in said[-1]
    publisher.stop(5)
    outbox.close()
    listener.close()


def test_a_broker_that_keeps_the_records_for_nobody_is_told_once(mosquitto, outbox, caplog):
    caplog.set_level(logging.INFO)
    mosquitto.start()
    publisher = Publisher(MqttSettings(port=mosquitto.port), "box", outbox)
    publisher.start()
    for _ in range(5):
        outbox.accept(make_record())
    assert publisher.wait_drained(60)
    assert sum("start leukoscope log there once" in r.message for r in caplog.records) == 1
    assert not publisher.heard
    listener = Listener(mosquitto.port)
    outbox.accept(make_record())
    eventually(lambda: publisher.heard)
    publisher.stop(5)
    listener.close()


def test_what_was_committed_is_sent_by_the_thread_that_committed_it(mosquitto, outbox, monkeypatch):
    mosquitto.start()
    listener = Listener(mosquitto.port)
    publisher = Publisher(MqttSettings(port=mosquitto.port), "box", outbox)
    publisher.start()
    assert publisher.connected.wait(10)
    sent_by, turn = [], publisher._delivery.turn

    def watched(stopping):
        before = publisher._delivery._cursor
        done = turn(stopping)
        if publisher._delivery._cursor > before:
            sent_by.append(threading.current_thread().name)
        return done

    monkeypatch.setattr(publisher._delivery, "turn", watched)
    for _ in range(20):
        outbox.accept(make_record()).result(5)
        assert publisher.wait_drained(10)
    assert sent_by.count("outbox") >= 10  # the rest while the publisher was at work itself
    publisher.stop(5)
    outbox.accept(make_record()).result(5)  # nobody sends it
    eventually(lambda: listener.sequences() == list(range(1, 21)))
    listener.close()


def test_an_error_while_sending_ends_neither_thread(mosquitto, outbox, monkeypatch, caplog):
    mosquitto.start()
    listener = Listener(mosquitto.port)
    publisher = Publisher(MqttSettings(port=mosquitto.port), "box", outbox)
    publisher.start()
    assert publisher.connected.wait(10)
    turn, failed = publisher._delivery.turn, []

    def failing(stopping):
        if threading.current_thread().name == "outbox" and not failed:
            failed.append(True)
            raise RuntimeError("a fault in the program")
        return turn(stopping)

    monkeypatch.setattr(publisher._delivery, "turn", failing)
    with caplog.at_level(logging.ERROR):
        while not failed:
            outbox.accept(make_record()).result(5)
        for _ in range(10):
            outbox.accept(make_record()).result(5)
        assert publisher.wait_drained(20)
    assert "a fault in the program" in caplog.text
    sent = list(range(1, outbox.last_sequence() + 1))
    eventually(lambda: list(dict.fromkeys(listener.sequences())) == sent)  # some twice, since it begins again
    publisher.stop(5)
    listener.close()
