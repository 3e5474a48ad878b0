"""Training as a user runs it: to the end, after a kill, on a full disk, on every patient in turn."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_data

from edge.cli.main import main
from edge.errors import InputError
from train.data import split
from train.data.dataset import scan, subject_group
from train.fit import recipe as recipes
from train.fit import training as fit
from train.fit.batches import TrainingBatches
from train.fit.run import Progress, Run

# Everything that a resumed run has to bring along: running means, rates by depth and by step, dropout, mixup.
EVERYTHING = ["model.dropout=0.2", "fit.ema_decay=0.6", "fit.layer_decay=0.8"]
EVERYTHING += [
    "fit.weight_decay=0.01",
    "fit.mixup_alpha=0.2",
    "fit.learning_rate=0.001",
    "fit.warmup_epochs=1.0",
]
CHANGES = [word for change in tiny_data.TINY for word in ("--set", change)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_data.make(tmp_path_factory.mktemp("cells"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def words(data: Path, out: Path, recipe: str, epochs: int) -> list[str]:
    options = ["--data", data, "--fold", 1, "--split", "image", "--out", out, "--weights", "none"]
    return ["train", *map(str, options), "--recipe", recipe, "--epochs", str(epochs), *CHANGES]


def weights_of(run: Path) -> list[np.ndarray]:
    return Run(run).best_model().get_weights()


@pytest.mark.parametrize("recipe", ["paper", "leukoscope"])
def test_a_run_that_was_killed_ends_with_the_weights_of_an_unbroken_one(
    data: Path, tmp_path: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras.utils.set_random_seed(1)
    more = [word for change in EVERYTHING for word in ("--set", change)] if recipe == "leukoscope" else []
    assert main([*words(data, tmp_path / "whole", recipe, 3), *more]) == 0

    save = Run.save

    def killed(self: Run, model: keras.Model, progress: Progress, *others: object) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt  # the second epoch is lost: its checkpoint was not written
        save(self, model, progress, *others)

    monkeypatch.setattr(Run, "save", killed)
    main([*words(data, tmp_path / "broken", recipe, 3), *more])
    monkeypatch.undo()
    assert Run(tmp_path / "broken").progress().epoch == 1
    keras.utils.set_random_seed(99)  # another process starts with another state
    assert main([*words(data, tmp_path / "broken", recipe, 3), "--resume"]) == 0

    for whole, broken in zip(weights_of(tmp_path / "whole"), weights_of(tmp_path / "broken"), strict=True):
        np.testing.assert_array_equal(whole, broken)


def test_a_run_folder_holds_what_repeats_it(data: Path, tmp_path: Path) -> None:
    assert main(words(data, tmp_path / "run", "leukoscope", 2)) == 0
    run = Run(tmp_path / "run")
    assert run.recipe().fit.epochs == 2 and run.recipe().model.alpha == 0.25
    assert run.split() == split.split_fold(scan(data), 1, "image", 0)
    assert {"keras", "numpy"} <= run.environment()["packages"].keys()
    assert len(run.progress().history) == 2
    assert (tmp_path / "run" / "curves.png").stat().st_size > 5000
    assert not list((tmp_path / "run").glob("checkpoint*"))
    assert not keras.models.load_model(tmp_path / "run" / "best.keras").compiled  # no optimizer


def test_train_prints_one_document_or_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(data, tmp_path / "told", "paper", 1), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run"] == str(tmp_path / "told") and told["epochs"] == told["best_epoch"] == 1
    assert told["best"] == Run(tmp_path / "told").progress().history[0]
    assert main([*words(data, tmp_path / "silent", "paper", 1), "--quiet"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
    assert (tmp_path / "silent" / "best.keras").exists()


def test_a_line_an_epoch_names_what_a_person_looks_at_and_fits_a_terminal(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(data, tmp_path / "run", "paper", 2)) == 0
    row = Run(tmp_path / "run").progress().history[0]
    first, last = (line for line in capsys.readouterr().err.splitlines() if line.startswith("INFO epoch "))
    said = f"INFO epoch 1 of 2: loss {row['loss']:.3f} (validation {row['val_loss']:.3f}), accuracy {row['accuracy']:.1%} "
    assert first.startswith(f"{said}({row['val_accuracy']:.1%}), best, at most ")
    assert first.endswith(" min left") and "left" not in last
    assert max(map(len, (first, last))) <= 100


def test_an_ensemble_prints_one_document_or_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [tmp_path / "one", tmp_path / "two"]
    for run in runs:
        assert main([*words(data, run, "paper", 1), "--quiet"]) == 0
    capsys.readouterr()
    command = ["ensemble", *map(str, runs), "--out"]
    assert main([*command, str(tmp_path / "both"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"run": str(tmp_path / "both"), "members": [str(run.resolve()) for run in runs]}
    assert main([*command, str(tmp_path / "again"), "--quiet"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


def test_a_process_that_has_trained_nothing_reads_a_run(data: Path, tmp_path: Path) -> None:
    assert main(words(data, tmp_path / "run", "paper", 1)) == 0
    words_of_one = ["evaluate", tmp_path / "run", "--data", data, "--noise", "0", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "edge", *map(str, words_of_one)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_the_kept_weights_are_the_running_mean(data: Path, tmp_path: Path) -> None:
    changes = [
        *tiny_data.TINY,
        "fit.epochs=1",
        "fit.warmup_epochs=0.0",
    ]
    base = recipes.changed(recipes.load("leukoscope"), changes)
    made = split.split_fold(scan(data), 1, "image", 0)

    def kept(name: str, *more: str) -> np.ndarray:
        run = Run.create(tmp_path / name, recipes.changed(base, more), made, {})
        fit.train(run, data, weights="none")
        return run.best_model().get_layer("probabilities").get_weights()[0]

    start = kept("start", "fit.learning_rate=1e-8", "fit.learning_rate_floor=1e-8")
    plain = np.abs(kept("plain", "fit.learning_rate=0.01") - start).sum()
    mean = np.abs(kept("mean", "fit.learning_rate=0.01", "fit.ema_decay=0.9") - start).sum()
    assert 0.01 < mean < 0.9 * plain  # the mean lags behind


def test_weights_and_their_running_means_are_own_arrays(data: Path) -> None:
    """A step on JAX and a GPU gives its arrays away, and cannot give one away twice."""
    recipe = recipes.changed(recipes.load("paper"), [*tiny_data.TINY, "fit.ema_decay=0.9"])
    cells, crops = fit.load_side(data, split.everything(scan(data), 0), "train", recipe)
    model = fit.new_model(recipe, "none", 1)
    model.fit(TrainingBatches(crops, cells, recipe, 0), verbose=0)
    arrays = [id(variable.value) for variable in [*model.weights, *model.optimizer.variables]]
    assert len(set(arrays)) == len(arrays)


def test_a_full_disk_keeps_the_epoch_before_and_says_what_to_do(data: Path, tmp_path: Path) -> None:
    """No file may grow beyond a limit set after the first epoch: the second checkpoint cannot be written."""
    script = f"""
