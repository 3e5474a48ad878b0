"""The box as the page sees it, at a real broker: commands that nobody hears, and a live picture that goes on."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from broker import Mosquitto

from edge.mqtt.client import BrokerClient
from edge.mqtt.limits import TooLargeError
from edge.mqtt.settings import MqttSettings
from edge.web import box as box_module
from edge.web.box import Box, BoxError


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker of MQTT 5."""
    running = Mosquitto(tmp_path).start()
    yield running
    running.kill()


@pytest.fixture
def box(broker: Mosquitto) -> Iterator[Box]:
    """A page's view of a box that is not there."""
    made = Box(MqttSettings(port=broker.port), "box", lambda _name, _data, _keep: None)
    made.start()
    assert made.wait_connected(20)
    yield made
    made.stop()


def done(work: Coroutine[Any, Any, Any]) -> Any:
    """The work's answer; in a loop of a thread of its own, since a browser's loop runs in the tests' own thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def after_sending(monkeypatch: pytest.MonkeyPatch, then: Callable[[str, int], None]) -> None:
    """Calls `then(topic, times)` after each message was sent and before who sent it goes on."""
    send, counts = BrokerClient.send, dict[str, int]()

    def sent(client: BrokerClient, topic: str, payload: bytes, **how: Any) -> paho.MQTTMessageInfo:
        info = send(client, topic, payload, **how)
        counts[topic] = counts.get(topic, 0) + 1
        then(topic, counts[topic])
        return info

    monkeypatch.setattr(BrokerClient, "send", sent)


@pytest.mark.parametrize("late", [False, True], ids=["noted first", "answered first"])
def test_a_command_that_nobody_hears_ends_however_soon_the_broker_says_so(
    box: Box, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    monkeypatch.setattr(box_module, "ANSWER_S", 3600.0)
    if late:
        after_sending(monkeypatch, lambda _topic, _times: time.sleep(0.5))

    async def ask() -> None:
        await asyncio.wait_for(box.command("capture"), 20)

    with pytest.raises(BoxError, match="does not answer"):
        done(ask())


def test_the_live_picture_is_asked_for_again_after_an_error(
    box: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(box_module, "VIEW_RENEWAL_S", 0.0)
    asked = asyncio.Event()

    def fail_first(topic: str, times: int) -> None:
        if topic.endswith("/commands/view"):
            if times == 1:
                raise TooLargeError("larger than the 20 bytes that the broker takes in a packet")
            asked.set()

    after_sending(monkeypatch, fail_first)

    async def watch() -> None:
        view = asyncio.create_task(box.keep_view(lambda: True))
        try:
            await asyncio.wait_for(asked.wait(), 20)
        finally:
            view.cancel()
            with suppress(asyncio.CancelledError, TooLargeError):
                await view

    with caplog.at_level(logging.INFO):
        done(watch())
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "live picture: unexpected error; this one is skipped"
    ]


def test_a_command_that_the_broker_does_not_take_is_a_fault_of_the_broker(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(topic: str, _times: int) -> None:
        raise TooLargeError("larger than the 20 bytes that the broker takes in a packet")

    after_sending(monkeypatch, refuse)
    with pytest.raises(BoxError, match="larger than the 20 bytes") as caught:
        done(box.command("capture"))
    assert caught.value.code == "broker"
