"""Ask a box for one result now: python capture.py BROKER DEVICE [SPECIMEN]. Needs paho-mqtt 2.

The answer comes to a topic of our own, with the correlation data that we gave (MQTT 5).
Research and second opinion only, not a diagnosis.
"""

import json
import sys
import time
import uuid

from connect import client, parser
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

arguments = parser("Ask a box for one result now.", help="such as broker.lab:1883")
arguments.add_argument("device", metavar="DEVICE", help="[device] id of the box")
arguments.add_argument("specimen", nargs="?", metavar="SPECIMEN", help="default: the one that is set")
arguments.add_argument("--timeout", type=float, default=30, metavar="SECONDS", help="default: %(default)s")
options = arguments.parse_args()
answer_topic = f"answers/{uuid.uuid4().hex}"
answers = []


def on_connect(connected):
    connected.subscribe(answer_topic, qos=1)


def on_subscribe(connected, _userdata, _message_id, reasons, _properties):
    if reasons[0].is_failure:
        sys.exit(f"the broker refuses the subscription: {reasons[0]}; see its access list")
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic, properties.CorrelationData = answer_topic, b"1"
    request = json.dumps({"specimen": options.specimen})
    topic = f"{options.topic}/{options.device}/commands/capture"
    connected.publish(topic, request, qos=1, properties=properties)


def on_publish(_client, _userdata, _message_id, reason, _properties):
    if reason.is_failure:
        sys.exit(f"the broker refuses the command: {reason}; see its access list")


def on_message(_client, _userdata, message):
    answers.append(json.loads(message.payload))


callbacks = {"on_subscribe": on_subscribe, "on_publish": on_publish, "on_message": on_message}
connection = client(options, on_connect, **callbacks)
deadline = time.monotonic() + options.timeout
while not answers and time.monotonic() < deadline:
    connection.loop(0.2)
connection.disconnect()
if not answers:
    sys.exit(f"no answer from {options.device} within {options.timeout:g} s: is it online?")
print(json.dumps(answers[0], indent=2))
sys.exit(0 if answers[0]["ok"] else 1)
