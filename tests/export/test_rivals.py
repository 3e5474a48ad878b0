"""Every network from the command line: trained, evaluated, exported to int8, run by the box, compared."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tiny_data

from edge.cli.main import main
from edge.errors import InputError
from edge.model.file import read_model
from train.compare.cells import shared_cells
from train.data import dataset, split
from train.evaluate.evaluation import load_scorer, score_cells
from train.evaluate.intervals import paired_intervals
from train.fit.recipe import NETWORKS
from train.fit.run import Run

QUICK = ("mobilenet_m", "alnett")
SIZES = {"alexnet": 64, "yolov4": 64, "yolov4_tiny": 64}
"""Where 32 pixels leave nothing to pool."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_data.make(tmp_path_factory.mktemp("cells"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def train(data: Path, out: Path, network: str, *more: str, epochs: int = 2) -> int:
    words = ["train", "--network", network, "--data", str(data), "--fold", "1", "--split", "image"]
    words += ["--recipe", "leukoscope", "--weights", "none", "--out", str(out), "--epochs", str(epochs)]
    tiny = [*tiny_data.TINY, f"model.size={SIZES.get(network, 32)}"]
    return main([*words, *(word for change in tiny for word in ("--set", change)), *more])


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of our own and one rival, trained for two epochs."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        for name in QUICK:
            assert train(data, folder / name, name) == 0
    return {name: folder / name for name in QUICK}


