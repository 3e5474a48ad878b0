"""What is no record is put aside, what was acknowledged is kept for a while, and one outbox has one name."""

import json
import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from broker import eventually, make_record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edge.outbox.queue as queue_module
from edge.errors import InputError, LeukoscopeError
from edge.outbox.file import OutboxFile, held_in
from edge.outbox.queue import Outbox
from edge.records import NAME_LENGTH, RECORD_BYTES, TEXT_LENGTH, Record, decode_record, encode

PAGE = 4096


def filled(file: Path, count: int = 20) -> dict[int, str]:
    with closing(Outbox(file)) as outbox:
        futures = [outbox.accept(make_record()) for _ in range(count)]
        return {future.result(5).sequence: future.result().id for future in futures}


def rows(outbox: Outbox) -> dict[int, str]:
    return {sequence: decode_record(payload).id for sequence, payload in outbox.pending(0, 10**6)}


@pytest.mark.parametrize("specimen", ["C:\\u0000x", "\\\\u0000", 'a\\u0000"', "\\u0000" * 40])
def test_a_backslash_before_u0000_is_text_and_no_damage(tmp_path: Path, specimen: str) -> None:
    for _ in range(2):
        with closing(Outbox(tmp_path / "o.db")) as outbox:
            assert outbox.recovered == ""
            outbox.accept(make_record(specimen=specimen)).result(5)
    with closing(Outbox(tmp_path / "o.db")) as outbox:
        payloads = [payload for _, payload in outbox.pending(0, 10)]
    assert [decode_record(payload).specimen for payload in payloads] == [specimen] * 2


@pytest.mark.parametrize(
    "change",
    [
        {"specimen": "slide\0 7"},
        {"source": "a\0"},
        {"reasons": ["\0"]},
        {"quality": {"sharpness": float("nan")}},
        {"quality": {"a\0": 1.0}},
        {"probabilities": {"ALL": float("inf")}},
        {"specimen": "x" * (NAME_LENGTH + 1)},
        {"source": "x" * (TEXT_LENGTH + 1)},
        {"reasons": ["x" * 3000] * 30},
        {"id": "7"},
        {"monotonic_ns": 2**63},
    ],
)
def test_what_a_reader_would_refuse_is_refused_at_its_maker(
    tmp_path: Path, change: dict[str, object]
) -> None:
    with closing(Outbox(tmp_path / "o.db")) as outbox:
        with pytest.raises(InputError):
            outbox.accept(make_record(**change))
        assert outbox.accept(make_record()).result(5).sequence == 1


texts = st.text(max_size=NAME_LENGTH + 5)
measures = st.dictionaries(texts, st.floats(), max_size=5)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(
        make_record,
        device=texts,
        specimen=texts | st.just("\\u0000"),
        source=texts,
        captured_at=texts,
        software=texts,
        probabilities=measures,
        quality=measures,
        timings_ms=measures,
        reasons=st.lists(texts, max_size=3),
        monotonic_ns=st.integers(),
        clock_synchronised=st.none() | st.booleans(),
    )
)
def test_everything_that_is_accepted_is_read_back_equal(record: Record) -> None:
    try:
        accepted = _outbox().accept(record).result(10)
    except InputError:
        return
    (row,) = [row for row in _outbox().pending(accepted.sequence - 1, 1) if row[0] == accepted.sequence]
    assert decode_record(row[1]) == accepted
    assert len(row[1]) <= RECORD_BYTES


_outboxes: list[Outbox] = []


@pytest.fixture(scope="module", autouse=True)
def one_outbox(tmp_path_factory: pytest.TempPathFactory) -> "object":
    _outboxes.append(Outbox(tmp_path_factory.mktemp("property") / "o.db"))
    yield
    _outboxes.pop().close()


def _outbox() -> Outbox:
    return _outboxes[0]


def spoil(file: Path, sequence: int, **changes: object) -> None:
    """Write a row as another version might have done: whole JSON, but not a record of today."""
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        (payload,) = db.execute("SELECT payload FROM records WHERE sequence = ?", (sequence,)).fetchone()
        spoilt = json.dumps({**json.loads(payload), **changes}, separators=(",", ":")).encode()
        db.execute("UPDATE records SET payload = ? WHERE sequence = ?", (spoilt, sequence))


