"""No secret leaves the process: every surface of a box whose settings hold some, looked at as a whole."""

import json
import os
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from broker import Mosquitto, eventually
from command import ENVIRONMENT, LEUKOSCOPE, leukoscope

CAMERA, BROKER, QUERY = "ge@he/im#1", "Zw1ebel:Suppe?", "tok3n-Abc-987"
SECRETS = {"CAMERA_PASSWORD": CAMERA, "CAMERA_TOKEN": QUERY}
# As they are, percent-encoded, and the longest parts of them between what an address is split at.
TRACES = (CAMERA, "ge%40he%2Fim%231", "ge@he", "he/im", "im#1", BROKER, "Zw1ebel", QUERY)


def traces_in(text: str) -> list[str]:
    return [trace for trace in TRACES if trace in text]


@pytest.fixture
def box(tmp_path: Path):
    """Settings with a camera's password and token in its address, and the broker's in a file."""
    (tmp_path / "password").write_text(f"\ufeff{BROKER}\n")
    source = "rtsp://lab:${CAMERA_PASSWORD}@127.0.0.1:9/h264?token=${CAMERA_TOKEN}"
    with Mosquitto(tmp_path) as broker:
        broker.start()
        (tmp_path / "leukoscope.toml").write_text(
            f'[camera]\nsource = "{source}"\n[mqtt]\nport = {broker.port}\nusername = "eva"\n'
            f'password_file = "{tmp_path}/password"\n[outbox]\nfile = "{tmp_path}/state/outbox.db"\n'
            "[health]\ninterval_s = 1\n"
        )
        yield tmp_path, broker.port


def test_commands_show_none(box: tuple[Path, int]) -> None:
    folder, _ = box
    for words in (["check"], ["check", "--json"], ["doctor"], ["doctor", "--json"], ["calibrate"]):
        done = leukoscope(*words, cwd=folder, env=SECRETS)
        shown = done.stdout + done.stderr
        assert len(shown) > 40
        assert traces_in(shown) == [], words
    (folder / "leukoscope.toml").write_text((folder / "leukoscope.toml").read_text() + "[camra]\nfps = 1\n")
    done = leukoscope("check", cwd=folder, env=SECRETS)
    assert done.returncode == 2 and traces_in(done.stdout + done.stderr) == []


def test_a_running_box_shows_none_and_its_bundle_neither(box: tuple[Path, int]) -> None:
    folder, port = box
    came: list[bytes] = []
    watcher = paho.Client(paho.CallbackAPIVersion.VERSION2)
    watcher.on_connect = lambda client, *_: client.subscribe("leukoscope/#", qos=1)
    watcher.on_message = lambda _c, _u, message: came.append(message.payload)
    watcher.connect("127.0.0.1", port)
    watcher.loop_start()
    daemon = subprocess.Popen(
        [*LEUKOSCOPE, "run"], cwd=folder, env={**ENVIRONMENT, **SECRETS}, stderr=subprocess.PIPE, text=True
    )
    lines: set[str] = set()
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (
            any(b"camera" in payload for payload in came) and len(lines) > 1
        ):
            lines |= command_lines(daemon.pid)
            time.sleep(0.05)
        eventually((folder / "state" / "health.jsonl").exists, 30)
        leukoscope("doctor", "--bundle", "support.tar.gz", cwd=folder, env=SECRETS)
    finally:
        daemon.send_signal(signal.SIGTERM)
        _, err = daemon.communicate(timeout=60)
        watcher.disconnect()
        watcher.loop_stop()
    assert daemon.returncode == 0, err
    assert len(came) > 1 and traces_in(b"\n".join(came).decode()) == []
    assert "rtsp" in err and traces_in(err) == []
    assert traces_in("\n".join(lines)) == []
    for name in ("health.jsonl", "runs.json"):
        assert traces_in((folder / "state" / name).read_text()) == []
    with tarfile.open(folder / "support.tar.gz") as bundle:
        parts = {entry.name: bundle.extractfile(entry).read().decode() for entry in bundle.getmembers()}
    assert len(parts) >= 6
    assert [name for name, text in parts.items() if traces_in(text)] == []


def command_lines(parent: int) -> set[str]:
    """Command lines of a process and of all below it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
    found, waiting = set(), [parent]
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        try:
            found.add(
                Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
        except OSError:
            continue
    return found


def test_an_exception_in_one_check_does_not_end_the_others(tmp_path: Path) -> None:
    (tmp_path / "leukoscope.toml").write_text(f'[mqtt]\nport = 9\n[outbox]\nfile = "{tmp_path}/x.db"\n')
    program = (
        "import sys, dataclasses\n"
        "from edge.doctor import checks\n"
        "def broken(_settings): raise TypeError('rtsp://eva:Geheim-42@cam/1 is odd')\n"
        "checks.CHECKS = tuple((name, broken if name == 'memory' else check) for name, check in checks.CHECKS)\n"
        "from edge.cli.main import main\nsys.exit(main(['doctor', '--json']))"
    )
    done = subprocess.run(
        [*LEUKOSCOPE[:2], program], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert found["memory"]["state"] == "failed" and "TypeError" in found["memory"]["message"]
    assert "service" in found and "clock" in found
    assert "Geheim" not in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_the_doctor_counts_and_gives_commands(tmp_path: Path) -> None:
    (tmp_path / "leukoscope.toml").write_text(f'[mqtt]\nport = 9\n[outbox]\nfile = "{tmp_path}/x.db"\n')
    began = time.monotonic()
    done = leukoscope("doctor", cwd=tmp_path)
    assert done.returncode == 1 and time.monotonic() - began < 30
    assert done.stdout.splitlines()[-1].startswith("1 failure (broker); ")
    assert "→ sudo systemctl start mosquitto" in done.stdout
    quiet = leukoscope("doctor", "--quiet", cwd=tmp_path).stdout.splitlines()
    assert quiet and not any(line.startswith("ok") for line in quiet)


def test_a_log_line_cannot_be_forged_and_holds_no_secret(tmp_path: Path) -> None:
    program = (
        "import logging\nfrom edge.host import journal, secrets\njournal.set_up()\nsecrets.remember('Geheim-42')\n"
        "log = logging.getLogger('x')\n"
        "log.warning('camera says %s', 'ok\\nINFO all is well\\x1b[2J\\x9b1m\\u202e')\n"
        "try: raise ValueError('no Geheim-42 at https://a:b@c/d?e=f')\nexcept ValueError: log.exception('failed')\n"
    )
    done = subprocess.run(
        [LEUKOSCOPE[0], "-c", program],
        cwd=tmp_path,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
    )
    assert not any(line.startswith("INFO") for line in done.stderr.splitlines())
    assert "\x1b" not in done.stderr and "\x9b" not in done.stderr and "\u202e" not in done.stderr
    assert "Geheim" not in done.stderr and "a:b" not in done.stderr and "e=f" not in done.stderr
    assert "https://c/d" in done.stderr
