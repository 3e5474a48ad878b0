"""The int8 file: integers only, the same every time, and it says what the float model says."""

import functools
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_model

from edge.errors import LeukoscopeError
from edge.imaging.frame import Pixels
from edge.model.classifier import Classifier, is_shift
from edge.model.file import InputFormat, Manifest, OutputFormat, make_interpreter, read_model, write_model
from export.int8.calibrate import WEIGHT_LEVELS, Moments, Range, _round, calibrate, fit
from export.int8.convert import representative_sample, to_int8, transcribe
from export.int8.deploy import Layer, deploy_graph
from export.int8.flatbuffer import expect_integers, multiply_adds, operators, tensor_types
from export.int8.layers import layer_errors, worst
from tests.export.conftest import Case
from train.fit.batches import scale_pixels

pytestmark = pytest.mark.timeout(600)  # the large networks take two minutes on a busy machine


@pytest.fixture(scope="module")
def flatbuffer(small: Case) -> bytes:
    return to_int8(small.model, small.sample, small.recipe)


def entry_of(case: Case) -> InputFormat:
    entry = deploy_graph(case.model, case.recipe).input
    return InputFormat("int8", entry.scale, entry.zero_point, "RGB", entry.low, entry.high)


def kind(shape: np.ndarray) -> str:
    """Which output a tensor is."""
    if len(shape) == 4:
        return "map"
    return "probabilities" if shape[1] == 2 else "features"


def run(flatbuffer: bytes, quantised: np.ndarray) -> dict[str, np.ndarray]:
    """The real values of the outputs for (N, S, S, 3) int8, by their names."""
    interpreter = make_interpreter(flatbuffer)
    outputs = interpreter.get_output_details()
    values: dict[str, list[np.ndarray]] = {kind(output["shape"]): [] for output in outputs}
    for one in quantised:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], one[np.newaxis])
        interpreter.invoke()
        for output in outputs:
            scale, zero_point = output["quantization"]
            tensor = interpreter.get_tensor(output["index"])[0].astype(float)
            values[kind(output["shape"])].append((tensor - zero_point) * scale)
    return {name: np.stack(found) for name, found in values.items()}


def flipped(crops: Pixels) -> np.ndarray:
    return (crops ^ 0x80).view(np.int8)


def test_only_integer_operators_of_tflite_are_in_it(flatbuffer: bytes) -> None:
    names = [operator.name for operator in operators(flatbuffer)]
    assert names.count("CONV_2D") == 15 and names.count("DEPTHWISE_CONV_2D") == 13
    assert (names.count("MEAN"), names.count("SOFTMAX"), len(names)) == (2, 1, 31)
    assert set(tensor_types(flatbuffer).values()) == {"INT8", "INT32"}
    expect_integers(flatbuffer)


def test_without_the_map_it_says_the_same(small: Case, flatbuffer: bytes) -> None:
    without = to_int8(small.model, small.sample, small.recipe, with_map=False)
    shapes = sorted(list(o["shape"]) for o in make_interpreter(without).get_output_details())
    assert shapes == [[1, 2], [1, 256]]
    pixels = flipped(small.judged)
    np.testing.assert_array_equal(
        run(without, pixels)["probabilities"], run(flatbuffer, pixels)["probabilities"]
    )


def test_multiply_adds_are_those_of_mobilenet(flatbuffer: bytes) -> None:
    # 0.25/128: 13.5 million by Howard et al. 2017 (13.6 with their 1000 classes), 28 layers counted by hand.
    first = 64 * 64 * 8 * 27
    blocks = [
        (64, 8, 16), (32, 16, 32), (32, 32, 32), (16, 32, 64), (16, 64, 64), (8, 64, 128),
        *[(8, 128, 128)] * 5, (4, 128, 256), (4, 256, 256),
    ]  # fmt: skip
    hand = first + sum(side**2 * (9 * entry + entry * out) for side, entry, out in blocks) + 4 * 4 * 256 * 2
    assert multiply_adds(flatbuffer) == hand


def test_a_float_network_is_refused() -> None:
    with pytest.raises(LeukoscopeError, match=r"not all int8: .*FLOAT32"):
        expect_integers(tiny_model.flatbuffer(quantised=False))


def test_the_same_model_and_crops_give_the_same_bytes(small: Case, flatbuffer: bytes) -> None:
    assert to_int8(small.model, small.sample, small.recipe) == flatbuffer


def test_the_input_tensor_takes_pixels_as_they_are(small: Case, flatbuffer: bytes) -> None:
    details = make_interpreter(flatbuffer).get_input_details()[0]
    scale, zero_point = details["quantization"]
    assert scale == pytest.approx(1 / 127.5, rel=1e-6) and zero_point == 0
    assert is_shift(entry_of(small))


