"""The tally: of accepted records only, in their commits, and the same when it is made again."""

import sqlite3
import time
from pathlib import Path

import msgspec
import pytest
from broker import make_record

from edge.daemon.judge import Judge
from edge.daemon.specimens import Specimens
from edge.outbox import file as outbox_file
from edge.outbox.queue import Outbox
from edge.records import ModelReference, Record, decode_record
from edge.specimen import tally
from edge.specimen.counting import Classes
from edge.specimen.errors import ModelErrors

NOW = "2026-11-27T10:00:00.000000Z"
MODEL = ModelReference(name="m", sha256="ab")


def cell(verdict: str = "ALL", specimen: str = "S1", kind: str | None = None) -> Record:
    return make_record(verdict=verdict, specimen=specimen, kind=kind)


def accept(outbox: Outbox, *records: Record) -> None:
    for record in records:
        outbox.accept(record, change=tally.counted(record))
    outbox.flush()


def counts(outbox: Outbox) -> dict[str, int]:
    found = tally.read(outbox.tally())
    assert found is not None
    return found.counts


def stored(path: Path) -> list[Record]:
    with sqlite3.connect(path) as db:
        return [decode_record(row) for (row,) in db.execute("SELECT payload FROM records ORDER BY sequence")]


@pytest.fixture
def outbox(tmp_path: Path):
    opened = Outbox(tmp_path / "outbox.db")
    yield opened
    opened.close()


def test_only_records_of_the_specimen_after_its_start_count(outbox: Outbox) -> None:
    accept(outbox, cell())
    outbox.change_tally(tally.start("S1", 200, NOW))
    accept(outbox, cell(), cell("HEM"), cell(specimen="S2"), cell("refer"), cell("refer", kind="other"))
    assert counts(outbox) == {"ALL": 1, "HEM": 1, "refer": 1, "other": 1}
    outbox.change_tally(tally.stop)
    accept(outbox, cell())
    assert counts(outbox) == {"ALL": 1, "HEM": 1, "refer": 1, "other": 1}
    found = tally.read(outbox.tally())
    assert found is not None
    assert found.state == "done"
    assert tally.remade(found, stored(outbox.file)) == found.counts


def test_it_survives_a_restart(tmp_path: Path) -> None:
    first = Outbox(tmp_path / "outbox.db")
    first.change_tally(tally.start("S1", 50, NOW))
    accept(first, cell(), cell("HEM"))
    first.close()
    second = Outbox(tmp_path / "outbox.db")
    accept(second, cell())
    found = tally.read(second.tally())
    second.close()
    assert found is not None
    assert (found.state, found.target, found.started_at) == ("counting", 50, NOW)
    assert found.counts["ALL"] == 2


def test_a_commit_that_fails_counts_nothing_twice(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reported to fail, although it is on the disk: the worst case."""
    outbox.change_tally(tally.start("S1", 50, NOW))
    outbox.flush()
    real, left = outbox_file.write, [2]

    def write(*arguments: object) -> object:
        done = real(*arguments)  # type: ignore[arg-type]
        if left[0]:
            left[0] -= 1
            raise sqlite3.OperationalError("disk I/O error")
        return done

    monkeypatch.setattr(outbox_file, "write", write)
    for _ in range(5):
        record = cell()
        outbox.accept(record, change=tally.counted(record))
    deadline = time.monotonic() + 20
    while outbox.last_sequence() < 5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert left == [0]
    found = tally.read(outbox.tally())
    assert found is not None
    assert found.counts["ALL"] == 5
    assert tally.remade(found, stored(outbox.file)) == found.counts


def test_it_outlives_a_file_that_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "outbox.db"
    first = Outbox(file)
    first.change_tally(tally.start("S1", 50, NOW))
    accept(first, *(cell() for _ in range(300)))
    first.close()
    with sqlite3.connect(file) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'aside'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with file.open("r+b") as damaged:
        damaged.seek((root - 1) * size)
        damaged.write(b"\xff" * 100)
    second = Outbox(file)
    try:
        assert second.recovered
        assert counts(second)["ALL"] == 300
    finally:
        second.close()


def test_nonsense_in_the_file_is_no_tally(outbox: Outbox) -> None:
    assert tally.read(b"") is None
    assert tally.read(b'{"specimen": 7}') is None
    assert tally.stop(b"nonsense", 1) == b"nonsense"
    assert tally.counted(cell())(b"nonsense", 1) == b"nonsense"


def test_the_message_is_the_one_of_the_contract() -> None:
    change = tally.start("S1", 200, NOW)(b"", 7)
    begun = tally.read(change)
    assert begun is not None
    empty = msgspec.to_builtins(tally.message(begun, MODEL, None, checked_here=False))
    assert {"specimen", "state", "started_at", "target", "counts", "checked_here"} <= empty.keys()
    assert empty["blasts_percent"] is empty["interval_percent"] is empty["adjusted_percent"] is None
    full = msgspec.structs.replace(begun, counts={"ALL": 20, "HEM": 170, "refer": 30, "other": 10})
    said = tally.message(full, MODEL, ModelErrors(0.9, 0.8), checked_here=False)
    assert said.blasts_percent == pytest.approx(10)
    assert said.interval_percent == pytest.approx((6.22, 15.02), abs=0.02)
    assert said.adjusted_percent == 0  # fewer positives than the model's own errors would give


def test_another_model_is_announced_also_if_it_comes_while_the_count_is_sent(outbox: Outbox) -> None:
    def judge(sha256: str) -> Judge:
        return Judge(ModelReference(name="m", sha256=sha256), None, False, Classes())

    specimens = Specimens(outbox, judge("old"), 200, lambda _name: None)
    sent: list[str] = []

    class Broker:
        connections = 1

        def publish_specimen(self, payload: bytes) -> bool:
            if not sent:
                specimens.use(judge("new"))  # by the thread that takes models
            sent.append(msgspec.json.decode(payload)["model"]["sha256"])
            return True

    outbox.change_tally(tally.start("slide 7", 200, "2026-01-01T00:00:00.000000Z")).result(5)
    for _ in range(3):
        specimens.announce_once(Broker())
    assert sent == ["old", "new"]
