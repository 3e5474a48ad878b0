"""The classifier, on a tiny model with known weights: red is ALL, blue is HEM."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from tiny_model import GEOMETRY, write_tiny

from edge.cameras.backends.simulator import SimulatorSettings, draw
from edge.errors import InputError, LeukoscopeError
from edge.imaging import quality
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import Geometry, prepare
from edge.model import installed
from edge.model.classifier import (
    PROBABILITY_FLOOR,
    Classifier,
    calibrate,
    is_shift,
    judge,
    quantisation_table,
)
from edge.model.file import InputFormat, ModelFile
from edge.model.installed import default_model

CLEAR = {"contrast": 10.0, "stained": 0.9, "brightness": 80.0, "sharpness": 0.7, "saturated": 0.0}
RED, BLUE = (230, 20, 60), (60, 20, 230)  # both as violet as a stain, for the quality gate


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny.tflite")


def disc(colour: tuple[int, int, int]) -> Pixels:
    """A cell of one colour on black, with a grain by which it is in focus, (64, 64, 3)."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    cv2.circle(pixels, (32, 32), 24, colour, -1)
    rows, columns = np.indices((64, 64)) // 4
    pixels[(rows + columns) % 2 == 0] //= 2
    return pixels


def test_red_is_all_and_blue_is_hem_and_a_swap_of_channels_shows(model: ModelFile) -> None:
    classifier = Classifier(model)
    assert classifier.classify(disc(RED)).verdict == "ALL"
    assert classifier.classify(disc(BLUE)).verdict == "HEM"
    assert classifier.classify(disc(RED)[..., ::-1]).verdict == "HEM"


def test_a_classifier_leaves_the_threads_of_the_process_as_they_are(model: ModelFile) -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    Classifier(model, threads=1)
    assert cv2.getNumThreads() == 3
    cv2.setNumThreads(before)


def test_labels_in_the_other_order_are_read_in_that_order(tmp_path: Path) -> None:
    turned = write_tiny(tmp_path / "turned.tflite", labels=["HEM", "ALL"])
    assert Classifier(turned).classify(disc(RED)).verdict == "HEM"


def test_probabilities_are_the_networks_own_formula(model: ModelFile) -> None:
    classifier = Classifier(model)
    for colour in (RED, BLUE, (120, 90, 110), (90, 90, 90)):
        pixels = disc(colour)
        red, _, blue = prepare(pixels, GEOMETRY).reshape(-1, 3).mean(0) / 255
        expected = 1 / (1 + math.exp(-8 * (red - blue)))
        prediction = classifier.classify(pixels)
        assert prediction.probabilities["ALL"] == pytest.approx(expected, abs=0.02)
        assert sum(prediction.probabilities.values()) == pytest.approx(1.0)


def test_a_prediction_is_plain_json_with_times_and_quality(model: ModelFile) -> None:
    prediction = Classifier(model).classify(disc(RED))
    decoded = json.loads(msgspec.json.encode(replace(prediction, half=None)))
    assert set(decoded) == {
        "verdict",
        "probabilities",
        "reasons",
        "quality",
        "timings_ms",
        "features",
        "half",
    }
    assert decoded["features"] is None  # of a network that does not give them
    assert set(decoded["timings_ms"]) == {"preprocess", "invoke"}
    assert all(0 < value < 1000 for value in decoded["timings_ms"].values())
    assert set(decoded["quality"]) == set(CLEAR)
    assert decoded["reasons"] == []


def test_a_frame_leaves_nothing_behind_for_the_next(model: ModelFile) -> None:
    classifier = Classifier(model)
    alone = Classifier(model).classify(disc(BLUE)).probabilities
    for _ in range(3):
        classifier.classify(disc(RED))
        assert classifier.classify(disc(BLUE)).probabilities == alone


def test_a_prepared_crop_gives_the_same_as_its_frame(model: ModelFile) -> None:
    classifier = Classifier(model)
    crop = prepare(disc(RED), GEOMETRY)
    assert classifier.classify_crop(crop).probabilities == classifier.classify(disc(RED)).probabilities
    with pytest.raises(InputError, match="the crop is uint8 of shape"):
        classifier.classify_crop(disc(RED))


