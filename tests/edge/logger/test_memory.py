"""A logger with little memory: large messages neither end it nor keep what is behind them."""

import json
import resource
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from broker import Mosquitto, eventually, make_record

from edge.records import encode

LIMIT = 512 * 1024 * 1024


def send(port, payloads):
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for payload in payloads:
        client.publish("leukoscope/box/cells", payload, qos=1).wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def logger(tmp_path):
    """A broker, and how to start `leukoscope log` with 512 MB of address space."""
    started = []

    def start(port, target):
        errors = tmp_path / "errors"
        with errors.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "edge", "log", "--broker", f"mqtt://127.0.0.1:{port}", "--to", target],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
            resource.prlimit(process.pid, resource.RLIMIT_AS, (LIMIT, LIMIT))
        started.append(process)
        eventually(lambda: "subscribed" in errors.read_text())
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def peak_mb(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def stored(file):
    """How many of the ordinary records are there."""
    with sqlite3.connect(file, timeout=10) as database:
        return database.execute("SELECT count(*) FROM cells WHERE specimen = 'last'").fetchone()[0]


@pytest.mark.timeout(300)
def test_240_mb_do_not_end_a_logger_of_512_and_what_is_behind_is_stored(tmp_path, logger):
    with Mosquitto(tmp_path, persistent=False) as broker:
        broker.start()
        file = tmp_path / "r.db"
        process = logger(broker.port, f"sqlite:///{file}")
        large = {**json.loads(encode(make_record())), "verdict": "x" * 60_000_000}
        send(
            broker.port,
            [json.dumps(large).encode(), b"\0" * 60_000_000, b"[" * 60_000_000, b"1" * 60_000_000],
        )
        send(broker.port, [encode(make_record(specimen="last")) for _ in range(10)])
        eventually(lambda: stored(file) == 10, 60)
        assert process.poll() is None and peak_mb(process) < 200


@pytest.mark.timeout(300)
def test_many_messages_of_the_largest_size_while_the_store_is_slow(tmp_path, logger):
    """300 MB wait at the broker, the database is locked: memory stays bounded, nothing is lost."""
    with Mosquitto(tmp_path, persistent=False) as broker:
        broker.start()
        file = tmp_path / "r.db"
        process = logger(broker.port, f"sqlite:///{file}")
        with sqlite3.connect(file, timeout=10, isolation_level=None) as database:
            database.execute("BEGIN IMMEDIATE")
            large = {**json.loads(encode(make_record())), "unknown": "x" * 1_000_000}
            send(broker.port, [json.dumps(large).encode()] * 300)
            send(broker.port, [encode(make_record(specimen="last")) for _ in range(10)])
            time.sleep(8)
            assert process.poll() is None
            database.execute("ROLLBACK")
        eventually(lambda: stored(file) == 10, 120)
        assert process.poll() is None and peak_mb(process) < 300
