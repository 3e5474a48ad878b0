"""`leukoscope run` on the simulator, commanded over a real broker."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from broker import Mosquitto, eventually
from requester import Requester

from edge.records import decode_record

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def box(tmp_path):
    with Mosquitto(tmp_path) as broker:
        broker.start()
        config = tmp_path / "leukoscope.toml"
        config.write_text(
            f'[device]\nid = "box"\n[camera]\nsource = "simulator"\ntrigger = "request"\n'
            f'[mqtt]\nport = {broker.port}\n[outbox]\nfile = "{tmp_path}/outbox.db"\n'
        )
        cells = []
        watcher = paho.Client(paho.CallbackAPIVersion.VERSION2)
        watcher.on_connect = lambda c, *_: c.subscribe("leukoscope/box/#", qos=1)
        online = []
        watcher.on_message = lambda _c, _u, m: (cells if m.topic.endswith("cells") else online).append(
            m.payload
        )
        watcher.connect("127.0.0.1", broker.port)
        watcher.loop_start()
        daemon = subprocess.Popen(
            [sys.executable, "-m", "edge", "run", "--config", config],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        requester = Requester(broker.port)
        try:
            eventually(lambda: any(b"online" in payload for payload in online), 60)
            yield requester, cells
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(40) == 0
        finally:
            daemon.kill()
            daemon.wait()
            requester.close()
            watcher.disconnect()
            watcher.loop_stop()


def test_results_on_request_with_their_specimen_and_health_at_once(box):
    requester, cells = box
    assert requester.ask("specimen", b'{"specimen": "slide 7"}')[1]["ok"]
    first = requester.ask("capture", b"{}")[1]
    second = requester.ask("capture", b'{"specimen": "slide 8"}')[1]
    health = requester.ask("health", b"")[1]
    assert [a["result"]["specimen"] for a in (first, second)] == ["slide 7", "slide 8"]
    assert [a["result"]["sequence"] for a in (first, second)] == [1, 2]
    commands = health["result"]["commands"]
    assert {"capture", "health", "specimen_start", "specimen_stop", "view"} <= set(
        commands
    ) and commands == sorted(commands)
    assert health["result"]["frames"]["accepted"] == 2 and health["result"]["outbox"]["fault"] == ""
    eventually(lambda: len(cells) == 2)
    assert [decode_record(c).id for c in cells] == [a["result"]["id"] for a in (first, second)]
    assert decode_record(cells[0]).clock_synchronised in (True, False)


def test_the_specimen_command_says_the_count_and_nothing_of_its_connection(box, tmp_path):
    for action, state in (("start", "counting"), ("stop", "done")):
        done = subprocess.run(
            [sys.executable, "-m", "edge", "specimen", action, *(["slide 9"] if action == "start" else [])],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"slide 9: {state}, target 200")
        assert done.stderr == ""