import logging, resource, signal, sys
from edge.cli.main import main
from train.fit.run import Run
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
save = Run.save
def limited(self, model, progress, *others):
    if progress.epoch == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    save(self, model, progress, *others)
Run.save = limited
sys.exit(main({words(data, tmp_path / "run", "paper", 3)!r}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=150)
    assert done.returncode == 1, done.stderr
    assert "free some space, then continue with --resume" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    run = Run(tmp_path / "run")
    assert run.progress().epoch == 1
    assert run.best_model() is not None
    assert main([*words(data, tmp_path / "run", "paper", 3), "--resume"]) == 0
    assert run.progress().epoch == 3


def test_cross_validation_judges_every_patient_once_and_goes_on(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "leukoscope", "--cross-validate", "2", "--data", str(data), "--noise", "0,5"]
    command += [
        "--weights",
        "none",
        "--out",
        str(tmp_path / "cv"),
        "--json",
        *CHANGES,
        "--set",
        "fit.epochs=1",
    ]
    assert main(command) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["sigma"] for row in rows] == [0, 5]
    assert rows[0]["n"] == 48 and rows[0]["resampled"] == "subjects"
    assert sorted(rows[0]["per_subject"]) == sorted(tiny_data.SUBJECTS["all"] + tiny_data.SUBJECTS["hem"])
    by_path = {cell.path: subject_group(cell.subject) for cell in scan(data)}
    for fold in range(2):
        made = Run(tmp_path / "cv" / f"fold-{fold}").split()
        assert not {by_path[p] for p in made.train} & {by_path[p] for p in made.test}
    assert "new patients" in (tmp_path / "cv" / "report.html").read_text().lower()

    kept = (tmp_path / "cv" / "fold-0" / "best.keras").stat().st_mtime_ns
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == rows
    assert (tmp_path / "cv" / "fold-0" / "best.keras").stat().st_mtime_ns == kept
    assert main([*command, "--set", "fit.batch=4"]) == 2
    assert "another recipe" in capsys.readouterr().err


