"""Ask a box for one result now: python capture.py BROKER DEVICE [SPECIMEN]. Needs paho-mqtt 2.

The answer comes to a topic of our own, with the correlation data that we gave (MQTT 5).
Research and second opinion only, not a diagnosis.
"""

import json
import sys
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

host, _, port = sys.argv[1].partition(":")
device, specimen = sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None
answer_topic = f"answers/{uuid.uuid4().hex}"


def on_connect(client, _userdata, _flags, reason, _properties):
    if reason.is_failure:
        sys.exit(f"the broker refuses the connection: {reason}")
    client.subscribe(answer_topic, qos=1)


def on_subscribe(client, _userdata, _message_id, _reasons, _properties):
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic, properties.CorrelationData = answer_topic, b"1"
    request = json.dumps({"specimen": specimen})
    client.publish(f"leukoscope/{device}/commands/capture", request, qos=1, properties=properties)


def on_message(client, _userdata, message):
    print(json.dumps(json.loads(message.payload), indent=2))
    client.disconnect()


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
client.connect(host, int(port or 1883))
client.loop_forever()
