"""A connection to an MQTT broker, kept up for ever: MQTT 5 first, 3.1.1 where that is refused."""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.mqtt import faults as broker_faults
from edge.mqtt.credentials import Credentials
from edge.mqtt.faults import Fault
from edge.mqtt.settings import MqttSettings

log = logging.getLogger(__name__)

# Back-off between attempts: doubles from the first to the last.
FIRST_DELAY_S, LAST_DELAY_S = 0.25, 30.0
# The least where a person has to mend it, such as a wrong password: brokers lock out who keeps knocking.
PERSON_DELAY_S = 5.0
# A connection that held this long was a good one: its loss is news, and the back-off begins anew.
STABLE_S = 5.0
# TCP and TLS, and then the broker's answer to CONNECT; the last is for an MQTT 5 CONNECT that may fall back:
# amqtt 0.12 answers one with properties never, since it takes them for a client id of some thousand bytes.
CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S, VERSION_TIMEOUT_S = 5.0, 10.0, 3.0
UNSUPPORTED_VERSION = 132
# The most that MQTT can carry: 256 MB and its fixed header.
LARGEST_PACKET_BYTES = 268_435_460
# How often it is looked whether the certificate or password file was renewed.
RENEWAL_CHECK_S = 1.0

OnPublish = Callable[[Client, int, ReasonCode, Properties], None]
OnMessage = Callable[[Client, MQTTMessage], None]
OnSubscribe = Callable[[Client, list[ReasonCode]], None]
Outcome = Literal["connected", "renewed", "version", "unanswered", "failed"]


