"""A contact sheet, or fields with their cells numbered: one HTML page without other files, to look at, mail or print."""

import base64
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import cv2

from edge.classify.report import OTHER, was_asked
from edge.host.text import harmless
from edge.imaging.frame import Pixels
from edge.model.file import ModelFile
from edge.model.summary import Summary
from edge.notice import NOTICE

THUMBNAIL_PX = 128
JPEG_QUALITY = 85
FIELD_PX = 720
"""The longest side of a field on the page."""

_COLOURS_RGB = {
    "first": (192, 57, 43),
    "second": (46, 139, 87),
    "refer": (184, 134, 11),
    "other": (110, 110, 110),
}
"""Of boxes; those of the style sheet."""

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; color: #222; background: #fff }
.notice { border-left: 4px solid #b00; padding: .3em .8em; font-weight: 600 }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ccc }
th:first-child, td:first-child { text-align: left }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, 148px); gap: 14px }
figure { margin: 0; border: 2px solid #ccc; border-radius: 4px; padding: 6px; break-inside: avoid; font-size: 12px }
figure img { width: 128px; height: 128px; object-fit: contain; background: #000; display: block }
figcaption { overflow-wrap: anywhere } .v { font-weight: 700; font-size: 14px }
.first { border-color: #c0392b } .second { border-color: #2e8b57 } .refer { border-color: #b8860b }
.other { color: #666 } .fields figure { border: 0; padding: 0; margin: 0 0 2em; font-size: 14px }
.fields img { width: auto; height: auto; max-width: 100% } .fields h2 { font-size: 1.05em; margin: .4em 0 }
.fields :is(th, td) { text-align: left; vertical-align: top; border-color: #ccc }
td.first { color: #c0392b } td.second { color: #2e8b57 } td.refer { color: #8a6508 }
.wrong .v::after { content: " ✗ label " attr(data-label) } .why { color: #666 }
"""


@dataclass(frozen=True, slots=True)
class Tile:
    """One image of the sheet.

    Attributes:
        line: as `classify --json` prints it.
        image: a data: address of the thumbnail; "" if the image could not be read.
        label: of its folder, or "".
    """

    line: dict[str, Any]
    image: str
    label: str


@dataclass(frozen=True, slots=True)
class FieldTile:
    """One field of the page.

    Attributes:
        line: as `classify --field --json` prints it.
        image: a data: address of the picture with its boxes; "" if the image could not be read.
    """

    line: dict[str, Any]
    image: str


def thumbnail(pixels: Pixels) -> str:
    """A small JPEG as a data: address.

    Args:
        pixels: (H, W, 3) uint8 RGB.
    """
    return _address(_shrunk(pixels, THUMBNAIL_PX)[0])


def boxed(pixels: Pixels, cells: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    """A field as a data: address, each cell in a box with its number, in the colour of its verdict.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        cells: as `classify --field --json` prints them.
        classes: of the model, the positive one first.
    """
    small, scale = _shrunk(pixels, FIELD_PX)
    for number, cell in enumerate(cells, 1):
        left, top, width, height = (round(side * scale) for side in cell["box"])
        colour = _COLOURS_RGB[_kind(cell, classes)]
        cv2.rectangle(small, (left, top), (left + width, top + height), colour, 2)
        at = (left + 4, max(20, top - 6))
        for thickness, ink in ((5, (255, 255, 255)), (2, colour)):  # readable on dark and on light
            cv2.putText(small, str(number), at, cv2.FONT_HERSHEY_SIMPLEX, 0.7, ink, thickness, cv2.LINE_AA)
    return _address(small)


def _kind(cell: Mapping[str, Any], classes: Sequence[str]) -> str:
    if cell.get("kind") == OTHER:
        return OTHER
    return {classes[0]: "first", classes[-1]: "second"}.get(cell["verdict"], "refer")


def _shrunk(pixels: Pixels, longest_px: int) -> tuple[Pixels, float]:
    """A copy whose longest side is at most so long, and its scale."""
    scale = min(1.0, longest_px / max(pixels.shape[:2]))
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), scale  # type: ignore[return-value]


def _address(small: Pixels) -> str:
    encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def contact_sheet(tiles: list[Tile], summary: Summary, model: ModelFile) -> str:
    """The whole page, a tile for each cell."""
    figures = "".join(_figure(tile, model.manifest.classes()) for tile in tiles)
    return _page(f"{len(tiles)} images", f'<div class="sheet">\n{figures}</div>', summary, model)


def field_sheet(tiles: list[FieldTile], summary: Summary, model: ModelFile) -> str:
    """The whole page, every field with its boxes and a table of its cells."""
    figures = "".join(_field(tile, model.manifest.classes()) for tile in tiles)
    return _page(f"{len(tiles)} fields", f'<div class="fields">\n{figures}</div>', summary, model)


def _page(title: str, body: str, summary: Summary, model: ModelFile) -> str:
    head, rows = summary.rows()
    table = "".join(
        f"<tr>{''.join(f'<{kind}>{escape(cell)}</{kind}>' for cell in row)}</tr>"
        for kind, row in [("th", head), *(("td", row) for row in rows)]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Leukoscope: {title}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>{title}</h1>\n"
        f'<p class="notice">{escape(NOTICE.capitalize())}. One cell decides nothing.</p>\n'
        f"<p>{escape(summary.sentence())}.<br>Model {escape(model.manifest.name)}, sha256 {model.sha256[:12]}; "
        f"{time.strftime('%Y-%m-%d %H:%M')}</p>\n<table>{table}</table>\n{body}\n</body></html>\n"
    )


def _field(tile: FieldTile, classes: Sequence[str]) -> str:
    line = tile.line
    name = escape(harmless(line["source"].rpartition("/")[2]))
    if "error" in line:
        return f'<figure><h2>{name}: not readable</h2><p class="why">{escape(harmless(line["error"]))}</p></figure>\n'
    rows = "".join(_field_row(number, cell, classes) for number, cell in enumerate(line["cells"], 1))
    why = f'<p class="why">{escape(harmless("; ".join(line["reasons"])))}</p>' if line["reasons"] else ""
    head = f"<tr><th>cell</th><th>verdict</th><th>p({escape(classes[0])})</th><th>why</th></tr>"
    table = f"<table>{head}{rows}</table>" if rows else "<p>no white cell found</p>"
    return f'<figure><h2>{name}</h2>{why}<img src="{tile.image}" alt="{name}">{table}</figure>\n'


def _field_row(number: int, cell: Mapping[str, Any], classes: Sequence[str]) -> str:
    kind = _kind(cell, classes)
    word = "other cell" if kind == OTHER else cell["verdict"]
    likely = f"{cell['probabilities'][classes[0]]:.3f}" if was_asked(cell["kind"]) else "–"
    reasons = escape(harmless("; ".join(cell["reasons"])))
    return f'<tr><td>{number}</td><td class="{kind}"><b>{escape(word)}</b></td><td>{likely}</td><td>{reasons}</td></tr>'


def _figure(tile: Tile, classes: Sequence[str]) -> str:
    line = tile.line
    name = escape(harmless(line["source"].rpartition("/")[2]))
    if "error" in line:
        error = escape(harmless(line["error"]))
        return f'<figure><figcaption><b>not readable</b><br>{name}<div class="why">{error}</div></figcaption></figure>\n'
    verdict = escape(line["verdict"])
    first = classes[0]
    kind = _kind(line, classes)
    wrong = " wrong" if tile.label and line["verdict"] not in (tile.label, "refer") else ""
    reasons = (
        f'<div class="why">{escape(harmless("; ".join(line["reasons"])))}</div>' if line["reasons"] else ""
    )
    return (
        f'<figure class="{kind}{wrong}"><img src="{tile.image}" alt="{name}"><figcaption>'
        f'<span class="v" data-label="{escape(tile.label)}">{verdict}</span> p({escape(first)}) {line["probabilities"][first]:.3f}'
        f"<br>{name}{reasons}</figcaption></figure>\n"
    )