def chain(data: Path, run: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Evaluate, export and classify; the int8 file says what the float network says."""
    capsys.readouterr()
    assert main(["evaluate", str(run), "--data", str(data), "--noise", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["n"] > 0
    model = folder / "model.tflite"
    # A network of two epochs may call all alike, which is refused after the file was written.
    status = main(["export", str(run), "--out", str(model), "--max-drop", "100"])
    said = capsys.readouterr()
    assert status == 0 or "the same verdict" in said.err, said.err
    manifest = read_model(model).manifest
    assert manifest.training["network"] == Run(run).recipe().model.network
    assert manifest.name.startswith(manifest.training["network"])

    images = sorted((data / "training_data").rglob("*.bmp"))[::8]
    assert main(["classify", *map(str, images), "--model", str(model), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == len(images)
    scorer, _ = load_scorer(run)
    loaded = dataset.load(data)
    cells = [next(c for c in loaded.cells if line["source"].endswith(c.path)) for line in lines]
    logits = [np.log(p / (1 - p)) for p in np.clip(score_cells(scorer, loaded, cells), 1e-6, 1 - 1e-6)]
    for line, logit in zip(lines, logits, strict=True):
        if line.get("probabilities"):
            assert line["probabilities"]["ALL"] == pytest.approx(
                1 / (1 + np.exp(-logit / manifest.temperature)), abs=0.2
            )


@pytest.mark.timeout(600)
def test_a_rival_goes_the_whole_way(
    data: Path, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain(data, runs["alnett"], tmp_path, capsys)
    card = read_model(tmp_path / "model.tflite").card
    assert "`alnett`, a rival of MobileNet_M" in card and "(MobileNet V1 with" not in card


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in QUICK])
def test_every_rival_goes_the_whole_way(
    data: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path / "run", name, epochs=1) == 0
    chain(data, tmp_path / "run", tmp_path, capsys)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_rival_that_was_killed_ends_with_the_weights_of_an_unbroken_one(
    data: Path, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its dropout too begins each epoch where an unbroken training has it."""
    save = Run.save

    def killed(self: Run, *arguments: object) -> None:
        save(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", killed)
    train(data, tmp_path / "broken", "alnett")
    monkeypatch.undo()
    assert Run(tmp_path / "broken").progress().epoch == 1
    assert train(data, tmp_path / "broken", "alnett", "--resume") == 0
    whole, broken = (Run(run).best_model().get_weights() for run in (runs["alnett"], tmp_path / "broken"))
    for one, other in zip(whole, broken, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_only_our_network_can_is_refused_for_a_rival(
    data: Path, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path / "a", "alnet") == 2
    assert "give one of mobilenet_m, alnett, alexnet" in capsys.readouterr().err
    assert train(data, tmp_path / "a", "alnett", "--set", "fit.layer_decay=0.8") == 2
    assert "need MobileNet_M's head" in capsys.readouterr().err
    student = [
        "--set",
        "distil.variants=2",
        "--set",
        "augment.before_resizing=false",
        "--teacher",
        str(runs["alnett"]),
    ]
    assert train(data, tmp_path / "a", "mobilenet_m", *student) == 2
    assert "a teacher is a MobileNet_M" in capsys.readouterr().err
    assert main(["ensemble", str(runs["alnett"]), str(runs["alnett"]), "--out", str(tmp_path / "b")]) == 2
    assert "an ensemble is of MobileNet_M" in capsys.readouterr().err
    assert train(data, tmp_path / "a", "alnett", "--task", "kind") == 2
    assert "--network goes with --task classes" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert main(["evaluate", str(runs["alnett"]), "--network", "alnett", "--data", str(data)]) == 2


class Page(HTMLParser):
    """What a page loads from elsewhere, and its words."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.words: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.pictures += tag == "img"
        self.outside += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith("data:")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.timeout(600)
def test_runs_side_by_side(
    data: Path, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "compared"
    words = ["compare", *map(str, runs.values()), "--data", str(data), "--noise", "0,5", "--out", str(out)]
    capsys.readouterr()
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "alnett less mobilenet_m, test cells" in said and "parameters" in said and "545,090" in said
    found = json.loads((out / "compare.json").read_text())
    ours, rival = found["runs"]
    assert (ours["network"], rival["network"]) == QUICK and rival["weights"] == "random"
    assert [row["sigma"] for row in rival["test_cells"]] == [0, 5]
    assert rival["int8_bytes"] > 500_000 and rival["latency_ms"] > 0 and rival["multiply_adds"] > 1e6
    assert (
        ours["parameters"] < rival["parameters"] and ours["test_cells"][0]["n"] == rival["test_cells"][0]["n"]
    )
    assert set(rival["camera"]) >= {"clean", "JPEG 75"}
    each = found["differences"][0]["figures"]["accuracy"]
    assert each["difference"] == pytest.approx(
        rival["test_cells"][0]["accuracy"] - ours["test_cells"][0]["accuracy"]
    )
    assert found["paper"]["rivals"][1]["accuracy"] == [92.2, 94.0, 87.2]
    assert sorted([found["lead"]["run"], found["lead"]["next"]]) == sorted(QUICK)
    first_line = said.splitlines()[0]
    assert " is ahead of " in first_line or " are level on " in first_line

    page = Page()
    page.feed((out / "compare.html").read_text())
    assert not page.outside and page.pictures == 4
    text = " ".join(page.words)
    assert text.index("Result") < text.index(first_line) < text.index("Differences")
    assert "92.2 / 94 / 87.2" in text and "not a diagnosis" in text and "alnett less mobilenet_m" in text
    for name in ("confusion", "bars", "noise", "cameras"):
        assert (out / f"{name}.png").stat().st_size > 10_000

    assert main([*words[:-2], "--json", "--limit", "4"]) == 0
    limited = json.loads(capsys.readouterr().out)
    assert limited["runs"][0]["test_cells"][0]["n"] == 4 and "--limit 4" in limited["notes"][0]


def test_runs_are_judged_on_cells_that_none_was_trained_on(
    data: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    loaded = dataset.load(data)
    first = Run(runs["alnett"])
    other = Run.create(
        tmp_path / "other",
        first.recipe(),
        split.split_fold(loaded.cells, 1, "image", 7),
        {"data": [str(data)]},
    )
    both = shared_cells([first, other], loaded)
    assert {cell.path for cell in both.test} == {*first.split().test} & {*other.split().test}
    assert both.same_patients and "different splits" in both.notes[0]
    # From the folder above, the same cells have longer paths.
    above = dataset.DataSet(
        loaded.root.parent,
        loaded.layout,
        loaded.classes,
        [replace(cell, path=f"{loaded.root.name}/{cell.path}") for cell in loaded.cells],
    )
    assert len(shared_cells([first, other], above).test) == len(both.test)
    everything = Run.create(
        tmp_path / "all", first.recipe(), split.everything(loaded.cells, 0), {"data": [str(data)]}
    )
    with pytest.raises(InputError, match="no cell is in the test list of every run"):
        shared_cells([first, everything], loaded)


def test_a_paired_difference_is_surer_than_two_intervals() -> None:
    rng = np.random.default_rng(0)
    is_all = np.arange(400) % 2 == 0
    subject = np.arange(400) // 20 * 2 + is_all
    hard = rng.normal(0, 1.0, 400)  # what makes a cell hard is so for both
    first = 1 / (1 + np.exp(-(np.where(is_all, 1.0, -1.0) + hard)))
    other = 1 / (1 + np.exp(-(np.where(is_all, 1.4, -1.4) + hard)))
    found = paired_intervals(is_all, first, other, subject, "subjects")
    difference, (low, high) = found["accuracy"]
    assert difference > 0.03 and low > 0 and low < difference < high
    none = paired_intervals(is_all, first, first, subject, "cells")
    assert none["auc"] == (0.0, [0.0, 0.0])
    assert "ece" not in found
    one_patient = paired_intervals(is_all, first, other, is_all.astype(np.intp), "subjects")
    assert one_patient["accuracy"][1] is None
