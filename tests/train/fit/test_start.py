"""What a training refuses before it works, and what resuming one does with its options."""

import json
from pathlib import Path

import pytest
import tiny_data

from edge.cli.main import main
from train.data import crops, split
from train.data.dataset import scan
from train.fit import recipe as recipes
from train.fit import training
from train.fit.run import Progress, Run

CHANGES = [word for change in tiny_data.TINY for word in ("--set", change)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_data.make(tmp_path_factory.mktemp("cells"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def words(
    data: Path, out: Path, *more: object, weights: object = "none", recipe: str = "paper", teacher: str = ""
) -> list[str]:
    if teacher:
        more = (*more, "--teacher", teacher)
    options = ["--data", data, "--fold", 1, "--split", "image", "--out", out, "--weights", weights, *more]
    return ["train", *map(str, options), "--recipe", recipe, *CHANGES]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"weights": "/nope.h5"}, "weights /nope.h5: no such file"),
        ({"teacher": "nowhere"}, "go together, and only together"),
    ],
)
def test_a_start_that_fails_leaves_nothing_and_does_no_work(
    data: Path,
    tmp_path: Path,
    more: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cropped = []
    monkeypatch.setattr(crops, "load", lambda *_, **__: cropped.append(1))
    out = tmp_path / "runs" / "new"
    assert main(words(data, out, **more)) == 2
    assert said in capsys.readouterr().err
    assert not out.exists() and not cropped


def test_a_mean_of_more_updates_than_an_epoch_has_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(data, tmp_path / "run"), "--set", "fit.ema_decay=0.998"]) == 2
    assert "a mean over 500 updates, but an epoch has" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_weights_that_do_not_fit_are_refused_first(data: Path, tmp_path: Path) -> None:
    (tmp_path / "w.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\nrubbish")
    assert main(words(data, tmp_path / "run", weights=tmp_path / "w.weights.h5")) != 0
    assert not (tmp_path / "run").exists()


def test_an_image_that_cannot_be_read_leaves_no_run(tmp_path: Path) -> None:
    """Found while cropping, so after the run folder was made."""
    root = tiny_data.make(tmp_path / "cells")
    next(root.rglob("*_all.bmp")).write_bytes(b"BM")
    out = tmp_path / "run"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert main(words(root, out)) == 2
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_written_is_refused_first(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert main(words(data, tmp_path / "file" / "run")) == 1


def begun(data: Path, out: Path, limit: int | None = None) -> Run:
    """A run of three epochs as a stop after the first leaves it."""
    recipe = recipes.changed(recipes.load("paper"), [*tiny_data.TINY, "fit.epochs=3"])
    divided = split.split_fold(scan(data), 1, "image", 0)
    run = Run.create(out, recipe, divided, {"limit": limit, "data": [str(data)], "weights": "none"})
    row = {"loss": 1.0, "val_loss": 1.0, "seconds": 1.0}
    progress = Progress(epoch=1, learning_rate=0.001, best_epoch=1, best_val_loss=1.0, history=[row])
    model = training.new_model(recipe, "none", 1)
    model.optimizer.build(model.trainable_variables)  # as after its first step
    run.save(model, progress, better=True)
    return run


def test_more_epochs_are_done_where_the_run_is_the_same_with_them(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = begun(data, tmp_path / "run", limit=20)
    assert main(["train", "--data", str(data), "--out", str(run.folder), "--resume", "--epochs", "2"]) == 0
    assert run.progress().epoch == 2 and run.recipe().fit.epochs == 2
    assert "2 epochs done" in capsys.readouterr().out
    assert main(["train", "--data", str(data), "--out", str(run.folder), "--resume", "--epochs", "4"]) == 2
    assert "has ended (2 epochs done)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--limit", "7"], "the run has --limit none"),
        (["--fold", "1", "--split", "subject"], "the run has another split"),
        (["--fold", "1", "--split", "image", "--seed", "5"], "the run has another split"),
        (["--epochs", "1"], "1 epochs are done already"),
    ],
)
def test_what_a_resumed_run_cannot_do_is_refused(
    data: Path,
    tmp_path: Path,
    more: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = begun(data, tmp_path / "run")
    assert main(["train", "--data", str(data), "--out", str(run.folder), "--resume", *more]) == 2
    assert said in capsys.readouterr().err
    assert run.progress().epoch == 1 and run.recipe().fit.epochs == 3


def test_a_trial_evaluates_so_many_cells_and_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(words(data, run, "--epochs", 1)) == 0
    capsys.readouterr()
    command = ["evaluate", str(run), "--data", str(data), "--noise", "0", "--json"]
    assert main([*command, "--limit", "4"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)[0]["n"] == 4 and "--limit 4" in said.err
    assert main([*command, "--set", "fit.epochs=3"]) == 2
    assert "--set is for training" in capsys.readouterr().err


def test_classes_of_ones_own_stay_with_the_run(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same cells under folders of other names, trained and evaluated."""
    own = tmp_path / "mine"
    for file in data.rglob("*.bmp"):
        name = {"all": "blast", "hem": "normal"}[file.parent.name]
        patient = file.name.split("_")[1]
        target = own / name / patient / f"{len(list(own.rglob('*')))}.bmp"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file)
    run = tmp_path / "run"
    options = ["--split", "subject", "--weights", "none", "--epochs", "1", *CHANGES]
    command = ["train", "--data", str(own), "--out", str(run), *options]
    assert main(command) == 2 and not run.exists()
    assert main([*command, "--positive", "blast"]) == 0
    capsys.readouterr()
    out = tmp_path / "report"
    assert main(["evaluate", str(run), "--data", str(own), "--noise", "0", "--json", "--out", str(out)]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert set(row["groups"]) == {"blast", "normal"} and row["kind"] == "test split"
    assert {subject["label"] for subject in row["per_subject"].values()} == {"blast", "normal"}
    page = (out / "report.html").read_text()
    assert "Patients (blast / normal)" in page and "calls it <b>blast</b>" in page
    assert main(["evaluate", str(run), "--data", str(data), "--noise", "0"]) == 2
    assert "those of the model blast and normal" in capsys.readouterr().err


def test_a_reset_table_can_be_set_again() -> None:
    paper = recipes.load("paper")
    changed = recipes.changed(paper, ["noise=", "noise.sigma_levels=[0.0, 3.0]"])
    assert changed.noise == recipes.NoiseRecipe(sigma_levels=[0.0, 3.0])
    again = recipes.changed(paper, ["balance.grey_copies_of=", "balance.grey_copies_of=HEM"])
    assert again.balance.grey_copies_of == "HEM"
