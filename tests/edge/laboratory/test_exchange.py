"""Reviewed cells travel in a folder: to training, to another box, to a person who sorts pictures, and back."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from command import clean, leukoscope
from other_laboratory import review, write_database

from edge.laboratory.exchange import COLUMNS, subject
from edge.logger import reviews
from edge.logger.queries import Results

pytest.importorskip("sqlalchemy")
HOSTILE = '=HYPERLINK("http://x")\x1b[2J\u202e"\n'


@pytest.fixture
def stored(tmp_path: Path):
    """A database with reviews of two people; the folder that holds it, its records and what was said."""
    database, records = write_database(tmp_path)
    labels = {r.id: "ALL" if "/all/" in r.source else "HEM" for r in records}
    review(database, "Ana", labels)
    review(database, "Ben", {records[0].id: "other", records[1].id: labels[records[1].id]}, hour=12)
    review(database, HOSTILE, {records[2].id: "cannot say"}, hour=13)
    return tmp_path, database, records, labels


def export(folder: Path, database: str, to: str = "reviewed") -> dict:
    words = ("review", "export", "--from", database, "--pictures", "archive", "--to", to, "--json")
    done = leukoscope(*words, cwd=folder)
    clean(done, 0)
    return json.loads(done.stdout)


def said(database: str) -> list[reviews.Review]:
    results = Results(database)
    try:
        return reviews.all_of(results)
    finally:
        results.close()


def test_the_folder_is_what_train_and_adapt_take(stored) -> None:
    from train.data.dataset import load

    folder, database, _, _ = stored
    told = export(folder, database)
    assert told == {
        "to": "reviewed",
        "pictures": {"ALL": told["pictures"]["ALL"], "HEM": told["pictures"]["HEM"], "other": 1},
        "reviews": 43,
        "without_picture": 0,
    }
    data = load(folder / "reviewed")
    assert data.layout == "C-NMC 2019, short folder names"
    assert len(data.cells) == 39
    assert {cell.subject for cell in data.cells} == {str(subject(f"slide {n}")) for n in range(4)}
    done = leukoscope("adapt", "--from", "reviewed", "--out", "ours.tflite", "--json", cwd=folder)
    clean(done, 0)
    assert json.loads(done.stdout)["held_back"] == "specimens"


def test_the_table_holds_every_review_and_harms_nobody(stored) -> None:
    folder, database, records, _ = stored
    export(folder, database)
    text = (folder / "reviewed/reviews.csv").read_text("utf-8-sig")
    assert "\x1b" not in text and "\u202e" not in text
    rows = list(csv.DictReader(text.splitlines()))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 43
    strangers = next(row for row in rows if row["cell"] == records[2].id and row["label"] == "cannot say")
    assert strangers["reviewer"].startswith("'=HYPERLINK")
    for row in rows:
        assert (folder / "reviewed" / row["picture"]).is_file()


def test_verdicts_come_back_once(stored, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, database, _, _ = stored
    export(folder, database)
    other = tmp_path_factory.mktemp("other")  # the same cells on a machine where nobody has reviewed any
    shutil.copytree(folder / "reviewed", other / "reviewed")
    shutil.copy(folder / "results.db", other / "results.db")
    target = f"sqlite:///{other}/results.db"
    empty = Results(target)
    with empty.engine.begin() as connection:
        connection.execute(empty.tables.reviews.delete())
    empty.close()
    words = ("review", "import", "reviewed", "--to", target, "--json")
    first, second = (leukoscope(*words, cwd=other) for _ in range(2))
    clean(first, 0)
    assert sum(json.loads(first.stdout)["added"].values()) == 43
    again = json.loads(second.stdout)
    assert again["added"] == {} and again["not_here"] == 0
    before, after = ({(r.cell, r.label, r.at) for r in said(target)} for target in (database, target))
    assert before == after


def test_a_picture_that_somebody_moved_is_a_verdict(stored) -> None:
    folder, database, _, _ = stored
    export(folder, database)
    moved = sorted((folder / "reviewed/training_data/fold_0/all").glob("*.png"))[:2]
    for picture in moved:
        picture.rename(folder / "reviewed/training_data/fold_0/hem" / picture.name)
    words = ("review", "import", "reviewed", "--to", database, "--json")
    assert "--reviewer" in clean(leukoscope(*words, cwd=folder), 2)
    assert len(said(database)) == 43
    done = leukoscope(*words, "--reviewer", "Eva", cwd=folder)
    clean(done, 0)
    assert json.loads(done.stdout)["added"] == {"HEM": 2}
    assert {(r.reviewer, r.label) for r in said(database)[-2:]} == {("Eva", "HEM")}


def test_pictures_and_rows_of_no_cell_here_are_counted(stored) -> None:
    folder, database, _, _ = stored
    export(folder, database)
    picture = next((folder / "reviewed/training_data/fold_0/all").glob("*.png"))
    (picture.parent / "strange.png").write_bytes(picture.read_bytes() + b"\0")
    with (folder / "reviewed/reviews.csv").open("a") as table:
        table.write("x.png,0193b6f2-0000-7000-8000-000000000000,ALL,Eva,2026-11-28T15:00:00Z,,,,,,,,,\n")
    done = leukoscope("review", "import", "reviewed", "--to", database, "--json", cwd=folder)
    clean(done, 0)
    assert json.loads(done.stdout) == {"added": {}, "known": json.loads(done.stdout)["known"], "not_here": 2}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("x.png,id,undone,Eva,2026-11-28T15:00:00Z,,,,,,,,,", "the label 'undone' is none"),
        ("x.png,id,ALL,Eva,yesterday,,,,,,,,,", "at is 'yesterday'"),
        ("x.png,id,ALL,,2026-11-28T15:00:00Z,,,,,,,,,", "the cell or the reviewer is missing"),
        ('x.png,id,"ALL', "not a table"),
    ],
)
def test_a_damaged_table_changes_nothing(stored, row: str, words: str) -> None:
    folder, database, _, _ = stored
    export(folder, database)
    with (folder / "reviewed/reviews.csv").open("a") as table:
        table.write(row + "\n")
    done = leukoscope("review", "import", "reviewed", "--to", database, cwd=folder)
    assert words in clean(done, 2)
    assert len(said(database)) == 43


def test_a_folder_that_holds_something_and_a_database_without_reviews_are_refused(stored) -> None:
    folder, database, _, _ = stored
    export(folder, database)
    words = ("review", "export", "--from", database, "--to", "reviewed")
    assert "holds something already" in clean(leukoscope(*words, cwd=folder), 2)
    results = Results(database)
    with results.engine.begin() as connection:
        connection.execute(results.tables.reviews.delete())
    results.close()
    words = ("review", "export", "--from", database, "--to", "empty")
    assert "no cell has been reviewed" in clean(leukoscope(*words, cwd=folder), 1)
    assert not (folder / "empty").exists()
