"""A connection to an MQTT broker, kept up for ever: MQTT 5 first, 3.1.1 if the broker refuses that."""

import logging
import threading
import time
from collections.abc import Callable

from msgspec.structs import replace

from edge.host import threads
from edge.host.backoff import Backoff
from edge.mqtt import attempt
from edge.mqtt.attempt import (
    Attempt,
    Callbacks,
    Ending,
    OnMessage,
    OnPublish,
    OnSubscribe,
    Plan,
    Version,
    Will,
)
from edge.mqtt.client import BrokerClient
from edge.mqtt.credentials import Credentials
from edge.mqtt.faults import Fault
from edge.mqtt.limits import LARGEST_PACKET_BYTES, Limits
from edge.mqtt.settings import MqttSettings

log = logging.getLogger(__name__)

# Between attempts: doubles from the first to the last.
FIRST_DELAY_S, LAST_DELAY_S = 0.25, 30.0
# Minimum delay when only a person can fix it, such as a wrong password; brokers may ban repeated attempts.
PERSON_DELAY_S = 5.0
# A connection that held this long was a good one: its loss is news, and the delays begin anew.
STABLE_S = 5.0
# Longest delay after a connection in which the broker acknowledged so much (the announcement, and a record): one
# that closes often still gets all. Not shorter, since two boxes with one id throw each other out.
USEFUL_DELAY_S, USEFUL_ACKNOWLEDGEMENTS = 2.0, 2