def test_a_row_that_is_no_record_is_put_aside_and_those_behind_it_go_on(tmp_path: Path) -> None:
    file = tmp_path / "o.db"
    ids = filled(file)
    for sequence in (1, 2, 7):
        spoil(file, sequence, verdict="maybe")
    with closing(Outbox(file)) as outbox:
        assert list(rows(outbox)) == [n for n in ids if n not in (1, 2, 7)]
        eventually(lambda: outbox.aside == 3, 10)
        assert outbox.recovered == "" and outbox.depth() == 17
        assert outbox.report()["aside"] == 3 and "verdict" in str(outbox.report()["aside_reason"])
    assert [sequence for sequence, _ in held_in(file).aside] == [1, 2, 7]
    with closing(Outbox(file)) as outbox:
        assert outbox.aside == 3 and "verdict" in str(outbox.report()["aside_reason"])


def test_a_recovery_keeps_by_name_what_is_whole_but_no_record(tmp_path: Path) -> None:
    file = tmp_path / "o.db"
    ids = filled(file, 200)
    for sequence in (60, 61):
        spoil(file, sequence, verdict="maybe")
    with file.open("r+b") as stream:  # and a page that is damaged
        stream.seek(30 * PAGE)
        stream.write(bytes(PAGE))
    with closing(Outbox(file)) as outbox:
        eventually(lambda: outbox.pending(0, 1000) and outbox.recovered, 20)
        assert "put aside, since they are no records: 60–61" in outbox.recovered
        assert rows(outbox).items() <= ids.items() and outbox.aside == 2


def test_what_cannot_be_sent_is_set_aside_by_the_publisher_and_survives_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "o.db"
    filled(file)
    with closing(Outbox(file)) as outbox:
        outbox.set_aside(3, "1,200 bytes: this broker takes 500")
        outbox.flush()
        assert (outbox.aside, outbox.depth()) == (1, 19) and 3 not in rows(outbox)
    assert held_in(file).aside == [(3, "1,200 bytes: this broker takes 500")]


@pytest.mark.parametrize("kind", ["file", "folder", "hard", "relative"])
def test_one_outbox_under_two_names_serves_one_process(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    file, other = tmp_path / "a" / "o.db", tmp_path / "b" / "o.db"
    with closing(Outbox(file)) as outbox:
        outbox.accept(make_record()).result(5)
        if kind == "folder":
            other.parent.symlink_to(file.parent)
        elif kind == "relative":
            monkeypatch.chdir(tmp_path / "a")
            other = Path("o.db")
        else:
            other.parent.mkdir()
            os.link(file, other) if kind == "hard" else other.symlink_to(file)
        with pytest.raises(LeukoscopeError, match="another process"):
            Outbox(other)
        assert outbox.accept(make_record()).result(5).sequence == 2


def test_files_beside_the_outbox_lie_beside_the_real_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "o.db").symlink_to(tmp_path / "real" / "other.db")
    with closing(Outbox(tmp_path / "o.db")) as outbox:
        assert outbox.file == tmp_path / "real" / "other.db"
    assert [path.name for path in tmp_path.iterdir() if path.name != "real"] == ["o.db"]
    assert {"other.db", "other.db.lock"} <= {path.name for path in (tmp_path / "real").iterdir()}