def test_from_pixels_to_probabilities_it_says_what_keras_says(case: Case) -> None:
    flatbuffer = to_int8(case.model, case.sample, case.recipe)
    expected = case.model.predict(scale_pixels(case.judged, case.recipe), verbose=0)
    outputs = run(flatbuffer, flipped(case.judged))
    off = np.abs(outputs["probabilities"] - expected)
    assert off.max() < 0.15 and off.mean() < 0.04


def test_a_shift_moves_the_log_odds_of_all(small: Case, flatbuffer: bytes) -> None:
    pixels = flipped(small.judged)
    moved = to_int8(small.model, small.sample, small.recipe, shift=1.0)
    maps = [run(each, pixels)["map"].mean((1, 2)) for each in (flatbuffer, moved)]
    odds, moved_odds = (logits[:, 0] - logits[:, 1] for logits in maps)
    np.testing.assert_allclose(moved_odds - odds, 1.0, atol=0.3)
    assert (moved_odds - odds).mean() == pytest.approx(1.0, abs=0.1)


def test_another_scaling_of_the_pixels_shows_at_once(small: Case, flatbuffer: bytes) -> None:
    graph, entry = deploy_graph(small.model, small.recipe), entry_of(small)
    as_0_to_1 = InputFormat("int8", entry.scale, entry.zero_point, "RGB")
    right, wrong = (
        layer_errors(graph, flatbuffer, each, small.judged)[0].signal_to_noise_db
        for each in (entry, as_0_to_1)
    )
    assert right > 35 and wrong < 15


def test_the_activation_maps_mean_is_the_logits_of_the_probabilities(small: Case, flatbuffer: bytes) -> None:
    outputs = run(flatbuffer, flipped(small.judged))
    logits = outputs["map"].mean((1, 2))
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(softmax, outputs["probabilities"], rtol=0, atol=0.006)


def test_the_features_are_those_that_keras_pools(case: Case) -> None:
    flatbuffer = to_int8(case.model, case.sample, case.recipe)
    pooled = keras.Model(case.model.input, case.model.get_layer("flatten").output)
    expected = pooled.predict(scale_pixels(case.judged, case.recipe), verbose=0)
    features = run(flatbuffer, flipped(case.judged))["features"]
    assert features.shape == expected.shape and features.min() >= 0
    assert np.corrcoef(features.ravel(), expected.ravel())[0, 1] > 0.98
    assert np.abs(features - expected).mean() < 0.1 * expected.std()


def test_the_box_reads_the_probabilities_wherever_they_stand(
    small: Case, flatbuffer: bytes, tmp_path: Path
) -> None:
    details = make_interpreter(flatbuffer).get_output_details()
    names = {"map": "activation_map", "probabilities": "probabilities", "features": "features"}
    formats = [
        OutputFormat(
            names[kind(d["shape"])],
            index,
            [int(side) for side in d["shape"]],
            "int8",
            float(d["quantization"][0]),
            int(d["quantization"][1]),
            "softmax" if kind(d["shape"]) == "probabilities" else "linear",
        )
        for index, d in enumerate(details)
    ]
    manifest = Manifest(
        name="three outputs",
        labels=["ALL", "HEM"],
        geometry=small.recipe.geometry,
        input=entry_of(small),
        outputs=formats,
    )
    file = write_model(tmp_path / "three.tflite", flatbuffer, manifest, "").path
    classifier = Classifier(read_model(file))
    outputs = run(flatbuffer, flipped(small.judged))
    expected = outputs["probabilities"][:, 0]
    got = [classifier.classify_crop(crop).probabilities["ALL"] for crop in small.judged]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1 / 256)
    np.testing.assert_allclose(classifier.features(), outputs["features"][-1], rtol=1e-5)


def test_the_errors_of_the_layers_are_told_apart(small: Case, flatbuffer: bytes) -> None:
    graph = deploy_graph(small.model, small.recipe)
    errors = layer_errors(graph, flatbuffer, entry_of(small), small.judged)
    assert [e.name for e in errors] == [layer.name for layer in graph.layers]
    assert all(e.signal_to_noise_db > 18 for e in errors) and errors[0].signal_to_noise_db > 35
    assert all(e.bias < 0.05 for e in errors)

    # Damage one layer: it is the one that is named.
    calibrated = calibrate(graph, small.sample[:8])
    ranges = list(calibrated.ranges)
    ranges[10] = Range.around(0.0, 0.3)
    damaged = transcribe(
        functools.partial(type(calibrated), calibrated.graph, calibrated.weight_scales)(
            tuple(ranges), calibrated.features, calibrated.logits
        )
    )
    found = worst(layer_errors(graph, damaged, entry_of(small), small.judged))
    assert found.startswith(f"most is lost in {graph.layers[10].name}:")