def test_every_cell_trains_where_a_model_ships(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ["--data", str(data), "--fold", "all", "--split", "none", "--recipe", "leukoscope"]
    assert main(["train", *options, "--weights", "none", "--out", str(out), "--epochs", "1", *CHANGES]) == 0
    assert len(Run(out).split().train) == 48
    assert "val_loss" not in Run(out).progress().history[0]
    with pytest.raises(InputError, match="no validation side"):
        fit.train(
            Run.create(tmp_path / "b", recipes.load("paper"), Run(out).split(), {}),
            data,
            weights="none",
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("fit.epoch=3", "no such key"),
        ("fit.epochs=three", r"Expected `int`, got `str` - at `\$\.fit\.epochs`"),
        ("fit.epochs=[3", "as in TOML"),
        ("model.interpolation=cubic", "Invalid enum value 'cubic'"),
        ("fit.batch=0", "fit.batch"),
        ("nonsense", "table.key=value"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_by_name(change: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        recipes.changed(recipes.load("paper"), [change])


def test_a_word_needs_no_quotes() -> None:
    paper = recipes.load("paper")
    changes = ["model.interpolation=linear", "augment.zoom_keeps_shape=true"]
    changed = recipes.changed(paper, changes)
    assert (changed.model.interpolation, changed.augment.zoom_keeps_shape) == ("linear", True)
    assert changed == recipes.changed(paper, ["model.interpolation='linear'", changes[1]])


def test_resource_limits_are_as_they_were() -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_the_head_starts_as_the_logistic_regression_of_the_features(data: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    from train.fit.batches import PlainBatches, scale_pixels
    from train.fit.probe import sample_weights, set_head
    from train.fit.training import load_side, new_model

    recipe = recipes.changed(
        recipes.load(tiny_data.REGRESSION),
        [*tiny_data.TINY, "fit.probe_c=0.1", "fit.probe_passes=0", "model.frozen_blocks=0"],
    )
    cells, crops = load_side(data, split.everything(scan(data), 0), "train", recipe)
    model = new_model(recipe, "none", 1)
    for layer in model.layers:  # a random network says nothing until its means and variances fit the images
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(scale_pixels(crops, recipe.model), training=True)
    set_head(model, cells, data, recipe)
    features = keras.Model(model.input, model.get_layer("flatten").output)
    seen = features.predict(PlainBatches(crops, cells, recipe.model), verbose=0)
    scaled = (seen - seen.mean(0)) / np.sqrt(seen.var(0) + model.get_layer("head_bn").epsilon)
    weights = sample_weights(cells, recipe.balance.subject_power)
    labels = [cell.label for cell in cells]
    expected = LogisticRegression(C=0.1, max_iter=500).fit(scaled, labels, sample_weight=weights)
    given = model.predict(PlainBatches(crops, cells, recipe.model), verbose=0)
    np.testing.assert_allclose(given, expected.predict_proba(scaled), atol=1e-5)
    assert np.ptp(given[:, 0]) > 1e-3


def test_frozen_blocks_keep_their_weights_and_statistics(data: Path, tmp_path: Path) -> None:
    recipe = recipes.changed(
        recipes.load(tiny_data.REGRESSION),
        [*tiny_data.TINY, "fit.epochs=1", "model.frozen_blocks=11", "fit.probe_c=0.0"],
    )
    start = fit.new_model(recipe, "none", 1)
    run = Run.create(tmp_path / "run", recipe, split.split_fold(scan(data), 1, "image", 0), {})
    fit.train(run, data, weights="none")
    trained = run.best_model()
    for name, same in (
        ("conv1_bn", True),
        ("conv_pw_10_bn", True),
        ("conv_dw_11_bn", False),
        ("conv_pw_13", False),
    ):
        pairs = zip(start.get_layer(name).get_weights(), trained.get_layer(name).get_weights(), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs) == same, name


def test_a_regression_alone_leaves_the_network_as_it_was(data: Path, tmp_path: Path) -> None:
    recipe = recipes.changed(recipes.load(tiny_data.REGRESSION), tiny_data.TINY)
    run = Run.create(tmp_path / "run", recipe, split.everything(scan(data), 0), {})
    progress = fit.train(run, data, weights="none")
    assert progress.epoch == 0 and "regression" in progress.stopped
    start, kept = fit.new_model(recipe, "none", 1), run.best_model()
    for before, after in zip(start.layers, kept.layers, strict=True):
        same = all(
            np.array_equal(a, b) for a, b in zip(before.get_weights(), after.get_weights(), strict=True)
        )
        assert same == (after.name not in {"head_bn", "probabilities"}), after.name
    assert fit.train(run, data, weights="none").stopped == progress.stopped  # done stays done


def test_no_value_gives_a_table_or_a_key_its_default() -> None:
    paper = recipes.load("paper")
    plain = recipes.changed(paper, ["balance.grey_copies_of=", "augment=", "noise="])
    assert plain.balance.grey_copies_of is None
    assert plain.augment == recipes.AugmentRecipe() and plain.noise.sigma_levels == []
    assert plain.fit == paper.fit
    with pytest.raises(InputError, match="fit"):
        recipes.changed(paper, ["fit="])  # what has no default cannot be left out
