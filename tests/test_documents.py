"""docs/mqtt.md, its AsyncAPI document and its examples against what a real box sends over a real broker."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import paho.mqtt.client as paho
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from broker import Mosquitto, eventually  # noqa: E402

from edge import asyncapi  # noqa: E402
from edge.mqtt.commands.requests import REQUESTS  # noqa: E402
from edge.records import Record, decode_field, decode_record  # noqa: E402

jsonschema = pytest.importorskip("jsonschema")
GUIDE = (ROOT / "docs" / "mqtt.md").read_text(encoding="utf-8")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def fits(schema: str, payload: object) -> None:
    document = asyncapi.document()
    jsonschema.validate(payload, {"$ref": f"#/components/schemas/{schema}", **document})


def test_the_document_is_the_one_that_the_types_give():
    written = json.loads((ROOT / "docs" / "asyncapi.json").read_text())
    assert written == json.loads(json.dumps(asyncapi.document())), (
        "python -m edge.asyncapi > docs/asyncapi.json"
    )


def test_every_reference_in_the_document_leads_somewhere():
    document = asyncapi.document()
    text = json.dumps(document)
    references = set(re.findall(r'"\$ref": "#/([^"]+)"', text))
    assert len(references) > 15
    for reference in references:
        place = document
        for key in reference.split("/"):
            place = place[key]
    assert {name.removeprefix("command_") for name in document["channels"]} >= {*REQUESTS, "cells", "answers"}
    assert document["asyncapi"] == "3.0.0"


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """A running box; gives the broker's port and what came by topic."""
    folder = tmp_path_factory.mktemp("documents")
    with Mosquitto(folder) as broker:
        broker.start()
        config = folder / "leukoscope.toml"
        config.write_text(
            f'[device]\nid = "bench-2"\n[camera]\nsource = "simulator"\nfps = 5\n[mqtt]\nport = {broker.port}\n'
            f'[outbox]\nfile = "{folder}/outbox.db"\n[health]\ninterval_s = 1\n'
        )
        came: dict[str, list[bytes]] = {}
        watcher = paho.Client(paho.CallbackAPIVersion.VERSION2)
        watcher.on_connect = lambda c, *_: c.subscribe("leukoscope/#", qos=1)
        watcher.on_message = lambda _c, _u, m: came.setdefault(m.topic, []).append(m.payload)
        watcher.connect("127.0.0.1", broker.port)
        watcher.loop_start()
        daemon = subprocess.Popen([sys.executable, "-m", "edge", "run", "--config", config], env=ENVIRONMENT)
        try:
            eventually(lambda: len(came) >= 3, 90)
            yield broker.port, came
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(40)
            watcher.disconnect()
            watcher.loop_stop()


def test_what_a_box_sends_fits_the_document(box):
    _, came = box
    for name, schema in (("status", "Status"), ("health", "Health"), ("cells", "Record")):
        fits(schema, json.loads(came[f"leukoscope/bench-2/{name}"][-1]))
    with pytest.raises(jsonschema.ValidationError):
        fits("Record", {**json.loads(came["leukoscope/bench-2/cells"][0]), "verdict": "sure"})


def example(*command: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, text=True, cwd=ROOT / "docs" / "examples"
    )


def test_the_python_subscriber_shows_status_and_verdicts(box):
    port, _ = box
    with example(sys.executable, "subscriber.py", f"127.0.0.1:{port}") as shown:
        lines = [shown.stdout.readline() for _ in range(4)]
        shown.kill()
    assert any(line.startswith("bench-2 is online since ") for line in lines)
    assert any(re.match(r"bench-2 \d+: (ALL|HEM|refer) \(ALL [01]\.\d+\)", line) for line in lines)


def test_the_shell_subscriber_shows_verdicts(box):
    port, _ = box
    for program in ("mosquitto_sub", "jq"):
        if subprocess.run(["which", program], capture_output=True).returncode:
            pytest.skip(f"{program} is missing (apt install mosquitto-clients jq)")
    done = subprocess.run(
        [ROOT / "docs" / "examples" / "watch.sh", "127.0.0.1", str(port), "-C", "3"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == 3 and all(row[0] == "bench-2" and row[3] in ("ALL", "HEM", "refer") for row in rows)


def test_the_capture_example_prints_the_answer(box):
    port, _ = box
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "docs" / "examples" / "capture.py",
            f"127.0.0.1:{port}",
            "bench-2",
            "slide 7",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    answer = json.loads(done.stdout)
    fits("Answer", answer)
    assert answer["ok"] and answer["result"]["specimen"] == "slide 7"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.S)


def test_the_examples_of_the_guide_are_messages():
    found = set()
    for block in blocks("json"):
        payload = json.loads(block)
        if "verdict" in payload:
            assert decode_record(block.encode()).sequence > 0
            found.add("record")
        elif "command" in payload:
            fits("Answer", payload)
            found.add("answer")
        elif "target" in payload:
            fits("SpecimenMessage", payload)
            found.add("specimen")
        elif "state" in payload:
            fits("Status", payload)
            found.add("status")
        elif "uptime_s" in payload:
            fits("Health", payload)
            found.add("health")
        elif "size" in payload:
            assert decode_field(block.encode()).cells == 3
            fits("FieldRecord", payload)
            found.add("field")
    assert found == {"record", "answer", "status", "health", "field", "specimen"}


def test_the_guide_names_every_field_command_and_column():
    for name in (*Record.__struct_fields__, *REQUESTS):
        assert f"`{name}`" in GUIDE, name


def test_the_queries_of_the_guide_run(tmp_path):
    import sqlite3

    from broker import make_record

    from edge.logger.stores.sinks import open_sink

    sink = open_sink(f"sqlite:///{tmp_path / 'results.db'}")
    sink.store([make_record(sequence=1, device="bench-2", specimen="slide 7")], [])
    sink.close()
    queries = [block for block in blocks("sql") if "::" not in block]
    assert len(queries) >= 3
    with sqlite3.connect(tmp_path / "results.db") as database:
        for query in queries:
            database.execute(query).fetchall()


def test_the_access_list_of_the_guide_lets_a_box_write_its_own_and_a_logger_read_all(tmp_path):
    from broker import make_record

    from edge.logger.stores.sinks import open_sink
    from edge.logger.subscriber import Subscriber
    from edge.mqtt.check import check_broker
    from edge.mqtt.publisher import MqttSettings, Publisher
    from edge.outbox.queue import Outbox

    (block,) = blocks("acl")
    (tmp_path / "acl").write_text(block)
    with Mosquitto(tmp_path, extra=f"acl_file {tmp_path / 'acl'}") as broker:
        broker.start()
        settings = MqttSettings(port=broker.port, username="bench-2")
        assert check_broker(settings, "bench-2")[0]
        assert "refuses records" in check_broker(settings, "bench-3")[1]
        stored = []
        subscriber = Subscriber(
            f"mqtt://logger@127.0.0.1:{broker.port}",
            open_sink(str(tmp_path / "r.jsonl")),
            group="lab",
            on_stored=lambda record, _new: stored.append(record.device),
        )
        subscriber.start()
        assert subscriber.subscribed.wait(40)
        outbox = Outbox(tmp_path / "o.db")
        publisher = Publisher(settings, "bench-2", outbox)
        publisher.start()
        outbox.accept(make_record(device="bench-2"))
        eventually(lambda: stored == ["bench-2"])
        publisher.stop(5)
        subscriber.stop()
        outbox.close()