def test_logits_are_unbiased_where_verdicts_are_decided(small: Case) -> None:
    graph = deploy_graph(small.model, small.recipe)
    calibrated = calibrate(graph, small.sample)
    exact = lossy = before_rounding = graph.input.real(small.sample)
    for layer, int8_layer, reach in zip(
        graph.layers, calibrated.graph.layers, calibrated.ranges, strict=True
    ):
        exact, before_rounding = layer(exact).numpy(), int8_layer(lossy).numpy()
        lossy = reach.quantise(before_rounding)
    for_all = exact.mean((1, 2)) @ [1, -1]
    error = before_rounding.mean((1, 2)) @ [1, -1] - for_all
    p = 1 / (1 + np.exp(-for_all))
    assert abs(np.average(error, weights=p * (1 - p))) < 1e-4 < error.std() / 10


def test_a_network_that_is_sure_of_every_crop_is_fitted_too(small: Case) -> None:
    graph = deploy_graph(small.model, small.recipe)
    *trunk, last = graph.layers
    last = replace(last, bias=np.array([1e3, 0.0], np.float32))
    kernel = calibrate(replace(graph, layers=(*trunk, last)), small.sample[:8]).graph.layers[-1].kernel
    assert np.isfinite(kernel).all() and kernel.any()


class TestFit:
    def moments(self, inputs: np.ndarray, outputs: np.ndarray) -> Moments:
        x, z = inputs - inputs.mean(0), outputs - outputs.mean(0)
        n = len(x)
        return Moments((x.T @ x / n)[None], (x.T @ z / n)[None], inputs.mean(0)[None], outputs.mean(0)[None])

    def test_weights_are_whole_levels_and_the_mean_is_kept(self) -> None:
        rng = np.random.default_rng(0)
        inputs = rng.normal(1.0, 1.0, (500, 16)) @ rng.normal(0, 1, (16, 16))
        kernel = rng.normal(0, 1, (1, 1, 16, 4)).astype(np.float32)
        outputs = inputs @ kernel[0, 0] + 2
        lossy = inputs + rng.normal(0.1, 0.05, inputs.shape)  # with a bias, as quantised inputs have
        layer, scales = fit(Layer("x", kernel, np.zeros(4, np.float32)), self.moments(lossy, outputs), 0.1)
        levels = layer.kernel[0, 0] / scales
        np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)
        assert np.abs(levels).max() <= WEIGHT_LEVELS + 1e-3
        got = lossy @ layer.kernel[0, 0] + layer.bias
        np.testing.assert_allclose(got.mean(0), outputs.mean(0), rtol=1e-4)
        assert np.abs(got - outputs).mean() < np.abs(lossy @ kernel[0, 0] + 2 - outputs).mean()

    def test_rounding_with_answers_loses_less_than_rounding_each_weight(self) -> None:
        rng = np.random.default_rng(1)
        inputs = rng.normal(0, 1, (1000, 6)) @ rng.normal(0, 1, (6, 24)) + rng.normal(0, 0.1, (1000, 24))
        weights = rng.normal(0, 1, (1, 24, 8))
        scales = np.full((1, 8), 0.5)
        xx = (inputs.T @ inputs / 1000)[None]
        nearest = np.rint(weights / 0.5) * 0.5
        answered = _round(weights, scales, xx)
        lost = [np.square(inputs @ (rounded - weights)[0]).mean() for rounded in (answered, nearest)]
        assert lost[0] < lost[1] / 2

    def test_a_channel_that_is_constant_stays_finite(self) -> None:
        inputs, kernel = np.ones((50, 3)), np.zeros((1, 1, 3, 2), np.float32)
        layer, scales = fit(
            Layer("x", kernel, np.ones(2, np.float32)), self.moments(inputs, np.ones((50, 2))), 0.1
        )
        assert np.isfinite(layer.kernel).all() and np.isfinite(scales).all()
        np.testing.assert_allclose(layer.bias, 1.0)


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.3, 4.2), (0.5, 2.0), (0.0, 0.0)])
def test_a_range_has_0_as_a_level_and_covers_what_it_was_given(low: float, high: float) -> None:
    reach = Range.around(low, high)
    assert reach.quantise(np.zeros(1, np.float32))[0] == 0
    scale = (reach.high - reach.low) / 255
    assert reach.low - scale <= low and reach.high + scale >= high
    values = np.linspace(low, high, 50).astype(np.float32)
    assert np.abs(reach.quantise(values) - values).max() <= scale * 1.01


def test_the_sample_takes_every_class_and_subject_in_turn() -> None:
    groups = [("ALL", "1")] * 50 + [("ALL", "2")] * 3 + [("HEM", "H1")] * 20
    chosen = representative_sample(groups, 9)
    assert [sum(groups[i] == group for i in chosen) for group in dict.fromkeys(groups)] == [3, 3, 3]
    assert chosen == representative_sample(groups, 9) and len(representative_sample(groups, 1000)) == 73
