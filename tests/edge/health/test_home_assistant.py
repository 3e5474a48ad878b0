"""What Home Assistant would find on the broker, and what its templates make of the box's own messages."""

import json
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import pytest
from broker import Mosquitto, eventually, make_record

from edge.errors import InputError
from edge.health.homeassistant import discovery
from edge.health.report import Health
from edge.health.runlog import Restarts
from edge.mqtt.publisher import MqttSettings, Publisher
from edge.outbox.queue import Outbox
from edge.records import ModelReference
from edge.settings import load
from edge.specimen import tally

sandbox = pytest.importorskip("jinja2.sandbox")
MODEL = ModelReference(name="m", sha256="ab")


def retained(port: int, topic: str) -> dict[str, bytes]:
    """What a program finds that subscribes only now."""
    found: dict[str, bytes] = {}
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="home-assistant")
    client.on_connect = lambda made, *_: made.subscribe(topic, qos=1)
    client.on_message = lambda _c, _u, message: (
        found.update({message.topic: message.payload}) if message.retain else None
    )
    client.connect("127.0.0.1", port)
    client.loop_start()
    eventually(lambda: len(found) >= len(discovery("homeassistant", "leukoscope", "box.1")))
    client.disconnect()
    client.loop_stop()
    return found


def watcher(port: int, topics: list[str]) -> paho.Client:
    """Notes the topic of every message from now on."""
    subscribed: list[int] = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="all")
    client.on_connect = lambda made, *_: made.subscribe("#", qos=1)
    client.on_subscribe = lambda *_: subscribed.append(1)
    client.on_message = lambda _c, _u, message: topics.append(message.topic)
    client.connect("127.0.0.1", port)
    client.loop_start()
    eventually(lambda: subscribed)
    return client


def value(config: dict[str, object], message: dict[str, object]) -> str:
    """What Home Assistant shows; it renders templates in the same sandbox."""
    environment = sandbox.ImmutableSandboxedEnvironment()
    return environment.from_string(config["value_template"]).render(value_json=message)


def messages(outbox: Outbox, folder: Path, cells: int) -> dict[str, dict[str, object]]:
    """The box's own messages after some cells."""
    outbox.change_tally(tally.start("slide 7", 200, "2026-11-28T10:00:00.000000Z"))
    health = Health(outbox, folder, MODEL, Restarts())
    for verdict in ("ALL", "HEM", "HEM", "refer")[:cells]:
        record = make_record(device="box.1", specimen="slide 7", verdict=verdict)
        outbox.accept(record, change=tally.counted(record))
    outbox.flush()
    counted = tally.read(outbox.tally())
    assert counted is not None
    specimen = msgspec.to_builtins(tally.message(counted, MODEL, None, checked_here=False))
    return {
        "specimen": json.loads(json.dumps(specimen)),
        "health": json.loads(msgspec.json.encode(health.report("connected, MQTT 5"))),
        "status": {"state": "online", "since": "now", "fault": ""},
    }


@pytest.mark.parametrize(("cells", "percent", "white"), [(4, "33.3", "3"), (0, "None", "0")])
def test_the_box_appears_as_a_device_with_sensors(
    tmp_path: Path, cells: int, percent: str, white: str
) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    with Mosquitto(tmp_path) as broker:
        broker.start()
        settings = MqttSettings(port=broker.port, home_assistant="homeassistant")
        others = discovery(settings.home_assistant, "leukoscope", "box.1")
        publisher = Publisher(settings, "box.1", outbox, others=others)
        seen: list[str] = []
        watching = watcher(broker.port, seen)
        publisher.start()
        eventually(lambda: "leukoscope/box.1/status" in seen)  # is sent after them
        watching.loop_stop()
        found = retained(broker.port, "homeassistant/#")
        publisher.stop(5)
    said = messages(outbox, tmp_path, cells)
    outbox.close()
    shown = {}
    for topic, payload in found.items():
        prefix, component, node, key, last = topic.split("/")
        assert (prefix, node, last) == ("homeassistant", "leukoscope_box_1", "config")
        config = json.loads(payload)
        assert config["device"]["identifiers"] == ["leukoscope_box.1"]
        assert config["default_entity_id"] == f"{component}.leukoscope_box_1_{key}"
        assert "not a diagnosis" in config["device"]["model"]
        root, _, name = config["state_topic"].rpartition("/")
        assert root == "leukoscope/box.1"
        shown[component, key] = value(config, said[name])
        (available,) = config["availability"]
        assert value(available, {"state": "stopped"}) == "offline"
        assert value(available, {"state": "online"}) == "online"
    assert shown["sensor", "specimen"] == "slide 7"
    assert shown["sensor", "positive_percent"] == percent
    assert shown["sensor", "white_cells"] == white
    assert shown["sensor", "waiting"] == str(cells)
    assert shown["binary_sensor", "camera_fault"] == "ON"  # "opening" is not "ok"
    assert shown["binary_sensor", "fault"] == "OFF"
    assert float(shown["sensor", "disk_free"]) > 0
    assert len({json.loads(payload)["unique_id"] for payload in found.values()}) == len(found)


def test_without_the_setting_nothing_is_announced(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.accept(make_record(device="box"))
    topics: list[str] = []
    with Mosquitto(tmp_path) as broker:
        broker.start()
        client = watcher(broker.port, topics)
        publisher = Publisher(
            MqttSettings(port=broker.port), "box", outbox, others=discovery("", "leukoscope", "box")
        )
        publisher.start()
        eventually(lambda: "leukoscope/box/cells" in topics)
        publisher.stop(5)
        eventually(lambda: topics.count("leukoscope/box/status") == 2)
        client.disconnect()
        client.loop_stop()
    outbox.close()
    assert not [topic for topic in topics if not topic.startswith("leukoscope/box/")]


@pytest.mark.parametrize("prefix", ["home/#", "/home", "$SYS", "+"])
def test_a_prefix_that_is_no_topic_is_refused(tmp_path: Path, prefix: str) -> None:
    file = tmp_path / "leukoscope.toml"
    file.write_text(f'[mqtt]\nhome_assistant = "{prefix}"\n')
    with pytest.raises(InputError, match=r"home_assistant.*discovery prefix"):
        load(file)
