"""The shipped model on real cells, against the same flatbuffer run by hand on pixels prepared by hand."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from edge.classifier import Classifier
from edge.images import read_image
from edge.modelfile import read_model


def by_hand(model: Path, image: Path) -> float:
    """Probability of ALL with nothing of ours: Pillow reads, the 448 square is cut and averaged two by two."""
    pixels = np.asarray(Image.open(image).convert("RGB")).astype(np.float64)[1:449, 1:449]
    small = np.floor(pixels.reshape(224, 2, 224, 2, 3).mean(axis=(1, 3)) + 0.5)
    interpreter = Interpreter(model_path=str(model))
    interpreter.allocate_tensors()
    entry, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = entry["quantization"]
    quantised = np.clip(np.rint(small / 255 / scale + zero_point), -128, 127).astype(np.int8)
    interpreter.set_tensor(entry["index"], quantised[np.newaxis])
    interpreter.invoke()
    scale, zero_point = output["quantization"]
    return float(scale * (int(interpreter.get_tensor(output["index"])[0, 0]) - zero_point))


def test_the_classifier_says_what_the_flatbuffer_says_by_hand(cnmc: Path, shipped_model: Path) -> None:
    classifier = Classifier(read_model(shipped_model))
    images = sorted((cnmc / "training_data").rglob("*.png"))[::120]
    assert len(images) >= 25
    for image in images:
        ours = classifier.classify(read_image(image)).probabilities["ALL"]
        assert ours == pytest.approx(by_hand(shipped_model, image), abs=1.5 / 256), image.name


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
    assert card == (shipped_model.parent / "card.md").read_text()
