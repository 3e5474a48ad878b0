"""The outbox: nothing accepted is lost, and no number is missing."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from broker import make_record

from edge.errors import LeukoscopeError
from edge.outbox.file import OutboxFile
from edge.outbox.queue import Outbox
from edge.outbox.waiting import BATCH_LIMIT
from edge.records import decode_record

SUPPORT = Path(__file__).resolve().parents[2] / "support"
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{SUPPORT}:{SUPPORT.parents[1]}"}


def test_sequences_have_no_gap_over_reopening_and_removal(tmp_path):
    given = []
    for _ in range(3):
        outbox = Outbox(tmp_path / "new" / "outbox.db")
        futures = [outbox.accept(make_record()) for _ in range(50)]
        given += [future.result(5).sequence for future in futures]
        outbox.remove([sequence for sequence, _ in outbox.pending(0, 1000)])
        outbox.close()
    assert given == list(range(1, 151))
    outbox = Outbox(tmp_path / "new" / "outbox.db")
    assert (outbox.depth(), outbox.oldest(), outbox.last_sequence()) == (0, None, 150)
    outbox.close()


def test_pending_gives_payloads_in_order_with_their_sequence(tmp_path):
    outbox = Outbox(tmp_path / "o.db")
    records = [make_record() for _ in range(10)]
    for record in records:
        outbox.accept(record)
    outbox.flush()
    rows = outbox.pending(after=3, limit=4)
    assert [sequence for sequence, _ in rows] == [4, 5, 6, 7]
    assert [decode_record(p).id for _, p in rows] == [r.id for r in records[3:7]]
    assert [decode_record(p).sequence for _, p in rows] == [4, 5, 6, 7]
    outbox.remove([1, 2])
    outbox.flush()
    assert (outbox.depth(), outbox.oldest()) == (8, 3)
    assert outbox.wait_for_change(1) and not outbox.wait_for_change(0.01)
    outbox.close()


def test_close_commits_what_was_accepted_and_many_threads_may_accept(tmp_path):
    outbox = Outbox(tmp_path / "o.db")
    threads = [
        threading.Thread(target=lambda: [outbox.accept(make_record()) for _ in range(200)]) for _ in range(8)
    ]
    [t.start() for t in threads], [t.join() for t in threads]
    outbox.close()
    with pytest.raises(LeukoscopeError, match="closed"):
        outbox.accept(make_record())
    outbox = Outbox(tmp_path / "o.db")
    assert [s for s, _ in outbox.pending(0, 10_000)] == list(range(1, 1601))
    outbox.close()


KILLED = """
import sys
from pathlib import Path
from random import Random
from broker import make_record
from edge.outbox.queue import Outbox
from edge.outbox.file import OutboxFile
outbox = Outbox(Path(sys.argv[1]))
def durable(future):
    record = future.result()
    print(record.sequence, record.id, flush=True)
while True:
    outbox.accept(make_record()).add_done_callback(durable)
