"""A real Mosquitto with limits, and one that crashes: what fits is delivered, the rest is named, nothing is lost."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from broker import Mosquitto, eventually, make_record

from edge.logger.stores.sinks import open_sink
from edge.logger.subscriber import Subscriber
from edge.mqtt.check import check_broker
from edge.mqtt.publisher import Publisher
from edge.mqtt.settings import MqttSettings
from edge.outbox.file import held_in
from edge.outbox.queue import Outbox


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


def published(broker: Mosquitto, outbox: Outbox, count: int = 50) -> str:
    """Publish and wait until all has left the outbox; the state that health shows."""
    publisher = Publisher(MqttSettings(port=broker.port), "box", outbox)
    publisher.start()
    for number in range(count):
        outbox.accept(make_record(source="x" * (700 if number % 5 == 0 else 1), specimen=""))
    assert publisher.wait_drained(60)
    state = publisher.state()
    publisher.stop(5)
    outbox.flush()
    return state


def test_a_packet_limit_sets_aside_what_is_larger_and_the_doctor_names_it(
    tmp_path: Path, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    with Mosquitto(tmp_path, extra="max_packet_size 900") as broker:
        broker.start()
        state = published(broker, outbox)
        assert state == "connected, MQTT 5; the broker's limits: packets of 900 bytes at most"
        assert outbox.aside == len(held_in(outbox.file).aside) == 10
        assert caplog.text.count("the broker's limits: packets of 900 bytes") == 1
        well, said = check_broker(MqttSettings(port=broker.port), "box")
    assert not well
    assert (
        "packets of 900 bytes at most; too large for it: a record of 1024 bytes and a health message" in said
    )


def test_a_packet_limit_below_every_record_blocks_nothing(tmp_path: Path, outbox: Outbox) -> None:
    with Mosquitto(tmp_path, extra="max_packet_size 400") as broker:
        broker.start()
        published(broker, outbox, 10)
        assert outbox.aside == 10


def test_without_retain_all_is_delivered_and_the_doctor_names_it(tmp_path: Path, outbox: Outbox) -> None:
    with Mosquitto(tmp_path, extra="retain_available false") as broker:
        broker.start()
        state = published(broker, outbox)
        assert state == "connected, MQTT 5; the broker's limits: no retained messages"
        assert outbox.aside == 0
        well, said = check_broker(MqttSettings(port=broker.port), "box")
    assert well and "no retained messages" in said


def test_a_broker_of_qos_0_gets_no_record_and_the_doctor_names_it(tmp_path: Path, outbox: Outbox) -> None:
    with Mosquitto(tmp_path, extra="max_qos 0") as broker:
        broker.start()
        publisher = Publisher(MqttSettings(port=broker.port), "box", outbox)
        outbox.accept(make_record())
        publisher.start()
        eventually(lambda: "QoS 0 alone" in publisher.state())
        time.sleep(1)
        assert outbox.depth() == 1 and publisher.connected.is_set()
        publisher.stop(5)
        well, said = check_broker(MqttSettings(port=broker.port), "box")
    assert not well and "allow QoS 1 at the broker" in said


def test_a_short_window_and_keep_alive_are_kept_to(tmp_path: Path, outbox: Outbox) -> None:
    with Mosquitto(tmp_path, extra="max_inflight_messages 1\nmax_keepalive 10") as broker:
        broker.start()
        state = published(broker, outbox)
    assert "1 messages under way at once" in state and "a keep-alive of 10 s" in state


def witness(port: int) -> paho.Client:
    """Somebody else who reads all records, so that the broker never answers that nobody has subscribed."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="witness", protocol=paho.MQTTv5)
    client.on_connect = lambda client, *_: client.subscribe("leukoscope/#", qos=1)
    client.reconnect_delay_set(1, 1)
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client


@pytest.mark.parametrize("restarted", [False, True], ids=["reconnect", "restart of the box"])
def test_a_broker_that_is_killed_before_it_has_written_costs_no_record(
    tmp_path: Path, restarted: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("edge.mqtt.delivery.RESEND_AGAIN_S", 3.0)
    monkeypatch.setattr("edge.mqtt.connection.LAST_DELAY_S", 1.0)
    unwritten = "autosave_interval 3600\nautosave_on_changes false"
    stored: dict[str, int] = {}
    with Mosquitto(tmp_path, persistence=unwritten) as broker:
        broker.start()
        settings = MqttSettings(port=broker.port)
        # The logger has its session, then is away while records come: the broker keeps them in memory alone.
        logger = Subscriber(
            f"mqtt://127.0.0.1:{broker.port}", open_sink(f"{tmp_path}/r.jsonl"), client_id="log"
        )
        logger.start()
        assert logger.subscribed.wait(40)
        logger.stop()
        other = witness(broker.port)
        outbox = Outbox(tmp_path / "outbox.db")
        publisher = Publisher(settings, "box", outbox)
        publisher.start()
        for _ in range(500):
            outbox.accept(make_record())
        assert publisher.wait_drained(60)
        outbox.flush()
        broker.kill()  # -9
        if restarted:
            publisher.stop(1)
            outbox.close()
            outbox = Outbox(tmp_path / "outbox.db")
            publisher = Publisher(settings, "box", outbox)
            publisher.start()
        broker.start()
        eventually(publisher.connected.is_set)
        time.sleep(1)  # the box is back before the logger
        logger = Subscriber(
            f"mqtt://127.0.0.1:{broker.port}",
            open_sink(f"{tmp_path}/r.jsonl"),
            client_id="log",
            on_stored=lambda record, new: stored.update({record.id: stored.get(record.id, 0) + new}),
        )
        logger.start()
        for _ in range(100):
            outbox.accept(make_record())
        eventually(lambda: len(stored) == 600, 60)
        assert set(stored.values()) == {1}
        publisher.stop(5)
        logger.stop()
        other.disconnect()
        other.loop_stop()
        outbox.close()
