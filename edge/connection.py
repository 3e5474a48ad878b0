"""A connection to an MQTT broker, kept up for ever: MQTT 5 first, 3.1.1 where that is refused."""

import logging
import random
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.errors import InputError

log = logging.getLogger(__name__)

# Back-off between attempts: doubles from the first to the last.
FIRST_DELAY_S, LAST_DELAY_S = 0.25, 30.0
# A connection that held this long was a good one: its loss is news, and the back-off begins anew.
STABLE_S = 5.0
# TCP and TLS, and then the broker's answer to CONNECT; the last is for an MQTT 5 CONNECT that may fall back:
# amqtt 0.12 answers one with properties never, since it takes them for a client id of some thousand bytes.
CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S, VERSION_TIMEOUT_S = 5.0, 10.0, 3.0
UNSUPPORTED_VERSION = 132
TLS_PORT = 8883

OnPublish = Callable[[Client, int, ReasonCode, Properties], None]
OnMessage = Callable[[Client, MQTTMessage], None]
OnSubscribe = Callable[[Client, list[ReasonCode]], None]
Outcome = Literal["connected", "version", "unanswered", "failed"]


class MqttSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The broker.

    Attributes:
        host, port: where it is; port 8883 means TLS.
        version: "auto" tries MQTT 5, then 3.1.1.
        topic: the root of all topics; no wildcards.
        username: "" for none.
        password_file: holds the password and nothing else; "" for none.
        ca_file: PEM of the authority that signed the broker's certificate; with it, TLS; "" for the system's.
        cert_file, key_file: PEM of this box's own certificate and key; "" for none.
        keepalive_s: seconds without traffic until the broker is asked whether it is there.
    """

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    version: Literal["auto", "5", "3.1.1"] = "auto"
    topic: Annotated[str, Meta(pattern=r"^[^+#/$\x00][^+#\x00]*$")] = "leukoscope"
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    keepalive_s: Annotated[int, Meta(ge=5, le=65535)] = 30


class Connection:
    """Connects, and connects again, until stopped; every connection has a paho client of its own.

    Callbacks run in paho's network thread and must not block.

    Args:
        settings: the broker.
        client_id: one at a time per broker.
        password: instead of the settings' password file.
        tls: True for TLS also without a CA file and on any port.
        will: topic and maker of the last will (QoS 1, retained).
        session_expiry_s: seconds that the broker keeps the session without us; 0 for a clean one each time.
        window: QoS 1 messages under way at once, in either direction.
        on_connected, on_message, on_publish, on_subscribe: what paho reports.

    Raises:
        InputError: password, CA or certificate file cannot be read.
    """

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        *,
        password: str = "",
        tls: bool = False,
        will: tuple[str, Callable[[], bytes]] | None = None,
        session_expiry_s: int = 0,
        window: int = 20,
        on_connected: Callable[[Client], None],
        on_message: OnMessage | None = None,
        on_publish: OnPublish | None = None,
        on_subscribe: OnSubscribe | None = None,
    ):
        self._settings, self._client_id = settings, client_id
        self._password = password or _read_password(settings.password_file)
        self._tls = _tls_context(settings, tls)
        self._will, self._session_expiry_s, self._window = will, session_expiry_s, window
        self._on_connected, self._on_message = on_connected, on_message
        self._on_publish, self._on_subscribe = on_publish, on_subscribe
        self._stopping = threading.Event()
        self._fault, self._logged_fault = "not tried yet", ""
        self.session: Client | None = None
        self.connected = threading.Event()
        self.version = ""
        self.receive_maximum = window
        self._thread = threading.Thread(target=self._run, name=f"mqtt {client_id}", daemon=True)

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
        return f"not connected: {self._fault}"

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
            if outcome == "connected" and time.monotonic() - began > STABLE_S:
                delay_s, self._logged_fault = FIRST_DELAY_S, ""
            self._stopping.wait(delay_s * random.uniform(0.7, 1.0))
            delay_s = min(delay_s * 2, LAST_DELAY_S)

    def _connected(self, client: Client, version: str, properties: Properties | None) -> None:
        """The broker has accepted the connection."""
        receive_maximum = getattr(properties, "ReceiveMaximum", None) or self._window
        self.receive_maximum = min(self._window, receive_maximum)
        if version != self.version:
            where = f"{self._settings.host}:{self._settings.port}"
            log.info(
                "connected to %s with MQTT %s%s",
                where,
                version,
                "" if version == "5" or self._settings.version != "auto" else ": it does not speak 5",
            )
        elif self._logged_fault:
            log.info("connected again to %s:%d", self._settings.host, self._settings.port)
        self.version, self.session, self._fault = version, client, ""
        self._on_connected(client)
        self.connected.set()

    def _failed(self, fault: str, quiet: bool = False) -> None:
        """Keep why there is no connection, and log it where it is news."""
        self._fault = fault
        if fault != self._logged_fault and not quiet and not self._stopping.is_set():
            log.warning("broker %s:%d: %s; trying again", self._settings.host, self._settings.port, fault)
            self._logged_fault = fault


class _Attempt:
    """One paho client from CONNECT to its end."""

    def __init__(self, owner: Connection, version: str):
        self._owner, self._version = owner, version
        self._answered, self._ended = threading.Event(), threading.Event()
        self._accepted = False
        self._reason = ""
        self._refused_version = False
        self._may_fall_back = owner._settings.version == "auto" and version == "5"
        self._client = self._make_client()

    def run(self) -> Outcome:
        """Connect and stay until the connection ends."""
        owner, client = self._owner, self._client
        try:
            self._connect()
        except (OSError, ValueError) as error:
            owner._failed(f"cannot connect: {error}")
            return "failed"
        client.loop_start()
        try:
            self._wait()
        finally:
            owner.connected.clear()
            owner.session = None
            client.disconnect()
            client.loop_stop()
        if self._accepted:
            owner._failed(f"connection lost: {self._reason}")
            return "connected"
        if self._refused_version:
            owner._failed(f"does not speak MQTT {self._version}", quiet=self._may_fall_back)
            return "version"
        if self._reason:
            owner._failed(f"refuses the connection: {self._reason}")
            return "failed"
        fault = "closes the connection unanswered" if self._ended.is_set() else "does not answer"
        owner._failed(fault, quiet=self._may_fall_back)
        return "unanswered"

    def _wait(self) -> None:
        stopping = self._owner._stopping
        deadline = time.monotonic() + (VERSION_TIMEOUT_S if self._may_fall_back else ANSWER_TIMEOUT_S)
        while not self._answered.wait(0.1):
            if stopping.is_set() or time.monotonic() > deadline:
                return
        # Asked now and then, so that a dead network thread cannot leave us waiting for ever.
        while self._accepted and not self._ended.wait(1.0) and self._client.is_connected():
            pass

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
        if owner._settings.username:
            client.username_pw_set(owner._settings.username, owner._password or None)
        if owner._tls is not None:
            client.tls_set_context(owner._tls)
        if owner._will is not None:
            topic, payload = owner._will
            client.will_set(topic, payload(), qos=1, retain=True)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
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
            self._reason = str(reason)
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
            self._reason = str(reason)
            self._owner.connected.clear()
            self._owner.session = None
        self._ended.set()
        self._answered.set()


def _read_password(file: str) -> str:
    if not file:
        return ""
    try:
        return Path(file).read_text().strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"[mqtt] password_file {file}: {error}") from error


def _tls_context(settings: MqttSettings, tls: bool) -> ssl.SSLContext | None:
    if not (tls or settings.ca_file or settings.cert_file or settings.port == TLS_PORT):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file or None)
    except OSError as error:  # ssl.SSLError is one too
        raise InputError(f"[mqtt] ca_file, cert_file or key_file: {error}") from error
    return context
