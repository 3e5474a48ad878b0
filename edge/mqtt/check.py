"""For `leukoscope doctor`: can this box reach its broker, and does the broker take all that the box sends?"""

import threading
import time

from paho.mqtt.reasoncodes import ReasonCode

from edge.errors import LeukoscopeError
from edge.mqtt.acknowledgements import NO_SUBSCRIBERS
from edge.mqtt.announcements import status
from edge.mqtt.client import BrokerClient
from edge.mqtt.connection import Connection
from edge.mqtt.limits import Limits, publish_bytes
from edge.mqtt.settings import MqttSettings

POLL_S = 0.05
# A record with every field and long names, and a health message with all its parts.
RECORD_BYTES, HEALTH_BYTES = 1024, 2048


class _Trial:
    """An empty message on `cells`, which loggers leave out, and what the broker answers to it."""

    def __init__(self, topic: str):
        self._topic = topic
        self.answered = threading.Event()
        self.refusal = ""
        self.heard = True

    def send(self, client: BrokerClient) -> None:
        """The broker has accepted the connection."""
        client.send(self._topic, b"")

    def answer(self, _client: BrokerClient, _message_id: int, reason: ReasonCode) -> None:
        """The broker has acknowledged it."""
        self.heard = reason.value != NO_SUBSCRIBERS
        if reason.is_failure:
            self.refusal = str(reason)
        self.answered.set()


def check_broker(settings: MqttSettings, device: str, timeout_s: float = 10.0) -> tuple[bool, str]:
    """Connect beside a running daemon with the daemon's own last will, and publish an empty message on `cells`.
    Whether a record and a health message of full size fit is seen from the limits that the broker names.

    Returns:
        Whether all is well, and "connected, MQTT 5, may publish" or what is wrong and what to do.
    """
    root = f"{settings.topic}/{device}"
    trial = _Trial(f"{root}/cells")
    try:
        connection = Connection(
            settings,
            f"leukoscope-{device}-doctor",
            will=(f"{root}/status", lambda: status("offline")),  # never sent: this disconnects in good order
            on_connected=trial.send,
            on_publish=trial.answer,
        )
    except LeukoscopeError as error:
        return False, str(error)
    connection.start()
    deadline = time.monotonic() + timeout_s
    while not trial.answered.wait(POLL_S) and time.monotonic() < deadline and not connection.needs_person():
        pass
    state = connection.state()
    connection.stop()
    if trial.refusal:
        remedy = f"let this user write to {root}/cells (access list)"
        return False, f"the broker refuses records: {trial.refusal}; {remedy}"
    if not trial.answered.is_set():
        return False, state if state.startswith("not connected") else f"{state}, but it acknowledges nothing"
    if wrong := _too_narrow(connection.limits, root):
        return False, f"{state}; {wrong}"
    if connection.version == "3.1.1":
        return True, f"{state}; a broker of 3.1.1 does not report whether it may publish"
    nobody = (
        ""
        if trial.heard
        else "; but no logger has subscribed yet, and nothing is kept: start leukoscope log once"
    )
    return True, f"{state}, may publish{nobody}"


def _too_narrow(limits: Limits, root: str) -> str:
    """What of the box's messages this broker does not take, and what to do; "" if it takes all."""
    if limits.qos == 0:
        return "allow QoS 1 at the broker (Mosquitto: max_qos)"
    sizes = {
        f"a record of {RECORD_BYTES} bytes": publish_bytes(f"{root}/cells", b" " * RECORD_BYTES, 1, "5"),
        f"a health message of {HEALTH_BYTES} bytes": publish_bytes(
            f"{root}/health", b" " * HEALTH_BYTES, 0, "5"
        ),
    }
    too_large = [name for name, size in sizes.items() if size > limits.packet_bytes]
    if not too_large:
        return ""
    return f"too large for it: {' and '.join(too_large)}; raise its limit (Mosquitto: max_packet_size)"
