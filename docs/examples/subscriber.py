"""Print the verdicts and states of all boxes as they come: python subscriber.py [BROKER]. Needs paho-mqtt 2.

Research and second opinion only, not a diagnosis.
"""

import json

from connect import client, parser

text = "Print the verdicts and states of all boxes as they come."
options = parser(text, nargs="?", default="127.0.0.1", help="default: %(default)s").parse_args()


def on_connect(connected):
    connected.subscribe([(f"{options.topic}/+/cells", 1), (f"{options.topic}/+/status", 1)])


def on_message(_client, _userdata, message):
    try:
        show(message)
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # anyone may publish anything
        print(f"no message of a box on {message.topic!a}: {error!a}", flush=True)


def show(message):
    if not message.payload.strip():  # `leukoscope doctor` tests with it whether a box may publish
        return
    device, kind = message.topic.split("/")[-2:]
    content = json.loads(message.payload)
    if kind == "status":
        text = f"is {content['state']} since {content['since']} {content.get('fault', '')}"
    else:
        # The class that must not be missed stands first; a cell that was referred at once has no probabilities.
        likely = "".join(f" ({name} {p:.3f})" for name, p in list(content["probabilities"].items())[:1])
        text = f"{content['sequence']}: {content['verdict']}{likely} of specimen {content['specimen']}"
    # Control characters in a name must not reach the terminal.
    line = f"{device} {text}"
    print("".join(sign if sign.isprintable() else "?" for sign in line), flush=True)


client(options, on_connect, on_message=on_message).loop_forever()
