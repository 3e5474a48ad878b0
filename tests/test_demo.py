"""The thread through the whole system, run as a user runs it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pictures import pictures

from edge.demo.show import short

LEUKOSCOPE = [sys.executable, "-m", "edge"]
ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def leukoscope(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = ENVIRONMENT | {"TMPDIR": str(cwd)}  # so that the children's command lines name this test
    return subprocess.run(
        [*LEUKOSCOPE, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
    )


def rows(database: Path) -> list[tuple[str, int, str]]:
    with sqlite3.connect(database) as connection:
        return connection.execute("SELECT id, sequence, source FROM cells ORDER BY sequence").fetchall()


def processes_naming(text: str) -> list[str]:
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = cmdline.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and str(os.getpid()) not in cmdline.parts:
            found.append(line)
    return found


def test_every_real_image_is_classified_once_and_stored_once(cnmc: Path, tmp_path: Path) -> None:
    images = cnmc / "training_data" / "fold_2"
    done = leukoscope("demo", "--images", images, "--seconds", 40, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    stored = rows(tmp_path / "demo-results.db")
    expected = sorted(str(path.resolve()) for path in images.rglob("*.png"))
    assert sorted(source for _, _, source in stored) == expected
    assert [sequence for _, sequence, _ in stored] == list(range(1, len(expected) + 1))
    assert len({identity for identity, _, _ in stored}) == len(expected)
    assert "RESEARCH AND SECOND OPINION ONLY" in done.stdout
    assert processes_naming(str(tmp_path)) == []


def test_without_mosquitto_the_embedded_broker_serves(tmp_path: Path) -> None:
    pytest.importorskip("amqtt")
    pictures(tmp_path / "cells", 5)
    program = (
        "import shutil, sys\n"
        "shutil.which = lambda *_, **__: None\n"
        "from edge.cli.main import main\n"
        "sys.exit(main(['demo', '--images', 'cells', '--seconds', '40']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "demo-results.db")) == 5


def test_the_simulator_says_so_on_every_record_and_seconds_end_it(tmp_path: Path) -> None:
    started = time.monotonic()
    done = leukoscope("demo", "--simulate", "--seconds", 6, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 40
    *records, summary = map(json.loads, done.stdout.splitlines())
    assert summary["accepted"] == summary["stored"] == len(records) > 0
    assert all("simulated" in record["source"] for record in records)


def test_ctrl_c_ends_it_cleanly_and_leaves_no_process(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [*LEUKOSCOPE, "demo"],
        cwd=tmp_path,
        env={**ENVIRONMENT, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    for line in demo.stdout:  # until the first result
        if "ms" in line:
            break
    demo.send_signal(signal.SIGINT)
    out, err = demo.communicate(timeout=30)
    assert demo.returncode == 0, err
    assert "Traceback" not in err
    assert "results stored, no duplicates" in out
    assert processes_naming(str(tmp_path)) == []


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["demo", "--images", "empty"], 2, "no images in this folder"),
        (["demo", "--images", "nowhere"], 2, "no such folder"),
        (["demo", "--model", "nowhere.tflite"], 2, "nowhere.tflite"),
        (["demo", "--broker", "nonsense"], 2, "HOST:PORT"),
        (["classify", "nowhere.png"], 2, "no such file or folder"),
        (["classify", "empty"], 2, "no images in this folder"),
        (["classify", "text.png"], 1, "not a readable image"),
        (["run", "--config", "nowhere.toml"], 2, "nowhere.toml"),
        (["check", "--config", "bad.toml"], 2, 'did you mean "source"?'),
        (["model", "verify", "text.png"], 2, "text.png"),
    ],
)
def test_a_users_mistake_is_one_clear_line(
    tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("this is no image")
    (tmp_path / "bad.toml").write_text("[camera]\nsauce = 'simulator'\n")
    done = leukoscope(*arguments, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("leukoscope: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr


def test_check_names_every_fault(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(
        "loose = 1\n[camera]\nfps = -3\nsauce = 'simulator'\n[mqtt]\nport = 99999\n[outbox]\nmax_mb = 'x'\n[foo]\n"
    )
    done = leukoscope("check", "--config", "bad.toml", cwd=tmp_path)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    faults = [
        'line 1: key "loose"',
        "line 3: [camera] fps = -3: give a number from 0 to 1000, frames per second",
    ]
    faults += [
        'line 4: unknown key "sauce" in [camera], did you mean "source"?',
        "line 6: [mqtt] port = 99999",
    ]
    faults += ["line 8: [outbox] max_mb", "line 9: unknown table [foo]"]
    assert len(lines) == len(faults) and all(
        fault in line and "bad.toml" in line for fault, line in zip(faults, lines, strict=True)
    )


def test_a_port_in_use_by_something_else_is_one_clear_line(tmp_path: Path) -> None:
    import socket

    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        done = leukoscope(
            "demo", "--broker", f"127.0.0.1:{stranger.getsockname()[1]}", "--seconds", 3, cwd=tmp_path
        )
    assert done.returncode == 1
    assert "does not answer as an MQTT broker" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_name_that_is_no_utf8_goes_through(tmp_path: Path) -> None:
    pictures(tmp_path / "cells", 1)
    (tmp_path / "cells" / "0.png").rename(Path(os.fsdecode(os.fsencode(tmp_path) + b"/cells/c\xe9ll.png")))
    classified = leukoscope("classify", "cells", "--json", cwd=tmp_path)
    assert classified.returncode == 0, classified.stderr
    assert "verdict" in json.loads(classified.stdout)
    done = leukoscope("demo", "--images", "cells", "--seconds", 40, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [source.endswith("ll.png") for _, _, source in rows(tmp_path / "demo-results.db")] == [True]


def test_an_unreadable_image_among_others_is_named_and_the_rest_go_on(tmp_path: Path) -> None:
    pictures(tmp_path / "cells", 3)
    (tmp_path / "cells" / "1.png").write_bytes(b"not an image")
    done = leukoscope("demo", "--images", "cells", "--seconds", 40, cwd=tmp_path)
    assert len(rows(tmp_path / "demo-results.db")) == 2
    assert "1.png: not a readable image" in done.stderr
    assert done.returncode == 1


def test_a_short_demo_begins_to_count_when_the_daemon_is_up(tmp_path: Path) -> None:
    done = leukoscope("demo", "--seconds", "0.1", "--simulate", "--no-web", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "results stored, no duplicates" in done.stdout


def test_a_long_path_keeps_its_end_which_tells_one_cell_from_the_next() -> None:
    path = "/a/very/long/way/to/the/samples/cells/all/UID_45_24_11_all.png"
    shown = short(path, 30)
    assert len(shown) <= 30
    assert shown == "…/all/UID_45_24_11_all.png"
    assert short(path, 200) == path
    assert short("/x/" + "n" * 50, 20) == "…" + "n" * 19
