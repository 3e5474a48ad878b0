"""The commands `report` and `specimen`: what the page does for a specimen, from a shell."""

import argparse
import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from edge import settings as settings_file
from edge.errors import InputError
from edge.host.durable import replace_file
from edge.host.terminal import console
from edge.host.text import harmless
from edge.logger.queries import Results
from edge.model.settings import ModelSettings
from edge.notice import NOTICE
from edge.specimen import fhir, page, table
from edge.web.box import Box, BoxError
from edge.web.gather import summary_of

CONNECT_S = 10.0


def report(options: argparse.Namespace) -> int:
    """`leukoscope report`."""
    results = Results(options.database)
    try:
        summary = summary_of(
            results, options.specimen, options.pictures, options.model, Path(ModelSettings().directory)
        )
    finally:
        results.close()
    now = datetime.now().astimezone()
    kind = options.format or {".json": "fhir", ".csv": "csv"}.get(options.out.suffix, "html")
    if kind == "csv":
        text = table.cells(summary)
    elif kind == "fhir":
        text = json.dumps(fhir.bundle(summary, now), indent=2, ensure_ascii=False) + "\n"
    else:
        text = page.render(summary, now, options.language)
    replace_file(options.out, text.encode())
    counts = ", ".join(f"{number} {name}" for name, number in summary.counts.items())
    console.result(
        options.json,
        page.facts(summary) | {"file": str(options.out)},
        f"{options.out}: specimen {harmless(summary.specimen)}, {counts}",
    )
    console.note(NOTICE)
    return 0


def specimen(options: argparse.Namespace) -> int:
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
            why = box.broker().removeprefix("not connected: ")
            raise BoxError(f"the broker is not there: {why}", "broker")
        answer = asyncio.run(box.command(f"specimen_{options.action}", **request))
    finally:
        box.stop()
    counts = ", ".join(f"{number} {name}" for name, number in answer["counts"].items())
    console.result(
        options.json,
        answer,
        f"{harmless(answer['specimen'])}: {answer['state']}, target {answer['target']}; {counts}",
    )
    return 0
