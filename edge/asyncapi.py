"""The AsyncAPI 3 document of all messages, made from the same types that the box writes and the logger reads.

python -m edge.asyncapi > docs/asyncapi.json
"""

import inspect
import sys
from typing import Any

import msgspec

from edge.mqtt.commands.requests import REQUESTS, Answer
from edge.notice import NOTICE
from edge.records import FieldRecord, Record, Status
from edge.specimen.tally import SpecimenMessage

_SCHEMAS = "#/components/schemas/"
_ROOT = "{topic}/{device}"
_TEXTS = {
    "status": "Whether a box is there; retained, and its last will.",
    "health": "Rates, latencies, outbox, camera, broker, machine, versions; retained.",
    "cells": "One record per cell. It may come more than once and is identified by its id.",
    "specimen": "The specimen that is counted, and its count so far; retained.",
    "view": "A small picture of what the camera shows, with the latest verdicts; only while somebody asks for it.",
    "fields": "One record per field of view, if the camera shows whole fields; identified by its id too.",
}
# The commands `specimen` and `view` have the short names.
_OF_TOPIC = {"specimen": "specimenState"}
# What every health message holds; later versions add more.
HEALTH_KEYS = (
    "at",
    "uptime_s",
    "frames",
    "rate_per_s",
    "latency_ms",
    "outbox",
    "camera",
    "broker",
    "versions",
)


# Of these messages no type exists: the box makes them of many parts.
_HEALTH = {
    "title": "Health",
    "description": "What the box reports about itself; later versions add fields.",
    "type": "object",
    "required": list(HEALTH_KEYS),
    "properties": {
        "at": {"type": "string", "format": "date-time"},
        "uptime_s": {"type": "number"},
        "rate_per_s": {"type": "number", "description": "Results per second."},
        "outbox": {
            "type": "object",
            "required": ["depth", "oldest_age_s", "used_mb", "max_mb", "fault", "recovered"],
        },
        "camera": {"type": "string"},
        "broker": {"type": "string"},
        "commands": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Names of the commands that this box takes; with a folder of images not all.",
        },
    },
}
_VIEW = {
    "title": "View",
    "description": f"A picture of the camera; never a result. {NOTICE.capitalize()}.",
    "type": "object",
    "required": ["at", "size", "jpeg", "cells", "sharpness", "brightness"],
    "properties": {
        "at": {"type": "string", "format": "date-time"},
        "size": {"type": "array", "description": "Width and height of the frame in pixels."},
        "jpeg": {"type": "string", "description": "Base64; 640 pixels a side at most."},
        "cells": {
            "type": "array",
            "description": "Box, verdict, kind, probabilities of the latest cells.",
        },
        "sharpness": {"type": "number"},
        "brightness": {"type": "number", "description": "0 to 255."},
    },
}


def document() -> dict[str, Any]:
    """The whole document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Leukoscope",
            "version": "1.0.0",
            "description": f"Messages of a Leukoscope box. {NOTICE.capitalize()}.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def _schemas() -> dict[str, Any]:
    types = [Record, FieldRecord, Status, SpecimenMessage, Answer, *REQUESTS.values()]
    _, schemas = msgspec.json.schema_components(types, ref_template=_SCHEMAS + "{name}")
    schemas["Health"], schemas["View"] = _HEALTH, _VIEW
    for schema in schemas.values():
        if "description" in schema:  # a docstring: some versions of msgspec leave its indentation
            schema["description"] = inspect.cleandoc(schema["description"])
    for name in ("Record", "FieldRecord"):
        schemas[name]["description"] += f" {NOTICE.capitalize()}."
    # The classes have the names of the model file; those that ship name them ALL and HEM.
    schemas["Record"] |= {
        "if": {"properties": {"probabilities": {"required": ["ALL", "HEM"]}}},
        "then": {"properties": {"verdict": {"enum": ["ALL", "HEM", "refer"]}}},
    }
    return schemas


def _messages() -> dict[str, Any]:
    """Each message's name, and the schema of its payload."""
    schema_of = {
        "status": "Status",
        "health": "Health",
        "cells": "Record",
        "fields": "FieldRecord",
        "specimenState": "SpecimenMessage",
        "view": "View",
        "answer": "Answer",
    } | {name: kind.__name__ for name, kind in REQUESTS.items() if name not in ("health", "view")}
    schema_of["askHealth"], schema_of["askView"] = REQUESTS["health"].__name__, REQUESTS["view"].__name__
    return {
        name: {"name": name, "payload": {"$ref": _SCHEMAS + schema}} for name, schema in schema_of.items()
    }


def _message_of(command: str) -> str:
    return {"health": "askHealth", "view": "askView"}.get(command, command)


def _channel(address: str | None, message: str, text: str) -> dict[str, Any]:
    channel: dict[str, Any] = {"address": address, "description": text}
    if address is not None:
        channel["parameters"] = {
            "topic": {"description": "Setting [mqtt] topic.", "default": "leukoscope"},
            "device": {"description": "Setting [device] id."},
        }
    channel["messages"] = {message: {"$ref": f"#/components/messages/{message}"}}
    return channel


def _channels() -> dict[str, Any]:
    channels = {
        name: _channel(f"{_ROOT}/{name}", _OF_TOPIC.get(name, name), text) for name, text in _TEXTS.items()
    }
    for command, kind in REQUESTS.items():
        text = (kind.__doc__ or "").split("\n", maxsplit=1)[0]
        address = f"{_ROOT}/commands/{command}"
        channels[f"command_{command}"] = _channel(address, _message_of(command), text)
    channels["answers"] = _channel(
        None,
        "answer",
        "The request's response topic: a property in MQTT 5, else response_topic in its payload.",
    )
    return channels


def _operation(action: str, channel: str, message: str, qos: int, retain: bool) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
        "bindings": {"mqtt": {"qos": qos, "retain": retain, "bindingVersion": "0.2.0"}},
    }


def _operations() -> dict[str, Any]:
    operations = {
        "sendStatus": _operation("send", "status", "status", qos=1, retain=True),
        "sendHealth": _operation("send", "health", "health", qos=0, retain=True),
        "sendCell": _operation("send", "cells", "cells", qos=1, retain=False),
        "sendField": _operation("send", "fields", "fields", qos=1, retain=False),
        "sendSpecimen": _operation("send", "specimen", "specimenState", qos=1, retain=True),
        "sendView": _operation("send", "view", "view", qos=0, retain=False),
    }
    for command in REQUESTS:
        operation = _operation("receive", f"command_{command}", _message_of(command), qos=1, retain=False)
        operation["reply"] = {
            "channel": {"$ref": "#/channels/answers"},
            "messages": [{"$ref": "#/channels/answers/messages/answer"}],
        }
        operations[f"do{command.capitalize()}"] = operation
    return operations


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document()), indent=2).decode() + "\n")
