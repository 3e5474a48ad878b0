"""Databases of earlier loggers go on being used, by one or by several loggers at once."""

import csv
import json
import sqlite3
import threading

import pytest
from broker import make_record

from edge.errors import InputError
from edge.host import clock
from edge.logger.stores.rows import CELL_COLUMNS, csv_line, record_of, row
from edge.logger.stores.sinks import open_sink
from edge.logger.stores.tables import VERSION
from edge.records import Record, encode

LATER = ("clock_synchronised", "field", "kind")
OLD_COLUMNS = [name for name in CELL_COLUMNS if name not in LATER]


def first_version(file, records):
    """What the first loggers made."""
    with sqlite3.connect(file) as database:
        columns = ", ".join(f"{n} TEXT" + (" NOT NULL" if n != "image" else "") for n in OLD_COLUMNS)
        database.execute(f"CREATE TABLE cells ({columns}, PRIMARY KEY (id))")
        database.execute(
            "CREATE TABLE rejects (received_at TEXT NOT NULL, topic TEXT NOT NULL, "
            "payload BLOB NOT NULL, reason TEXT NOT NULL)"
        )
        for record in records:
            row = json.loads(encode(record))
            database.execute(
                f"INSERT INTO cells VALUES ({', '.join('?' * len(OLD_COLUMNS))})",
                [
                    v if v is None or isinstance(v, (str, int)) else json.dumps(v)
                    for n, v in row.items()
                    if n in OLD_COLUMNS
                ],
            )


def schema(file):
    with sqlite3.connect(file) as database:
        columns = [c[1] for c in database.execute("PRAGMA table_info(cells)")]
        return columns, {name for (name,) in database.execute("SELECT name FROM sqlite_master")}


def test_tables_of_the_first_version_become_todays_and_keep_their_rows(tmp_path):
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    earlier, later = make_record(sequence=1), make_record(sequence=2, clock_synchronised=True)
    first_version(old, [earlier])
    open_sink(f"sqlite:///{new}").close()
    for _ in range(2):  # the second start finds nothing to do
        sink = open_sink(f"sqlite:///{old}")
        assert sink.store([earlier, later], [])[0] is False
        sink.close()
    assert schema(old) == schema(new)
    with sqlite3.connect(old) as database:
        rows = database.execute("SELECT id, clock_synchronised FROM cells ORDER BY sequence").fetchall()
    assert rows == [(earlier.id, None), (later.id, 1)]


def test_tables_of_the_second_version_get_field_and_kind_fields_and_reviews(tmp_path):
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    earlier = make_record(sequence=1, clock_synchronised=True)
    for file in (old, new):
        sink = open_sink(f"sqlite:///{file}")
        sink.store([earlier], [])
        sink.close()
    with sqlite3.connect(old) as database:
        for change in (
            "ALTER TABLE cells DROP COLUMN field",
            "ALTER TABLE cells DROP COLUMN kind",
            "DROP TABLE fields",
            "DROP TABLE reviews",
            "UPDATE leukoscope_schema SET version = 2",
        ):
            database.execute(change)
    open_sink(f"sqlite:///{old}").close()
    assert schema(old) == schema(new)
    with sqlite3.connect(old) as database:
        query = "SELECT id, clock_synchronised, field, kind FROM cells"
        assert database.execute(query).fetchall() == [(earlier.id, 1, None, None)]
        assert database.execute("SELECT version FROM leukoscope_schema").fetchall() == [(VERSION,)]
        columns = [c[1] for c in database.execute("PRAGMA table_info(reviews)")]
    assert columns == ["cell", "label", "reviewer", "at", "comment"]


@pytest.mark.parametrize("table", ["fields", "reviews", "rejects"])
def test_another_programs_table_of_a_name_of_ours_is_refused(tmp_path, table):
    with sqlite3.connect(tmp_path / "r.db") as database:
        database.execute(f"CREATE TABLE {table} (crop, hectares)")
    with pytest.raises(InputError, match=f"{table} is another program's"):
        open_sink(f"sqlite:///{tmp_path}/r.db")


def test_loggers_that_start_together_migrate_once(tmp_path):
    faults = []
    together = threading.Barrier(8)

    def start(file):
        together.wait()
        try:
            open_sink(f"sqlite:///{file}").close()
        except Exception as error:
            faults.append(error)

    for number in range(20):  # one in twenty met a lock that SQLite does not wait for
        file = tmp_path / f"{number}.db"
        first_version(file, [make_record()])
        threads = [threading.Thread(target=start, args=(file,)) for _ in range(together.parties)]
        [t.start() for t in threads], [t.join() for t in threads]
    assert faults == []


def test_newer_and_foreign_tables_are_refused(tmp_path):
    newer, foreign = tmp_path / "newer.db", tmp_path / "foreign.db"
    open_sink(f"sqlite:///{newer}").close()
    with sqlite3.connect(newer) as database:
        database.execute("UPDATE leukoscope_schema SET version = 99")
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE cells (battery)")
    with pytest.raises(InputError, match="version 99.*update this logger"):
        open_sink(f"sqlite:///{newer}")
    with pytest.raises(InputError, match="another program's"):
        open_sink(f"sqlite:///{foreign}")


def test_a_csv_of_the_first_version_is_widened_and_goes_on(tmp_path):
    file = tmp_path / "r.csv"
    record = make_record(specimen='a,"b"\nc')
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(OLD_COLUMNS)
        row = json.loads(encode(record))
        writer.writerow([v if isinstance(v, (str, int)) else json.dumps(v) for n, v in row.items()][:-3])
    sink = open_sink(str(file))
    with pytest.raises(Exception, match="another logger"):
        open_sink(str(file))
    other = make_record(clock_synchronised=False)
    assert sink.store([record, other], []) == [False, True]
    sink.close()
    rows = list(csv.DictReader(file.open(newline="")))
    assert [(r["id"], r["clock_synchronised"]) for r in rows] == [(record.id, ""), (other.id, "false")]
    assert rows[0]["specimen"] == record.specimen


@pytest.mark.parametrize("lacking", [2, 3])
def test_a_csv_of_each_earlier_version_is_widened(tmp_path, lacking):
    file = tmp_path / "r.csv"
    record = make_record(specimen='a,"b"\nc', clock_synchronised=None if lacking == 3 else True)
    values = csv_line(row(record).values()).rstrip("\n").split(",")
    assert values[-2:] == ["", ""]
    text = csv_line(CELL_COLUMNS[:-lacking]) + ",".join(values[:-lacking]) + "\n"
    file.write_text(text, newline="")
    file.chmod(0o640)
    open_sink(str(file)).close()
    (found,) = csv.DictReader(file.open(newline=""))
    assert tuple(found) == CELL_COLUMNS and record_of(found, Record) == record
    assert file.stat().st_mode & 0o777 == 0o640 and list(tmp_path.iterdir()) == [file]


def test_the_clock_is_said_to_be_synchronised_or_not():
    assert clock.synchronised() in (True, False)
