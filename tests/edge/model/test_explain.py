"""The activation map over the cell: a tiny network that sees red as ALL and blue as HEM, place by place."""

import functools
import json
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from tiny_model import CARD, GEOMETRY, SIDE_PX, manifest, write_tiny

from edge.cli.main import main
from edge.errors import InputError
from edge.imaging.files import read_image
from edge.imaging.preprocess import prepare
from edge.model.classifier import Classifier
from edge.model.explain import Explainer, picture
from edge.model.file import ModelFile, OutputFormat, make_interpreter, read_model, write_model

MAP_SIDE = 8


@functools.cache
def flatbuffer() -> bytes:
    """Means over squares, the tiny model's weights on each, a bias for HEM everywhere; map and softmax."""
    tf = pytest.importorskip("tensorflow")

    kernel = np.zeros((1, 1, 3, 2), np.float32)
    kernel[0, 0, 0], kernel[0, 0, 2] = (8.0, -8.0), (-8.0, 8.0)

    def network(pictures: Any) -> Any:
        squares = tf.nn.avg_pool2d(pictures, SIDE_PX // MAP_SIDE, SIDE_PX // MAP_SIDE, "VALID")
        evidence = tf.nn.bias_add(tf.nn.conv2d(squares, kernel, 1, "VALID"), [0.0, 1.0])
        return tf.nn.softmax(tf.reduce_mean(evidence, (1, 2))), evidence

    def representative() -> Any:
        rng = np.random.default_rng(0)
        for _ in range(20):
            small = rng.uniform(0, 1, (1, MAP_SIDE, MAP_SIDE, 3))
            small[0, 0, 0], small[0, 0, 1] = 0.0, 1.0
            yield [small.repeat(4, 1).repeat(4, 2).astype(np.float32)]

    concrete = tf.function(network).get_concrete_function(tf.TensorSpec((1, SIDE_PX, SIDE_PX, 3)))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def outputs() -> list[OutputFormat]:
    found = []
    for index, tensor in enumerate(make_interpreter(flatbuffer()).get_output_details()):
        scale, zero_point = (float(tensor["quantization"][0]), int(tensor["quantization"][1]))
        shape = [int(side) for side in tensor["shape"]]
        name, kind = ("activation_map", "linear") if len(shape) == 4 else ("probabilities", "softmax")
        found.append(OutputFormat(name, index, shape, "int8", scale, zero_point, kind))
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    file = tmp_path_factory.mktemp("model") / "map.tflite"
    return write_model(file, flatbuffer(), manifest(name="with map", outputs=outputs()), CARD)


@pytest.fixture
def cell() -> np.ndarray:
    """Red above left, blue below right, on black; (64, 64, 3) RGB."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[8:24, 8:24], pixels[40:56, 40:56] = (230, 20, 20), (20, 20, 230)
    return pixels


def test_evidence_stands_where_the_colours_are_and_black_has_none(model: ModelFile, cell: np.ndarray) -> None:
    classifier = Classifier(model)
    explainer = Explainer(classifier, model.manifest)
    classifier.classify(cell)
    evidence = explainer.evidence()
    assert evidence.shape == (MAP_SIDE, MAP_SIDE)
    assert evidence[1:3, 1:3].min() > 3 and evidence[5:7, 5:7].max() < -3
    black = np.ones_like(evidence, bool)
    black[1:3, 1:3] = black[5:7, 5:7] = False
    assert np.abs(evidence[black]).max() < 0.2  # though the network says HEM of black
    assert explainer.empty.mean() == pytest.approx(-1.0, abs=0.2)


def test_evidence_and_the_empty_field_together_are_the_verdict(model: ModelFile, cell: np.ndarray) -> None:
    classifier = Classifier(model)
    explainer = Explainer(classifier, model.manifest)
    cell[40:56] = 0
    probability = classifier.classify(cell).probabilities["ALL"]
    log_odds = float((explainer.evidence() + explainer.empty).mean())
    assert 1 / (1 + np.exp(-log_odds)) == pytest.approx(probability, abs=0.03)


def test_labels_in_the_other_order_turn_the_colours(
    model: ModelFile, cell: np.ndarray, tmp_path: Path
) -> None:
    turned = msgspec.structs.replace(model.manifest, labels=["HEM", "ALL"])
    classifier = Classifier(write_model(tmp_path / "turned.tflite", model.flatbuffer, turned, CARD))
    explainer = Explainer(classifier, turned)
    classifier.classify(cell)
    assert explainer.evidence()[1:3, 1:3].max() < -3


def test_a_picture_shows_the_cell_and_colours_what_speaks_for_each_class(
    model: ModelFile, cell: np.ndarray
) -> None:
    classifier = Classifier(model)
    explainer = Explainer(classifier, model.manifest)
    prediction = classifier.classify(cell)
    grey = np.full((SIDE_PX, SIDE_PX, 3), 90, np.uint8)
    drawn = picture(grey, explainer.evidence(), prediction, "cell.png").astype(int)
    assert drawn.shape == (615, 896, 3)  # one line of reasons
    bar = drawn[448:478, 448:]
    left, right = (
        bar[15, 160],
        bar[15, 288],
    )  # the ends of the scale: surely the negative, surely the positive class
    assert left[2] > left[0] + 60 and right[0] > right[2] + 60
    assert (drawn[:448, :448] == 90).all()
    overlay = drawn[:448, 448:]
    above, below, corner = overlay[112, 112], overlay[336, 336], overlay[430, 20]
    assert above[0] > above[2] + 60 and below[2] > below[0] + 60
    assert np.abs(corner - 90).max() < 8
    assert (drawn[448:] < 128).any(2).mean() > 0.01  # the strip is written on


class TestCommand:
    def test_a_picture_an_image_and_its_name_in_the_json(
        self, model: ModelFile, cell: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            cv2.imwrite(str(tmp_path / folder / "cell.png"), np.ascontiguousarray(cell[..., ::-1]))
        (tmp_path / "two" / "broken.png").write_bytes(b"no image")
        out = tmp_path / "explained"
        command = ["classify", str(tmp_path / "one"), str(tmp_path / "two"), "--model", str(model.path)]
        assert main([*command, "--explain", str(out), "--json"]) == 1
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line.get("explanation") for line in lines] == [
            str(out / "cell.png"),
            None,
            str(out / "cell-2.png"),
        ]
        assert "error" in lines[1] and "verdict" not in lines[1]
        assert sorted(path.name for path in out.iterdir()) == ["cell-2.png", "cell.png"]
        left = read_image(out / "cell.png")[:448, :448]
        expected = cv2.resize(prepare(cell, GEOMETRY), (448, 448), interpolation=cv2.INTER_CUBIC)
        np.testing.assert_array_equal(left, expected)

    def test_a_model_without_a_map_is_wrong_input(
        self, cell: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        plain = write_tiny(tmp_path / "plain.tflite")
        cv2.imwrite(str(tmp_path / "cell.png"), cell)
        command = ["classify", str(tmp_path / "cell.png"), "--model", str(plain.path)]
        assert main([*command, "--explain", str(tmp_path / "out")]) == 2
        assert "this model has no activation map" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_a_folder_that_cannot_be_made_is_a_failure(
        self, model: ModelFile, cell: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").touch()
        cv2.imwrite(str(tmp_path / "cell.png"), cell)
        command = ["classify", str(tmp_path / "cell.png"), "--model", str(model.path)]
        assert main([*command, "--explain", str(tmp_path / "file")]) == 1
        assert "give --explain another folder" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [[1, 8, 8, 3], [1, 8, 8], [2, 8, 8, 2]])
def test_a_map_of_another_shape_is_refused(model: ModelFile, tmp_path: Path, shape: list[int]) -> None:
    found = [
        msgspec.structs.replace(each, shape=shape) if each.name == "activation_map" else each
        for each in model.manifest.outputs
    ]
    wrong = msgspec.structs.replace(model.manifest, outputs=found)
    with pytest.raises(InputError, match="output activation_map is int8 of shape"):
        write_model(tmp_path / "wrong.tflite", model.flatbuffer, wrong, CARD)


def test_the_shipped_model_points_at_the_cell(cnmc: Path, shipped_model: Path) -> None:
    shipped = read_model(shipped_model)
    classifier = Classifier(shipped)
    explainer = Explainer(classifier, shipped.manifest)
    inside, chance = [], []
    for image in sorted((cnmc / "training_data" / "fold_1").rglob("*.png"))[::120]:
        crop = prepare(read_image(image), shipped.manifest.geometry)
        likelier = classifier.classify_crop(crop).probabilities["ALL"] >= 0.5
        evidence = explainer.evidence() * (1 if likelier else -1)
        area = cv2.resize((crop.max(2) > 8).astype(np.float32), evidence.shape, interpolation=cv2.INTER_AREA)
        mass = np.maximum(evidence, 0)
        inside.append((mass * area).sum() / mass.sum())
        chance.append(area.mean())
    assert np.mean(inside) > 1.2 * np.mean(chance)
