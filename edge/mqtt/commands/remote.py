"""Commands that arrive over MQTT: only those listed here, checked against their schema, each answered."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import msgspec
from paho.mqtt.client import MQTTMessage, MQTTMessageInfo
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.errors import InputError, LeukoscopeError
from edge.host import threads
from edge.host.text import harmless
from edge.mqtt.client import BrokerClient
from edge.mqtt.commands.requests import Answer, Request, decode, reply_in
from edge.mqtt.limits import TooLargeError
from edge.mqtt.settings import topic_fault

log = logging.getLogger(__name__)

LONGEST_TOPIC = 1000
# The largest packet that the box takes, as a broker of MQTT 5 is told: a command with its topics and properties.
# Well above what a command may have, so that whoever sends a little too much gets an answer.
LARGEST_PACKET_BYTES = 1024 * 1024
WAITING_LIMIT = 100
# Answers that the broker has not acknowledged; more would fill the memory.
ANSWERS_LIMIT = 1000
# A command is done in milliseconds; after so long the thread hangs.
HANG_S = 20.0
# Characters of an answer's error.
LONGEST_ERROR = 1000
# Different faults that are logged; a sender of nonsense must not fill the disk.
LOGGED_LIMIT = 50


Handler = Callable[[Any], Any]
"""Takes the request; gives what the answer's `result` shall hold, or a future of it; may raise LeukoscopeError."""


class RemoteCommands:
    """Takes commands below `<topic>/<device>/commands/`, has them done one after the other, and answers.

    Args:
        topic: the root of all topics of all boxes.
        device: the box's name in topics.
        handlers: what does each command; a command without one is answered with an error.

    Attributes:
        refused: how many commands and answers were refused.
    """

    def __init__(self, topic: str, device: str, handlers: Mapping[str, Handler]):
        self._topic, self._handlers = topic, dict(handlers)
        self._prefix = f"{topic}/{device}/commands/"
        self._waiting: queue.Queue[tuple[BrokerClient, MQTTMessage] | None] = queue.Queue(WAITING_LIMIT)
        self._told: set[str] = set()
        self._answers: deque[MQTTMessageInfo] = deque()
        self._answers_lock = threading.Lock()
        self.refused = 0
        self._began_at: float | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def topic(self) -> str:
        """The filter to subscribe to."""
        return f"{self._prefix}#"

    def start(self) -> None:
        """Begin to work, in a thread of its own."""
        self._thread = threads.keep("commands", self._run, self._stopping)

    def stop(self) -> None:
        """Do no more."""
        self._stopping.set()
        try:
            self._waiting.put_nowait(None)
        except queue.Full:  # the thread looks at `_stopping` after the next command
            return

    def hangs(self) -> str:
        """What is wrong with the thread that does the commands, or ""."""
        if self._thread is None or not self._thread.is_alive():
            return "" if self._stopping.is_set() else "the thread of the commands has ended"
        began_at = self._began_at
        busy_s = 0.0 if began_at is None else time.monotonic() - began_at
        return f"a command hangs for {busy_s:.0f} s" if busy_s > HANG_S else ""

    def receive(self, client: BrokerClient, message: MQTTMessage) -> None:
        """From the network thread: take a command. It is acknowledged now, and so never done twice."""
        client.ack(message.mid, message.qos)
        try:
            self._waiting.put_nowait((client, message))
        except queue.Full:
            exchange = _Exchange(self, client, message)
            with suppress(LeukoscopeError):
                exchange.request()  # in 3.1.1 it holds the topic for the answer
            exchange.refuse(f"{WAITING_LIMIT} commands wait already; send it again later")

    def _run(self) -> None:
        while not self._stopping.is_set() and (item := self._waiting.get()) is not None:
            self._began_at = time.monotonic()
            self._handle(_Exchange(self, *item))
            self._began_at = None

    def _handle(self, exchange: "_Exchange") -> None:
        try:
            request = exchange.request()
            if exchange.name not in self._handlers:
                raise InputError(f"this box has no {exchange.name}: it works through a folder of images")
            result = self._handlers[exchange.name](request)
        except LeukoscopeError as error:
            exchange.refuse(str(error))
            return
        except Exception:  # the next command must be heard, and this one answered
            log.exception("command %s failed by an unexpected error", harmless(exchange.name, 80))
            exchange.answer(error="unexpected error; the log of the box has it")
            return
        if isinstance(result, Future):
            result.add_done_callback(threads.guarded("answer to a command", exchange.done))
        else:
            exchange.answer(result)

    def note_refusal(self, reason: str) -> None:
        """Count what was refused; each reason is logged once, and not too many of them."""
        self.refused += 1
        reason = harmless(reason)
        if reason not in self._told and len(self._told) < LOGGED_LIMIT:
            self._told.add(reason)
            log.warning("command refused: %s", reason)

    def forbidden(self, topic: str) -> str:
        """Why no answer may go to this topic, or "": nobody speaks for a box, a logger or the broker."""
        if topic == self._topic or topic.startswith((f"{self._topic}/", "$")):
            return f"not below $ or {self._topic}/"
        if len(topic) > LONGEST_TOPIC:
            return f"longer than {LONGEST_TOPIC} characters"
        return topic_fault(topic)

    def send(self, client: BrokerClient, topic: str, payload: bytes, properties: Properties | None) -> None:
        """Publish an answer; one too many is left out.

        Raises:
            TooLargeError: the broker takes no packet of this size.
        """
        with self._answers_lock:
            while self._answers and self._answers[0].is_published():
                self._answers.popleft()
            if len(self._answers) >= ANSWERS_LIMIT:
                self.note_refusal(f"{ANSWERS_LIMIT} answers wait for the broker already")
                return
            sent = client.send(topic, payload, properties=properties)
            if client.limits.qos:
                self._answers.append(sent)


