"""The doctor finds real faults, says what to do, and packs no secret."""

import contextlib
import fcntl
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import msgspec
import pytest
from broker import Mosquitto, eventually, free_port
from systemd_socket import ROOT, daemon, write_settings

from edge.cameras.settings import CameraSettings
from edge.doctor import checks
from edge.doctor.findings import warning
from edge.doctor.show import Show
from edge.doctor.support import without_secrets
from edge.model.installed import DEFAULT_MODEL
from edge.outbox.queue import Outbox
from edge.outbox.settings import OutboxSettings, fields_file
from edge.records import FieldRecord, uuid7
from edge.settings import Settings


def doctor(config: Path, *options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "edge", "doctor", "--config", config, *map(str, options)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
    )


def findings(config: Path, status: int) -> dict[str, tuple[str, str]]:
    """State and message of each check, in their order; the exit status is checked."""
    done = doctor(config, "--json")
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] == (status == 0)
    assert "research" in document["notice"]
    return {check["name"]: (check["state"], check["message"]) for check in document["checks"]}


def test_a_sound_box_passes_and_drawn_cells_are_no_camera(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with Mosquitto(tmp_path) as broker:
        broker.start()
        config = write_settings(tmp_path, broker.port)
        found = findings(config, 0)
        shown = doctor(config)
    order = ["settings", "software", "model", "outbox", "disk", "memory", "camera", "broker", "clock"]
    assert list(found)[:9] == order
    assert all(found[name][0] == "ok" for name in ("settings", "software", "model", "outbox"))
    assert found["broker"][0] == "warning" and "no logger" in found["broker"][1]
    assert found["camera"][0] == "warning"
    assert "simulated cells" in found["camera"][1]
    assert "may publish" in found["broker"][1]
    assert shown.returncode == 0
    lines = shown.stdout.splitlines()
    assert lines[-1].startswith("No failures; ") and "camera" in lines[-1]
    assert sum(not line.startswith(" ") for line in lines) == len(found) + 1
    assert "\x1b" not in shown.stdout


def test_each_fault_is_found_beside_the_others(tmp_path: Path) -> None:
    model = tmp_path / "broken.tflite"
    model.write_bytes((ROOT / "models" / DEFAULT_MODEL).read_bytes()[:-500])
    config = write_settings(tmp_path, free_port(), extra=f'[model]\nfile = "{model}"\n')
    config.write_text(config.read_text().replace("simulator", f"files:{tmp_path}/nowhere"))
    found = findings(config, 1)
    assert found["model"][0] == found["outbox"][0] == found["camera"][0] == found["broker"][0] == "failed"
    assert "broken.tflite" in found["model"][1]
    assert "create it" in found["outbox"][1]
    assert "nowhere" in found["camera"][1]
    assert "nothing listens" in found["broker"][1]


def test_a_broker_that_is_something_else_fails(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        found = findings(write_settings(tmp_path, stranger.getsockname()[1]), 1)
    assert found["broker"][0] == "failed"


def test_a_wrong_password_is_the_brokers_own_word(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "none").write_text("")
    with Mosquitto(tmp_path, f"allow_anonymous false\npassword_file {tmp_path}/none") as broker:
        broker.start()
        found = findings(write_settings(tmp_path, broker.port), 1)
    assert found["broker"][0] == "failed"
    assert "uthori" in found["broker"][1]  # "Not authorized"


def test_an_outbox_folder_that_is_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    assert findings(write_settings(tmp_path, free_port()), 1)["outbox"][0] == "failed"


def test_an_empty_picture_is_said(tmp_path: Path) -> None:
    import cv2
    import numpy as np

    (tmp_path / "state").mkdir()
    (tmp_path / "cells").mkdir()
    cv2.imwrite(str(tmp_path / "cells" / "dark.png"), np.full((450, 450, 3), 3, np.uint8))
    config = write_settings(tmp_path, free_port())
    config.write_text(config.read_text().replace("simulator", f"files:{tmp_path}/cells"))
    assert "empty" in findings(config, 1)["camera"][1]


@pytest.mark.parametrize("text", ["[camera]\nsauce = 1\n", "no toml", "[health]\ninterval_s = -1\n"])
def test_wrong_settings_are_the_only_finding(text: str, tmp_path: Path) -> None:
    config = tmp_path / "leukoscope.toml"
    config.write_text(text)
    found = findings(config, 2)
    assert list(found) == ["settings"]
    assert found["settings"][0] == "failed"


def test_the_running_service_keeps_camera_and_outbox_and_is_asked_instead(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        broker.start()
        config = write_settings(tmp_path, broker.port)
        with daemon(config) as process:
            history = tmp_path / "state" / "health.jsonl"
            eventually(lambda: history.exists() and '"camera":"ok"' in history.read_text(), 40)
            found = findings(config, 0)
            assert process.poll() is None
    assert "in use by the running service" in found["outbox"][1]
    assert found["camera"] == ("ok", found["camera"][1])
    assert "which reports: ok" in found["camera"][1]


def test_a_camera_that_a_running_service_has_just_begun_to_open_is_no_fault(tmp_path: Path) -> None:
    config, state = write_settings(tmp_path, free_port()), tmp_path / "state"
    state.mkdir()
    (state / "health.jsonl").write_text('{"camera":"opening","rate_per_s":0.0}\n')
    with (state / "outbox.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state_of, said = findings(config, 1)["camera"]
    assert state_of == "warning" and "try again in a minute" in said


def test_the_bundle_has_what_support_asks_and_no_secret(tmp_path: Path) -> None:
    secret = "Geheim-42"
    password = tmp_path / "password"
    password.write_text(secret)
    config = write_settings(tmp_path, free_port(), camera=f'# was "rtsp://eva:{secret}@10.0.0.7/1"')
    config.write_text(
        config.read_text().replace("[mqtt]", f'[mqtt]\nusername = "eva"\npassword_file = "{password}"')
    )
    with daemon(config):
        eventually((tmp_path / "state" / "health.jsonl").exists, 30)
    bundle = tmp_path / "support.tar.gz"
    done = doctor(config, "--bundle", bundle)
    assert str(bundle) in done.stderr
    with tarfile.open(bundle) as archive:
        parts = {
            Path(entry.name).name: archive.extractfile(entry).read().decode()  # type: ignore[union-attr]
            for entry in archive.getmembers()
        }
    assert {"doctor.json", "versions.json", "settings.toml", "model.json", "log.txt", "units.txt"} <= set(
        parts
    )
    assert json.loads(parts["health.jsonl"].splitlines()[0])["versions"]["software"].startswith("leukoscope")
    assert json.loads(parts["doctor.json"])["checks"][0]["state"] == "ok"
    assert str(password) in parts["settings.toml"]
    assert [name for name, text in parts.items() if secret in text] == []


def test_a_bundle_of_wrong_settings_still_helps(tmp_path: Path) -> None:
    config = tmp_path / "leukoscope.toml"
    config.write_text('[mqtt]\npassword = "Geheim-42"\n')
    bundle = tmp_path / "support.tar.gz"
    assert doctor(config, "--bundle", bundle).returncode == 2
    with tarfile.open(bundle) as archive:
        names = [Path(name).name for name in archive.getnames()]
        texts = [archive.extractfile(entry).read() for entry in archive.getmembers()]  # type: ignore[union-attr]
    assert "settings.toml" in names
    assert not any(b"Geheim-42" in text for text in texts)


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ('password = "abc" # mine', 'password = "(removed)" # mine'),
        ("m = {api_key='a b', x=1}", 'm = {api_key="(removed)", x=1}'),
        ('url = "rtsp://joe:pw@cam/1"', 'url = "rtsp://cam/1"'),
        ('to = "postgresql://u:p@db/x?y=1"', 'to = "postgresql://db/x"'),
        ('password_file = "/etc/p"', 'password_file = "/etc/p"'),
        ('id = "a@b"', 'id = "a@b"'),
    ],
)
def test_what_is_taken_out(line: str, left: str) -> None:
    assert without_secrets(line) == left


def test_a_long_finding_is_as_wide_as_the_terminal_and_its_command_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.host.terminal.console.is_terminal", lambda _: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((70, 20)))
    monkeypatch.setenv("NO_COLOR", "1")
    command = "leukoscope " + "word " * 30
    Show(True, False).found(warning("camera", "a sentence of many words " * 10, command))
    *message, last = capsys.readouterr().out.splitlines()
    assert len(message) > 3 and max(map(len, message)) <= 70
    assert last.endswith(f"→ {command}")


def test_what_nothing_here_can_tell_is_not_called_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.machine, "temperature_c", lambda: None)
    monkeypatch.setattr(checks.machine, "throttling", lambda: None)
    found = [checks.temperature(Settings()), checks.power(Settings())]
    assert [finding.state for finding in found] == ["unknown", "unknown"]
    assert all(not finding.command for finding in found)
    monkeypatch.setattr(checks.machine, "temperature_c", lambda: 42.0)
    assert checks.temperature(Settings()).state == "ok"


def field_record() -> FieldRecord:
    """Of a field with three cells."""
    return FieldRecord(
        id=uuid7(),
        device="box",
        sequence=0,
        captured_at="2026-01-01T00:00:00.000000Z",
        specimen="7",
        size=(640, 480),
        cells=3,
        timings_ms={"find": 20.0},
    )


def box_with_fields(folder: Path, view: str = "field", max_mb: int = 10) -> tuple[Settings, Path]:
    """Its settings, and the outbox of its fields, in which two records wait."""
    camera = CameraSettings(view=view)  # type: ignore[arg-type]
    settings = Settings(outbox=OutboxSettings(file=str(folder / "outbox.db"), max_mb=max_mb), camera=camera)
    file = fields_file(folder / "outbox.db")
    outbox = Outbox(file, 10)
    for _ in range(2):
        outbox.accept(field_record()).result(20)
    outbox.close()
    return settings, file


def test_the_outbox_of_the_fields_is_looked_at_too(tmp_path: Path) -> None:
    settings, file = box_with_fields(tmp_path)
    found = checks.outbox(settings)
    assert found.state == "ok" and "2 records of fields wait" in found.message
    outbox = Outbox(file, 10)
    outbox.set_aside(2, "the broker refuses it")
    outbox.flush()
    outbox.close()
    found = checks.outbox(settings)
    assert found.state == "warning" and str(file) in found.message
    assert "1 records are set aside" in found.message and "2: the broker refuses it" in found.message


def test_records_in_an_outbox_of_an_older_version_are_told(tmp_path: Path) -> None:
    settings, file = box_with_fields(tmp_path)
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("DROP TABLE aside")
    found = checks.outbox(settings)
    assert found.state == "ok" and "2 records of fields wait" in found.message


def test_a_damaged_outbox_of_the_fields_fails(tmp_path: Path) -> None:
    settings, file = box_with_fields(tmp_path)
    file.write_bytes(b"no database" * 100)
    found = checks.outbox(settings)
    assert found.state == "failed" and f"outbox {file}: cannot be read" in found.message


def test_records_of_fields_that_wait_on_a_box_that_looks_at_single_cells_are_named(tmp_path: Path) -> None:
    settings, file = box_with_fields(tmp_path, view="cell")
    found = checks.outbox(settings)
    assert found.state == "warning" and f"{file}: 2 records of fields wait" in found.message


@pytest.mark.parametrize("whose", ["cells", "fields"])
def test_an_outbox_that_is_nearly_full_is_named(tmp_path: Path, whose: str) -> None:
    settings, file = box_with_fields(tmp_path, max_mb=1)
    if whose == "cells":
        file = Path(settings.outbox.file)
    outbox = Outbox(file, 10)
    long = ["x" * 4000] * 15
    for _ in range(20):
        outbox.accept(msgspec.structs.replace(field_record(), reasons=long)).result(20)
    outbox.close()
    found = checks.outbox(settings)
    assert found.state == "warning" and str(file) in found.message
    assert "max_mb = 1 are used" in found.message