def test_a_quiet_outbox_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "HANG_S", 0.3)
    with closing(Outbox(tmp_path / "o.db")) as outbox:
        commit, slow = OutboxFile.commit, threading.Event()

        def slowly(*arguments: object) -> object:
            time.sleep(0.8 if slow.is_set() else 0.1)
            return commit(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(OutboxFile, "commit", slowly)
        for _ in range(2):
            time.sleep(0.4)  # longer than HANG_S, with nothing to do
            future = outbox.accept(make_record())
            assert outbox.hangs() == ""
            future.result(5)
        slow.set()
        outbox.remove([1])  # a commit of removals alone may hang too
        eventually(outbox.hangs, 5)


def acknowledged(outbox: Outbox, *sequences: int) -> None:
    outbox.acknowledged(sequences)
    outbox.flush()


def test_what_was_acknowledged_waits_again_after_a_new_connection_or_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "o.db"
    ids = filled(file)
    with closing(Outbox(file)) as outbox:
        assert outbox.resend() == 0
        acknowledged(outbox, *range(1, 11), 15)
        assert outbox.depth() == 9 and outbox.oldest() == 11 and 15 not in rows(outbox)
        assert outbox.resend() == 11
        assert rows(outbox) == ids and outbox.depth() == 20
        acknowledged(outbox, *ids)
        assert outbox.wait_empty(1) and outbox.pending(0, 10) == []
    with closing(Outbox(file)) as outbox:  # the box is switched off and on
        assert outbox.depth() == 0 and outbox.pending(0, 10) == []
        assert outbox.accept(make_record()).result(5).sequence == 21
        assert outbox.resend() == 20
        assert list(rows(outbox)) == list(range(1, 22))


def test_what_was_acknowledged_long_ago_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "o.db"
    filled(file)
    with closing(Outbox(file, resend_s=0.2)) as outbox:
        acknowledged(outbox, *range(1, 11))
        time.sleep(0.3)
        assert outbox.resend() == 0 and outbox.oldest() == 11
        outbox.accept(make_record()).result(5)  # the next commit removes them
        with closing(sqlite3.connect(file)) as db:
            assert db.execute("SELECT min(sequence), count(*) FROM records").fetchone() == (11, 11)
    with closing(Outbox(file, resend_s=0)) as outbox:
        acknowledged(outbox, *range(11, 21))
        assert outbox.resend() == 0 and list(rows(outbox)) == [21]


def test_an_acknowledgement_of_the_connection_before_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "o.db"
    ids = filled(file)
    with closing(Outbox(file)) as outbox:
        outbox.acknowledged(range(1, 6))
        outbox.resend()
        outbox.flush()
        assert rows(outbox) == ids


def test_what_is_kept_never_fills_the_outbox(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path / "o.db", max_mb=1)) as outbox:
        for _ in range(40):
            sequences = [outbox.accept(make_record(source="x" * 2000)).result(5).sequence for _ in range(50)]
            acknowledged(outbox, *sequences)
            assert outbox.fault() == ""
        assert outbox.depth() == 0 and outbox.last_sequence() == 2000
        assert (tmp_path / "o.db").stat().st_size < 2**20


def test_a_failure_after_the_commit_gives_no_record_a_second_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "RETRY_S", 0.01)
    with closing(Outbox(tmp_path / "o.db")) as outbox:
        store, real = outbox._store, outbox._store._writer

        class Doubtful:
            """Each third COMMIT is done and reported to fail."""

            commits = 0

            def execute(self, statement: str, *values: object) -> object:
                done = real.execute(statement, *values)
                if statement == "COMMIT":
                    Doubtful.commits += 1
                    if Doubtful.commits % 3 == 0:
                        raise sqlite3.OperationalError("database is locked")
                return done

            def __getattr__(self, name: str) -> object:
                return getattr(real, name)

        monkeypatch.setattr(store, "_writer", Doubtful())
        given = []
        for number in range(1, 31):
            record = make_record()
            given.append(record.id)
            outbox.accept(record)
            eventually(lambda number=number: outbox.last_sequence() == number, 10)
        assert rows(outbox) == dict(enumerate(given, 1)) and outbox.depth() == 30


@pytest.mark.parametrize("mark", ["9" * 20, "9" * 25, str(2**63 - 1), "x", "", "9" * 15])
def test_a_mark_that_cannot_be_right_stops_no_box(tmp_path: Path, mark: str) -> None:
    file = tmp_path / "o.db"
    ids = filled(file)
    Path(f"{file}.lock").write_text(mark)
    with closing(Outbox(file)) as outbox:
        assert rows(outbox) == ids
        expected = 10**15 if mark == "9" * 15 else 21
        assert outbox.accept(make_record()).result(5).sequence == expected


@pytest.mark.parametrize("database", ["empty", "missing"])
@pytest.mark.parametrize("long", [10, 9000])
def test_an_outbox_that_is_empty_is_read_from_its_whole_log(tmp_path: Path, database: str, long: int) -> None:
    live, file = tmp_path / "live.db", tmp_path / "o.db"
    with closing(Outbox(live)) as outbox:
        sources = ["x" * 10, *(chr(97 + n) * min(long, TEXT_LENGTH) for n in range(20))]
        futures = [outbox.accept(make_record(source=source)) for source in sources]
        ids = {future.result(5).sequence: future.result().id for future in futures}
        shutil.copy(f"{live}-wal", f"{file}-wal")
    if database == "empty":
        file.touch()
    with closing(Outbox(file)) as outbox:
        assert rows(outbox) == ids and "21 records recovered" in outbox.recovered
        assert outbox.accept(make_record()).result(5).sequence == 22


def test_a_recovery_that_was_cut_off_does_not_meet_the_log_of_the_damaged_file(tmp_path: Path) -> None:
    """The power goes between the renaming of the damaged file and that of the new one."""
    file, other = tmp_path / "o.db", tmp_path / "other.db"
    ids = filled(file)
    file.rename(f"{file}.recovered")
    with closing(Outbox(other)) as outbox:  # another file's log, with other pages of the same numbers
        outbox.accept(make_record()).result(5)
        shutil.copy(f"{other}-wal", f"{file}-wal")
    with closing(Outbox(file)) as outbox:
        assert rows(outbox) == ids