def test_a_frame_that_is_none_is_refused_and_the_next_one_works(model: ModelFile) -> None:
    classifier = Classifier(model)
    with pytest.raises(InputError, match="the frame is float64") as kept:  # with all that its traceback holds
        classifier.classify(np.zeros((64, 64, 3)))  # type: ignore[arg-type]
    assert classifier.classify(disc(RED)).verdict == "ALL"
    assert kept.value.exit_status == 2


class TestInputQuantisation:
    SHIFT = InputFormat("int8", 1 / 255, -128, "RGB")

    def test_flipping_the_highest_bit_is_the_table_and_the_float_formula(self) -> None:
        pixels = np.arange(256, dtype=np.uint8)
        flipped = (pixels ^ 0x80).view(np.int8)
        formula = np.round((pixels / 255.0) / (1 / 255) - 128).astype(np.int8)
        assert is_shift(self.SHIFT)
        np.testing.assert_array_equal(flipped, quantisation_table(self.SHIFT))
        np.testing.assert_array_equal(flipped, formula)

    def test_the_scale_that_a_flatbuffer_holds_is_near_enough(self) -> None:
        assert is_shift(InputFormat("int8", float(np.float32(1 / 255)), -128, "RGB"))

    def test_pixels_of_minus_1_to_1_are_the_same_shift(self) -> None:
        # 0 is the pixel 127.5; the nearest whole one, 128, is the tensor's zero.
        around_grey = InputFormat("int8", 1 / 127.5, 0, "RGB", low=-128 / 127.5, high=127 / 127.5)
        assert is_shift(around_grey)
        np.testing.assert_array_equal(quantisation_table(around_grey), np.arange(-128, 128))

    @pytest.mark.parametrize(("scale", "zero_point"), [(1 / 255, -127), (1 / 250, -128), (1 / 127, 0)])
    def test_any_other_quantisation_uses_the_table(self, scale: float, zero_point: int) -> None:
        other = InputFormat("int8", scale, zero_point, "RGB")
        assert not is_shift(other)
        real = np.arange(256) / 255
        expected = np.clip(np.round(real / scale + zero_point), -128, 127)
        np.testing.assert_array_equal(quantisation_table(other), expected)

    def test_both_ways_fill_the_networks_input_alike(self, model: ModelFile) -> None:
        flipping, looking_up = Classifier(model), Classifier(model)
        looking_up._table = quantisation_table(self.SHIFT)
        pixels = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        tensors = []
        for classifier in (flipping, looking_up):
            classifier.classify(pixels)
            tensors.append(classifier._interpreter.get_tensor(classifier._input_index)[0])
        expected = prepare(pixels, GEOMETRY).astype(int) - 128
        np.testing.assert_array_equal(tensors[0], expected)
        np.testing.assert_array_equal(tensors[1], expected)


class TestCalibration:
    def test_temperature_1_leaves_the_softmax_as_it_is(self) -> None:
        assert calibrate([0.75, 0.25], ["ALL", "HEM"], 1 / 256, 1.0) == pytest.approx(
            {"ALL": 0.75, "HEM": 0.25}
        )

    def test_a_higher_temperature_is_less_certain(self) -> None:
        # logit(0.9) / 2 → sqrt(9) : 1
        assert calibrate([0.1, 0.9], ["ALL", "HEM"], 1 / 256, 2.0)["HEM"] == pytest.approx(0.75)

    @pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0, 100.0])
    def test_never_exactly_0_or_1(self, temperature: float) -> None:
        for softmax in ([0.0, 255 / 256], [255 / 256, 0.0]):
            values = calibrate(softmax, ["ALL", "HEM"], 1 / 256, temperature).values()
            assert all(PROBABILITY_FLOOR / 2 < value < 1 for value in values)
            assert sum(values) == pytest.approx(1.0)

    def test_the_model_files_temperature_is_used(self, model: ModelFile, tmp_path: Path) -> None:
        certain = Classifier(model).classify(disc(RED)).probabilities["ALL"]
        soft_model = write_tiny(tmp_path / "soft.tflite", temperature=2.0)
        soft = Classifier(soft_model).classify(disc(RED)).probabilities["ALL"]
        assert math.log(soft / (1 - soft)) == pytest.approx(math.log(certain / (1 - certain)) / 2)


