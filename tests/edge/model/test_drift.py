"""Drift: another laboratory's cells are far from the summary, the laboratory's own are not."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from command import SAMPLES
from other_laboratory import recoloured

from edge.imaging.colours import FIGURES
from edge.imaging.files import find_images, read_image
from edge.model.classifier import Classifier
from edge.model.drift import LEAST, Drift, Summary, colour_distances, distance, summarise
from edge.model.file import read_model, write_model
from edge.model.installed import default_model


@pytest.fixture(scope="module")
def seen() -> dict[str, np.ndarray]:
    """Features of the samples as they are and in other colours."""
    classifier = Classifier(read_model(default_model()))
    found: dict[str, list[np.ndarray]] = {"own": [], "other": [], "own colours": [], "other colours": []}
    for file in find_images([SAMPLES]):
        picture = read_image(file)
        for name, shown in (("own", picture), ("other", recoloured(picture))):
            prediction = classifier.classify(shown)
            assert prediction.features is not None and prediction.colours is not None
            found[name].append(prediction.features)
            found[f"{name} colours"].append(prediction.colours)
    return {name: np.array(each) for name, each in found.items()}


def test_another_look_is_farther_away_than_other_cells_of_the_same(seen) -> None:
    rows = np.random.default_rng(0).permutation(len(seen["own"]))
    summary = summarise(seen["own"][rows[:20]])
    own = distance(summary, seen["own"][rows[20:]].mean(axis=0))
    other = distance(summary, seen["other"][rows[20:]].mean(axis=0))
    assert other > 2 * own
    assert distance(summary, seen["own"][rows[:20]].mean(axis=0)) == pytest.approx(0, abs=1e-3)


def test_health_tells_nothing_of_few_cells_and_then_whether_they_moved(seen) -> None:
    summary = summarise(seen["own"])
    drift = Drift(summary)
    for features in seen["own"][: LEAST - 1]:
        drift.add(features)
    assert drift.report() is None
    drift.add(seen["own"][LEAST])
    told = drift.report()
    assert told is not None and told["cells"] == LEAST and not told["moved"] and told["advice"] == ""
    moved = Drift(msgspec.structs.replace(summary, threshold=told["distance"] + 0.01))
    for features in seen["other"]:
        moved.add(features)
    told = moved.report()
    assert told is not None and told["moved"] and "review twenty cells" in told["advice"]


def test_a_model_without_a_summary_tells_nothing(seen) -> None:
    drift = Drift(None)
    for features in seen["own"]:
        drift.add(features)
    assert drift.report() is None


def test_features_that_never_vary_do_not_count() -> None:
    summary = Summary(mean=[1.0, 0.0], spread=[0.5, 0.0], cells=10)
    assert distance(summary, np.array([1.5, 100.0])) == pytest.approx(1.0)
    assert distance(Summary(mean=[0.0], spread=[0.0], cells=1), np.array([5.0])) == 0.0


def test_the_model_file_keeps_its_summary(seen, tmp_path: Path) -> None:
    model = read_model(default_model())
    manifest = msgspec.structs.replace(model.manifest, drift=summarise(seen["own"], seen["own colours"]))
    write_model(tmp_path / "m.tflite", model.flatbuffer, manifest, model.card)
    summary = read_model(tmp_path / "m.tflite").summary()
    assert summary == manifest.drift and summary is not None and summary.cells == 40


def test_another_stain_is_told_by_its_colours_and_by_which(seen) -> None:
    summary = summarise(seen["own"], seen["own colours"])
    own, other = Drift(summary), Drift(summary)
    for number in range(len(seen["own"])):
        own.add(seen["own"][number], seen["own colours"][number])
        other.add(seen["other"][number], seen["other colours"][number])
    told = own.report()
    assert told is not None and told["colour"] is not None
    assert told["colour"]["distance"] < 0.1 and not told["moved"]
    told = other.report()
    assert told is not None and told["moved"] and told["colour"]["moved"]
    assert told["colour"]["figure"] in FIGURES and told["colour"]["distance"] > told["colour"]["threshold"]


def test_the_model_that_ships_knows_the_colours_of_its_training(seen) -> None:
    """The samples are cells of the training's laboratory."""
    summary = read_model(default_model()).summary()
    assert summary is not None and len(summary.colour_mean) == len(FIGURES)
    own, other = (
        colour_distances(summary, seen[f"{name} colours"].mean(axis=0)).max() for name in ("own", "other")
    )
    assert own < summary.colour_threshold < other


def test_a_summary_of_before_has_no_colours_and_says_nothing_of_them(seen) -> None:
    drift = Drift(summarise(seen["own"]))
    for features, colours in zip(seen["own"], seen["own colours"]):
        drift.add(features, colours)
    told = drift.report()
    assert told is not None and told["colour"] is None and not told["moved"]
