"""An ensemble says what its members say together: as a network, and from what evaluations kept."""

import csv
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_data

from edge.cli.main import main
from edge.errors import InputError
from train.data import split
from train.data.dataset import scan
from train.evaluate.ensemble import join_runs, joined
from train.fit import recipe as recipes
from train.fit import training as fit
from train.fit.model import mobilenet_m
from train.fit.run import Run

TINY = recipes.changed(recipes.load("paper"), [*tiny_data.TINY, "model.input_low=-1.0", "fit.epochs=1"])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_data.make(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two trained runs that say different things."""
    folder, made = tmp_path_factory.mktemp("runs"), split.split_fold(scan(data), 1, "image", 0)
    trained = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for seed in (1, 2):
            recipe = recipes.changed(TINY, [f"fit.seed={seed}"])
            run = Run.create(
                folder / f"seed-{seed}", recipe, made, {"recipe": f"seed {seed}", "data": str(data)}
            )
            fit.train(run, data, weights="none")
            model = run.best_model()  # a network of one epoch says next to nothing
            head = model.get_layer("probabilities")
            head.set_weights(
                [np.random.default_rng(seed).normal(0, 2, part.shape) for part in head.get_weights()]
            )
            model.save(run.folder / "best.keras")
            trained.append(run)
    return trained


def random_network(seed: int, images: np.ndarray) -> keras.Model:
    """Random weights, and the means and variances of the images: without them nothing reaches the head."""
    keras.utils.set_random_seed(seed)
    model = mobilenet_m(TINY.model)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)
    return model


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    return np.log(probabilities[:, 0] / probabilities[:, 1])


@pytest.mark.parametrize("members", [2, 3])
def test_a_joined_network_gives_the_mean_of_the_log_odds(members: int) -> None:
    images = np.random.default_rng(9).uniform(-1, 1, (5, 32, 32, 3)).astype(np.float32)
    models = [random_network(seed, images) for seed in range(members)]
    each = [log_odds(model.predict(images, verbose=0)) for model in models]
    together = joined(models)
    assert np.ptp(each, axis=0).max() > 0.01  # they do not agree
    np.testing.assert_allclose(
        log_odds(together.predict(images, verbose=0)), np.mean(each, axis=0), atol=1e-4
    )
    assert together.count_params() < members * models[0].count_params()  # not the square


def scores(folder: Path) -> dict[tuple[str, ...], float]:
    with (folder / "predictions.csv").open(newline="") as lines:
        return {
            (row["cells"], row["sigma"], row["path"]): float(row["score"]) for row in csv.DictReader(lines)
        }


def test_joined_evaluations_are_the_evaluation_of_the_joined_run(
    data: Path,
    runs: list[Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    both = tmp_path / "both"
    members = [str(run.folder) for run in runs]
    assert main(["ensemble", *members, "--out", str(both)]) == 0
    reports = []
    for run in (*members, str(both)):
        reports.append(tmp_path / f"report-{Path(run).name}")
        words = ["evaluate", run, "--data", str(data), "--noise", "0,5", "--out", str(reports[-1])]
        assert main(words) == 0
    kept = ["ensemble", str(reports[0]), str(reports[1]), "--out", str(tmp_path / "kept")]
    assert main(kept) == 2 and "--data" in capsys.readouterr().err
    assert main([*kept, "--data", str(data)]) == 0
    found, expected = scores(tmp_path / "kept"), scores(reports[2])
    assert found.keys() == expected.keys() and len(found) > 10
    np.testing.assert_allclose(list(found.values()), [expected[key] for key in found], atol=1e-4)
    assert abs(np.array(list(found.values())) - list(scores(reports[0]).values())).max() > 0.01
    assert Run(both).recipe().model.members == 2
    assert Run(both).environment()["recipe"] == "ensemble of seed 1 + seed 2"


def test_what_does_not_fit_together_is_refused(
    data: Path, runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = runs
    assert main(["ensemble", str(first.folder), "--out", str(tmp_path / "one")]) == 2
    assert "two members" in capsys.readouterr().err
    assert main(["ensemble", str(first.folder), str(tmp_path), "--out", str(tmp_path / "one")]) == 2
    assert "leukoscope train" in capsys.readouterr().err
    for setting in ("model.crop=60", "model.smooth_passes=2", "model.cell_mean=[68, 30, 79]"):
        name = setting.partition("=")[0]
        other = Run.create(tmp_path / name, recipes.changed(first.recipe(), [setting]), first.split(), {})
        with pytest.raises(InputError, match=f"{name} is"):
            join_runs([first, other], tmp_path / "out", {})
    swapped = Run.create(tmp_path / "swapped", first.recipe(), first.split(), {"classes": ["HEM", "ALL"]})
    with pytest.raises(InputError, match="HEM and ALL, the positive one first"):
        join_runs([first, swapped], tmp_path / "out", {})
    elsewhere = Run.create(tmp_path / "elsewhere", first.recipe(), split.everything(scan(data), 0), {})
    with pytest.raises(InputError, match="another split"):
        join_runs([first, elsewhere], tmp_path / "out", {})
    pair = join_runs([first, second], tmp_path / "pair", {})
    with pytest.raises(InputError, match="ensemble itself"):
        join_runs([pair, pair], tmp_path / "out", {})
    with pytest.raises(InputError, match="members"):
        fit.train(Run.create(tmp_path / "trained", pair.recipe(), first.split(), {}), data, weights="none")


def test_evaluations_of_other_cells_are_not_joined(data: Path, tmp_path: Path, capsys) -> None:
    head, row = (
        "path,subject,label,sigma,score,cells\n",
        "training_data/fold_1/all/UID_1_1_{}_all.bmp,1,ALL,0,0.7,test\n",
    )
    texts = {
        "a": row.format(1),
        "b": row.format(2),
        "swapped": row.format(1).replace("ALL", "HEM"),
        "noisier": row.format(1),
    }
    for name, text in ({key: head + text for key, text in texts.items()} | {"c": "nothing\n1\n"}).items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "predictions.csv").write_text(text)
        noise_on = "camera" if name == "noisier" else "network"
        (tmp_path / name / "metrics.json").write_text(f'[{{"resampled": "cells", "noise_on": "{noise_on}"}}]')
    for other, said in {
        "b": "other cells",
        "swapped": "--positive",
        "noisier": "camera's pixels",
        "c": "evaluate --out",
    }.items():
        words = ["ensemble", tmp_path / "a", tmp_path / other, "--out", tmp_path / "out", "--data", data]
        assert main(list(map(str, words))) == 2
        assert said in capsys.readouterr().err
