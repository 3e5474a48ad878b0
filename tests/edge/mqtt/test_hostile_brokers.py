"""Brokers that lie, are silent or have limits: what was accepted is delivered, or set aside by name, and every thread
lives."""

import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from broker import eventually, make_record
from mqtt_peer import PUBACK, Link, Peer, Published, Script, packet
from systemd_socket import daemon, write_settings

from edge.host import threads
from edge.mqtt import acknowledgements, unsendable
from edge.mqtt import delivery as delivering
from edge.mqtt.publisher import Publisher
from edge.mqtt.settings import MqttSettings
from edge.outbox.file import held_in
from edge.outbox.queue import Outbox

RECORDS = 30


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acknowledgements, "TIMEOUT_S", 1.0)
    monkeypatch.setattr(delivering, "REFUSED_RETRY_S", 0.2)
    monkeypatch.setattr("edge.mqtt.connection.LAST_DELAY_S", 0.5)
    monkeypatch.setattr("edge.mqtt.connection.PERSON_DELAY_S", 0.5)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


class NeverAcknowledges(Script):
    def publish(self, link: Link, message: Published) -> None:
        """Only PINGRESP, as if all were well."""


class ForgetsOneInThree(Script):
    def publish(self, link: Link, message: Published) -> None:
        if message.message_id % 3:
            link.peer.take(link, message)


class AcknowledgesStrangers(Script):
    def publish(self, link: Link, message: Published) -> None:
        for number in (0, 1, 77, 65_535):
            if number != message.message_id:
                link.acknowledge(number)
        link.send(packet(PUBACK, b"\x00"))  # half an id


class GarbageAfterConnack(Script):
    def connect(self, link: Link) -> None:
        link.accept()
        link.send(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(range(256)) * 8)


class GarbageForConnack(Script):
    def connect(self, link: Link) -> None:
        link.send(b"\x20\x7fSSH-2.0-OpenSSH_9.2" + b"\xff" * 200)


class HalfAPacket(Script):
    def connect(self, link: Link) -> None:
        link.accept()
        link.send(b"\x30\xff\xff\x7f\x00\x04")

    def publish(self, link: Link, message: Published) -> None:
        """Nothing more, ever."""

    def ping(self, link: Link) -> None:
        """Not this either."""


class ClosesAfterEachPublish(Script):
    def publish(self, link: Link, message: Published) -> None:
        link.peer.take(link, message)
        link.close()


class ClosesUnanswered(Script):
    def connect(self, link: Link) -> None:
        link.close()


class RetainedNonsense(Script):
    def connect(self, link: Link) -> None:
        link.accept()
        for name in ("capture", "specimen", "health", "", "a/b", "\u202e"):
            link.publish(f"leukoscope/box/commands/{name}", b'{"specimen": "\xff"}', retain=True)
        link.publish(b"leukoscope/box/commands/\xff\xfe", b"{}", retain=True)
        link.publish("leukoscope/box/commands/capture", b"x" * 500_000)
        link.publish("somebody/else", b"\x00" * 100)


class DisconnectsAsTooLarge(Script):
    """A limit that it does not tell beforehand."""

    def publish(self, link: Link, message: Published) -> None:
        if message.size > 1000:
            link.send(b"\xe0\x02\x95\x00")
            link.close()
        else:
            link.peer.take(link, message)


class ClosesAtLarge(Script):
    """The same without a word, as a broker of 3.1.1 does."""

    def publish(self, link: Link, message: Published) -> None:
        if message.size > 1000:
            link.close()
        else:
            link.peer.take(link, message)


def for_a_while(kind: type[Script], connections: int = 3) -> Callable[[int], Script]:
    """Hostile on the first connections, honest from then on."""
    return lambda number: kind() if number < connections else Script()


