"""The int8 network on other engines: the same numbers, and a comparison that says what it compares."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.bench import drawn_images
from edge.cli.main import main
from edge.imaging.preprocess import Geometry, prepare
from edge.model.file import ModelFile, make_interpreter, read_model
from edge.model.installed import default_model
from export.int8.convert import to_int8
from tests.export.conftest import make_case

pytest.importorskip("onnx", reason="pip install 'leukoscope[bench]'")
pytest.importorskip("onnxruntime", reason="pip install 'leukoscope[bench]'")


@pytest.fixture(scope="module")
def model() -> ModelFile:
    return read_model(default_model())


def two_side_by_side(cnmc: Path, weights: Path) -> tuple[bytes, Geometry]:
    case = make_case("two of 0.25/128", cnmc, weights)
    return to_int8(case.model, case.sample, case.recipe), case.recipe.geometry


@pytest.mark.parametrize("members", [1, 2])
def test_the_onnx_gives_the_outputs_of_the_flatbuffer(
    members: int, model: ModelFile, request: pytest.FixtureRequest
) -> None:
    import onnxruntime

    from export.rivals.onnx_int8 import to_onnx

    flatbuffer, geometry = model.flatbuffer, model.manifest.geometry
    if members == 2:
        flatbuffer, geometry = two_side_by_side(
            request.getfixturevalue("cnmc"), request.getfixturevalue("weights")
        )
    session = onnxruntime.InferenceSession(to_onnx(flatbuffer), providers=["CPUExecutionProvider"])
    interpreter = make_interpreter(flatbuffer)
    entry, outputs = interpreter.get_input_details()[0], interpreter.get_output_details()
    for image in drawn_images(450, 450)[:3]:
        crop = prepare(image, geometry)
        interpreter.set_tensor(entry["index"], (crop ^ 0x80).view(np.int8)[np.newaxis])
        interpreter.invoke()
        found = session.run(None, {"pixels": crop.transpose(2, 0, 1)[np.newaxis]})
        for output, values in zip(outputs, found, strict=True):
            expected = interpreter.get_tensor(output["index"]).astype(int) + 128
            expected = expected.transpose(0, 3, 1, 2) if expected.ndim == 4 else expected
            # Other kernels, another rounding of halves: a level or two where there are 256.
            assert np.abs(values.astype(int) - expected).max() <= 2
            assert np.std(values) > 0


def test_every_engine_that_is_installed_is_timed_on_the_same_images(
    model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--engines", "--runs", "6", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    engines = {row["engine"].rpartition(" ")[0]: row for row in results["engines"]}
    assert {"LiteRT", "ONNX Runtime"} <= set(engines)
    assert results["model_sha256"] == model.sha256
    for row in engines.values():
        assert 0.1 < row["invoke_ms"]["min"] <= row["invoke_ms"]["p50"]
        assert row["largest_difference"] <= 16  # of 256
    assert engines["LiteRT"]["ratio"] == {"min": 1.0, "p50": 1.0}


def test_without_the_extra_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    for module in ("export.rivals.engines", "export.rivals.onnx_int8"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert main(["bench", "--engines", "--runs", "1"]) == 1
    assert "pip install 'leukoscope[bench]'" in capsys.readouterr().err