class Connection:
    """Connects, and connects again, until stopped; every connection has a paho client of its own.

    Callbacks run in paho's network thread and must not block.

    Args:
        settings: the broker.
        client_id: one at a time per broker.
        credentials: by default the settings'.
        will: topic and maker of the last will (QoS 1, retained).
        session_expiry_s: seconds that the broker keeps the session without us; 0 for a clean one each time.
        window: QoS 1 messages under way at once, in either direction.
        packet_bytes: the largest packet that is taken from the broker (MQTT 5 alone can tell it).
        on_connected, on_message, on_publish, on_subscribe: what paho reports.

    Attributes:
        session: paho's client while the broker has accepted the connection.
        connections: how often it did.

    Raises:
        InputError: password, CA or certificate file cannot be read.
    """

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        *,
        credentials: Credentials | None = None,
        will: tuple[str, Callable[[], bytes]] | None = None,
        session_expiry_s: int = 0,
        window: int = 20,
        packet_bytes: int = LARGEST_PACKET_BYTES,
        on_connected: Callable[[Client], None],
        on_message: OnMessage | None = None,
        on_publish: OnPublish | None = None,
        on_subscribe: OnSubscribe | None = None,
    ):
        self._settings, self._client_id = settings, client_id
        self._credentials = credentials or Credentials(settings)
        self._will, self._session_expiry_s, self._window = will, session_expiry_s, window
        self._packet_bytes = packet_bytes
        self._on_connected, self._on_message = on_connected, on_message
        self._on_publish, self._on_subscribe = on_publish, on_subscribe
        self._stopping = threading.Event()
        self._fault = Fault("not tried yet")
        self._told: set[str] = set()  # the faults that were logged since the last good connection
        self._down_told = False
        self.connections = 0
        self.session: Client | None = None
        self.connected = threading.Event()
        self.version = ""
        self.receive_maximum = window
        self._thread = threading.Thread(target=self._run, name=f"mqtt {client_id}", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread that connects runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to connect, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Disconnect (so that the broker drops the last will) and end the thread."""
        self._stopping.set()
        session = self.session
        if session is not None:
            session.disconnect()
        if self._thread.is_alive():
            self._thread.join(CONNECT_TIMEOUT_S + 1)

    def state(self) -> str:
        """ "connected, MQTT 5", "connected, MQTT 3.1.1" or "not connected: <why>"."""
        if self.connected.is_set():
            return f"connected, MQTT {self.version}"
        return f"not connected: {self._fault.text}"

    def needs_person(self) -> bool:
        """Whether there is no connection for a reason that trying again cannot mend, such as a wrong password."""
        return not self.connected.is_set() and self._fault.needs_person

    def _run(self) -> None:
        auto = self._settings.version == "auto"
        version = first = "5" if auto else self._settings.version
        delay_s = FIRST_DELAY_S
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                outcome = _Attempt(self, version).run()
            except Exception:  # the thread's top: the box must go on trying
                log.exception("MQTT: unexpected error")
                outcome = "failed"
            if auto and version == "5" and outcome in ("version", "unanswered"):
                version = "3.1.1"
                continue
            # A broker that closed by chance, or was replaced, is asked for MQTT 5 again.
            version = first
            if outcome == "renewed" or (outcome == "connected" and time.monotonic() - began > STABLE_S):
                delay_s = FIRST_DELAY_S
                self._told.clear()
            if outcome == "failed" and self._fault.needs_person:
                delay_s = max(delay_s, PERSON_DELAY_S)
            self._wait(delay_s * random.uniform(0.7, 1.0))
            delay_s = min(delay_s * 2, LAST_DELAY_S)

    def _wait(self, delay_s: float) -> None:
        """Until the next attempt; new credentials are tried at once."""
        deadline = time.monotonic() + delay_s
        while (rest_s := deadline - time.monotonic()) > 0:
            if self._stopping.wait(min(rest_s, RENEWAL_CHECK_S)) or self._credentials.renewed():
                return

    def _connected(self, client: Client, version: str, properties: Properties | None) -> None:
        """The broker has accepted the connection."""
        receive_maximum = getattr(properties, "ReceiveMaximum", None) or self._window
        # paho does not look at it, and a broker cuts off who has more under way; 2 are for status and answers.
        self.receive_maximum = min(self._window, max(1, receive_maximum - 2))
        if version != self.version:
            where = f"{self._settings.host}:{self._settings.port}"
            log.info(
                "connected to %s with MQTT %s%s",
                where,
                version,
                "" if version == "5" or self._settings.version != "auto" else ": it does not speak 5",
            )
        elif self._down_told:
            log.info("connected again to %s:%d", self._settings.host, self._settings.port)
        self._down_told = False
        self.connections += 1
        self.version, self.session = version, client
        self._on_connected(client)
        self.connected.set()

    def _failed(self, fault: Fault, quiet: bool = False) -> None:
        """Keep why there is no connection, and log it where it is news."""
        self._fault = fault
        if fault.text not in self._told and not quiet and not self._stopping.is_set():
            log.warning(
                "broker %s:%d: %s; trying again", self._settings.host, self._settings.port, fault.text
            )
            self._told.add(fault.text)
            self._down_told = True


class _Attempt:
    """One paho client from CONNECT to its end."""

    def __init__(self, owner: Connection, version: str):
        self._owner, self._version = owner, version
        self._answered, self._ended = threading.Event(), threading.Event()
        self._accepted = False
        self._reason: Fault | None = None
        self._alert: Fault | None = None  # what TLS says after its handshake; paho only logs it
        self._refused_version = self._renewed = False
        self._may_fall_back = owner._settings.version == "auto" and version == "5"
        self._client = self._make_client()

    def run(self) -> Outcome:
        """Connect and stay until the connection ends."""
        owner, client = self._owner, self._client
        try:
            self._connect()
        except (OSError, ValueError) as error:
            host, port, tls = owner._settings.host, owner._settings.port, owner._credentials.tls
            owner._failed(broker_faults.of_connecting(error, host, port, tls is not None))
            return "failed"
        client.loop_start()
        try:
            self._wait()
        finally:
            owner.connected.clear()
            owner.session = None
            client.disconnect()
            client.loop_stop()
        return self._outcome()

    def _outcome(self) -> Outcome:
        owner = self._owner
        if self._renewed:
            return "renewed"
        if self._accepted and self._alert is None:
            owner._failed(self._reason or Fault("connection lost"))
            return "connected"
        if self._refused_version:
            owner._failed(Fault(f"does not speak MQTT {self._version}"), quiet=self._may_fall_back)
            return "version"
        if fault := self._alert or self._reason or self._ask_for_alert():
            owner._failed(fault)
            return "failed"
        words = "closes the connection unanswered" if self._ended.is_set() else "does not answer"
        owner._failed(Fault(words), quiet=self._may_fall_back)
        return "unanswered"

    def _ask_for_alert(self) -> Fault | None:
        settings, tls = self._owner._settings, self._owner._credentials.tls
        if tls is None or not self._ended.is_set() or self._owner._stopping.is_set():
            return None
        return broker_faults.ask_for_alert(tls, settings.host, settings.port)

    def _wait(self) -> None:
        stopping = self._owner._stopping
        deadline = time.monotonic() + (VERSION_TIMEOUT_S if self._may_fall_back else ANSWER_TIMEOUT_S)
        while not self._answered.wait(0.1):
            if stopping.is_set() or time.monotonic() > deadline:
                return
        # Asked now and then, so that a dead network thread cannot leave us waiting for ever.
        while self._accepted and not self._ended.wait(RENEWAL_CHECK_S) and self._client.is_connected():
            if self._owner._credentials.renewed():
                self._renewed = True
                return

    def _make_client(self) -> Client:
        owner, five = self._owner, self._version == "5"
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=owner._client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            clean_session=None if five else owner._session_expiry_s == 0,
            reconnect_on_failure=False,
            manual_ack=owner._on_message is not None,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        credentials = owner._credentials
        if credentials.username:
            client.username_pw_set(credentials.username, credentials.password or None)
        if credentials.tls is not None:
            client.tls_set_context(credentials.tls)
        if owner._will is not None:
            topic, payload = owner._will
            client.will_set(topic, payload(), qos=1, retain=True)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_log = self._on_log
        if (on_publish := owner._on_publish) is not None:
            client.on_publish = lambda c, _u, mid, reason, props: on_publish(c, mid, reason, props)
        if (on_message := owner._on_message) is not None:
            client.on_message = lambda c, _u, message: on_message(c, message)
        if (on_subscribe := owner._on_subscribe) is not None:
            client.on_subscribe = lambda c, _u, _mid, reasons, _p: on_subscribe(c, reasons)
        return client

    def _connect(self) -> None:
        owner, settings = self._owner, self._owner._settings
        properties = None
        clean = owner._session_expiry_s == 0
        if self._version == "5" and not clean:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.ReceiveMaximum = owner._window
            properties.MaximumPacketSize = owner._packet_bytes
            properties.SessionExpiryInterval = owner._session_expiry_s
        if self._version == "5":
            self._client.connect(
                settings.host, settings.port, settings.keepalive_s, clean_start=clean, properties=properties
            )
        else:
            self._client.connect(settings.host, settings.port, settings.keepalive_s)

    def _on_connect(
        self,
        client: Client,
        _userdata: Any,
        _flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:  # paho calls this for a refusal too
            username = self._owner._credentials.username
            self._reason = broker_faults.of_refusal(reason.value, str(reason), username)
            self._refused_version = reason.value == UNSUPPORTED_VERSION
        else:
            self._accepted = True
            self._owner._connected(client, self._version, properties)
        self._answered.set()

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: Any,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if self._accepted:
            self._reason = broker_faults.of_loss(reason.value, str(reason), self._owner._client_id)
            self._owner.connected.clear()
            self._owner.session = None
        self._ended.set()
        self._answered.set()

    def _on_log(self, _client: Client, _userdata: Any, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self._alert = broker_faults.of_alert(text) or self._alert
