"""The outbox when it is full, its disk is full, or its file is damaged."""

import json
import os
import random
import shutil
import subprocess
import time

import pytest
from broker import eventually, make_record

from edge.errors import LeukoscopeError
from edge.outbox.queue import Outbox
from edge.outbox.waiting import OutboxFullError
from edge.records import decode_record

PAGE = 4096


def filled(file, count=400):
    """An outbox with `count` records, of which the first 50 were removed; gives {sequence: id}."""
    outbox = Outbox(file)
    futures = [outbox.accept(make_record()) for _ in range(count)]
    ids = {f.result(5).sequence: f.result().id for f in futures}
    outbox.remove(range(1, 51))
    outbox.flush()
    outbox.close()
    return {sequence: identity for sequence, identity in ids.items() if sequence > 50}


def read(outbox):
    return {sequence: decode_record(payload).id for sequence, payload in outbox.pending(0, 10**6)}


def test_a_full_outbox_takes_no_more_and_goes_on_below_its_bound(tmp_path, caplog):
    outbox = Outbox(tmp_path / "o.db", max_mb=1)
    accepted = 0
    with pytest.raises(OutboxFullError, match=r"full: 1 MB .*max_mb"):
        for _ in range(10_000):
            outbox.accept(make_record())
            accepted += 1
    assert "full" in outbox.fault() and not outbox.wait_for_room(0.05)
    outbox.flush()
    assert outbox.depth() == accepted > 500
    assert (tmp_path / "o.db").stat().st_size < 1.2 * 2**20
    outbox.close()
    outbox = Outbox(tmp_path / "o.db", max_mb=1)  # full at the start too
    assert "full" in outbox.fault()
    outbox.remove(range(1, accepted // 2))
    assert outbox.wait_for_room(5) and outbox.fault() == ""
    assert outbox.accept(make_record()).result(5).sequence == accepted + 1
    assert sum("full: 1 MB" in r.message for r in caplog.records) == 2
    outbox.close()


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", folder]).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    try:
        with (folder / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(PAGE))
    except OSError:
        pass


def test_a_full_disk_stops_new_records_while_the_old_ones_leave(small_disk):
    outbox = Outbox(small_disk / "o.db")
    for _ in range(300):
        outbox.accept(make_record())
    outbox.flush()
    fill(small_disk)
    late = [outbox.accept(make_record(source="x" * 3000)) for _ in range(100)]
    eventually(lambda: "disk" in outbox.fault() or "full" in outbox.fault())
    assert any(isinstance(future.exception(5), LeukoscopeError) for future in late)
    fill(small_disk)  # what the reserve gave back
    outbox.remove(range(1, 301))
    eventually(lambda: outbox.oldest() is None or outbox.oldest() > 300, 20)  # they leave although it is full
    (small_disk / "ballast").unlink()
    assert outbox.wait_for_room(10)
    outbox.flush()
    assert sorted(read(outbox)) == list(range(301, 401))
    outbox.close()


def test_an_outbox_opens_on_a_full_disk(small_disk):
    ids = filled(small_disk / "o.db")
    fill(small_disk)
    outbox = Outbox(small_disk / "o.db")
    assert read(outbox) == ids
    outbox.remove(list(ids)[:100])
    eventually(lambda: outbox.depth() == len(ids) - 100)
    outbox.close()


def zero_page(file, number):
    with file.open("r+b") as stream:
        stream.seek(number * PAGE)
        stream.write(bytes(PAGE))


@pytest.mark.parametrize(
    "where", ["first page", "some pages", "half a page", "every page's head", "cut short"]
)
def test_a_damaged_file_is_set_aside_and_its_readable_part_goes_on(tmp_path, caplog, where):
    file = tmp_path / "o.db"
    ids = filled(file)
    pages = file.stat().st_size // PAGE
    rng = random.Random(where)
    if where == "first page":
        zero_page(file, 0)
    elif where == "some pages":
        for number in rng.sample(range(3, pages), 5):
            zero_page(file, number)
    elif where == "half a page":  # a torn write: only its second half is from another time
        with file.open("r+b") as stream:
            stream.seek(20 * PAGE + 2048)
            stream.write(bytes(2048))
    elif where == "every page's head":
        with file.open("r+b") as stream:
            for number in range(pages):
                stream.seek(number * PAGE)
                stream.write(rng.randbytes(100))
    else:
        os.truncate(file, pages // 2 * PAGE)
    outbox = Outbox(file)
    found = read(outbox)
    eventually(lambda: outbox.recovered)
    eventually(lambda: read(outbox))
    found = read(outbox)
    assert not {s: i for s, i in found.items() if s in ids and ids[s] != i}
    assert len(found.keys() & ids.keys()) >= (100 if where == "cut short" else 300)
    assert "set aside as" in outbox.recovered and "goes on after 400" in outbox.recovered
    assert sum("set aside as" in r.message for r in caplog.records) == 1
    (aside,) = tmp_path.glob("o.db.damaged-*")
    assert (aside / "o.db").stat().st_size > 0
    assert outbox.accept(make_record()).result(5).sequence == 401
    outbox.close()
    outbox = Outbox(file)  # and is whole from now on
    assert outbox.recovered == "" and outbox.depth() == len(found) + 1
    outbox.close()


@pytest.mark.parametrize("damage", ["truncated", "torn"])
def test_a_damaged_log_loses_no_number_and_is_reported(tmp_path, damage):
    """A copy of the files while they are in use is what a power cut leaves."""
    live = Outbox(tmp_path / "live.db")
    futures = [live.accept(make_record()) for _ in range(20)]
    ids = {f.result(5).sequence: f.result().id for f in futures}
    for _ in range(20):
        record = live.accept(make_record()).result(5)
        ids[record.sequence] = record.id
    file = tmp_path / "o.db"
    for suffix in ("", "-wal", ".lock"):
        shutil.copy(tmp_path / f"live.db{suffix}", f"{file}{suffix}")
    live.close()
    wal = tmp_path / "o.db-wal"
    frames = (wal.stat().st_size - 32) // (PAGE + 24)
    if damage == "truncated":
        os.truncate(wal, 32 + frames // 2 * (PAGE + 24) + 700)
    else:
        with wal.open("r+b") as stream:
            stream.seek(32 + frames // 2 * (PAGE + 24) + 300)
            stream.write(random.Random(0).randbytes(512))
    outbox = Outbox(file)
    found = read(outbox)
    assert "records are missing" in outbox.recovered and "set aside" in outbox.recovered
    assert found.items() <= ids.items() and len(found) >= (10 if damage == "truncated" else 39)
    assert outbox.accept(make_record()).result(5).sequence == 41
    outbox.close()


def test_whatever_part_of_the_log_a_power_cut_leaves_the_records_before_it_are_there(tmp_path):
    """A power cut leaves the log cut off or half-written anywhere behind the last sync."""
    live = Outbox(tmp_path / "live.db")
    lengths = [0]  # of the log, after each record's commit
    ids = {}
    for _ in range(30):
        record = live.accept(make_record()).result(5)
        ids[record.sequence] = record.id
        lengths.append((tmp_path / "live.db-wal").stat().st_size)
    files = {suffix: (tmp_path / f"live.db{suffix}").read_bytes() for suffix in ("", "-wal")}
    live.close()
    rng = random.Random(0)
    for number in range(60):
        cut = rng.randrange(len(files["-wal"]))
        rest = rng.randbytes(len(files["-wal"]) - cut) if number % 2 else b""
        file = tmp_path / f"{number}" / "o.db"
        file.parent.mkdir()
        file.write_bytes(files[""])
        (file.parent / "o.db-wal").write_bytes(files["-wal"][:cut] + rest)
        outbox = Outbox(file)
        found = read(outbox)
        durable = sum(length <= cut for length in lengths[1:])
        assert list(found) == list(range(1, len(found) + 1)) and len(found) >= durable
        assert found.items() <= ids.items()
        assert outbox.accept(make_record()).result(5).sequence == len(found) + 1
        outbox.close()


def test_damage_while_it_runs_is_noticed_and_repaired(tmp_path):
    file = tmp_path / "o.db"
    ids = filled(file, 3000)  # more than the cache of SQLite holds
    outbox = Outbox(file)
    for number in range(300, 310):
        zero_page(file, number)
    for _ in range(200):
        outbox.pending(0, 10**6)
        if outbox.recovered:
            break
        time.sleep(0.05)
    eventually(lambda: read(outbox))
    found = read(outbox)
    waiting = {sequence: identity for sequence, identity in found.items() if sequence > 50}
    # What was removed may come back from a damaged file: ids make that harmless.
    assert "set aside" in outbox.recovered and waiting.items() <= ids.items() and len(waiting) > 2800
    assert outbox.accept(make_record()).result(5).sequence == 3001
    outbox.close()


def test_an_outbox_file_that_is_gone_does_not_begin_to_count_anew(tmp_path):
    file = tmp_path / "o.db"
    filled(file)
    file.unlink()
    for expected in (401, 402):
        outbox = Outbox(file)
        assert bool(outbox.recovered) == (expected == 401)
        assert outbox.accept(make_record()).result(5).sequence == expected
        outbox.close()


def test_another_programs_database_is_refused_and_left_alone(tmp_path):
    import sqlite3

    file = tmp_path / "o.db"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE patients (name)")
    before = file.read_bytes()
    with pytest.raises(LeukoscopeError, match="patients"):
        Outbox(file)
    assert file.read_bytes() == before


def test_the_oldest_age_is_never_below_zero_when_the_clock_jumped(tmp_path):
    outbox = Outbox(tmp_path / "o.db")
    assert outbox.oldest_age_s() is None
    outbox.accept(make_record(captured_at="2100-01-01T00:00:00.000000Z"))
    outbox.flush()
    assert outbox.oldest_age_s() == 0.0
    assert json.loads(outbox.pending(0, 1)[0][1])["sequence"] == 1
    outbox.close()
