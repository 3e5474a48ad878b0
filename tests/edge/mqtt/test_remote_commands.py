"""Commands over a real broker: the documented ones are answered, everything else is refused and harms nothing."""

import json
import queue
import subprocess
import sys
import threading
from concurrent.futures import Future

import paho.mqtt.client as paho
import pytest
from broker import Mosquitto, eventually, free_port, make_record, wait_for_port
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requester import Requester

from edge.errors import LeukoscopeError
from edge.mqtt.commands import REQUESTS
from edge.mqtt.publisher import MqttSettings, Publisher
from edge.outbox.queue import Outbox


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """A publisher with handlers such as the daemon has, on a real broker; and who asks."""
    folder = tmp_path_factory.mktemp("box")
    calls = []

    def capture(request):
        calls.append(request)
        if request.specimen == "no camera":
            raise LeukoscopeError("camera: unplugged")
        stored: Future = Future()
        threading.Timer(0.1, stored.set_result, [make_record(sequence=9)]).start()
        return stored

    with Mosquitto(folder) as broker:
        broker.start()
        outbox = Outbox(folder / "outbox.db")
        publisher = Publisher(
            MqttSettings(port=broker.port),
            "box",
            outbox,
            {"capture": capture, "specimen": calls.append},
        )
        publisher.start()
        assert publisher.connected.wait(40)
        requester = Requester(broker.port)
        yield requester, publisher, outbox, calls
        requester.close()
        publisher.stop(5)
        outbox.close()


def test_capture_answers_with_the_record_when_it_is_stored(box):
    requester, *_, calls = box
    correlation, answer = requester.ask("capture", b'{"specimen": "slide 7"}', correlation=b"\x00\xff42")
    assert correlation == b"\x00\xff42"
    assert answer["ok"] and answer["command"] == "capture" and answer["result"]["sequence"] == 9
    assert answer["notice"] == "research and second opinion only, not a diagnosis"
    assert calls[-1].specimen == "slide 7"
    assert requester.ask("capture", b"")[1]["ok"]


def test_what_the_handler_refuses_is_the_answer(box):
    answer = box[0].ask("capture", b'{"specimen": "no camera"}')[1]
    assert (answer["ok"], answer["error"]) == (False, "camera: unplugged")


@pytest.mark.parametrize(
    ("name", "payload", "error"),
    [
        ("reboot", b"{}", "no such command"),
        ("capture/now", b"{}", "no such command"),
        ("specimen", b"{}", "specimen"),
        ("specimen", b'{"specimen": 7}', "specimen"),
        ("specimen", b'{"specimen": "a\\u0000"}', "specimen"),
        ("capture", b'{"speciment": "x"}', "speciment"),
        ("capture", b"[" * 5000, "schema"),
        ("capture", b" " * 20_000, "longer than"),
        ("health", b"{}", "has no health"),
    ],
)
def test_everything_else_is_answered_with_an_error_and_logged_once(box, caplog, name, payload, error):
    for _ in range(3):
        answer = box[0].ask(name, payload)[1]
        assert not answer["ok"] and error in answer["error"]
    assert sum("command refused" in r.message for r in caplog.records) <= 1


def test_a_retained_command_is_not_done(box):
    requester, publisher, _, calls = box
    before = len(calls)
    requester.send("specimen", b'{"specimen": "old"}', retain=True)
    requester.answers.get(timeout=40)  # live it is done, once
    late = Publisher(publisher._connection._settings, "box2", box[2])
    assert len(calls) == before + 1
    late._commands.receive(_Deaf(), _message("leukoscope/box2/commands/specimen", retain=True))
    late._commands.start()
    eventually(lambda: late._commands.refused == 1)
    requester.send("specimen", b"", response="", retain=True)  # forgets it
    late._commands.stop()


class _Deaf:
    """A client that only takes acknowledgements."""

    def ack(self, *_):
        pass


def _message(topic, payload=b'{"specimen": "x"}', retain=False):
    message = paho.MQTTMessage(1, topic.encode())
    message.payload, message.retain = payload, retain
    return message


def test_an_answer_cannot_be_turned_against_the_box(box):
    requester, publisher, outbox, _ = box
    before = publisher._commands.refused
    for topic in ("leukoscope/box/cells", "leukoscope/box/commands/capture", "$SYS/x"):
        requester.send("capture", b"{}", response=topic)
    eventually(lambda: publisher._commands.refused >= before + 3)
    assert outbox.depth() == 0 and publisher.connected.is_set()
    assert requester.ask("capture", b"{}")[1]["ok"]


# What a broker takes from us; what it would not is its to refuse.
TOPIC = st.characters(exclude_categories=("Cc", "Cn", "Cs"), exclude_characters="+#")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.one_of(st.sampled_from([*REQUESTS, "", "a/b"]), st.text(TOPIC, max_size=20)),
    payload=st.one_of(
        st.binary(max_size=300),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=10,
        ).map(lambda value: json.dumps(value).encode()),
        st.fixed_dictionaries({"specimen": st.text(), "response_topic": st.text()}).map(
            lambda value: json.dumps(value).encode()
        ),
    ),
)
def test_no_command_topic_and_no_payload_harms_the_box(box, name, payload):
    requester, publisher, *_ = box
    requester.send(name, payload, response="", correlation=b"")
    assert publisher._commands._thread.is_alive() and publisher.connected.is_set()


def test_after_all_that_and_a_million_random_bytes_the_box_still_answers(box):
    import random

    requester, publisher, *_ = box
    noise = random.Random(0).randbytes(1_000_000)
    for start in range(0, len(noise), 10_000):
        requester.send("capture", noise[start : start + 10_000], response="", correlation=b"")
    requester.send("capture", noise, response="", correlation=b"")
    while not requester.answers.empty():
        requester.answers.get()

    def answered():
        try:
            return requester.ask("capture", b"{}", correlation=b"last")[0] == b"last"
        except queue.Empty:
            return False

    eventually(answered, 60)
    assert publisher.connected.is_set()


def test_in_mqtt_311_the_payload_carries_topic_and_correlation(tmp_path):
    pytest.importorskip("amqtt")
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "edge.mqtt.embedded_broker", "127.0.0.1", str(port)])
    outbox = Outbox(tmp_path / "o.db")
    publisher = Publisher(MqttSettings(port=port), "box", outbox, {"specimen": lambda request: "set"})
    try:
        wait_for_port(port, process)
        publisher.start()
        assert publisher.connected.wait(40) and publisher.version == "3.1.1"
        requester = Requester(port, paho.MQTTv311)
        payload = {"specimen": "s", "response_topic": "answers/me", "correlation": "42"}
        requester.client.publish("leukoscope/box/commands/specimen", json.dumps(payload), qos=1)
        _, answer = requester.answers.get(timeout=40)
        assert answer["ok"] and answer["correlation"] == "42" and answer["result"] == "set"
        requester.close()
    finally:
        publisher.stop(5)
        outbox.close()
        process.kill()
        process.wait()