class _Exchange:
    """One command and its answer.

    Args:
        commands: what it belongs to.
        client: which connection brought it, and takes the answer.
        message: the command.
    """

    def __init__(self, commands: RemoteCommands, client: BrokerClient, message: MQTTMessage):
        self._commands, self._client, self._message = commands, client, message
        try:
            self.name = message.topic.removeprefix(commands.topic[:-1])
        except UnicodeDecodeError:  # no command has such a name
            self.name = "?"
        self._response_topic, self._correlation = _properties(message)

    def request(self) -> Request:
        """What is asked for.

        Raises:
            InputError: it is retained, unknown or does not fit the schema.
        """
        payload = bytes(self._message.payload)
        if not self._response_topic:  # first: who asks for what does not fit is answered too
            self._response_topic, self._correlation = reply_in(payload)
        request = decode(self.name, payload)
        if self._message.retain:
            raise InputError("a retained command is not done: it would be at every start")
        return request

    def refuse(self, error: str) -> None:
        """Note and answer that it is not done."""
        self._commands.note_refusal(f"{self.name[:80]!r}: {error}")
        self.answer(error=error)

    def done(self, future: "Future[Any]") -> None:
        """Answer with what a handler has promised."""
        error = future.exception()
        if error is None:
            self.answer(future.result())
        else:
            self.answer(error=str(error) or type(error).__name__)

    def answer(self, result: Any = None, error: str = "") -> None:
        """Send the answer, if the request names a topic for it."""
        topic, correlation = self._response_topic, self._correlation
        if not topic:
            return
        if why := self._commands.forbidden(topic):
            self._commands.note_refusal(f"response topic {topic[:80]!r}: {why}")
            return
        properties = None
        words = correlation if isinstance(correlation, str) else correlation.decode("utf-8", "replace")
        if isinstance(correlation, bytes) and correlation:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
        answer = Answer(
            command=self.name,
            ok=not error,
            result=result,
            error=harmless(error, LONGEST_ERROR),
            correlation=words,
        )
        try:
            self._commands.send(self._client, topic, msgspec.json.encode(answer), properties)
        except TooLargeError as fault:
            self._commands.note_refusal(f"the answer to {self.name[:80]!r}: {fault}")
            short = msgspec.structs.replace(
                answer, result=None, error=f"done, but its result is left out: {fault}"
            )
            try:
                self._commands.send(self._client, topic, msgspec.json.encode(short), properties)
            except TooLargeError:  # then there is no answer; the log has the reason
                return


def _properties(message: MQTTMessage) -> tuple[str, bytes | str]:
    """Response topic and correlation data as MQTT 5 has them; "" if they are not there."""
    properties = message.properties
    correlation: bytes | str = getattr(properties, "CorrelationData", "")
    return getattr(properties, "ResponseTopic", ""), correlation
