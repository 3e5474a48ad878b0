"""`leukoscope log` and `results` as a user runs them: lines, a live table, groups that lose a member, questions, CSV."""

import csv
import io
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time

import paho.mqtt.client as paho
import pytest
from broker import Mosquitto, eventually, make_record

from edge.errors import LeukoscopeError
from edge.logger.stores.rows import CELL_COLUMNS
from edge.logger.stores.sinks import open_sink
from edge.records import encode, rfc3339

LEUKOSCOPE = [sys.executable, "-m", "edge"]


@pytest.fixture
def mosquitto(tmp_path):
    with Mosquitto(tmp_path) as broker:
        yield broker.start()


def send(port, records):
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for info in [client.publish(f"leukoscope/{r.device}/cells", encode(r), qos=1) for r in records]:
        info.wait_for_publish(40)
    client.disconnect()
    client.loop_stop()


def count(file):
    with sqlite3.connect(file, timeout=10) as database:
        return database.execute("SELECT count(*) FROM cells").fetchone()[0]


class Logger:
    """`leukoscope log` in a process of its own."""

    def __init__(self, port, target, *options, **popen):
        self.process = subprocess.Popen(
            [*LEUKOSCOPE, "log", "--broker", f"mqtt://127.0.0.1:{port}", "--to", target, *options],
            stdin=subprocess.DEVNULL,
            **popen,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def test_one_line_an_event_where_there_is_no_terminal(mosquitto, tmp_path):
    errors = tmp_path / "errors"
    with (
        errors.open("w") as stderr,
        Logger(
            mosquitto.port,
            f"sqlite:///{tmp_path / 'r.db'}",
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as logger,
    ):
        eventually(lambda: "subscribed" in errors.read_text())
        send(mosquitto.port, [make_record(sequence=n) for n in (1, 2)])
        lines = [logger.process.stdout.readline() for _ in range(2)]
        logger.process.send_signal(signal.SIGTERM)
        assert logger.process.wait(40) == 0
    assert [re.search(r"box (\d)  ALL", line).group(1) for line in lines] == ["1", "2"]
    assert "research and second opinion only" in errors.read_text()


def test_the_first_lines_fit_a_terminal_and_are_whole_in_a_pipe(mosquitto, tmp_path):
    folder = tmp_path / ("laboratory-" * 5) / "november"
    folder.mkdir(parents=True)
    target = f"sqlite:///{folder}/results.db"
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    with Logger(mosquitto.port, target, "--json", stdout=subprocess.DEVNULL, stderr=theirs, env=environment):
        shown = ""
        while "subscribed" not in shown:
            shown += os.read(ours, 65536).decode()
    os.close(theirs)
    os.close(ours)
    first, second, *_ = shown.splitlines()
    assert first == "INFO storing results to …/november/results.db"
    assert second == "INFO research and second opinion only, not a diagnosis"
    assert max(map(len, shown.splitlines())) <= 80

    with Logger(
        mosquitto.port, target, "--json", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as logger:
        assert logger.process.stderr.readline() == f"INFO storing results to {target}\n"


def test_a_live_table_on_a_terminal(mosquitto, tmp_path):
    ours, theirs = pty.openpty()
    errors = tmp_path / "errors"
    environment = {**os.environ, "COLUMNS": "140", "LINES": "50", "TERM": "xterm"}
    with (
        errors.open("w") as stderr,
        Logger(
            mosquitto.port, f"sqlite:///{tmp_path / 'r.db'}", stdout=theirs, stderr=stderr, env=environment
        ) as logger,
    ):
        eventually(lambda: "subscribed" in errors.read_text())
        send(mosquitto.port, [make_record(sequence=n, specimen="[bold]slide 7") for n in range(1, 31)])
        shown = ""

        def complete():
            nonlocal shown
            shown += os.read(ours, 65536).decode(errors="replace")
            return all(part in shown for part in parts)

        parts = ("not a diagnosis", "30 stored", "[bold]slide 7", "share ALL", "connected, MQTT 5")
        eventually(complete)  # the picture comes in pieces
        logger.process.send_signal(signal.SIGINT)
        parts = ("; stopped →",)
        eventually(complete)
        assert "not connected" not in shown  # it was stopped, and nothing is wrong
    os.close(theirs)
    os.close(ours)


@pytest.mark.timeout(240)
def test_the_share_of_a_lost_member_moves_on(mosquitto, tmp_path):
    """kill -9 of one of three while results flow; also what the broker kept for it is stored by another."""
    target = tmp_path / "r.db"
    open_sink(f"sqlite:///{target}").close()
    loggers = [
        Logger(mosquitto.port, f"sqlite:///{target}", "--group", "lab", stdout=subprocess.DEVNULL)
        for _ in range(3)
    ]
    with loggers[0], loggers[1], loggers[2]:
        watcher = paho.Client(paho.CallbackAPIVersion.VERSION2)
        online = set()
        watcher.on_connect = lambda c, *_: c.subscribe("leukoscope/loggers/lab/+")
        watcher.on_message = lambda _c, _u, m: online.add(m.topic) if b"online" in m.payload else None
        watcher.connect("127.0.0.1", mosquitto.port)
        watcher.loop_start()
        eventually(lambda: len(online) == 3)
        watcher.disconnect()
        watcher.loop_stop()
        send(mosquitto.port, [make_record(sequence=n) for n in range(1, 301)])
        eventually(lambda: count(target) == 300)
        loggers[1].process.send_signal(signal.SIGKILL)
        loggers[1].process.wait()
        send(mosquitto.port, [make_record(sequence=n) for n in range(301, 601)])
        eventually(lambda: count(target) == 600, 90)
        send(mosquitto.port, [make_record(sequence=n) for n in range(601, 701)])
        eventually(lambda: count(target) == 700, 5)  # nothing goes to the lost one any more
        for logger in (loggers[0], loggers[2]):
            logger.process.send_signal(signal.SIGTERM)
            assert logger.process.wait(40) == 0


@pytest.fixture
def database(tmp_path):
    """Three specimens of two devices, one an hour and more ago."""
    now = time.time_ns()
    records = [
        make_record(
            device=device,
            sequence=n,
            specimen=specimen,
            verdict=verdict,
            probabilities={"ALL": p, "HEM": 1 - p},
            captured_at=rfc3339(now - age_s * 10**9),
        )
        for device, n, specimen, verdict, p, age_s in [
            ("a", 1, "old", "HEM", 0.1, 7200),
            ("a", 2, "one", "ALL", 0.9, 100),
            ("a", 3, "one", "refer", 0.5, 90),
            ("b", 1, "two", "HEM", 0.2, 80),
            ("b", 2, "two", "HEM", 0.4, 70),
        ]
    ]
    sink = open_sink(f"sqlite:///{tmp_path / 'r.db'}")
    sink.store(records, [])
    sink.close()
    return f"sqlite:///{tmp_path / 'r.db'}"


def results(*arguments, status=0):
    done = subprocess.run([*LEUKOSCOPE, "results", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def test_totals_by_specimen_by_device_and_of_the_last_hour(database):
    lines = [json.loads(line) for line in results(database, "--json").splitlines()]
    found = {
        t["specimen"]: (
            t["results"],
            *(t["counts"][name] for name in ("ALL", "HEM", "refer")),
            t["mean_probability"],
        )
        for t in lines
    }
    assert found == {
        "old": (1, 0, 1, 0, 0.1),
        "one": (2, 1, 0, 1, 0.7),
        "two": (2, 0, 2, 0, pytest.approx(0.3)),
    }
    lines = [
        json.loads(x) for x in results(database, "--by", "device", "--last", "1h", "--json").splitlines()
    ]
    assert {t["device"]: t["results"] for t in lines} == {"a": 2, "b": 2}
    assert re.search(r"^one +2 +1 +0 +1 +0 +0.700", results(database, "--device", "a"), re.M)


def test_rows_as_csv(database, tmp_path):
    rows = list(csv.DictReader(io.StringIO(results(database, "--csv", "-", "--specimen", "two"))))
    assert [(r["device"], r["sequence"], json.loads(r["probabilities"])["ALL"]) for r in rows] == [
        ("b", "1", 0.2),
        ("b", "2", 0.4),
    ]
    results(database, "--csv", str(tmp_path / "all.csv"))
    rows = list(csv.DictReader((tmp_path / "all.csv").open(newline="")))
    assert len(rows) == 5 and tuple(rows[0]) == (*CELL_COLUMNS, "p_all")
    assert [float(row["p_all"]) for row in rows] == [0.1, 0.9, 0.5, 0.2, 0.4]


def test_mistakes_are_named(database, tmp_path):
    assert "no such file" in results(f"sqlite:///{tmp_path}/none.db", status=2)
    assert "--last 1x" in results(database, "--last", "1x", status=2)
    sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE x (y)").connection.close()
    assert "holds no results" in results(f"sqlite:///{tmp_path}/empty.db", status=2)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LeukoscopeError, match=f"there is no folder {tmp_path}/none$"):
        open_sink(f"sqlite:///{tmp_path}/none/results.db")