def test_the_oldest_age_of_a_moment_that_is_no_date_is_not_known(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path / "o.db")) as outbox:
        outbox.accept(make_record(captured_at="[/x]")).result(5)
        assert outbox.oldest_age_s() is None and outbox.report()["depth"] == 1


def test_an_outbox_of_the_version_before_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "o.db"
    record = make_record(sequence=7)
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("CREATE TABLE records (sequence INTEGER PRIMARY KEY, payload BLOB NOT NULL)")
        db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL)")
        db.execute("INSERT INTO meta VALUES ('last_sequence', 7)")
        db.execute("INSERT INTO records VALUES (7, ?)", (encode(record),))
    assert held_in(file).aside == []
    with closing(Outbox(file)) as outbox:
        assert outbox.recovered == "" and rows(outbox) == {7: record.id}
        assert outbox.accept(make_record()).result(5).sequence == 8


@pytest.mark.parametrize(
    ("missing", "waiting"),
    [(["aside"], 15), (["aside", "tally"], 15), (["acknowledged", "aside", "done", "tally"], 20)],
)
def test_what_an_older_outbox_holds_is_seen_from_outside(
    tmp_path: Path, missing: list[str], waiting: int
) -> None:
    """One without a table holds nothing that would stand there; its records wait all the same."""
    file = tmp_path / "o.db"
    filled(file)
    with closing(Outbox(file)) as outbox:
        outbox.acknowledged(range(1, 6))
        outbox.flush()
    before = held_in(file)
    with closing(sqlite3.connect(file)) as db:
        for table in missing:
            db.execute(f"DROP TABLE {table}")
    held = held_in(file)
    assert (held.waiting, held.aside) == (waiting, [])
    assert 0 < held.used_bytes < before.used_bytes
    with closing(Outbox(file)) as outbox:
        assert outbox.depth() == waiting


def test_an_empty_file_holds_nothing_and_what_is_no_database_is_said(tmp_path: Path) -> None:
    file = tmp_path / "o.db"
    file.touch()
    held = held_in(file)
    assert (held.waiting, held.used_bytes, held.aside) == (0, 0, [])
    file.write_bytes(b"no database" * 100)
    with pytest.raises(LeukoscopeError, match="cannot be read"):
        held_in(file)


def commits_of(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the commits from now on: how many acknowledgements each one takes."""
    counts: list[int] = []
    commit = outbox._store.commit

    def counted(records, removals, changes):  # type: ignore[no-untyped-def]
        counts.append(len(changes.acknowledged))
        return commit(records, removals, changes)

    monkeypatch.setattr(outbox._store, "commit", counted)
    return counts


def test_acknowledgements_wait_for_each_other_or_for_the_next_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "ACKNOWLEDGED_WAIT_S", 60.0)
    with closing(Outbox(tmp_path / "o.db")) as outbox:
        for _ in range(20):
            outbox.accept(make_record())
        outbox.flush()
        counts = commits_of(outbox, monkeypatch)
        for sequence in range(1, 11):
            outbox.acknowledged([sequence])
        time.sleep(0.2)
        assert counts == [] and outbox.depth() == 20
        assert [sequence for sequence, _ in outbox.pending(0, 100)] == list(range(11, 21))
        outbox.accept(make_record()).result(5)
        assert counts == [10] and outbox.depth() == 11
        for sequence in range(11, 22):
            outbox.acknowledged([sequence])
        assert outbox.wait_empty(5)  # who waits for that need not wait longer
        assert sum(counts) == 21
        outbox.accept(make_record()).result(5)
        outbox.acknowledged([22])
    assert sum(counts) == 22  # closing commits them, too


def test_acknowledgements_are_committed_soon_without_another_reason(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path / "o.db")) as outbox:
        outbox.accept(make_record()).result(5)
        outbox.acknowledged([1])
        eventually(lambda: outbox.depth() == 0)
        outbox.accept(make_record()).result(5)
        outbox.acknowledged([2])
        eventually(lambda: outbox.depth() == 0)


def test_a_removal_takes_the_acknowledgements_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "ACKNOWLEDGED_WAIT_S", 60.0)
    with closing(Outbox(tmp_path / "o.db")) as outbox:
        for _ in range(3):
            outbox.accept(make_record())
        outbox.flush()
        outbox.acknowledged([1])
        outbox.remove([2])
        eventually(lambda: outbox.depth() == 1)
