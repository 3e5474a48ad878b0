"""The parts of a report's HTML: tables, figures, and the text that a doctor reads first.

Everything that comes from outside goes through `html.escape`; images stand inside the page, so it can be
mailed, printed and opened without a network.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from train.data.dataset import OFFICIAL_CLASSES, Classes

PERCENT = ("accuracy", "sensitivity", "specificity", "balanced_accuracy", "precision", "recall")
TITLES = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "auc": "AUC of the scores",
    "auc_hard_labels": "AUC of the hard labels",
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "weighted_f1": "Weighted F1",
    "average_precision": "Average precision",
    "ece": "Calibration error (ECE)",
}

WARNING = (
    "For research and second opinion only. Not a medical device, not a diagnosis. One cell decides nothing: "
    "a hematologist looks at the slide."
)

_MEANING = """
<p>The program looks at one white cell at a time and calls it <b>{positive}</b> (the positive class) or
<b>{negative}</b>. In C-NMC, ALL is a leukemic blast and HEM a healthy precursor. The metrics below count how often
that agreed with the label that experts gave the patient's cells.</p>
<dl>
<dt>Sensitivity</dt><dd>of 100 {positive} cells, how many it calls {positive}. The rest are missed.</dd>
<dt>Specificity</dt><dd>of 100 {negative} cells, how many it calls {negative}. The rest are false alarms.</dd>
<dt>AUC of the scores</dt><dd>the chance that a cell of {positive} gets a higher score than one of {negative}: 0.5 is
guessing, 1 is perfect. It does not depend on a threshold.</dd>
<dt>Balanced accuracy</dt><dd>the mean of sensitivity and specificity. The AUC of the hard labels is the same
number.</dd>
<dt>Calibration error</dt><dd>how far its confidence is from how often it is right: 0.05 means five points
off on average.</dd>
<dt>95 % interval</dt><dd>where the figure may well lie if it were measured again with other
patients (or, where a table says so, only with other cells of the same patients).</dd>
</dl>
<h3>What the figures do not mean</h3>
<ul>
<li>They do not say whether a person has leukemia. One cell decides nothing, and a share of cells is not a
diagnosis either.</li>
<li>The cells come from one data set (C-NMC 2019): one stain, one kind of microscope, cells already cut out
on black. On other slides nothing has been measured.</li>
<li>The share of leukemic cells here is not the share on a slide. Accuracy, precision and F1 change with that
share; sensitivity and specificity do not.</li>
<li>Patients with many cells weigh more, unless a row says that each patient weighs the same.</li>
</ul>
<h3>Image split and new patients</h3>
<p><b>Image split</b>: the judged cells are other cells of the <em>same patients</em> that the program was
trained on. It may know a patient's stain and slide already, so these figures come out too good. They serve
to compare with published work only.<br>
<b>New patients</b>: nobody whose cells are judged had a cell in the training. Only these figures say
something about the next patient.</p>
"""

_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 58rem; padding: 1rem; background: #fff; color: #1a1a1a;
  font: 1rem/1.5 system-ui, "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin-top: 2.2rem; border-bottom: 1px solid #bbb; }
h3 { font-size: 1.05rem; }
.warning { border: 2px solid #b34700; border-left-width: .6rem; padding: .6rem .9rem; background: #fff6ee; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: bold; padding: .3rem 0; }
caption span { display: inline-block; position: sticky; left: 0; max-width: calc(100vw - 2rem); }
th, td { border: 1px solid #bbb; padding: .25rem .55rem; text-align: right; vertical-align: top; }
th[scope=row], thead th:first-child { text-align: left; }
thead th { background: #eef2f5; }
small { color: #444; white-space: nowrap; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; object-fit: contain; }
figcaption { color: #333; }
.cells { display: grid; grid-template-columns: repeat(auto-fill, 9.5rem); gap: .8rem; }
.cells figure { margin: 0; font-size: .8rem; }
.cells img { background: #000; }
.cells small { white-space: normal; overflow-wrap: anywhere; }
dt { font-weight: bold; }
table.facts :is(th, td) { text-align: left; }
table.facts td { overflow-wrap: anywhere; }
@media (max-width: 40rem) { th[scope=row] { min-width: 6.5rem; overflow-wrap: anywhere; } }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2, h3, caption { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  .scroll { overflow: visible; }
  img { max-height: 23cm; }
}
"""


def page(title: str, sections: Sequence[str]) -> str:
    """A whole HTML document: title, warning, sections."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="warning" role="note"><strong>{escape(WARNING)}</strong></p>\n'
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def meaning(classes: Classes = OFFICIAL_CLASSES) -> str:
    """A section: what the metrics mean, and what they do not."""
    names = {"positive": escape(classes.positive), "negative": escape(classes.negative)}
    return section("What these metrics mean", _MEANING.format(**names))


def section(title: str, body: str) -> str:
    """A section of a page.

    Args:
        title: text.
        body: HTML.
    """
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>\n"


def paragraph(text: str, warning: bool = False) -> str:
    """A paragraph of plain text."""
    return f'<p class="warning">{escape(text)}</p>\n' if warning else f"<p>{escape(text)}</p>\n"


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table whose first cells are the heads of their rows.

    Args:
        caption, heads: text.
        rows: text each; `number_with_interval` may give HTML, see `Markup`.
        kind: a class for the style sheet.
    """
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "\n".join(
        f'<tr><th scope="row">{_cell(row[0])}</th>'
        + "".join(f"<td>{_cell(c)}</td>" for c in row[1:])
        + "</tr>"
        for row in rows
    )
    start = f'<div class="scroll"><table class="{kind}">' if kind else '<div class="scroll"><table>'
    return (
        f"{start}\n<caption><span>{escape(caption)}</span></caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table></div>\n"
    )


class Markup(str):
    """Text that is HTML already."""


def _cell(text: str) -> str:
    return text if isinstance(text, Markup) else escape(text)


def picture(file: Path, alternative: str, caption: str) -> str:
    """A PNG inside the page.

    Args:
        alternative: what the picture shows, in words, for who cannot see it.
        caption: under the picture.
    """
    data = base64.b64encode(file.read_bytes()).decode()
    return (
        f'<figure>\n<img src="data:image/png;base64,{data}" alt="{escape(alternative)}">\n'
        f"<figcaption>{escape(caption)}</figcaption>\n</figure>\n"
    )


def value(row: Mapping[str, Any], name: str) -> str:
    """One figure of a row as text: in per cent if that is usual, a dash if it is not defined."""
    number = row[name]
    if number is None:
        return "–"
    return f"{100 * number:.1f} %" if name in PERCENT else f"{number:.3f}"


def value_with_interval(row: Mapping[str, Any], name: str) -> Markup:
    """One figure of a row with its 95 % interval beneath, as HTML."""
    interval = row["intervals"].get("balanced_accuracy" if name == "auc_hard_labels" else name)
    if interval is None:
        return Markup(escape(value(row, name)))
    scale, digits = (100, 1) if name in PERCENT else (1, 3)
    low, high = (f"{scale * end:.{digits}f}" for end in interval)
    return Markup(f"{escape(value(row, name))}<br><small>{low} – {high}</small>")
