"""One connection to the broker, from CONNECT to its end."""

import threading
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec.structs import replace
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import LogLevel
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.host import threads
from edge.mqtt import faults, limits
from edge.mqtt.client import BrokerClient
from edge.mqtt.credentials import Credentials
from edge.mqtt.faults import Fault
from edge.mqtt.settings import MqttSettings

# TCP and TLS, and then the broker's answer to CONNECT; the last is for an MQTT 5 CONNECT that may fall back:
# amqtt 0.12 never answers a CONNECT with properties, since it parses them as the client id.
CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S, VERSION_TIMEOUT_S = 5.0, 10.0, 3.0
# How long the end of a connection may take in good order before it is cut.
LEAVE_TIMEOUT_S = 1.0
# How often it is checked whether the certificate or password file was renewed.
RENEWAL_CHECK_S = 1.0
# Reason codes of a CONNACK that refuses.
UNSUPPORTED_VERSION, PACKET_TOO_LARGE, NO_RETAIN, NO_QOS = 132, 149, 154, 155

OnPublish = Callable[[BrokerClient, int, ReasonCode], None]
OnMessage = Callable[[BrokerClient, MQTTMessage], None]
OnSubscribe = Callable[[BrokerClient, list[ReasonCode]], None]
Version = Literal["5", "3.1.1"]
Outcome = Literal["connected", "renewed", "version", "will", "unanswered", "failed"]


class Will(msgspec.Struct, frozen=True):
    """What the broker publishes if this client goes without a DISCONNECT."""

    topic: str
    payload: Callable[[], bytes]
    qos: int = 1
    retain: bool = True


class Callbacks(msgspec.Struct, frozen=True):
    """What is called while the connection lasts, in paho's network thread; must not block.

    Attributes:
        accepted: the broker has accepted the connection.
        ready: after that, what `accepted` sent is on its way; called by the thread that connects.
        ended: the connection is over; may be called more than once.
        message, published, subscribed: what paho reports; None for what nobody wants to know.
    """

    accepted: Callable[[BrokerClient], None]
    ready: Callable[[BrokerClient], None]
    ended: Callable[[BrokerClient], None]
    message: OnMessage | None = None
    published: OnPublish | None = None
    subscribed: OnSubscribe | None = None


class Plan(msgspec.Struct, frozen=True):
    """What an attempt asks of the broker.

    Attributes:
        may_fall_back: whether another version is tried if the broker does not know this one.
        will: None for none.
        session_expiry_s: seconds that the broker keeps the session without us; 0 for a clean one.
        window: messages of QoS 1 that the broker may have under way to us.
        packet_bytes: the largest packet that is taken; a broker of 3.1.1 cannot be told.
    """

    settings: MqttSettings
    credentials: Credentials
    client_id: str
    version: Version
    may_fall_back: bool
    will: Will | None
    session_expiry_s: int
    window: int
    packet_bytes: int


class Ending(msgspec.Struct, frozen=True):
    """How an attempt ended.

    Attributes:
        outcome: "connected" (it was, and is over), "renewed" (ended for new credentials), "version" (the broker
            does not speak it), "will" (the broker does not take such a last will), "unanswered" or "failed".
        fault: why there is no connection now.
        quiet: the fault is not logged, since another attempt follows at once, or who ended it has logged it.
        acknowledged: how many messages the broker has acknowledged.
        will: for "will", what to try next.
    """

    outcome: Outcome
    fault: Fault | None = None
    quiet: bool = False
    acknowledged: int = 0
    will: Will | None = None