class Connection:
    """Connects, and connects again, until stopped; every connection has a client of its own.

    Callbacks run in paho's network thread and must not block. What one of them raises is logged.

    Args:
        settings: the broker.
        client_id: one at a time per broker.
        credentials: by default the settings'.
        will: topic and maker of the last will (QoS 1, retained).
        session_expiry_s: seconds that the broker keeps the session without us; 0 for a clean one each time.
        window: QoS 1 messages under way at once, in either direction.
        packet_bytes: the largest packet that is taken from the broker (a broker of 3.1.1 cannot be told).
        on_connected, on_message, on_publish, on_subscribe: what paho reports.

    Attributes:
        session: the client while the broker has accepted the connection, else None.
        connected: set for as long.
        connections: how often it did.
        version: of the last connection, "5" or "3.1.1"; "" before the first.
        limits: what the broker allowed at the last connection.
        loss: what ended the last connection that the broker had accepted; None before that.

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
        on_connected: Callable[[BrokerClient], None],
        on_message: OnMessage | None = None,
        on_publish: OnPublish | None = None,
        on_subscribe: OnSubscribe | None = None,
    ):
        self._settings, self._on_connected = settings, on_connected
        self._window = window
        self._callbacks = Callbacks(
            self._accepted, self._ready, self._ended, on_message, on_publish, on_subscribe
        )
        self._plan = Plan(
            settings,
            credentials or Credentials(settings),
            client_id,
            version="5",
            may_fall_back=False,
            will=None if will is None else Will(*will),
            session_expiry_s=session_expiry_s,
            window=window,
            packet_bytes=packet_bytes,
        )
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # of all that follows
        self._attempt: Attempt | None = None
        self._fault = Fault("not tried yet")
        self._told: set[str] = set()  # the faults that were logged since the last good connection
        self._down_told = False
        self._told_limits = ""
        self.connections = 0
        self.session: BrokerClient | None = None
        self.connected = threading.Event()
        self.version = ""
        self.limits = Limits()
        self.loss: Fault | None = None
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether the thread that connects runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def receive_maximum(self) -> int:
        """QoS 1 messages under way at once that the broker takes; 2 are kept back for status and answers."""
        return min(self._window, max(1, self.limits.messages - 2))

    def start(self) -> None:
        """Begin to connect, in a thread of its own."""
        self._thread = threads.keep(f"mqtt {self._plan.client_id}", self._run, self._stopping)

    def stop(self) -> None:
        """Disconnect (so that the broker drops the last will) and end the thread."""
        self._stopping.set()
        with self._lock:
            current = self._attempt
        if current is not None:
            current.leave()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(attempt.CONNECT_TIMEOUT_S + attempt.LEAVE_TIMEOUT_S)

    def renew(self, fault: str) -> None:
        """End this connection, since it does not work, and make a new one; who asks for it logs why.

        Args:
            fault: what does not work, for health.
        """
        with self._lock:
            current = self._attempt
        if current is not None:
            current.end(Fault(fault))

    def state(self) -> str:
        """ "connected, MQTT 5", with the broker's limits if there are any, or "not connected: <why>"."""
        with self._lock:
            if self.session is None:
                return f"not connected: {self._fault.said()}"
            parts = (f"connected, MQTT {self.version}", self.limits.said())
        return "; ".join(filter(None, parts))

    def needs_person(self) -> bool:
        """Whether there is no connection for a reason that trying again cannot mend, such as a wrong password."""
        with self._lock:
            return not self.connected.is_set() and self._fault.needs_person

    def _run(self) -> None:
        auto = self._settings.version == "auto"
        first: Version = "3.1.1" if self._settings.version == "3.1.1" else "5"
        version = first
        backoff = Backoff(FIRST_DELAY_S, LAST_DELAY_S)
        while not self._stopping.is_set():
            began = time.monotonic()
            self._plan = replace(self._plan, version=version, may_fall_back=auto and version == "5")
            ending = self._attempt_once()
            if ending.outcome == "will":
                self._plan = replace(self._plan, will=ending.will)
                continue
            if self._plan.may_fall_back and ending.outcome in ("version", "unanswered"):
                version = "3.1.1"
                continue
            # A broker that closed by chance, or was replaced, is asked for MQTT 5 again.
            version = first
            stable = ending.outcome == "connected" and time.monotonic() - began > STABLE_S
            if stable or ending.outcome == "renewed":
                with self._lock:
                    self._told.clear()
                backoff.reset()
            needs_person = ending.fault is not None and ending.fault.needs_person
            delay_s = backoff.next_s(PERSON_DELAY_S if needs_person else 0.0)
            if ending.acknowledged >= USEFUL_ACKNOWLEDGEMENTS and not needs_person:
                delay_s = min(delay_s, USEFUL_DELAY_S)
            self._wait(delay_s)

    def _attempt_once(self) -> Ending:
        current = Attempt(self._plan, self._callbacks, self._stopping)
        with self._lock:
            self._attempt = current
        try:
            ending = current.run()
        finally:
            with self._lock:
                self._attempt = None
        if ending.outcome == "connected":
            self.loss = ending.fault
        if ending.fault is not None:
            self._failed(ending.fault, ending.quiet)
        return ending

    def _wait(self, delay_s: float) -> None:
        """Until the next attempt; new credentials are tried at once."""
        deadline = time.monotonic() + delay_s
        while (rest_s := deadline - time.monotonic()) > 0:
            if self._stopping.wait(min(rest_s, attempt.RENEWAL_CHECK_S)) or self._plan.credentials.renewed():
                return

    def _accepted(self, client: BrokerClient) -> None:
        """The broker has accepted the connection."""
        limits = client.limits
        with self._lock:
            self._tell_connected(client)
            self._down_told = False
            self.connections += 1
            self.version, self.limits, self.session = client.version, limits, client
            if limits.client_id:  # the broker keeps the session under this id
                self._plan = replace(self._plan, client_id=limits.client_id)
            if (will := self._plan.will) is not None:
                will = replace(will, retain=limits.retain, qos=min(1, limits.qos))
                self._plan = replace(self._plan, will=will)
        self._on_connected(client)

    def _ready(self, client: BrokerClient) -> None:
        with self._lock:
            if self.session is client:
                self.connected.set()

    def _tell_connected(self, client: BrokerClient) -> None:
        where = f"{self._settings.host}:{self._settings.port}"
        if client.version != self.version:
            fell_back = client.version != "5" and self._settings.version == "auto"
            note = ": it does not speak 5" if fell_back else ""
            log.info("connected to %s with MQTT %s%s", where, client.version, note)
        elif self._down_told:
            log.info("connected again to %s", where)
        if (limited := client.limits.said()) != self._told_limits:
            log.warning("%s", limited or "the broker's limits are gone")
            self._told_limits = limited

    def _ended(self, client: BrokerClient) -> None:
        """This client's connection is over; what a former one reports late changes nothing."""
        with self._lock:
            if self.session is client:
                self.connected.clear()
                self.session = None

    def _failed(self, fault: Fault, quiet: bool) -> None:
        """Keep why there is no connection, and log it if it is news."""
        with self._lock:
            self._fault = fault
            if fault.text in self._told or quiet or self._stopping.is_set():
                return
            self._told.add(fault.text)
            self._down_told = True
        log.warning("broker %s:%d: %s; trying again", self._settings.host, self._settings.port, fault.said())
