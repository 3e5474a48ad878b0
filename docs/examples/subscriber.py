"""Show each verdict of every box as it comes: python subscriber.py [BROKER]. Needs paho-mqtt 2.

Research and second opinion only, not a diagnosis.
"""

import json
import sys

import paho.mqtt.client as mqtt


def on_connect(client, _userdata, _flags, reason, _properties):
    if reason.is_failure:
        sys.exit(f"the broker refuses the connection: {reason}")
    client.subscribe([("leukoscope/+/cells", 1), ("leukoscope/+/status", 1)])


def on_message(_client, _userdata, message):
    if not message.payload:  # `leukoscope doctor` tries with it whether a box may publish
        return
    device, kind = message.topic.split("/")[-2:]
    content = json.loads(message.payload)
    if kind == "status":
        print(
            f"{device} is {content['state']} since {content['since']} {content.get('fault', '')}", flush=True
        )
    else:
        probability = content["probabilities"]["ALL"]
        print(
            f"{device} {content['sequence']}: {content['verdict']} (ALL {probability:.3f}) "
            f"of specimen {content['specimen'] or '–'}",
            flush=True,
        )


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.on_connect, client.on_message = on_connect, on_message
host, _, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:1883").partition(":")
client.connect(host, int(port or 1883))
client.loop_forever()