class Attempt:
    """Connects once and stays until the connection ends.

    Args:
        plan: what to ask for.
        callbacks: called while the connection lasts.
        stopping: ends it in good order.
    """

    def __init__(self, plan: Plan, callbacks: Callbacks, stopping: threading.Event):
        self._plan, self._callbacks, self._stopping = plan, callbacks, stopping
        self._answered, self._over, self._thread_over = (threading.Event() for _ in range(3))
        self._lock = threading.Lock()
        self._accepted = False
        self._acknowledged = 0
        self._refusal = 0  # the CONNACK's reason code
        self._reason: Fault | None = None  # of the broker's refusal, or of the loss
        self._alert: Fault | None = None  # what TLS reports after its handshake; paho only logs it
        self._ended_for: Fault | None = None  # set by `end`
        self._client = self._make_client()

    def run(self) -> Ending:
        """Connect and stay until the connection ends."""
        plan = self._plan
        try:
            self._connect()
        except (OSError, ValueError) as error:
            tls = plan.credentials.tls is not None
            return Ending("failed", faults.of_connecting(error, plan.settings.host, plan.settings.port, tls))
        renewed = False
        try:
            self._client.loop_start()
            renewed = self._stay()
        finally:
            self._callbacks.ended(self._client)
            self._close()
        return self._ending(renewed)

    def end(self, fault: Fault) -> None:
        """End the connection, since it does not work: from any thread."""
        with self._lock:
            self._ended_for = self._ended_for or fault
        self._wake()

    def leave(self) -> None:
        """End the connection in good order: from any thread, once `stopping` is set."""
        self._wake()

    def _wake(self) -> None:
        self._over.set()
        self._answered.set()

    def _stay(self) -> bool:
        """Wait until the connection is over; True if it is ended for new credentials."""
        patience_s = VERSION_TIMEOUT_S if self._plan.may_fall_back else ANSWER_TIMEOUT_S
        if not self._answered.wait(patience_s) or not self._accepted:
            return False
        self._callbacks.ready(self._client)
        while not self._over.wait(RENEWAL_CHECK_S):
            if self._plan.credentials.renewed():
                return True
        return False

    def _close(self) -> None:
        if self._ended_for is None and not self._thread_over.is_set():
            self._client.disconnect()  # so that the broker drops the last will
            self._thread_over.wait(LEAVE_TIMEOUT_S)
        if not self._thread_over.is_set():
            self._client.cut()
        self._client.loop_stop()

    def _ending(self, renewed: bool) -> Ending:
        if renewed:
            return Ending("renewed")
        found = self._ended_for or self._alert or self._unreadable() or self._reason
        if self._accepted and self._alert is None:
            found = found or Fault("connection lost")
            return Ending("connected", found, self._ended_for is not None, self._acknowledged)
        return self._refused(found)

    def _refused(self, found: Fault | None) -> Ending:
        """The broker has not accepted the connection."""
        may_fall_back = self._plan.may_fall_back
        if self._refusal == UNSUPPORTED_VERSION:
            return Ending("version", Fault(f"does not speak MQTT {self._plan.version}"), may_fall_back)
        if (will := self._lesser_will()) != self._plan.will:
            return Ending("will", found, quiet=True, will=will)
        if may_fall_back and self._client.failure is not None:  # an answer as an older version has it
            return Ending("unanswered", found, quiet=True)
        if found := found or self._ask_for_alert():
            return Ending("failed", found)
        words = "closes the connection unanswered" if self._over.is_set() else "does not answer"
        return Ending("unanswered", Fault(words), may_fall_back)

    def _unreadable(self) -> Fault | None:
        """What came is no MQTT, or paho has failed at it: its network thread is dead."""
        error = self._client.failure
        return None if error is None else faults.of_network_thread(error)

    def _lesser_will(self) -> Will | None:
        """The last will that a broker may take that has just refused this one."""
        will = self._plan.will
        if will is None:
            return None
        if self._refusal == NO_RETAIN:
            return replace(will, retain=False)
        if self._refusal == NO_QOS:
            return replace(will, qos=0)
        return None if self._refusal == PACKET_TOO_LARGE else will

    def _ask_for_alert(self) -> Fault | None:
        settings, tls = self._plan.settings, self._plan.credentials.tls
        if tls is None or not self._over.is_set() or self._stopping.is_set():
            return None
        return faults.ask_for_alert(tls, settings.host, settings.port)

    def _make_client(self) -> BrokerClient:
        plan, calls = self._plan, self._callbacks
        client = BrokerClient(
            plan.client_id,
            plan.version,
            clean=plan.session_expiry_s == 0,
            manual_ack=calls.message is not None,
            on_thread_end=self._thread_ended,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        credentials = plan.credentials
        if credentials.username:
            client.username_pw_set(credentials.username, credentials.password or None)
        if credentials.tls is not None:
            client.tls_set_context(credentials.tls)
        if (will := plan.will) is not None:
            client.will_set(will.topic, will.payload(), will.qos, will.retain)
        name = f"MQTT {plan.client_id}"
        client.on_connect = threads.guarded(f"{name}: connected", self._on_connect, self._callback_failed)
        client.on_disconnect = threads.guarded(f"{name}: disconnected", self._on_disconnect)
        client.on_log = threads.guarded(f"{name}: log", self._on_log)
        client.on_publish = threads.guarded(f"{name}: acknowledged", self._on_publish)
        if (message := calls.message) is not None:
            client.on_message = threads.guarded(
                f"{name}: message", lambda _c, _u, m: message(self._client, m)
            )
        if (subscribed := calls.subscribed) is not None:
            client.on_subscribe = threads.guarded(
                f"{name}: subscribed", lambda _c, _u, _m, reasons, _p: subscribed(self._client, reasons)
            )
        return client

    def _connect(self) -> None:
        settings, clean = self._plan.settings, self._plan.session_expiry_s == 0
        if self._plan.version == "3.1.1":
            self._client.connect(settings.host, settings.port, settings.keepalive_s)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = self._plan.window
        if self._plan.packet_bytes < limits.LARGEST_PACKET_BYTES:
            properties.MaximumPacketSize = self._plan.packet_bytes
        if not clean:
            properties.SessionExpiryInterval = self._plan.session_expiry_s
        self._client.connect(
            settings.host, settings.port, settings.keepalive_s, clean_start=clean, properties=properties
        )

    def _on_connect(
        self,
        _client: Client,
        _userdata: Any,
        _flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:  # paho calls this for a refusal too
            username = self._plan.credentials.username
            self._refusal = reason.value
            self._reason = faults.of_refusal(reason.value, str(reason), username)
        else:
            # A broker of 3.1.1 reports no limits.
            self._client.heed(limits.of_connack(properties if self._plan.version == "5" else None))
            self._accepted = True
            self._callbacks.accepted(self._client)
        self._answered.set()

    def _callback_failed(self, error: Exception) -> None:
        """Who has to subscribe and announce could not: such a connection is worth nothing."""
        # It was logged already.
        self.end(Fault(f"unexpected error at the connection: {type(error).__name__}: {error}"))

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: Any,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if self._accepted:
            self._reason = faults.of_loss(reason.value, str(reason), self._plan.client_id)
            self._callbacks.ended(self._client)
        self._wake()

    def _on_publish(
        self, _client: Client, _userdata: Any, mid: int, reason: ReasonCode, _properties: Properties
    ) -> None:
        self._acknowledged += not reason.is_failure
        if self._callbacks.published is not None:
            self._callbacks.published(self._client, mid, reason)

    def _on_log(self, _client: Client, _userdata: Any, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self._alert = faults.of_alert(text) or self._alert

    def _thread_ended(self) -> None:
        self._thread_over.set()
        self._callbacks.ended(self._client)
        self._wake()
