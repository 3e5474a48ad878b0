"""The examples as docs/mqtt.md shows them: a Mosquitto with its access list, passwords and TLS, and a real box."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from broker import Mosquitto, eventually
from certificates import Authority

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "docs" / "examples"
GUIDE = (ROOT / "docs" / "mqtt.md").read_text(encoding="utf-8")
PASSWORD = "ge heim#1"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The broker's address, the CA file and a password file, while a box with a user of its own delivers to it."""
    folder = tmp_path_factory.mktemp("examples")
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("mosquitto_passwd is missing (apt install mosquitto)")
    (acl,) = re.findall(r"```acl\n(.*?)```", GUIDE, re.S)
    (folder / "acl").write_text(acl)
    (folder / "passwords").touch(0o600)
    for user in ("bench-2", "viewer", "logger"):
        subprocess.run([program, "-b", folder / "passwords", user, PASSWORD], check=True, capture_output=True)
    (folder / "password").write_text(PASSWORD + "\n")
    authority = Authority(folder)
    certificate, key = authority.issue("server")
    extra = (
        f"cafile {authority.file}\ncertfile {certificate}\nkeyfile {key}\n"
        f"acl_file {folder}/acl\npassword_file {folder}/passwords"
    )
    with Mosquitto(folder, extra=extra, anonymous=False) as broker:
        broker.start()
        config = folder / "leukoscope.toml"
        config.write_text(
            f'[device]\nid = "bench-2"\n[camera]\nsource = "simulator"\nfps = 5\n[mqtt]\nport = {broker.port}\n'
            f'username = "bench-2"\npassword_file = "{folder}/password"\nca_file = "{authority.file}"\n'
            f'[outbox]\nfile = "{folder}/outbox.db"\n'
        )
        daemon = subprocess.Popen(
            [sys.executable, "-m", "edge", "run", "--config", config],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            yield f"127.0.0.1:{broker.port}", authority.file, folder / "password"
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(40)


def lines_of(command, count, **options):
    """The first lines that a program prints; it is ended then."""
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, **options)
    found = []
    reader = threading.Thread(target=lambda: found.extend(process.stdout.readline() for _ in range(count)))
    reader.start()
    try:
        eventually(lambda: not reader.is_alive() or process.poll() is not None, 90)
    finally:
        process.kill()
        process.wait()
        reader.join()
    return found


def test_the_python_subscriber_with_user_password_and_tls(lab):
    broker, ca_file, _ = lab
    command = [sys.executable, EXAMPLES / "subscriber.py", broker, "--user", "viewer", "--ca-file", ca_file]
    environment = {**os.environ, "LEUKOSCOPE_MQTT_PASSWORD": PASSWORD}
    lines = lines_of(command, 4, env=environment)
    assert any(line.startswith("bench-2 is online since ") for line in lines)
    assert any(re.match(r"bench-2 \d+: (ALL|HEM|refer) \(ALL [01]\.\d+\)", line) for line in lines)


def test_the_capture_example_with_a_password_file(lab):
    broker, ca_file, password_file = lab
    command = [sys.executable, EXAMPLES / "capture.py", broker, "bench-2", "slide 7", "--user", "viewer"]
    command += ["--password-file", password_file, "--ca-file", ca_file]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ok"] and answer["result"]["specimen"] == "slide 7"


def test_the_shell_example_with_user_and_tls(lab):
    broker, ca_file, _ = lab
    if not (shutil.which("mosquitto_sub") and shutil.which("jq")):
        pytest.skip("mosquitto_sub or jq is missing (apt install mosquitto-clients jq)")
    host, _, port = broker.partition(":")
    command = [
        EXAMPLES / "watch.sh",
        host,
        port,
        "-u",
        "viewer",
        "-P",
        PASSWORD,
        "--cafile",
        ca_file,
        "-C",
        "2",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=90)
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["bench-2"] * 2, done.stderr


def test_the_logger_with_user_and_tls(lab, tmp_path):
    broker, ca_file, password_file = lab
    command = [
        sys.executable,
        "-m",
        "edge",
        "log",
        "--broker",
        f"mqtts://logger@{broker}",
        "--ca-file",
        ca_file,
    ]
    command += ["--password-file", password_file, "--to", f"sqlite:///{tmp_path}/r.db", "--group", "lab"]
    lines = lines_of(command, 2, cwd=ROOT)
    assert all("bench-2" in line for line in lines)


@pytest.mark.parametrize("program", ["subscriber.py", "capture.py"])
def test_mistakes_are_named_without_a_traceback(lab, program):
    broker, ca_file, _ = lab
    device = ["bench-2"] if program == "capture.py" else []
    wrong = {**os.environ, "LEUKOSCOPE_MQTT_PASSWORD": "wrong"}
    user = ["--user", "viewer", "--ca-file", str(ca_file)]
    tries = [
        ([broker, *device, *user], wrong, "refuses the connection"),
        (["127.0.0.1:1", *device], None, "no connection to 127.0.0.1:1"),
        (["host:port", *device], None, "HOST\\[:PORT\\]"),
    ]
    if program == "capture.py":
        tries.append(([], None, "usage"))
        tries.append(
            (
                [broker, "none", *user, "--timeout", "1"],
                {**wrong, "LEUKOSCOPE_MQTT_PASSWORD": PASSWORD},
                "no answer",
            )
        )
    for arguments, environment, words in tries:
        command = [sys.executable, str(EXAMPLES / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        assert done.returncode != 0 and re.search(words, done.stderr), done.stderr
        assert "Traceback" not in done.stderr
