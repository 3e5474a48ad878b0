"""Cohen's kappa, and the cells of a report as a table."""

import csv
import io

import msgspec
import pytest
from broker import make_record

from edge.specimen import table
from edge.specimen.agreement import agreements, cohen_kappa
from edge.specimen.summary import ReportCell, Review, summarise


def test_kappa_of_a_textbook() -> None:
    """Of 50 grants 20 accepted by both, 15 refused by both, 5 and 10 by one: 0.4."""
    pairs = [("y", "y")] * 20 + [("n", "n")] * 15 + [("y", "n")] * 5 + [("n", "y")] * 10
    assert cohen_kappa(pairs) == pytest.approx(0.4)
    assert cohen_kappa([("y", "y")] * 9) is None
    assert cohen_kappa([("y", "n"), ("n", "y")]) == pytest.approx(-1)


def test_only_cells_that_both_reviewed_count() -> None:
    said = [
        ("1", "B", "ALL"),
        ("2", "B", "HEM"),
        ("1", "A", "ALL"),
        ("2", "A", "ALL"),
        ("3", "A", "HEM"),
        ("9", "C", "x"),
    ]
    (found,) = agreements(said)
    assert (found.reviewers, found.cells, found.alike) == (("A", "B"), 2, 1)


def test_the_table_names_its_columns_and_runs_no_formula() -> None:
    record = make_record(specimen="=1+1", verdict="ALL")
    other = msgspec.structs.replace(make_record(verdict="refer"), kind="other", reasons=["a", "b"])
    cells = [
        ReportCell(record, Review("HEM", "@me", "2026-11-27T10:00:00Z", "-x"), None),
        ReportCell(other, None, None),
    ]
    rows = list(csv.DictReader(io.StringIO(table.cells(summarise("S", cells, {})))))
    assert [row["counted_as"] for row in rows] == ["ALL", "other"]
    assert (rows[0]["specimen"], rows[0]["reviewer"], rows[0]["comment"]) == ("'=1+1", "'@me", "'-x")
    assert rows[1]["reasons"] == "a; b"
