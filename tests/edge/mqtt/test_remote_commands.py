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
from edge.mqtt.client import BrokerClient
from edge.mqtt.commands.remote import WAITING_LIMIT, RemoteCommands
from edge.mqtt.commands.requests import REQUESTS
from edge.mqtt.limits import Limits
from edge.mqtt.publisher import Publisher
from edge.mqtt.settings import MqttSettings
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
        assert publisher.listening.wait(40)
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
    requester, *_, calls = box
    before = len(calls)
    requester.send("specimen", b'{"specimen": "old"}', retain=True)
    requester.answers.get(timeout=40)  # live it is done, once
    assert len(calls) == before + 1
    late = RemoteCommands("leukoscope", "box2", {"specimen": calls.append})
    late.receive(_Deaf(), _message("leukoscope/box2/commands/specimen", retain=True))
    late.start()
    eventually(lambda: late.refused == 1)
    requester.send("specimen", b"", response="", retain=True)  # forgets it
    late.stop()


class _Deaf(BrokerClient):
    """A client without a connection, that keeps what is sent."""

    def __init__(self, limit=10**9):
        super().__init__("deaf", "5", True, True, lambda: None)
        self.limits = Limits(packet_bytes=limit)
        self.sent = []

    def publish(self, topic, payload=None, *_):
        self.sent.append(payload)
        return paho.MQTTMessageInfo(1)


def _message_of(topic):
    return paho.MQTTMessage(1, topic)


def _message(topic, payload=b'{"specimen": "x"}', retain=False):
    message = _message_of(topic.encode())
    message.payload, message.retain = payload, retain
    return message


def test_an_answer_cannot_be_turned_against_the_box(box):
    requester, publisher, outbox, _ = box
    before = publisher._commands.refused
    forbidden = (
        "leukoscope/box/cells",
        "leukoscope/box/commands/capture",
        "leukoscope/another/status",
        "leukoscope/another/cells",
        "leukoscope/another/commands/specimen",
        "leukoscope/loggers/lab/x",
        "leukoscope/x",
        "leukoscope",
        "$SYS/x",
    )
    for topic in forbidden:
        requester.send("capture", b"{}", response=topic)
        requester.send("capture", json.dumps({"response_topic": topic}).encode(), response="")
    eventually(lambda: publisher._commands.refused >= before + 2 * len(forbidden))
    assert outbox.depth() == 0 and publisher.connected.is_set()
    assert requester.ask("capture", b"{}")[1]["ok"]


def test_beyond_what_may_wait_each_command_is_answered_too(tmp_path):
    goes_on = threading.Event()
    with Mosquitto(tmp_path) as broker:
        broker.start()
        outbox = Outbox(tmp_path / "o.db")
        publisher = Publisher(
            MqttSettings(port=broker.port), "box", outbox, {"health": lambda _: goes_on.wait(30)}
        )
        publisher.start()
        assert publisher.listening.wait(40)
        requester = Requester(broker.port)
        many = WAITING_LIMIT + 40
        for number in range(many):
            requester.send("health", b"{}", correlation=str(number).encode())
        refused = [requester.answers.get(timeout=40) for _ in range(many - WAITING_LIMIT - 1)]
        assert all("100 commands wait already" in answer["error"] for _, answer in refused)
        goes_on.set()
        rest = [requester.answers.get(timeout=40) for _ in range(WAITING_LIMIT + 1)]
        assert all(answer["ok"] for _, answer in rest)
        assert {int(correlation) for correlation, _ in refused + rest} == set(range(many))
        requester.close()
        publisher.stop(5)
        outbox.close()


def test_an_unexpected_error_in_a_command_is_answered_and_the_next_one_is_heard(tmp_path, caplog):
    def fails(request):
        raise ZeroDivisionError("division by zero")

    commands = RemoteCommands("leukoscope", "box", {"health": fails})
    client = _Deaf()
    for _ in range(2):
        commands.receive(
            client, _message("leukoscope/box/commands/health", b'{"response_topic": "answers/me"}')
        )
    commands.start()
    eventually(lambda: len(client.sent) == 2)
    assert "unexpected error" in json.loads(client.sent[0])["error"]
    assert commands.hangs() == "" and "ZeroDivisionError" in caplog.text
    commands.stop()


def test_strangers_text_in_topics_and_payloads_reaches_the_log_and_the_answer_harmlessly(caplog):
    commands = RemoteCommands("leukoscope", "box", {})
    client = _Deaf()
    for name, payload in (
        ("capture\x9b31m", b"{}"),
        ("capture", '{"\u202e\x9b2J\nERROR: forged": 1, "response_topic": "answers/me"}'.encode()),
        ("specimen", '{"specimen": "a\x00", "response_topic": "answers/\x9b"}'.encode()),
    ):
        commands.receive(client, _message(f"leukoscope/box/commands/{name}", payload))
    commands.receive(client, _message_of(b"leukoscope/box/commands/\xff\xfe"))
    commands.start()
    eventually(lambda: commands.refused >= 4)
    commands.stop()
    shown = "".join(r.getMessage() for r in caplog.records) + "".join(p.decode() for p in client.sent)
    assert shown and not any(sign in shown for sign in "\x9b\u202e\n\x00")


def test_an_answer_that_the_broker_does_not_take_is_replaced_by_a_short_one():
    commands = RemoteCommands("leukoscope", "box", {"health": lambda _: "x" * 5000})
    client = _Deaf(limit=800)
    commands.receive(client, _message("leukoscope/box/commands/health", b'{"response_topic": "answers/me"}'))
    commands.start()
    eventually(lambda: client.sent)
    commands.stop()
    answer = json.loads(client.sent[0])
    assert answer["ok"] and answer["result"] is None and "its result is left out" in answer["error"]


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
    process = subprocess.Popen([sys.executable, "-m", "edge.mqtt.brokers.embedded", "127.0.0.1", str(port)])
    outbox = Outbox(tmp_path / "o.db")
    publisher = Publisher(MqttSettings(port=port), "box", outbox, {"specimen": lambda request: "set"})
    try:
        wait_for_port(port, process)
        publisher.start()
        assert publisher.listening.wait(40) and publisher.version == "3.1.1"
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


def test_who_names_the_topic_in_the_payload_is_answered_also_if_the_rest_of_it_does_not_fit(box):
    requester, *_ = box
    for wrong in ({"specimen": 7}, {"specimen": "s", "colour": "red"}, {}):
        payload = {**wrong, "response_topic": "answers/me", "correlation": "43"}
        requester.client.publish("leukoscope/box/commands/specimen", json.dumps(payload), qos=1)
        _, answer = requester.answers.get(timeout=40)
        assert not answer["ok"] and "does not fit the schema" in answer["error"]
        assert answer["correlation"] == "43"
