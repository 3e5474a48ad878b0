"""Commands that arrive over MQTT: only those listed here, checked against their schema, each answered."""

import logging
import queue
import threading
import unicodedata
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.errors import InputError, LeukoscopeError
from edge.notice import NOTICE
from edge.records import Specimen

log = logging.getLogger(__name__)

# A command is some words; more is a mistake or an attack.
LONGEST_BYTES = 16 * 1024
LONGEST_TOPIC = 1000
WAITING_LIMIT = 100
# Different faults that are logged; a sender of nonsense must not fill the disk.
LOGGED_LIMIT = 50


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every command may hold; MQTT 5 has properties for both, which go before these.

    Attributes:
        response_topic: where the answer goes; without one there is none.
        correlation: comes back with the answer.
    """

    response_topic: str = ""
    correlation: Annotated[str, Meta(max_length=1000)] = ""


class CaptureRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`capture`: one result of a frame that is taken now; the answer holds its record.

    Attributes:
        specimen: of this result; null for the one that is set.
    """

    specimen: Specimen | None = None


class SpecimenRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`specimen`: names the slide or sample of all results from now on.

    Attributes:
        specimen: its name; "" for none.
    """

    specimen: Specimen


class HealthRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`health`: the answer holds the health message of this moment."""


REQUESTS: dict[str, type[Request]] = {
    "capture": CaptureRequest,
    "specimen": SpecimenRequest,
    "health": HealthRequest,
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What comes back.

    Attributes:
        command: its name.
        ok: whether it was done.
        result: what it gave, a record say.
        error: why it was not done, or "".
        correlation: as it came.
        notice: that it is no diagnosis.
    """

    command: str
    ok: bool
    result: Any = None
    error: str = ""
    correlation: str = ""
    notice: str = NOTICE


Handler = Callable[[Any], Any]
"""Takes the request; gives what the answer's `result` shall hold, or a future of it; may raise LeukoscopeError."""


class RemoteCommands:
    """Takes commands below `<root>/commands/`, has them done one after the other, and answers.

    Args:
        root: `<topic>/<device id>`.
        handlers: what does each command; a command without one is answered with an error.
    """

    def __init__(self, root: str, handlers: Mapping[str, Handler]):
        self._root, self._handlers = root, dict(handlers)
        self._waiting: queue.Queue[tuple[Client, MQTTMessage] | None] = queue.Queue(WAITING_LIMIT)
        self._told: set[str] = set()
        self.refused = 0
        self._thread = threading.Thread(target=self._run, name="commands", daemon=True)

    @property
    def topic(self) -> str:
        """The filter to subscribe to."""
        return f"{self._root}/commands/#"

    def start(self) -> None:
        """Begin to work, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Do no more."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:  # the thread ends with the process
            return

    def receive(self, client: Client, message: MQTTMessage) -> None:
        """From the network thread: take a command. It is acknowledged now, and so never done twice."""
        client.ack(message.mid, message.qos)
        try:
            self._waiting.put_nowait((client, message))
        except queue.Full:
            self._refused(f"{WAITING_LIMIT} commands wait already")

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            try:
                self._handle(*item)
            except Exception:  # the thread's top: the next command must be heard
                log.exception("command on %s: unexpected error", item[1].topic)

    def _handle(self, client: Client, message: MQTTMessage) -> None:
        name = message.topic.removeprefix(f"{self._root}/commands/")
        topic, correlation = _properties(message)
        reply = partial(self._reply, client, name, topic, correlation)
        try:
            if message.retain:
                raise InputError("a retained command is not done: it would be at every start")
            request = _decode(name, bytes(message.payload))
            if not topic:
                reply = partial(self._reply, client, name, request.response_topic, request.correlation)
            if name not in self._handlers:
                raise InputError(f"this box has no {name}: it works through a folder of images")
            result = self._handlers[name](request)
        except LeukoscopeError as error:
            self._refused(f"{name[:80]!r}: {error}")
            reply(error=str(error))
            return
        if isinstance(result, Future):
            result.add_done_callback(lambda done: self._done(done, reply))
        else:
            reply(result=result)

    def _done(self, done: "Future[Any]", reply: Callable[..., None]) -> None:
        error = done.exception()
        if error is None:
            reply(result=done.result())
        else:
            reply(error=str(error))

    def _refused(self, reason: str) -> None:
        self.refused += 1
        if reason not in self._told and len(self._told) < LOGGED_LIMIT:
            self._told.add(reason)
            log.warning("command refused: %s", reason)

    def _reply(
        self,
        client: Client,
        name: str,
        topic: str,
        correlation: bytes | str,
        result: Any = None,
        error: str = "",
    ) -> None:
        if not topic:
            return
        if topic.startswith(("$", f"{self._root}/")) or not _publishable(topic):
            self._refused(
                f"response topic {topic[:80]!r}: printable, not below $ or {self._root}/, no wildcards"
            )
            return
        properties = None
        words = correlation if isinstance(correlation, str) else correlation.decode("utf-8", "replace")
        if isinstance(correlation, bytes) and correlation:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
        answer = Answer(command=name, ok=not error, result=result, error=error, correlation=words)
        client.publish(topic, msgspec.json.encode(answer), qos=1, properties=properties)


def _publishable(topic: str) -> bool:
    """Whether a broker takes it; for a topic with control characters it cuts off who sends it (MQTT 5 §1.5.4)."""
    forbidden = ("Cc", "Cn", "Cs")  # control characters, non-characters, halves of a pair
    return len(topic) <= LONGEST_TOPIC and not any(
        c in "+#" or unicodedata.category(c) in forbidden for c in topic
    )


def _properties(message: MQTTMessage) -> tuple[str, bytes | str]:
    """Response topic and correlation data as MQTT 5 has them; "" where they are not there."""
    properties = message.properties
    correlation: bytes | str = getattr(properties, "CorrelationData", "")
    return getattr(properties, "ResponseTopic", ""), correlation


def _decode(name: str, payload: bytes) -> Request:
    if name not in REQUESTS:
        raise InputError(f"no such command; there are {', '.join(sorted(REQUESTS))}")
    if len(payload) > LONGEST_BYTES:
        raise InputError(f"{len(payload)} bytes: longer than {LONGEST_BYTES}")
    try:
        return msgspec.json.decode(payload or b"{}", type=REQUESTS[name])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InputError(f"it does not fit the schema: {error}") from error
