"""CSV and JSON lines: only a logger's own file is repaired, a torn row costs no other, nothing is a formula."""

import csv
import io
import json
import os
import random

import pytest
from broker import make_record
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import InputError
from edge.logger.stores.rows import CELL_COLUMNS, csv_line, from_csv
from edge.logger.stores.sinks import open_sink

FOREIGN = {
    "notes.jsonl": b'{"note": 1}\n{"note": 2}',
    "one line.jsonl": b'{"note": "no line end"}',
    "text.jsonl": b"bought milk",
    "almost.jsonl": b'{"schema": 1, "id": "7", "device": "x", "sequence": 1}\n{"a',
    "binary.jsonl": bytes(range(256)) * 3,
    "later.jsonl": b"\n\n\n{}",
    "foreign.csv": b"a,b\n1,2\n3,4",
    "one row.csv": b"a,b",
    "near.csv": (",".join(CELL_COLUMNS[:5]) + "\n1,2,3,4,5").encode(),
    "reordered.csv": (",".join(reversed(CELL_COLUMNS)) + "\nx").encode(),
    "short.csv": b"schema",
    "rows of another.csv": (",".join(CELL_COLUMNS) + "\nmine,not an id,x\n").encode(),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_refused_and_not_touched(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(FOREIGN[name])
    with pytest.raises(InputError, match="holds no results"):
        open_sink(str(file))
    assert file.read_bytes() == FOREIGN[name]
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.jsonl").mkdir()
    for name in ("pipe.csv", "folder.jsonl"):
        with pytest.raises(InputError, match="no regular file"):
            open_sink(str(tmp_path / name))


def rows_of(file):
    with file.open(newline="", encoding="utf-8") as stream:
        csv.field_size_limit(10_000_000)
        return [from_csv(row) for row in csv.DictReader(stream)]


def ids_of(file):
    if file.suffix == ".csv":
        return [row["id"] for row in rows_of(file)]
    return [json.loads(line)["id"] for line in file.read_text().splitlines()]


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_a_row_torn_at_any_byte_costs_no_other_and_is_stored_when_it_comes_again(tmp_path, name):
    whole = tmp_path / name
    records = [make_record(sequence=n, specimen='a,"b"\nc\r\n"') for n in range(3)]
    sink = open_sink(str(whole))
    sink.store(records[:2], [])
    size = whole.stat().st_size
    sink.store(records[2:], [])
    sink.close()
    data = whole.read_bytes()
    folder = tmp_path / "torn"
    folder.mkdir()
    for cut in range(size + 1, len(data)):
        file = folder / f"{cut}{whole.suffix}"
        file.write_bytes(data[:cut])
        sink = open_sink(str(file))
        again = sink.store(records, [])
        sink.close()
        assert again[:2] == [False, False] and ids_of(file) == [record.id for record in records]
        # Only JSON that lacks nothing but its line end is whole already.
        assert again[2] is not (whole.suffix == ".jsonl" and cut == len(data) - 1)
        torn = folder / f"{file.name}.torn"
        assert not again[2] or torn.read_bytes() == data[size:cut] + b"\n"
        torn.unlink(missing_ok=True)


def test_a_long_value_does_not_make_a_csv_unreadable(tmp_path):
    file = tmp_path / "r.csv"
    records = [make_record(sequence=n, specimen="\n" * 200_000 + "x" * 200_000) for n in range(3)]
    for expected in ([True] * 3, [False] * 3):
        sink = open_sink(str(file))
        assert sink.store(records, []) == expected
        sink.close()
    assert [row["specimen"] for row in rows_of(file)] == [record.specimen for record in records]


def test_rows_that_a_spreadsheet_saved_are_still_known(tmp_path):
    file = tmp_path / "r.csv"
    record = make_record()
    sink = open_sink(str(file))
    sink.store([record], [])
    sink.close()
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    sink = open_sink(str(file))
    assert sink.store([record], []) == [False]
    sink.close()


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_empty_lines_at_the_end_cost_nothing(tmp_path, name):
    file, record = tmp_path / name, make_record()
    sink = open_sink(str(file))
    sink.store([record], [])
    sink.close()
    with file.open("a") as stream:
        stream.write("\n\n")
    sink = open_sink(str(file))
    assert sink.store([record, make_record()], []) == [False, True]
    sink.close()


FORMULAS = ['=HYPERLINK("http://x","click")', "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "'"]


def test_no_cell_of_a_csv_is_a_formula_and_each_is_given_back(tmp_path):
    file = tmp_path / "r.csv"
    sink = open_sink(str(file))
    records = [make_record(sequence=n, specimen=text, source=text) for n, text in enumerate(FORMULAS)]
    sink.store(records, [])
    sink.close()
    with file.open(newline="") as stream:
        for row in csv.reader(stream):
            assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)
    assert [row["specimen"] for row in rows_of(file)] == FORMULAS


@settings(deadline=None)
@given(st.lists(st.text(), min_size=2, max_size=5))
def test_any_text_is_one_cell(values):
    (row,) = csv.reader(io.StringIO(csv_line(values), newline=""))
    assert list(from_csv(dict(enumerate(row))).values()) == values


def test_rejects_beside_a_file_are_bounded(tmp_path, monkeypatch):
    import edge.logger.stores.file_sink
    from edge.logger.stores.sink import Reject

    monkeypatch.setattr(edge.logger.stores.file_sink, "REJECTS_BYTES", 100_000)
    sink = open_sink(str(tmp_path / "r.jsonl"))
    noise = random.Random(0)
    for _ in range(100):
        payload = noise.randbytes(5000)
        sink.store([], [Reject(received_at="now", topic="t", payload=payload, reason="why")])
    sink.close()
    sizes = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert set(sizes) == {"r.jsonl", "r.rejects.jsonl", "r.rejects.old.jsonl"}
    assert max(sizes.values()) < 130_000