class TestRefer:
    def test_under_the_threshold_a_cell_is_referred_with_the_reason(self) -> None:
        assert judge({"ALL": 0.69, "HEM": 0.31}, CLEAR, 0.7) == (
            "refer",
            ["low confidence: ALL 0.69 (limit 0.7)"],
        )
        assert judge({"ALL": 0.30, "HEM": 0.70}, CLEAR, 0.7) == ("HEM", [])
        assert judge({"ALL": 0.5, "HEM": 0.5}, CLEAR, 0.0) == ("ALL", [])

    def test_the_settings_threshold_stands_before_the_model_files(self, tmp_path: Path) -> None:
        careful = write_tiny(tmp_path / "careful.tflite", refer_below=1.0)
        assert Classifier(careful).classify(disc(RED)).verdict == "refer"
        assert Classifier(careful, refer_below=0.0).classify(disc(RED)).verdict == "ALL"

    @pytest.mark.parametrize("level", [0, 128, 255])
    def test_an_empty_field_is_referred_even_with_noise(self, model: ModelFile, level: int) -> None:
        noise = np.random.default_rng(1).normal(level, 5, (64, 64, 3))
        prediction = Classifier(model).classify(np.clip(np.rint(noise), 0, 255).astype(np.uint8))
        assert prediction.verdict == "refer"
        assert prediction.reasons == ["no cell: the crop is empty"]


def laplacian(plane: "np.ndarray[Any, Any]") -> float:
    """Root mean square of the plane's Laplacian."""
    padded = np.pad(plane, 1, mode="reflect")
    edges = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * plane
    return float(np.sqrt((edges**2).mean()))


class TestQuality:
    def test_an_even_crop_has_none_of_it(self) -> None:
        assert quality.measure(np.full((224, 224, 3), 100, np.uint8)) == dict.fromkeys(CLEAR, 0.0)

    def test_the_figures_are_those_of_their_definitions(self) -> None:
        crop = prepare(draw(SimulatorSettings(noise_sigma_levels=9.0), 450, 450, 1), Geometry(crop=320))
        crop[:9, :9] = 255
        measured = quality.measure(crop)
        assert measured["saturated"] == pytest.approx((crop == 255).any(-1).mean(), abs=1e-5)
        blocks = crop.reshape(28, 8, 28, 8, 3).astype(float).mean((1, 3))
        assert measured["contrast"] == pytest.approx(blocks[..., 1].std(), abs=0.1)
        stained = blocks[..., 2] - blocks[..., 1] > quality.STAINED_LEVELS
        assert measured["stained"] == pytest.approx(stained[7:21, 7:21].mean(), abs=0.02)
        assert measured["brightness"] == pytest.approx(blocks.max(-1)[stained].mean(), abs=1.0)
        details = [
            laplacian(crop.reshape(s, 224 // s, s, 224 // s, 3).mean((1, 3))[..., 1]) for s in (112, 56)
        ]
        assert measured["sharpness"] == pytest.approx(details[0] / details[1], rel=0.02)

    def test_saturated_counts_pixels_with_any_channel_at_255(self) -> None:
        crop = np.full((100, 100, 3), 200, np.uint8)
        crop[:10, :, 0] = 255
        crop[:20, :, 2] = 255
        assert quality.measure(crop)["saturated"] == pytest.approx(0.2)


class TestDefaultModel:
    def test_the_environment_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LEUKOSCOPE_MODEL", "/some/where.tflite")
        assert default_model() == Path("/some/where.tflite")

    def test_where_there_is_none_the_message_says_what_to_do(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("LEUKOSCOPE_MODEL", raising=False)
        monkeypatch.setattr(installed, "DEFAULT_MODEL", "not-there.tflite")
        monkeypatch.setattr(installed, "INSTALLED_MODELS", tmp_path)
        with pytest.raises(InputError, match="give one with --model FILE"):
            default_model()
        (tmp_path / "not-there.tflite").touch()
        assert default_model() == tmp_path / "not-there.tflite"


def test_without_an_interpreter_the_message_says_what_to_install(
    model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LeukoscopeError, match="pip install ai-edge-litert"):
        Classifier(model)
