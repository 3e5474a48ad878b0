"""A student learns what its teacher says, of the pictures that the teacher has judged, and of nobody it must not know."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_data

from edge.cli.main import main
from edge.errors import InputError
from train.data import crops as crop_cache
from train.data import split
from train.data.dataset import Cell, data_root, scan
from train.fit import features
from train.fit import recipe as recipes
from train.fit import training as fit
from train.fit.batches import TrainingBatches, scale_pixels, variant
from train.fit.distil import taught_targets
from train.fit.probe import set_head
from train.fit.recipe import Recipe
from train.fit.run import Run

TEACHER = [*tiny_data.TINY, "fit.probe_passes=1", "model.frozen_blocks=0"]
STUDENT = [*tiny_data.TINY, "distil.variants=2", "distil.temperature=1.0", "fit.epochs=2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_data.make(tmp_path_factory.mktemp("cells"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "leukoscope" / "features"


def student_recipe(*changes: str) -> Recipe:
    return recipes.changed(recipes.load(tiny_data.STUDENT), [*STUDENT, *changes])


def teacher_run(data: Path, folder: Path, which: split.Split) -> Run:
    run = Run.create(folder, recipes.changed(recipes.load(tiny_data.REGRESSION), TEACHER), which, {})
    fit.train(run, data, weights="none")
    model, recipe = run.best_model(), run.recipe()
    for layer in model.layers:  # a random network says nothing until its means and variances fit the images
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    cells, crops = fit.load_side(data, which, "train", recipe)
    model(scale_pixels(np.asarray(crops), recipe.model), training=True)
    set_head(model, cells, data, recipe)
    model.save(folder / "best.keras")
    return run


def test_targets_are_what_the_teacher_says_of_exactly_the_pictures_that_are_shown(
    data: Path, tmp_path: Path
) -> None:
    cells = scan(data)
    run = teacher_run(data, tmp_path / "teacher", split.everything(cells, 0))
    teacher, its = run.best_model(), run.recipe().model
    recipe = student_recipe("noise=", "fit.batch=64", "balance.sampling='each'")
    targets = taught_targets(teacher, its, cells, data, recipe)
    assert targets.shape == (len(cells), 2, 2) and np.ptp(targets[..., 0]) > 0.1
    crops = crop_cache.load(data_root(data), cells, its.geometry)
    for epoch in (0, 1, 2):
        inputs, shown = TrainingBatches(crops, cells, recipe, epoch, taught=targets)[0]
        np.testing.assert_allclose(teacher.predict(inputs, verbose=0), shown, atol=1e-5)
    for temperature in (3.0, 0.5):
        change = [f"distil.temperature={temperature}"]
        divided = taught_targets(teacher, its, cells, data, recipes.changed(recipe, change))
        odds, divided_odds = (np.log(said[..., 0] / said[..., 1]) for said in (targets, divided))
        np.testing.assert_allclose(divided_odds, odds / temperature, rtol=1e-3, atol=1e-3)
    mixed = taught_targets(teacher, its, cells, data, recipes.changed(recipe, ["distil.label_share=0.25"]))
    labels = np.array([[cell.label == "ALL", cell.label == "HEM"] for cell in cells])
    for number in range(2):
        np.testing.assert_allclose(mixed[:, number], 0.75 * targets[:, number] + 0.25 * labels, atol=1e-6)


def test_a_live_teacher_judges_the_very_pictures_that_are_shown_mixed_or_not(
    data: Path, tmp_path: Path
) -> None:
    cells = scan(data)
    teacher = teacher_run(data, tmp_path / "teacher", split.everything(cells, 0)).best_model()
    live = ["distil.variants=0", "distil.live=true", "fit.batch=16", "distil.label_share=0.25", "noise="]
    crops = crop_cache.load(data_root(data), cells, student_recipe().model.geometry)
    asked: list[np.ndarray] = []

    def says(inputs: np.ndarray) -> np.ndarray:
        asked.append(inputs)
        return np.asarray(teacher.predict_on_batch(inputs))

    for mixup in (0.0, 0.4):
        recipe = student_recipe(*live, f"fit.mixup_alpha={mixup}")
        inputs, targets = TrainingBatches(crops, cells, recipe, 0, says=says)[0]
        same, labels = TrainingBatches(crops, cells, recipe, 0)[0]
        np.testing.assert_array_equal(asked[-1], inputs)
        np.testing.assert_array_equal(same, inputs)
        np.testing.assert_allclose(targets, 0.75 * says(inputs) + 0.25 * labels, atol=1e-5)
        assert (len(np.unique(labels)) > 2) == (mixup > 0)


def test_a_live_teacher_by_command_needs_the_same_geometry(data: Path, tmp_path: Path) -> None:
    teacher_run(data, tmp_path / "t", split.split_fold(scan(data), 1, "image", 0))
    words = [
        "--data",
        data,
        "--fold",
        1,
        "--split",
        "image",
        "--weights",
        "none",
        "--recipe",
        tiny_data.STUDENT,
    ]
    changes = [*STUDENT, "distil.variants=0", "distil.live=true", "noise=", "fit.probe_c=0.0"]
    live = [word for change in changes for word in ("--set", change)]
    ending = ["--teacher", str(tmp_path / "t"), "--out"]
    command = ["train", *map(str, words), *live, *ending]
    assert main([*command, str(tmp_path / "s")]) == 0
    assert Run(tmp_path / "s").progress().epoch == 2
    wider = Run(tmp_path / "t").recipe().model.crop + 8
    assert main([*command, str(tmp_path / "other"), "--set", f"model.crop={wider}"]) == 2
    assert not (tmp_path / "other").exists()


def test_a_variant_is_turned_alike_for_networks_of_every_size() -> None:
    recipe = student_recipe("augment.stain=0.0", "augment.channel_gain=0.0", "augment.brightness=[1.0, 1.0]")
    cell = Cell("training_data/fold_1/all/UID_1_1_1_all.bmp", "ALL", "1", "fold_1")
    small, large = np.zeros((80, 80, 3), np.uint8), np.zeros((160, 160, 3), np.uint8)
    small[20:40, 30:60], large[40:80, 60:120] = 200, 200
    for number in range(4):
        halved = variant(large, recipe, cell, number).reshape(80, 2, 80, 2, 3).mean((1, 3))
        difference = np.abs(halved - variant(small, recipe, cell, number))
        assert difference.mean() < 3.0
    assert not np.array_equal(variant(small, recipe, cell, 0), variant(small, recipe, cell, 1))


def test_a_student_comes_nearer_to_its_teacher_by_command(data: Path, tmp_path: Path) -> None:
    teacher_run(data, tmp_path / "t", split.split_fold(scan(data), 1, "image", 0))
    words = ["--data", data, "--fold", 1, "--split", "image", "--weights", "none"]
    plain = ["augment=", "noise=", "fit.probe_c=0.0", "fit.epochs=4", "fit.learning_rate=0.003"]
    changes = [word for change in [*STUDENT, *plain] for word in ("--set", change)]
    taught = ["--recipe", tiny_data.STUDENT, "--teacher", str(tmp_path / "t"), "--out", str(tmp_path / "s")]
    assert main(["train", *map(str, words), *taught, *changes]) == 0
    history = Run(tmp_path / "s").progress().history
    assert history[-1]["loss"] < history[0]["loss"]
    assert Run(tmp_path / "s").environment()["teacher"] == str((tmp_path / "t").resolve())


def test_a_teacher_that_knows_the_cells_that_judge_is_refused(data: Path, tmp_path: Path) -> None:
    cells = scan(data)
    teacher_run(data, tmp_path / "teacher", split.everything(cells, 0))
    run = Run.create(tmp_path / "run", student_recipe(), split.split_fold(cells, 1, "image", 0), {})
    with pytest.raises(InputError, match="trained on"):
        fit.train(run, data, weights="none", teacher=tmp_path / "teacher")


def test_teacher_and_variants_go_together(data: Path, tmp_path: Path) -> None:
    whole = split.everything(scan(data), 0)
    alone = Run.create(tmp_path / "alone", student_recipe(), whole, {})
    with pytest.raises(InputError, match="--teacher"):
        fit.train(alone, data, weights="none")
    with pytest.raises(InputError, match="grey"):
        recipes.changed(recipes.load("paper"), ["distil.variants=2"])


def test_features_are_computed_once_for_each_picture(
    data: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = student_recipe()
    model = fit.new_model(recipe, "none", 1)
    cells = scan(data)
    computed: list[int] = []
    compute = features._compute
    monkeypatch.setattr(
        features, "_compute", lambda *words: computed.append(len(words[2])) or compute(*words)
    )
    some = features.load(model, recipe.model, cells[:5], data, name="plain")
    every = features.load(model, recipe.model, cells[::-1], data, name="plain")
    again = features.load(model, recipe.model, cells, data, name="plain")
    assert computed == [5, len(cells) - 5]
    np.testing.assert_array_equal(every[::-1], again)
    np.testing.assert_array_equal(some, again[:5])
    crops = crop_cache.load(data_root(data), cells, recipe.model.geometry)
    direct = features.trunk(model).predict(scale_pixels(np.asarray(crops), recipe.model), verbose=0)
    np.testing.assert_allclose(again, direct, atol=1e-4)
    model.get_layer("conv1").set_weights([2 * w for w in model.get_layer("conv1").get_weights()])
    features.load(model, recipe.model, cells, data, name="plain")
    assert computed == [5, len(cells) - 5, len(cells)], "other weights, other features"
    smoothed = recipes.changed(recipe, ["model.smooth_passes=2"])
    same_weights = fit.new_model(smoothed, "none", 1)
    same_weights.set_weights(model.get_weights())
    features.load(same_weights, smoothed.model, cells, data, name="plain")
    assert computed[3:] == [len(cells)], "the same weights, of the smoothed picture"
    keras.utils.clear_session()
