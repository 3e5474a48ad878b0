"""The daemon looks at whole fields: a walk over a smear, through a real broker, counts each cell once."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from paho.mqtt.client import Client, MQTTProtocolVersion
from paho.mqtt.enums import CallbackAPIVersion

from edge.bench.fields import drawn_field
from edge.cameras.settings import CameraSettings
from edge.daemon.fields import FieldPipeline
from edge.daemon.pipeline import Pipeline
from edge.imaging.frame import Frame, Pixels
from edge.model.classifier import Classifier
from edge.model.file import read_model
from edge.records import decode_field, decode_record
from tests.support.broker import Mosquitto

ROOT = Path(__file__).resolve().parents[3]
MODEL = ROOT / "models" / "mobilenet_m_0_25_128.tflite"
CELLS, RED_PX = 12, 40.0
WIDTH, HEIGHT = 480, 360
DECODERS: dict[str, Any] = {"cells": decode_record, "fields": decode_field}


@pytest.fixture(scope="module")
def smear() -> Pixels:
    return drawn_field(1200, 900, CELLS, RED_PX, seed=3)


def walk(smear: Pixels) -> list[Pixels]:
    """Overlapping fields in rows, as a stage moves; every other one with another brightness."""
    fields = []
    for row, y in enumerate(range(0, smear.shape[0] - HEIGHT + 1, 180)):
        columns = list(range(0, smear.shape[1] - WIDTH + 1, 240))
        for x in columns if row % 2 == 0 else reversed(columns):
            light = 0.95 if len(fields) % 2 else 1.0
            noise = np.random.default_rng(len(fields)).normal(0, 2, (HEIGHT, WIDTH, 3))
            fields.append(
                np.clip(smear[y : y + HEIGHT, x : x + WIDTH] * light + noise, 0, 255).astype(np.uint8)
            )
    return fields


def pipeline() -> FieldPipeline:
    model = read_model(MODEL)
    classifier = Classifier(model)
    plain = Pipeline(classifier, model, "box", "0" * 64)
    return FieldPipeline(model, classifier, CameraSettings(view="field"), plain, "box")


def frame(pixels: Pixels, specimen: str = "slide") -> Frame:
    return Frame(pixels, 1_700_000_000_000_000_000, 1, "test", specimen)


def test_a_walk_over_a_smear_counts_each_cell_once(smear: Pixels) -> None:
    fields = pipeline()
    counted = seen = 0
    for pixels in walk(smear):
        results = fields.results(frame(pixels))
        assert results is not None
        assert results.field.new_cells == len(results.cells)
        assert all(
            record.field is not None and record.field.id == results.field.id for record, _ in results.cells
        )
        counted += len(results.cells)
        seen += results.field.cells
    assert seen > 1.5 * CELLS
    assert counted == CELLS


def test_a_field_that_rests_gives_nothing_until_it_is_asked(smear: Pixels) -> None:
    fields = pipeline()
    pixels = walk(smear)[0]
    assert fields.results(frame(pixels)) is not None
    assert fields.results(frame(pixels)) is None
    asked = fields.results(frame(pixels), asked=True)
    assert asked is not None
    assert asked.cells == []
    assert asked.field.cells > 0


def test_the_next_specimen_counts_anew(smear: Pixels) -> None:
    fields = pipeline()
    pixels = walk(smear)[0]
    first, second = fields.results(frame(pixels, "one")), fields.results(frame(pixels, "two"))
    assert first is not None
    assert second is not None
    assert len(first.cells) == len(second.cells) > 0


def test_the_daemon_sends_cells_and_fields_each_with_its_own_sequence(smear: Pixels, tmp_path: Path) -> None:
    images = tmp_path / "slide"
    images.mkdir()
    for number, pixels in enumerate(walk(smear)):
        cv2.imwrite(str(images / f"{number:02d}.png"), pixels[..., ::-1])
    broker = Mosquitto(tmp_path).start()
    messages: dict[str, list[dict[str, Any]]] = {"cells": [], "fields": []}
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_connect = lambda *_: client.subscribe("leukoscope/box/+", qos=1)
    client.on_message = lambda _client, _data, m: messages.get(m.topic.split("/")[-1], []).append(
        json.loads(m.payload) if m.payload else {}
    )
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        for _ in range(2):  # the second run goes on with the sequences of the first
            run(tmp_path, images, broker.port)
        deadline = time.monotonic() + 10
        wanted = 2 * len(walk(smear))
        while len({m["id"] for m in messages["fields"]}) < wanted and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        client.loop_stop()
        broker.kill()
    # A box that starts again sends again what it sent of late: each is one by its id.
    cells, fields = (
        list({m["id"]: decode(json.dumps(m).encode()) for m in messages[topic]}.values())
        for topic, decode in DECODERS.items()
    )
    assert [field.sequence for field in fields] == list(range(1, len(fields) + 1))
    assert [cell.sequence for cell in cells] == list(range(1, len(cells) + 1))
    assert len(cells) == sum(field.new_cells for field in fields) == 2 * CELLS
    assert {cell.field.id for cell in cells} <= {field.id for field in fields}
    assert all(cell.kind in ("lymphoid", "other", "unclear") for cell in cells)
    assert {tuple(field.size) for field in fields} == {(WIDTH, HEIGHT)}


def run(folder: Path, images: Path, port: int) -> None:
    """One run of the daemon over a folder."""
    config = folder / "box.toml"
    config.write_text(
        f'[device]\nid = "box"\n[model]\nfile = "{MODEL}"\n[camera]\nsource = "files:{images}"\nview = "field"\n'
        f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\n[outbox]\nfile = "{folder}/outbox.db"\n'
    )
    command = [sys.executable, "-m", "edge", "run", "--config", str(config), "--again"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr


def test_a_field_at_which_the_classifier_fails_is_judged_when_it_is_asked_again(
    smear: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the model before, if one on trial fails: no cell of the field is lost."""
    pixels = walk(smear)[0]
    expected = pipeline().results(frame(pixels))
    fields = pipeline()
    with monkeypatch.context() as patched:

        def fails(*_: object) -> None:
            raise RuntimeError("illegal instruction")

        patched.setattr(Classifier, "classify_crop", fails)
        for _ in range(2):
            with pytest.raises(RuntimeError):
                fields.results(frame(pixels))
    results = fields.results(frame(pixels))
    assert expected is not None and results is not None
    assert len(results.cells) == len(expected.cells) > 0
    assert fields.results(frame(pixels)) is None  # it rests now
