"""The broker's file that the installer puts on a box: Mosquitto reads it, records pass, large messages do not."""

import shutil
import subprocess
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from broker import free_port, make_record, wait_for_port

from edge.records import encode

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def broker(tmp_path):
    program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if program is None:
        pytest.skip("mosquitto is not installed (apt install mosquitto)")
    port = free_port()
    text = (ROOT / "systemd" / "mosquitto-leukoscope.conf").read_text()
    (tmp_path / "mosquitto.conf").write_text(text.replace("listener 1883 ", f"listener {port} "))
    process = subprocess.Popen([program, "-c", tmp_path / "mosquitto.conf"], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("version", [paho.MQTTv5, paho.MQTTv311])
def test_records_pass_and_large_messages_reach_nobody(broker, version):
    came, ends = [], []
    reader = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=version)
    reader.on_message = lambda _c, _u, message: came.append(len(message.payload))
    reader.connect("127.0.0.1", broker)
    reader.subscribe("leukoscope/+/cells", qos=1)
    reader.loop_start()
    record = encode(make_record(reasons=["x" * 1000] * 60))
    for payload in (record, b"x" * 300_000, b"x" * 2_000_000, record):
        sender = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=version)
        sender.on_disconnect = lambda *arguments: ends.append(arguments[3])
        sender.connect("127.0.0.1", broker)
        sender.loop_start()
        try:
            sender.publish("leukoscope/box/cells", payload, qos=1).wait_for_publish(3)
        except (RuntimeError, ValueError):  # paho refuses what the broker does not take, or was cut off
            assert payload is not record
        sender.disconnect()
        sender.loop_stop()
    reader.disconnect()
    reader.loop_stop()
    assert came == [len(record)] * 2