"""


def test_kill_9_loses_no_record_whose_future_resolved(tmp_path):
    file = tmp_path / "o.db"
    promised: dict[int, str] = {}
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(file)], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(700)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
        child.wait()
        for line in lines:
            if line.endswith("\n"):
                sequence, record_id = line.split()
                assert int(sequence) not in promised
                promised[int(sequence)] = record_id
    outbox = Outbox(file)
    rows = outbox.pending(0, 10**6)
    outbox.close()
    assert [s for s, _ in rows] == list(range(1, len(rows) + 1))
    stored = {s: decode_record(p).id for s, p in rows}
    assert len(promised) >= 2000
    assert {s: stored.get(s) for s in promised} == promised


FULL_DISK = """
import resource, signal, sys, time
from pathlib import Path
from random import Random
from broker import make_record
from edge.errors import LeukoscopeError
from edge.outbox.queue import Outbox
from edge.outbox.file import OutboxFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
outbox = Outbox(Path(sys.argv[1]))
outbox.accept(make_record()).result(5)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
futures = [outbox.accept(make_record(source="x" * 1000)) for _ in range(100)]
failed = [f.exception(5) for f in futures]
print(sum(isinstance(e, LeukoscopeError) for e in failed) > 0, outbox.depth())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
last = outbox.accept(make_record()).result(5)
print(last.sequence, [s for s, _ in outbox.pending(0, 1000)] == list(range(1, 103)))
outbox.close()
"""


def test_full_disk_shows_on_the_future_and_nothing_is_lost(tmp_path):
    out = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "o.db")],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=20,
    )
    assert out.stdout.split("\n")[:2] == ["True 101", "102 True"], out.stderr


@pytest.mark.parametrize("kind", ["folder", "not a database", "below a file"])
def test_a_file_that_cannot_be_an_outbox_is_named(tmp_path, kind):
    file = tmp_path / "o.db"
    if kind == "folder":
        file.mkdir()
    elif kind == "not a database":
        file.write_bytes(b"something else" * 1000)
    else:
        file.write_bytes(b"")
        file = file / "o.db"
    with pytest.raises(LeukoscopeError, match="o.db"):
        Outbox(file)


def test_two_processes_cannot_count_in_one_outbox(tmp_path):
    outbox = Outbox(tmp_path / "o.db")
    with pytest.raises(LeukoscopeError, match="another process"):
        Outbox(tmp_path / "o.db")
    outbox.close()
    Outbox(tmp_path / "o.db").close()


def test_one_commit_takes_all_that_waits_and_is_fully_synchronous(tmp_path):
    outbox = Outbox(tmp_path / "o.db")
    for _ in range(1000):
        outbox.accept(make_record())
    outbox.flush()
    mode = sqlite3.connect(tmp_path / "o.db").execute("PRAGMA journal_mode").fetchone()
    assert mode == ("wal",)
    assert outbox._store._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    outbox.close()


def test_what_is_pending_is_what_is_on_the_disk_whatever_was_kept_in_memory(tmp_path):
    """Random batches and removals, more than memory keeps, and a reopening in between."""
    random, given = Random(7), 0
    store = OutboxFile(tmp_path / "o.db")
    for step in range(120):
        if step == 60:
            store.close()
            store = OutboxFile(tmp_path / "o.db")
        left = [sequence for sequence, _ in store.pending(0, 10_000)]
        removals = random.sample(left, min(len(left), random.choice((0, 0, 1, 5, 30))))
        given += len(store.commit([make_record() for _ in range(random.choice((0, 1, 1, 3, 40)))], removals))
        with sqlite3.connect(tmp_path / "o.db") as database:
            rows = database.execute("SELECT sequence, payload FROM records ORDER BY sequence").fetchall()
        for after in (0, given - 70, given - 64, given - 63, given - 5, given - 1, given):
            expected = [row for row in rows if row[0] > after]
            assert store.pending(after, 10_000) == expected
            assert store.pending(after, 3) == expected[:3]
    assert given > 500
    store.close()


def test_a_mark_is_not_kept_before_what_was_accepted_earlier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is slow for a moment, and more records than one commit takes: a power cut between the commits must not
    leave an image done whose records are not there."""
    outbox = Outbox(tmp_path / "outbox.db")
    commit, free, commits = outbox._store.commit, threading.Event(), []

    def slow(records, removals, changes):
        free.wait(10)
        commits.append((len(records), changes.marks))
        return commit(records, removals, changes)

    monkeypatch.setattr(outbox._store, "commit", slow)
    for _ in range(BATCH_LIMIT + 50):
        outbox.accept(make_record())
    outbox.mark(b"image")
    free.set()
    outbox.close()
    with closing(Outbox(tmp_path / "outbox.db")) as again:
        assert again.depth() == BATCH_LIMIT + 50 and again.marks() == {b"image"}
    before = sum(records for records, marks in commits[: [bool(m) for _, m in commits].index(True) + 1])
    assert len(commits) > 1 and before == BATCH_LIMIT + 50
