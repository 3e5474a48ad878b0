"""Every Nth read, write, sync or lock of the logger's database fails: what it acknowledged to the broker is stored, once.

FAULTY_SECONDS=600 python -m pytest tests/edge/logger/test_faulty_store.py      goes on for that long
"""

import errno
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import paho.mqtt.client as paho
import pytest
from broker import Mosquitto, eventually, make_record
from faulty_io import build, faults
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.records import encode

SECONDS = float(os.environ.get("FAULTY_SECONDS", "0"))
RECORDS = 150
PATIENCE_S = 5.0
CLIENT_ID, LAST = "logger of {}", b"the last one"

# Calls, error, whether half is written first, and every how many of them fails if it is to come to anything: a
# transaction has some ten writes, one sync, and reads only after one that failed.
KINDS = {
    "write": ("pwrite,write", errno.EIO, False, 23),
    "full": ("pwrite,write", errno.ENOSPC, True, 5),
    "sync": ("fsync,fdatasync", errno.EIO, False, 3),
    "read": ("pread,read,fsync,fdatasync", errno.EIO, False, 4),
    "lock": ("fcntl", errno.EAGAIN, False, 5),
    "all": ("pwrite,write,fsync,fdatasync,pread,read,fcntl", errno.EIO, False, 37),
}

# Takes small batches, so that there are many transactions; says "ready" once it has subscribed.
LOGGER = """
import sys, time
from pathlib import Path
import edge.logger.writer as writer
writer.RETRY_S, writer.BATCH_LIMIT = 0.01, 5
from edge.logger.subscriber import Subscriber, open_sink
logger = Subscriber(sys.argv[1], open_sink(sys.argv[2]), sys.argv[3], client_id=sys.argv[4])
logger.start()
logger.subscribed.wait(60)
Path(sys.argv[5]).unlink(missing_ok=True)  # from now on calls fail
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("faulty"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as mosquitto:
        yield mosquitto.start()


@contextmanager
def logger(port: int, file: Path, topic: str, environment: dict[str, str], off: Path) -> Iterator[None]:
    """A logger that is killed at the end."""
    command = [sys.executable, "-c", LOGGER, f"mqtt://127.0.0.1:{port}", f"sqlite:///{file}"]
    with (file.parent / "log").open("ab") as log:
        process = subprocess.Popen(
            [*command, topic, CLIENT_ID.format(topic), str(off)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n", (file.parent / "log").read_text()[-3000:]
        yield
        assert process.poll() is None, (file.parent / "log").read_text()[-3000:]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def send(port: int, topic: str, payloads: list[bytes]) -> None:
    """Publish, and wait until the broker has taken all."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for sent in [client.publish(topic, payload, qos=1) for payload in payloads]:
        sent.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def not_acknowledged(port: int, topic: str) -> list[bytes]:
    """What the broker still holds for the logger, as it would give it to the next one with that id."""
    found: list[bytes] = []
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2,
        client_id=CLIENT_ID.format(topic),
        protocol=paho.MQTTv5,
        reconnect_on_failure=False,
    )
    client.on_message = lambda _client, _data, message: found.append(message.payload)
    lasting = Properties(PacketTypes.CONNECT)
    lasting.SessionExpiryInterval = 600
    client.connect("127.0.0.1", port, clean_start=False, properties=lasting)
    client.loop_start()
    send(port, topic, [LAST])  # it comes behind the others
    eventually(lambda: LAST in found)
    client.disconnect()
    client.loop_stop()
    return [payload for payload in found if payload != LAST]


def rows(file: Path) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20)) as database:
        return database.execute("SELECT sequence, id FROM cells ORDER BY sequence").fetchall()


def one_round(library: Path, port: int, folder: Path, kind: str, every: int, seed: int) -> tuple[int, int]:
    """Gives how many records were acknowledged under the faults, and how many came again."""
    calls, error, short, _ = KINDS[kind]
    folder.mkdir()
    file, off, what = folder / "faulty.db", folder / "off", f"{kind}, every {every}, seed {seed}"
    off.touch()
    device = f"{kind}-{seed}"
    topic = f"leukoscope/{device}/cells"
    records = [make_record(device=device, sequence=number) for number in range(1, RECORDS + 1)]
    payloads = [encode(record) for record in records]
    random, numbered = Random(seed), {record.id: record.sequence for record in records}
    failing = faults(library, calls, every, "faulty.db", error, off, short, folder / "told")
    with logger(port, file, topic, failing, off):
        send(port, topic, payloads)
        # Killed in the midst of its work, or if it comes to nothing under these faults.
        enough, end = random.randint(RECORDS // 2, RECORDS), time.monotonic() + PATIENCE_S
        while len(rows(file)) < enough and time.monotonic() < end:
            time.sleep(0.02)
    again = not_acknowledged(port, topic)
    left = {json.loads(payload)["id"] for payload in again}
    assert left <= numbered.keys()
    stored = rows(file)
    assert len({number for number, _ in stored}) == len(stored), f"{what}: a row is doubled"
    assert all(numbered[identity] == number for number, identity in stored)
    lost = numbered.keys() - left - {identity for _, identity in stored}
    assert not lost, f"{what}: acknowledged and not stored: {sorted(numbered[identity] for identity in lost)}"
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)], what
        assert database.execute("SELECT count(*) FROM rejects").fetchone() == (0,), what
    with logger(port, file, topic, faults(library, "", 1, "none"), off):  # what comes again is stored once
        send(port, topic, again)
        eventually(lambda: len(rows(file)) == RECORDS)
    assert [number for number, _ in rows(file)] == list(range(1, RECORDS + 1)), what
    return len(numbered) - len(left), len(left)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_logger_acknowledged_is_stored_once(
    library: Path, broker: Mosquitto, tmp_path: Path, kind: str
) -> None:
    acknowledged, _ = one_round(library, broker.port, tmp_path / "round", kind, KINDS[kind][3], seed=1)
    assert acknowledged, "no record was acknowledged: nothing was tried"
    assert (tmp_path / "round" / "told").stat().st_size, "no call failed: nothing was tried"


@pytest.mark.skipif(not SECONDS, reason="FAULTY_SECONDS is not set")
@pytest.mark.timeout(0)
def test_for_as_long_as_one_likes_too(
    library: Path, broker: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random, end, number = Random(int(time.time())), time.monotonic() + SECONDS, 0
    acknowledged = came_again = failed = 0
    while time.monotonic() < end:
        number += 1
        kind, every = random.choice(list(KINDS)), random.randint(2, 60)
        counts = one_round(library, broker.port, tmp_path / str(number), kind, every, number)
        acknowledged, came_again = acknowledged + counts[0], came_again + counts[1]
        told = tmp_path / str(number) / "told"
        failed += told.stat().st_size if told.exists() else 0
    with capsys.disabled():
        print(
            f"\n{number} rounds, {failed} calls that failed: {acknowledged} results acknowledged and stored once, "
            f"{came_again} not acknowledged and stored when they came again"
        )
