"""Who sends commands to a box and waits for its answers."""

import json
import queue
import threading

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


class Requester:
    """Sends commands and keeps the answers."""

    def __init__(self, port, version=paho.MQTTv5):
        self.answers: queue.Queue = queue.Queue()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="requester", protocol=version)
        self.client.on_message = lambda _c, _u, m: self.answers.put(
            (getattr(m.properties, "CorrelationData", None), json.loads(m.payload))
        )
        subscribed = threading.Event()
        self.client.on_connect = lambda client, *_: client.subscribe("answers/#", qos=1)
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert subscribed.wait(40)

    def send(self, name, payload, response="answers/me", correlation=b"7", **options):
        properties = Properties(PacketTypes.PUBLISH)
        if response:
            properties.ResponseTopic = response
        if correlation:
            properties.CorrelationData = correlation
        self.client.publish(
            f"leukoscope/box/commands/{name}", payload, qos=1, properties=properties, **options
        )

    def ask(self, name, payload, **options):
        self.send(name, payload, **options)
        return self.answers.get(timeout=40)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
