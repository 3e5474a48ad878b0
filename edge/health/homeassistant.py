"""Home Assistant's MQTT discovery: the retained messages that make a box appear there as a device with sensors.

https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery: one message a sensor on
`<prefix>/<component>/<node>/<object>/config`, which every version of Home Assistant reads.
"""

import re
from typing import Any

import msgspec

from edge import __version__
from edge.notice import NOTICE

_DIAGNOSTIC = {"entity_category": "diagnostic"}
# Key of the sensor: its component, name, topic below the box's root, template of the value, further settings.
_SENSORS: dict[str, tuple[str, str, str, str, dict[str, Any]]] = {
    "specimen": ("sensor", "Specimen", "specimen", "value_json.specimen", {"icon": "mdi:microscope"}),
    "white_cells": (
        "sensor",
        "White cells counted",
        "specimen",
        "value_json.counts.values() | sum - value_json.counts.refer",
        {"icon": "mdi:counter", "state_class": "measurement"},
    ),
    "positive_percent": (
        "sensor",
        "Positive class per 100 white cells (research only, not a diagnosis)",
        "specimen",
        "value_json.blasts_percent | round(1) if value_json.blasts_percent is not none else None",
        {"unit_of_measurement": "%", "state_class": "measurement"},
    ),
    "to_be_looked_at": (
        "sensor",
        "Cells to be looked at",
        "specimen",
        "value_json.counts.refer",
        {"icon": "mdi:eye", "state_class": "measurement"},
    ),
    "rate": (
        "sensor",
        "Results per second",
        "health",
        "value_json.rate_per_s",
        {"state_class": "measurement", **_DIAGNOSTIC},
    ),
    "waiting": (
        "sensor",
        "Results that wait for the broker",
        "health",
        "value_json.outbox.depth",
        {"state_class": "measurement", **_DIAGNOSTIC},
    ),
    "temperature": (
        "sensor",
        "Temperature",
        "health",
        "value_json.temperature_c",
        {
            "unit_of_measurement": "°C",
            "device_class": "temperature",
            "state_class": "measurement",
            **_DIAGNOSTIC,
        },
    ),
    "disk_free": (
        "sensor",
        "Free on the disk",
        "health",
        "value_json.disk_free_mb",
        {
            "unit_of_measurement": "MB",
            "device_class": "data_size",
            "state_class": "measurement",
            **_DIAGNOSTIC,
        },
    ),
    "camera_fault": (
        "binary_sensor",
        "Camera",
        "health",
        "'OFF' if value_json.camera == 'ok' else 'ON'",
        {"device_class": "problem", **_DIAGNOSTIC},
    ),
    "fault": (
        "binary_sensor",
        "Box",
        "status",
        "'ON' if value_json.fault | default('') else 'OFF'",
        {"device_class": "problem", **_DIAGNOSTIC},
    ),
}


def discovery(prefix: str, topic: str, device: str) -> list[tuple[str, bytes]]:
    """The messages of one box, each as topic and JSON.

    Args:
        prefix: Home Assistant's discovery prefix, "homeassistant" unless it was changed there; "" for no messages.
        topic: the setting `mqtt.topic`.
        device: the box's name.
    """
    if not prefix:
        return []
    root = f"{topic}/{device}"
    node = "leukoscope_" + re.sub(r"[^A-Za-z0-9_-]", "_", device)
    described = {
        "identifiers": [f"leukoscope_{device}"],
        "name": f"Leukoscope {device}",
        "manufacturer": "Leukoscope",
        "model": NOTICE,
        "sw_version": __version__,
    }
    available = {
        "topic": f"{root}/status",
        # "stopped", and whatever a later version says, is not available either.
        "value_template": "{{ 'online' if value_json.state == 'online' else 'offline' }}",
    }
    return [
        (
            f"{prefix}/{component}/{node}/{key}/config",
            msgspec.json.encode(
                {
                    "name": name,
                    "unique_id": f"leukoscope_{device}_{key}",
                    "object_id": f"{node}_{key}",  # until 2026.3; from 2025.10 on the next one
                    "default_entity_id": f"{component}.{node}_{key}",
                    "state_topic": f"{root}/{part}",
                    "value_template": f"{{{{ {template} }}}}",
                    "availability": [available],
                    "device": described,
                    "origin": {"name": "leukoscope", "sw_version": __version__},
                    **more,
                }
            ),
        )
        for key, (component, name, part, template, more) in _SENSORS.items()
    ]