HOSTILE = {
    "never acknowledges": (for_a_while(NeverAcknowledges), "the broker does not acknowledge"),
    "forgets one in three": (for_a_while(ForgetsOneInThree), "the broker does not acknowledge"),
    "acknowledges what was not sent": (for_a_while(AcknowledgesStrangers), ""),
    "garbage after CONNACK": (for_a_while(GarbageAfterConnack), "broker"),
    "garbage for CONNACK": (for_a_while(GarbageForConnack), "broker"),
    "half a packet, then silence": (for_a_while(HalfAPacket, 2), "the broker does not acknowledge"),
    "closes after each publish": (for_a_while(ClosesAfterEachPublish, 12), "connection lost"),
    "closes after each publish, for ever": (lambda _: ClosesAfterEachPublish(), "connection lost"),
    "closes unanswered": (for_a_while(ClosesUnanswered, 4), "closes the connection unanswered"),
    "retained nonsense": (lambda _: RetainedNonsense(), "command refused"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_all_is_delivered_in_the_end_and_every_thread_lives(
    kind: str, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    script, named = HOSTILE[kind]
    records = 8 if kind.endswith("for ever") else RECORDS
    with Peer(script) as peer:
        publisher = Publisher(MqttSettings(port=peer.port), "box", outbox)
        publisher.start()
        for _ in range(records):
            outbox.accept(make_record())
        eventually(lambda: peer.sequences() == set(range(1, records + 1)) and not outbox.depth(), 90)
        assert publisher.hangs() == "" and threads.dead() == {}
        publisher.stop(2)
    assert named in caplog.text
    assert caplog.text.count("does not acknowledge") <= 1  # the same fault once
    assert not [r for r in caplog.records if r.exc_info and "network thread" not in r.getMessage()]


def delivered(outbox: Outbox, peer: Peer, publisher: Publisher, long: set[int]) -> None:
    """Ten records, those of `long` with 1,500 bytes more; waits until all have left the outbox."""
    for sequence in range(1, 11):
        outbox.accept(make_record(source="x" * (1500 if sequence in long else 5)))
    publisher.start()
    eventually(lambda: not outbox.depth(), 90)
    assert peer.sequences() == set(range(1, 11)) - long
    outbox.flush()
    assert {sequence for sequence, _ in held_in(outbox.file).aside} == long
    assert outbox.aside == len(long)
    assert publisher.hangs() == "" and threads.dead() == {}


def test_what_is_larger_than_the_broker_takes_is_set_aside_by_name_and_the_rest_is_delivered(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    class Small(Script):
        def connect(self, link: Link) -> None:
            link.accept(maximum_packet_size=1000)

    with Peer(lambda _: Small()) as peer:
        publisher = Publisher(MqttSettings(port=peer.port), "box", outbox)
        delivered(outbox, peer, publisher, {1, 5, 10})
        assert all(
            "larger than the 1000 bytes that the broker takes" in reason
            for _, reason in held_in(outbox.file).aside
        )
        assert publisher.state().endswith("the broker's limits: packets of 1000 bytes at most")
        publisher.publish_health(b" " * 1200)
        publisher.publish_health(b" " * 1200)
        assert max(message.size for message in peer.came) <= 1000
        publisher.stop(2)
    assert caplog.text.count("packets of 1000 bytes at most") == 1
    assert caplog.text.count("no health is published") == 1
    assert caplog.text.count("is set aside") == 1
    assert len(peer.links) == 1


@pytest.mark.parametrize(
    ("kind", "version"), [(DisconnectsAsTooLarge, "5"), (ClosesAtLarge, "5"), (ClosesAtLarge, "3.1.1")]
)
def test_a_limit_that_is_not_told_costs_only_the_record_that_is_too_large(
    kind: type[Script], version: Literal["5", "3.1.1"], outbox: Outbox
) -> None:
    with Peer(lambda _: kind()) as peer:
        publisher = Publisher(MqttSettings(port=peer.port, version=version), "box", outbox)
        delivered(outbox, peer, publisher, {4})
        publisher.stop(2)


def test_a_lossy_network_puts_no_record_aside(outbox: Outbox) -> None:
    """Each connection ends at its first record, whichever it is, and nothing else is taken in between."""

    class LosesRecords(Script):
        def publish(self, link: Link, message: Published) -> None:
            if message.is_record:
                link.close()
            else:
                link.peer.take(link, message)

    with Peer(lambda number: LosesRecords() if number < unsendable.STRIKES else Script()) as peer:
        publisher = Publisher(MqttSettings(port=peer.port), "box", outbox)
        delivered(outbox, peer, publisher, set())
        publisher.stop(2)


def test_a_record_that_alone_is_refused_is_set_aside_and_one_that_all_share_is_not(outbox: Outbox) -> None:
    class RefusesTheThird(Script):
        refused = 0

        def publish(self, link: Link, message: Published) -> None:
            if message.sequence == 3:
                link.acknowledge(message.message_id, reason=153)
            else:
                link.peer.take(link, message)

    with Peer(lambda _: RefusesTheThird()) as peer:
        publisher = Publisher(MqttSettings(port=peer.port), "box", outbox)
        publisher.start()
        for _ in range(10):
            outbox.accept(make_record())
            time.sleep(0.3)  # others go on being taken between its refusals
        eventually(lambda: not outbox.depth(), 30)
        assert [sequence for sequence, _ in held_in(outbox.file).aside] == [3]
        assert peer.sequences() == set(range(1, 11)) - {3}
        publisher.stop(2)


def test_a_broker_without_retain_gets_all_without_it(outbox: Outbox) -> None:
    class NoRetain(Script):
        def connect(self, link: Link) -> None:
            if link.will_retain:
                link.send(b"\x20\x03\x00\x9a\x00")
                link.close()
            else:
                link.accept(retain_available=0)

    with Peer(lambda _: NoRetain()) as peer:
        publisher = Publisher(MqttSettings(port=peer.port), "box", outbox)
        delivered(outbox, peer, publisher, set())
        publisher.publish_health(b"{}")
        eventually(lambda: any(message.topic.endswith("/health") for message in peer.came))
        assert "no retained messages" in publisher.state()
        publisher.stop(2)
    assert peer.links[-1].has_will and not any(message.retain for message in peer.came)


def test_a_broker_that_acknowledges_nothing_by_contract_gets_no_record(outbox: Outbox) -> None:
    class NoQuality(Script):
        def connect(self, link: Link) -> None:
            if link.will_qos:
                link.send(b"\x20\x03\x00\x9b\x00")
                link.close()
            else:
                link.accept(maximum_qos=0)

    with Peer(lambda _: NoQuality()) as peer:
        publisher = Publisher(MqttSettings(port=peer.port), "box", outbox)
        outbox.accept(make_record())
        publisher.start()
        eventually(lambda: any(message.topic.endswith("/status") for message in peer.came))
        time.sleep(1.5)
        assert "QoS 0 alone" in publisher.state() and outbox.depth() == 1
        assert not any(message.qos or message.is_record for message in peer.came)
        publisher.stop(2)


def test_no_more_is_under_way_than_the_broker_takes_and_answers_count(outbox: Outbox) -> None:
    class OneAtATime(Script):
        def __init__(self) -> None:
            self.under_way = self.most = 0

        def connect(self, link: Link) -> None:
            link.accept(receive_maximum=1)
            for _ in range(10):
                payload = b'{"response_topic": "answers/me"}'
                link.publish("leukoscope/box/commands/nothing", payload)

        def publish(self, link: Link, message: Published) -> None:
            self.under_way += 1
            self.most = max(self.most, self.under_way)

            def later() -> None:
                self.under_way -= 1
                link.peer.take(link, message)

            threading.Timer(0.02, later).start()

    script = OneAtATime()
    with Peer(lambda _: script) as peer:
        publisher = Publisher(MqttSettings(port=peer.port), "box", outbox)
        delivered(outbox, peer, publisher, set())
        publisher.stop(2)
    assert script.most == 1


def test_the_brokers_keep_alive_and_client_id_hold(outbox: Outbox) -> None:
    pings: list[float] = []

    class Names(Script):
        def connect(self, link: Link) -> None:
            link.accept(server_keep_alive=1, assigned_client_id="box-of-the-broker")

        def ping(self, link: Link) -> None:
            pings.append(time.monotonic())
            super().ping(link)
            if len(pings) == 4:
                link.close()

    with Peer(lambda _: Names()) as peer:
        publisher = Publisher(MqttSettings(port=peer.port), "box", outbox)
        delivered(outbox, peer, publisher, set())
        eventually(lambda: len(peer.links) == 2)
        assert max(b - a for a, b in itertools.pairwise(pings)) < 1.5  # when a broker closes
        eventually(lambda: "a keep-alive of 1 s, the client id box-of-the-broker" in publisher.state())
        assert [link.client_id for link in peer.links] == ["leukoscope-box", "box-of-the-broker"]
        publisher.stop(2)


def test_a_callback_that_fails_costs_neither_the_thread_nor_a_record(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []
    begin = Publisher._begin

    def fails_once(self: Publisher, client: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("first")
        begin(self, client)  # type: ignore[arg-type]

    monkeypatch.setattr(Publisher, "_begin", fails_once)
    with Peer(lambda _: Script()) as peer:
        publisher = Publisher(MqttSettings(port=peer.port), "box", outbox)
        delivered(outbox, peer, publisher, set())
        assert len(calls) == 2 and publisher.connected.is_set()
        publisher.stop(2)
    assert caplog.text.count("RuntimeError: first") == 1


def test_a_whole_daemon_names_a_broker_that_never_acknowledges_and_delivers_all_when_it_does(
    tmp_path: Path,
) -> None:
    quick = "import edge.mqtt.acknowledgements as a; a.TIMEOUT_S = 1.0"
    with Peer(for_a_while(NeverAcknowledges, 4)) as peer:

        def health() -> list[dict[str, Any]]:
            return [json.loads(m.payload) for m in list(peer.came) if m.topic.endswith("/health")]

        with daemon(write_settings(tmp_path, peer.port), prelude=quick) as process:
            eventually(lambda: [h for h in health() if "the broker does not acknowledge" in h["broker"]])
            eventually(lambda: len(peer.sequences()) > 20, 60)
            last = eventually(lambda: [h for h in health() if h["broker"] == "connected, MQTT 5"])[-1]
            assert last["watchdog"] == "ok" and process.poll() is None
            process.terminate()
            process.wait(30)
        found = sorted(peer.sequences())
    assert found == list(range(1, len(found) + 1))
