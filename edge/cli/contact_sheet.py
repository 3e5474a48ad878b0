"""A contact sheet: one HTML page without other files, to look at, mail or print."""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import cv2

from edge.host.text import harmless
from edge.imaging.frame import Pixels
from edge.model.file import ModelFile
from edge.model.summary import Summary
from edge.notice import NOTICE

THUMBNAIL_PX = 128
JPEG_QUALITY = 85

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


def thumbnail(pixels: Pixels) -> str:
    """A small JPEG as a data: address.

    Args:
        pixels: (H, W, 3) uint8 RGB.
    """
    scale = min(1.0, THUMBNAIL_PX / max(pixels.shape[:2]))
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def contact_sheet(tiles: list[Tile], summary: Summary, model: ModelFile) -> str:
    """The whole page."""
    head, rows = summary.rows()
    table = "".join(
        f"<tr>{''.join(f'<{kind}>{escape(cell)}</{kind}>' for cell in row)}</tr>"
        for kind, row in [("th", head), *(("td", row) for row in rows)]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Leukoscope: {len(tiles)} images</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>{len(tiles)} images</h1>\n"
        f'<p class="notice">{escape(NOTICE.capitalize())}. One cell decides nothing.</p>\n'
        f"<p>{escape(summary.sentence())}.<br>Model {escape(model.manifest.name)}, sha256 {model.sha256[:12]}; "
        f"{time.strftime('%Y-%m-%d %H:%M')}</p>\n<table>{table}</table>\n"
        f'<div class="sheet">\n{"".join(_figure(tile, model.manifest.classes()) for tile in tiles)}</div>\n</body></html>\n'
    )


def _figure(tile: Tile, classes: Sequence[str]) -> str:
    line = tile.line
    name = escape(harmless(line["source"].rpartition("/")[2]))
    if "error" in line:
        error = escape(harmless(line["error"]))
        return f'<figure><figcaption><b>not readable</b><br>{name}<div class="why">{error}</div></figcaption></figure>\n'
    verdict = escape(line["verdict"])
    first = classes[0]
    kind = {first: "first", classes[-1]: "second"}.get(line["verdict"], "refer")
    wrong = " wrong" if tile.label and line["verdict"] not in (tile.label, "refer") else ""
    reasons = (
        f'<div class="why">{escape(harmless("; ".join(line["reasons"])))}</div>' if line["reasons"] else ""
    )
    return (
        f'<figure class="{kind}{wrong}"><img src="{tile.image}" alt="{name}"><figcaption>'
        f'<span class="v" data-label="{escape(tile.label)}">{verdict}</span> p({escape(first)}) {line["probabilities"][first]:.2f}'
        f"<br>{name}{reasons}</figcaption></figure>\n"
    )
