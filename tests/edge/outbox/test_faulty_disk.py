"""Every Nth read, write, sync or lock of the outbox and the archive fails: what was promised is kept, once.

FAULTY_SECONDS=600 python -m pytest tests/edge/outbox/test_faulty_disk.py      goes on for that long
"""

import errno
import hashlib
import os
import time
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from broker import make_record
from faulty_io import build, faults, run_python

from edge.outbox.queue import Outbox
from edge.records import decode_record

SECONDS = float(os.environ.get("FAULTY_SECONDS", "0"))
EVERY = (2, 5, 13)

# Prints what the outbox has promised: sequence, id and, if it was acknowledged, "gone".
WRITER = """
import sys
from pathlib import Path
from random import Random
from broker import make_record
import edge.outbox.file
import edge.outbox.queue as queue
from edge.errors import LeukoscopeError
queue.RETRY_S = edge.outbox.file.BUSY_TIMEOUT_S = 0.01
random, off = Random(int(sys.argv[2])), Path(sys.argv[3])
outbox = queue.Outbox(Path(sys.argv[1]), resend_s=0.05)
off.unlink()
kept = {}
def promised(future):
    if future.exception() is None:
        kept[future.result().sequence] = future.result().id
given = []
while len(given) < 80:
    record = make_record(source="x" * random.choice((10, 300, 3000)))
    future = outbox.accept(record)
    future.add_done_callback(promised)
    given.append(record.id)
    if random.random() < 0.5:
        try:
            future.result(0.05)
        except Exception:
            pass
    if random.random() < 0.3:
        try:
            chosen = [sequence for sequence, _ in outbox.pending(0, 5) if random.random() < 0.5]
        except LeukoscopeError:
            continue
        (outbox.acknowledged if random.random() < 0.7 else outbox.remove)(chosen)
    if random.random() < 0.02:
        outbox.resend()
off.write_text("")
for attempt in range(100):
    try:
        outbox.flush()
        break
    except LeukoscopeError:
        continue
outbox.close()
print(outbox.recovered)
print(*given)
for sequence, identity in sorted(kept.items()):
    print(sequence, identity)
"""

KINDS = {
    "write": ("pwrite,write", errno.EIO, False),
    "full": ("pwrite,write", errno.ENOSPC, True),
    "sync": ("fsync,fdatasync", errno.EIO, False),
    "read": ("pread,read", errno.EIO, False),
    "lock": ("fcntl", errno.EAGAIN, False),
    "all": ("pwrite,write,fsync,fdatasync,pread,read,fcntl", errno.EIO, False),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("faulty"))


def one_round(library: Path, folder: Path, kind: str, every: int, seed: int) -> None:
    calls, error, short = KINDS[kind]
    folder.mkdir()
    file, off = folder / "outbox.db", folder / "off"
    off.touch()
    environment = faults(library, calls, every, "outbox.db", error, off, short)
    done = run_python(WRITER, file, seed, off, environment=environment)
    what = f"{kind}, every {every}, seed {seed}"
    assert done.returncode == 0, f"{what}: {done.stderr[-3000:]}"
    recovered, given, *lines = done.stdout.splitlines()
    # A disk that refuses every second read may make SQLite believe that the file is malformed.
    assert recovered == "" or "read" in calls, f"{what}: a sound file was taken for damaged: {recovered}"
    promised = {int(sequence): identity for sequence, identity in (line.split() for line in lines)}
    assert len(set(promised.values())) == len(promised), f"{what}: one id has two sequences"
    outbox = Outbox(file)
    numbered = dict(enumerate(given.split(), 1))  # no number is missing, and none is given twice
    assert outbox.last_sequence() == len(numbered)
    assert promised.items() <= numbered.items()
    waiting = outbox.pending(0, 10**6)
    assert outbox.depth() == len(waiting), what
    outbox.resend()
    again = outbox.pending(0, 10**6)
    assert waiting == [row for row in again if row in waiting]
    assert all(decode_record(payload).id == numbered[sequence] for sequence, payload in again)
    outbox.close()


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_outbox_promised_is_there_once_with_one_number(
    library: Path, tmp_path: Path, kind: str
) -> None:
    for number, every in enumerate(EVERY):
        one_round(library, tmp_path / str(number), kind, every, seed=number)


@pytest.mark.skipif(not SECONDS, reason="FAULTY_SECONDS is not set")
def test_for_as_long_as_one_likes(library: Path, tmp_path: Path) -> None:
    random, end, number = Random(int(time.time())), time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        number += 1
        one_round(library, tmp_path / str(number), random.choice(list(KINDS)), random.randint(2, 60), number)


READER = """
import sys
from pathlib import Path
from edge.outbox.queue import Outbox
from edge.records import decode_record
outbox = Outbox(Path(sys.argv[1]))
for attempt in range(100):
    found = outbox.pending(0, 10**6)
    if found or outbox.recovered:
        break
    outbox.wait_for_change(0.1)
found = outbox.pending(0, 10**6)
print(outbox.recovered)
print(len(found), outbox.last_sequence())
outbox.close()
"""


@pytest.mark.parametrize("block", [0, 1, 20, 60])
def test_a_bad_sector_costs_what_lies_on_it_and_the_box_goes_on(
    library: Path, tmp_path: Path, block: int
) -> None:
    file = tmp_path / "bad.db"
    with closing(Outbox(file)) as outbox:
        for _ in range(400):
            outbox.accept(make_record())
    environment = {
        **faults(library, "", 1, "/bad.db"),
        "FAULTY_INODE": str(file.stat().st_ino),
        "FAULTY_SECTOR": str(block * 4096),
    }
    done = run_python(READER, file, environment=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    recovered, numbers = done.stdout.splitlines()
    found, last = map(int, numbers.split())
    assert "set aside as" in recovered and last == 400
    assert 390 <= found <= 400


ARCHIVIST = """
import sys
from pathlib import Path
import numpy as np
from edge.errors import LeukoscopeError
from edge.outbox.archive import Archive, ArchiveSettings
from edge.records import uuid7
for _ in range(50):
    try:
        archive = Archive(ArchiveSettings(directory=sys.argv[1], keep="all", max_mb=1))
        break
    except LeukoscopeError:
        continue
random = np.random.default_rng(0)
for _ in range(120):
    kept = archive.keep(uuid7(), "ALL", random.integers(0, 256, (64, 64, 3), np.uint8))
    if kept is not None:
        print(kept.name, kept.sha256)
print(archive.state()["images"])
"""


@pytest.mark.parametrize(
    ("calls", "error"), [("write", errno.ENOSPC), ("fsync", errno.EIO), ("write,fsync", errno.EIO)]
)
@pytest.mark.parametrize("every", [4, 7])
def test_what_the_archive_named_is_whole_and_within_its_limit(
    library: Path, tmp_path: Path, calls: str, error: int, every: int
) -> None:
    folder = tmp_path / "pictures"
    done = run_python(
        ARCHIVIST, folder, environment=faults(library, calls, every, "pictures", error, short=True)
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *lines, count = done.stdout.splitlines()
    named = dict(line.split() for line in lines)
    assert len(named) >= 20
    files = {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}
    assert sum(file.stat().st_size for file in files.values()) <= 2**20
    assert files.keys() <= named.keys()
    for name, file in files.items():
        assert hashlib.sha256(file.read_bytes()).hexdigest() == named[name]
    assert int(count) == len(files)
