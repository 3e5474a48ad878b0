"""The shipped model on real cells, against the same flatbuffer run by hand on pixels prepared by hand."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from edge.imaging.balance import balanced
from edge.imaging.files import read_image
from edge.imaging.preprocess import prepare
from edge.model.classifier import Classifier
from edge.model.file import read_model


def area_weights(side: int, size: int) -> np.ndarray:
    """(size, side): how much of each pixel lies under each pixel of the smaller picture."""
    edges = np.arange(size + 1) * side / size
    starts = np.arange(side)
    under = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return np.maximum(under, 0) * size / side


def linear_weights(side: int, size: int) -> np.ndarray:
    """(size, side): how much of each pixel, between centre and centre, makes each pixel of the smaller picture."""
    assert side <= 2 * size, "from there on, halves are averaged first"
    centres = (np.arange(size) + 0.5) * side / size - 0.5
    return np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(side)))


WEIGHTS = {"area": area_weights, "linear": linear_weights}
# Pixels that may come out one level apart: OpenCV sums areas in single precision, and between centres in 11 bits.
ONE_LEVEL_APART = {"area": 0.02, "linear": 0.08}  # from 256 to 192 many values lie half between two levels


def pixels_by_hand(manifest: dict[str, Any], image: Path) -> np.ndarray:
    """(size, size, 3): Pillow reads, the centre is cut and resized as the manifest says."""
    side, size = manifest["geometry"]["crop"], manifest["geometry"]["size"]
    pixels = np.asarray(Image.open(image).convert("RGB")).astype(np.float64)
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    weights = WEIGHTS[manifest["geometry"]["interpolation"]](side, size)
    cut = pixels[top : top + side, left : left + side]
    # Halves are rounded up: of four pixels' mean they are frequent.
    return np.floor(np.einsum("ay,yxc,bx->abc", weights, cut, weights, optimize=True) + 0.5)


def balanced_by_hand(manifest: dict[str, Any], pixels: np.ndarray) -> np.ndarray:
    """(size, size, 3): each channel scaled so that the mean of the cell, on half the side, is the manifest's."""
    height, width, _ = pixels.shape
    half = np.floor(pixels.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3)) + 0.5)
    mean = half[half.max(axis=2) > 40].mean(axis=0)
    return np.clip(np.rint(pixels * (np.array(manifest["input"]["cell_mean"]) / mean)), 0, 255)


def probability_by_hand(model: Path, manifest: dict[str, Any], pixels: np.ndarray) -> float:
    """Probability of ALL from pixels, with TFLite alone and the manifest's temperature."""
    interpreter = Interpreter(model_path=str(model))
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    output = next(o for o in interpreter.get_output_details() if tuple(o["shape"]) == (1, 2))
    low, high = manifest["input"]["low"], manifest["input"]["high"]
    scale, zero_point = entry["quantization"]
    value = low + pixels.astype(np.float64) / 255 * (high - low)
    quantised = np.clip(np.rint(value / scale + zero_point), -128, 127).astype(np.int8)
    interpreter.set_tensor(entry["index"], quantised[np.newaxis])
    interpreter.invoke()
    scale, zero_point = output["quantization"]
    probability = float(scale * (int(interpreter.get_tensor(output["index"])[0, 0]) - zero_point))
    logit = np.log(probability / (1 - probability)) / manifest["temperature"]
    return float(1 / (1 + np.exp(-logit)))


def test_the_classifier_says_what_the_flatbuffer_says_by_hand(cnmc: Path, shipped_model: Path) -> None:
    model = read_model(shipped_model)
    classifier = Classifier(model)
    with zipfile.ZipFile(shipped_model) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    images = sorted((cnmc / "training_data").rglob("*.png"))[::120]
    assert len(images) >= 25
    for image in images:
        prepared = prepare(read_image(image), model.manifest.geometry)
        apart = np.abs(prepared - pixels_by_hand(manifest, image))
        allowed = ONE_LEVEL_APART[model.manifest.geometry.interpolation]
        assert apart.max() <= 1 and (apart > 0).mean() < allowed, image.name
        ours = classifier.classify(read_image(image)).probabilities["ALL"]
        seen = balanced(prepared, model.manifest.input.cell_mean)
        assert np.abs(seen - balanced_by_hand(manifest, prepared)).max() <= 1, image.name
        by_hand = probability_by_hand(shipped_model, manifest, seen)
        assert ours == pytest.approx(by_hand, abs=1.5 / 256), image.name


def test_swapped_colours_would_be_noticed(cnmc: Path, shipped_model: Path) -> None:
    classifier = Classifier(read_model(shipped_model))
    images = sorted((cnmc / "training_data").rglob("*.png"))[::120]
    right = [classifier.classify(read_image(image)).probabilities["ALL"] for image in images]
    swapped = [
        classifier.classify(np.ascontiguousarray(read_image(image)[..., ::-1])).probabilities["ALL"]
        for image in images
    ]
    assert np.abs(np.subtract(right, swapped)).max() > 0.1


def test_the_model_file_opens_as_a_zip_and_carries_its_card(shipped_model: Path) -> None:
    with zipfile.ZipFile(shipped_model) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode().split() == ["ALL", "HEM"]
        card = archive.read("card.md").decode()
    assert "not a diagnosis" in card
    assert "10.7937/tcia.2019.dc64i46r" in card
    assert card == shipped_model.with_suffix(".md").read_text()
