"""`leukoscope specimen start|stop`: sends the command to the box of the settings file and prints its answer."""

import argparse
import asyncio
import json
from typing import Any

from edge import settings as settings_file
from edge.errors import InputError
from edge.host.text import harmless
from edge.web.box import Box, BoxError

CONNECT_S = 10.0


def command(options: argparse.Namespace) -> int:
    """`leukoscope specimen`.

    Raises:
        InputError: start without a name.
        LeukoscopeError: the broker or the box does not answer, or the box refuses.
    """
    request: dict[str, Any] = {}
    if options.action == "start":
        if not options.name:
            raise InputError("give the specimen a name: leukoscope specimen start NAME")
        request["specimen"] = options.name
        if options.target is not None:
            request["target"] = options.target
    settings = settings_file.load(settings_file.find(options.config))
    box = Box(settings.mqtt, settings.device.id, lambda _name, _data, _keep: None)
    box.start()
    try:
        if not box.wait_connected(CONNECT_S):
            raise BoxError(f"the broker is not there: {box.broker()}", "broker")
        answer = asyncio.run(box.command(f"specimen_{options.action}", **request))
    finally:
        box.stop()
    if options.json:
        print(json.dumps(answer))
    else:
        counts = ", ".join(f"{number} {name}" for name, number in answer["counts"].items())
        print(f"{harmless(answer['specimen'])}: {answer['state']}, target {answer['target']}; {counts}")
    return 0
