"""The box as the page sees it: what it publishes over MQTT, and commands with their answers."""

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
from paho.mqtt.client import MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from edge.host import threads
from edge.mqtt.acknowledgements import NO_SUBSCRIBERS
from edge.mqtt.client import BrokerClient
from edge.mqtt.connection import Connection
from edge.mqtt.limits import TooLargeError
from edge.mqtt.settings import MqttSettings
from edge.web.faults import PageError

log = logging.getLogger(__name__)

ANSWER_S = 10.0
SLOW_S = {"model_install": 60.0}
"""Commands that take longer: a model is tried on the newest pictures before it is answered."""
# While a browser shows the live picture the box is asked for it again and again; it stops by itself.
VIEW_S, VIEW_RENEWAL_S = 20, 10.0
VIEWS_PER_S = 4
LARGEST_MESSAGE_BYTES = 512 * 1024
_FOLLOWED = ("status", "health", "cells", "fields", "specimen", "view")
_KEPT = ("status", "health", "specimen")

OnEvent = Callable[[str, Any, bool], None]
"""Name, JSON values, whether it is kept for browsers that come later."""


class BoxError(PageError):
    """The box cannot be asked, refused, or did not answer."""

    def __init__(self, message: str, code: str):
        super().__init__(message, code, 503)


class _UnheardError(Exception):
    """Nobody has subscribed to a command."""


class Box:
    """One box behind a broker.

    Args:
        settings: the broker.
        device: the box's id.
        on_event: takes what the box publishes; called in the network thread.
    """

    def __init__(self, settings: MqttSettings, device: str, on_event: OnEvent):
        self._root = f"{settings.topic}/{device}"
        name = secrets.token_hex(6)
        self._answers = f"answers/web-{name}"
        self._on_event = on_event
        self._waiting: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Future[dict[str, Any]]]] = {}
        # Of the commands that wait for their answer, by connection and message id.
        self._sent: dict[tuple[BrokerClient, int], str] = {}
        self._lock = threading.Lock()
        self._told_connected: bool | None = None
        self._view_due_s = 0.0  # on the monotonic clock
        self.device = device
        self._connection = Connection(
            settings,
            f"leukoscope-web-{name}",
            on_connected=self._on_connected,
            on_message=self._on_message,
            on_publish=self._on_publish,
        )

    def start(self) -> None:
        """Begin to follow the box."""
        self._connection.start()

    def stop(self) -> None:
        """Leave the broker."""
        self._connection.stop()

    def broker(self) -> str:
        """The state of the connection to the broker, in words."""
        return self._connection.state()

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until the broker is there; False if it is not after `timeout_s`."""
        return self._connection.connected.wait(timeout_s)

    async def command(self, name: str, **request: Any) -> Any:
        """Send a command and wait for its answer's result.

        Raises:
            BoxError: there is no broker, the box refuses, or no answer comes.
        """
        session = self._connection.session
        if session is None:
            why = self._connection.state().removeprefix("not connected: ")
            raise BoxError(f"the broker is not there: {why}", "broker")
        correlation = secrets.token_hex(8)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[dict[str, Any]] = loop.create_future()
        with self._lock:
            self._waiting[correlation] = loop, future
        try:
            payload = msgspec.json.encode(
                {**request, "response_topic": self._answers, "correlation": correlation}
            )
            sent = session.send(f"{self._root}/commands/{name}", payload)
            with self._lock:
                self._sent[session, sent.mid] = correlation
            answer = await asyncio.wait_for(future, SLOW_S.get(name, ANSWER_S))
        except (asyncio.TimeoutError, _UnheardError):
            raise BoxError(f"the box {self.device} does not answer; is it running?", "silent") from None
        except TooLargeError as error:
            raise BoxError(f"the command is {error}", "broker") from None
        finally:
            with self._lock:
                self._waiting.pop(correlation, None)
                self._sent = {sent: other for sent, other in self._sent.items() if other != correlation}
        if not answer.get("ok"):
            raise BoxError(str(answer.get("error") or "the box refused"), "refused")
        return answer.get("result")

    async def keep_view(self, watched: Callable[[], bool]) -> None:
        """Ask for the live picture as long as somebody watches; ends when it is cancelled.

        An error is logged, and the next second it goes on: the page lives longer than a connection.
        """
        turn = threads.guarded("live picture", self._view_turn)
        while True:
            turn(watched())
            await asyncio.sleep(1.0)

    def _view_turn(self, watched: bool) -> None:
        self._look_at_broker()
        session = self._connection.session
        if not watched:
            self._view_due_s = 0.0
        elif session is not None and time.monotonic() >= self._view_due_s:
            request = msgspec.json.encode({"seconds": VIEW_S, "per_second": VIEWS_PER_S})
            session.send(f"{self._root}/commands/view", request, qos=0)
            self._view_due_s = time.monotonic() + VIEW_RENEWAL_S

    def _look_at_broker(self) -> None:
        """Tell the browsers when the broker goes or comes."""
        connected = self._connection.connected.is_set()
        if connected != self._told_connected:
            self._told_connected = connected
            self._on_event("broker", {"connected": connected, "text": self._connection.state()}, True)

    def _on_connected(self, client: BrokerClient) -> None:
        topics = [(f"{self._root}/{name}", 0 if name == "view" else 1) for name in _FOLLOWED]
        client.subscribe([*topics, (self._answers, 1)])

    def _on_message(self, client: BrokerClient, message: MQTTMessage) -> None:
        client.ack(message.mid, message.qos)
        if len(message.payload) > LARGEST_MESSAGE_BYTES:
            log.warning("a message of %d bytes was not taken", len(message.payload))
            return
        try:
            body = msgspec.json.decode(message.payload) if message.payload else None
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return
        if message.topic == self._answers:
            self._answered(body)
            return
        name = message.topic.removeprefix(f"{self._root}/")
        if name in _FOLLOWED:
            self._on_event(name, body, name in _KEPT)

    def _on_publish(self, client: BrokerClient, message_id: int, reason: ReasonCode) -> None:
        """A broker of MQTT 5 knows at once that no box listens.

        That may come before `command` has noted which message it has sent, and paho holds a lock of its own here; so
        the loops that wait look for it when their commands are noted.
        """
        if reason.value != NO_SUBSCRIBERS:
            return
        with self._lock:
            loops = {loop for loop, _ in self._waiting.values()}
        for loop in loops:
            loop.call_soon_threadsafe(threads.guarded("unheard command", self._unheard), client, message_id)

    def _unheard(self, client: BrokerClient, message_id: int) -> None:
        """In an event loop: if the command of this message waits in it, it has failed."""
        with self._lock:
            loop, future = self._waiting.get(self._sent.get((client, message_id), ""), (None, None))
        if future is not None and loop is asyncio.get_running_loop() and not future.done():
            future.set_exception(_UnheardError())

    def _answered(self, body: Any) -> None:
        correlation = body.get("correlation") if isinstance(body, dict) else None
        with self._lock:
            loop, future = self._waiting.pop(str(correlation), (None, None))
        if loop is not None and future is not None:
            loop.call_soon_threadsafe(threads.guarded("answer of the box", _settle), future, body)


def _settle(future: "asyncio.Future[dict[str, Any]]", body: dict[str, Any]) -> None:
    if not future.done():
        future.set_result(body)
