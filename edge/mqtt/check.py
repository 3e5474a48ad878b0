"""For `leukoscope doctor`: can this box reach its broker, and may it publish there?"""

import threading
import time

from paho.mqtt.client import Client
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.errors import LeukoscopeError
from edge.mqtt.connection import Connection
from edge.mqtt.publisher import NO_SUBSCRIBERS
from edge.mqtt.settings import MqttSettings

POLL_S = 0.05


def check_broker(settings: MqttSettings, device: str, timeout_s: float = 10.0) -> tuple[bool, str]:
    """Connect beside a running daemon, and publish an empty message on its `cells`, which loggers leave out.

    Returns:
        Whether all is well, and "connected, MQTT 5, may publish" or what is wrong and what to do.
    """
    topic = f"{settings.topic}/{device}/cells"
    answered = threading.Event()
    refusals: list[str] = []
    heard = True

    def on_connected(client: Client) -> None:
        client.publish(topic, b"", qos=1)

    def on_publish(_client: Client, _message_id: int, reason: ReasonCode, _properties: Properties) -> None:
        nonlocal heard
        heard = reason.value != NO_SUBSCRIBERS
        if reason.is_failure:
            refusals.append(str(reason))
        answered.set()

    try:
        connection = Connection(
            settings, f"leukoscope-{device}-doctor", on_connected=on_connected, on_publish=on_publish
        )
    except LeukoscopeError as error:
        return False, str(error)
    connection.start()
    deadline = time.monotonic() + timeout_s
    while not answered.wait(POLL_S) and time.monotonic() < deadline and not connection.needs_person():
        pass
    state = connection.state()
    connection.stop()
    if refusals:
        return (
            False,
            f"the broker refuses records: {refusals[0]}; let this user write to {topic} (access list)",
        )
    if not answered.is_set():
        return False, state
    if connection.version == "3.1.1":
        return True, f"{state}; whether it may publish, a broker of 3.1.1 does not tell"
    nobody = (
        "" if heard else "; but no logger has subscribed yet, and nothing is kept: start leukoscope log once"
    )
    return True, f"{state}, may publish{nobody}"
