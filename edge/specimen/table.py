"""The cells of a specimen as CSV, for a spreadsheet."""

import csv
import io

from edge.host.text import harmless, spreadsheet_cell
from edge.specimen.counting import classes_in, column, positive_probability
from edge.specimen.summary import Summary

COLUMNS = (
    "id",
    "captured_at",
    "device",
    "sequence",
    "specimen",
    "counted_as",
    "verdict",
    "kind",
    "probability_{positive}",
    "reasons",
    "review",
    "reviewer",
    "reviewed_at",
    "comment",
    "model",
    "model_sha256",
    "software",
)
LONGEST = 5000
"""Characters of a text."""


def cells(summary: Summary) -> str:
    """One row a cell, in the order of the report; the first row names the columns.

    The probability of the positive class has its name, as `probability_all`.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    positives = {pair.positive for pair in summary.classes}
    name = positives.pop().lower() if len(positives) == 1 else "positive"
    writer.writerow([spreadsheet_cell(harmless(column.format(positive=name))) for column in COLUMNS])
    for cell in summary.cells:
        record, review = cell.record, cell.review
        said = ("", "", "", "") if review is None else tuple(review)
        row: tuple[object, ...] = (
            record.id,
            record.captured_at,
            record.device,
            record.sequence,
            record.specimen,
            column(record),
            record.verdict,
            record.kind or "",
            positive_probability(record.probabilities) if classes_in(record.probabilities) else "",
            "; ".join(record.reasons),
            *said,
            record.model.name,
            record.model.sha256,
            record.software,
        )
        writer.writerow(
            [spreadsheet_cell(harmless(value, LONGEST) if isinstance(value, str) else value) for value in row]
        )
    return out.getvalue()
