"""The report of a specimen as one HTML page that needs no other file and prints on two sides of A4."""

import base64
from datetime import datetime
from pathlib import Path
from typing import Any

from edge.errors import LeukoscopeError
from edge.host.languages import FIRST
from edge.host.text import harmless
from edge.specimen.counting import SHIPPED, column, columns, positive_name, positive_probability
from edge.specimen.summary import Summary
from edge.specimen.texts import catalogue

SHOWN_CELLS = 72
"""Pictures in the gallery: what fits on one and a half sides of A4."""
_TEMPLATES = Path(__file__).with_name("templates")


def render(summary: Summary, now: datetime | None = None, language: str = FIRST) -> str:
    """The page.

    Args:
        summary: of one specimen.
        now: with its time zone; the local time if it is not given.
        language: of `edge.specimen.texts`. Names, and reasons of the box, stay as they were recorded.

    Raises:
        LeukoscopeError: Jinja is missing.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup, escape
    except ImportError as error:
        raise LeukoscopeError("a report as a page needs Jinja: pip install 'leukoscope[web]'") from error
    texts = catalogue(language)

    def say(key: str, **values: object) -> Markup:
        """A text with its values, each of them harmless in HTML."""
        return escape(texts[key]).format(**values)

    def number(value: float, digits: int) -> str:
        return f"{value:.{digits}f}".replace(".", texts["decimal"])

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(
        local=_local,
        png=_data_address,
        safe_text=harmless,
        column=column,
        positive=positive_probability,
        number=number,
    )
    positive = positive_name(summary.classes)
    return environment.get_template("report.html").render(
        s=summary,
        counted=columns(summary.classes),
        say=say,
        # A class of another model has no text: its own name is shown.
        named=lambda kind, name: texts.get(f"{kind}.{name}", name),
        positive_name=positive,
        called=texts["blasts"] if summary.classes == [SHIPPED] else positive,
        shown=[cell for cell in summary.cells if cell.picture is not None][:SHOWN_CELLS],
        notice=texts["notice"],
        language=language,
        now=(now or datetime.now().astimezone()).strftime("%Y-%m-%d %H:%M %Z"),
    )


def _local(moment: str) -> str:
    try:
        return (
            datetime.fromisoformat(moment.replace("Z", "+00:00"))
            .astimezone()
            .strftime("%Y-%m-%d %H:%M:%S %Z")
        )
    except ValueError:
        return harmless(moment, 40)


def _data_address(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def facts(summary: Summary) -> dict[str, Any]:
    """The figures of the page as plain values, for `--json` and tests."""
    return {
        "specimen": summary.specimen,
        "counts": summary.counts,
        "white_cells": summary.found.white_cells,
        "blasts_percent": summary.found.percent,
        "interval_percent": summary.found.interval_percent,
        "adjusted_percent": summary.found.adjusted_percent,
        "checked_here": summary.checked_here,
        "reviewed": summary.reviewed,
    }
