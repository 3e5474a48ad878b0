"""The deploy graph says what the Keras model says, on real cells."""

from dataclasses import replace

import keras
import msgspec
import numpy as np
import pytest

from edge.errors import InputError, LeukoscopeError
from export.int8.deploy import PixelInput, deploy_graph, expect_equal, for_int8, same_padding
from tests.export.conftest import Case
from tests.export.networks import recipe
from train.fit.batches import scale_pixels
from train.fit.model import mobilenet_m

EQUAL = 1e-5


def test_its_probabilities_are_the_keras_models(case: Case) -> None:
    expected = case.model.predict(scale_pixels(case.judged, case.recipe), verbose=0)
    graph = deploy_graph(case.model, case.recipe)
    probabilities, _ = graph.outputs(graph.input.real(case.judged))
    assert expected[:, 0].std() > 0.1  # the cells differ, so that being equal says something
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=EQUAL)


def test_the_mean_of_the_activation_map_is_the_logits_less_what_both_have_in_common(case: Case) -> None:
    head = keras.Model(case.model.input, case.model.get_layer("head_bn").output)
    kernel, bias = case.model.get_layer("probabilities").get_weights()
    expected = head.predict(scale_pixels(case.judged, case.recipe), verbose=0) @ kernel + bias
    expected -= expected.mean(axis=1, keepdims=True)
    graph = deploy_graph(case.model, case.recipe)
    evidence = graph.activation_map(graph.input.real(case.judged)).numpy()
    side = case.recipe.size // 32
    assert evidence.shape == (len(case.judged), side, side, 2)
    np.testing.assert_allclose(evidence.mean((1, 2)), expected, rtol=0, atol=10 * EQUAL)


def test_nothing_but_convolutions_is_left_and_the_padding_is_within_them(small: Case) -> None:
    graph = deploy_graph(small.model, small.recipe)
    assert len(graph.layers) == 28
    side = small.recipe.size
    for layer in for_int8(graph).layers:
        assert layer.pad_value == 0
        assert layer.padding == same_padding(side, layer.kernel.shape[0], layer.stride)
        side //= layer.stride


def test_half_a_level_of_padding_is_all_that_int8_changes(case: Case) -> None:
    graph = deploy_graph(case.model, case.recipe)
    pixels = graph.input.real(case.judged)
    exact, rounded = graph.outputs(pixels)[0], for_int8(graph).outputs(pixels)[0]
    if case.recipe.input_low == 0:
        np.testing.assert_array_equal(exact, rounded)
    else:
        np.testing.assert_allclose(exact, rounded, rtol=0, atol=2e-3)


def test_a_side_where_the_padding_is_not_the_same_is_padded_apart() -> None:
    odd = recipe(0.25, 100, -1.0)  # maps of 100, 50, 25, 12, 6, 3: 25 is padded on both sides by SAME
    model = mobilenet_m(odd)
    pixels = np.random.default_rng(3).integers(0, 256, (2, 100, 100, 3), dtype=np.uint8)
    graph = deploy_graph(model, odd)
    assert any(layer.padding == (0, 1) and same_padding(25, 3, 2) == (1, 1) for layer in graph.layers)
    expected = model.predict(scale_pixels(pixels, odd), verbose=0)
    np.testing.assert_allclose(graph.outputs(graph.input.real(pixels))[0], expected, rtol=0, atol=EQUAL)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5), (-2.0, 1.0), (0.0, 255.0)])
def test_every_pixel_is_the_networks_own_value(low: float, high: float) -> None:
    scaling = msgspec.structs.replace(recipe(0.25, 128, low), input_high=high)
    entry = PixelInput.of(scaling)
    pixels = np.arange(256, dtype=np.uint8)
    own = entry.real(pixels) + entry.offset
    np.testing.assert_allclose(own, scale_pixels(pixels, scaling), rtol=0, atol=1e-6 * (high - low))
    # As the interpreter reads what the box writes: scale · (quantised - zero point) of p - 128.
    quantised = pixels.astype(int) - 128
    np.testing.assert_allclose(entry.real(pixels), entry.scale * (quantised - entry.zero_point), rtol=1e-6)
    assert abs(entry.offset) <= entry.scale / 2
    assert -128 <= entry.zero_point <= 127


def test_a_range_without_0_is_refused() -> None:
    with pytest.raises(InputError, match="input range 0.5…1: 0, which pads the images, is not in it"):
        PixelInput.of(recipe(0.25, 128, 0.5))


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (keras.layers.Conv2D(4, 3, activation="gelu"), "Conv2D"),
        (keras.layers.AveragePooling2D(2), "AveragePooling2D"),
        (keras.layers.ReLU(), "ReLU"),
    ],
)
def test_another_network_is_refused(layer: keras.Layer, named: str) -> None:
    entry = keras.Input((64, 64, 3))
    x = keras.layers.GlobalAveragePooling2D()(layer(entry))
    model = keras.Model(entry, keras.layers.Dense(2, activation="softmax")(x))
    with pytest.raises(LeukoscopeError, match=rf"\({named}\) does not belong in a MobileNet_M"):
        deploy_graph(model, recipe(0.25, 64, 0.0))


def test_a_graph_that_says_something_else_is_refused(small: Case) -> None:
    graph = deploy_graph(small.model, small.recipe)
    expect_equal(graph, small.model, small.recipe, small.judged)
    layers = list(graph.layers)
    layers[3] = replace(layers[3], relu6=False)
    without_relu = replace(graph, layers=tuple(layers))
    with pytest.raises(LeukoscopeError, match="the deploy graph differs from the Keras model by"):
        expect_equal(without_relu, small.model, small.recipe, small.judged)
