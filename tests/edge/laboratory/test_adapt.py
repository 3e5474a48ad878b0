"""From reviews to a model file of the laboratory's own, by the command line."""

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from other_laboratory import CELLS, recoloured, review, write_cells, write_database

from edge.imaging.colours import tone_table, toned
from edge.imaging.files import read_image
from edge.imaging.preprocess import prepare
from edge.laboratory.seen import tone_for
from edge.laboratory.stored import reviewed_in
from edge.model.classifier import Classifier
from edge.model.explain import Explainer
from edge.model.file import read_model, write_model
from edge.model.installation.base import base_of
from edge.model.installed import default_model

pytest.importorskip("sklearn")
ROOT = Path(__file__).resolve().parents[3]


def leukoscope(*words: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "edge", *map(str, words)]
    return subprocess.run(
        command,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory):
    """The folder, the answer and the file of one adaptation."""
    folder = tmp_path_factory.mktemp("laboratory")
    write_cells(folder / "cells")
    done = leukoscope("adapt", "--from", "cells", "--out", "ours.tflite", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), folder / "ours.tflite"


def test_the_answer_holds_what_was_reviewed_and_what_it_gains(adapted) -> None:
    _, told, file = adapted
    assert told["reviewed"] == {"ALL": 20, "HEM": 20}
    assert told["taken"] is True
    assert told["after"]["auc"] > told["before"]["auc"]
    for side in ("before", "after"):
        for name in ("auc", "sensitivity", "specificity"):
            low, high = told[side]["intervals"][name]
            assert low <= told[side][name] <= high
    assert told["sha256"] == read_model(file).sha256


def test_the_file_is_run_by_the_same_classifier(adapted) -> None:
    folder, told, file = adapted
    done = leukoscope("classify", "cells", "--model", file, "--json", cwd=folder)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["model"]["sha256"] for line in lines} == {told["sha256"]}
    right = [(line["probabilities"]["ALL"] >= 0.5) == ("/all/" in line["source"]) for line in lines]
    assert len(right) == 40 and np.mean(right) >= 0.95  # it was fitted to these
    assert any(line["verdict"] == "refer" for line in lines) or told["refer_below"] == 0


def test_the_archive_of_the_file_tells_of_it(adapted) -> None:
    _, told, file = adapted
    with zipfile.ZipFile(file) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        member = json.loads(archive.read("adaptation.json"))
    assert set(manifest["adaptation"]) == {"reviewed", "specimens", "before", "after", "at"}
    assert manifest["adaptation"]["after"] == told["after"]
    assert member["base"]["sha256"] == read_model(default_model()).sha256
    assert len(member["weights"]) == 256


def test_the_stain_is_brought_to_that_of_the_training(adapted) -> None:
    """The cells' dyes are 0.70, 1.15 and 1.45 times as dense; exponents undo that, for the base's own layer too."""
    folder, told, file = adapted
    assert told["tone"] == pytest.approx([1 / 0.70, 1 / 1.15, 1 / 1.45], rel=0.1)
    model = read_model(file)
    adaptation = model.adaptation
    assert adaptation is not None and adaptation.tone == told["tone"]
    table, base = tone_table(adaptation.tone), Classifier(base_of(model))
    for picture in sorted((folder / "cells").rglob("*.png"))[::8]:
        crop = prepare(read_image(picture), model.manifest.geometry)
        own = Classifier(model).classify_crop(crop)
        shown = base.classify_crop(toned(crop, table))
        np.testing.assert_array_equal(own.features, shown.features)
        np.testing.assert_array_equal(
            own.colours, base.classify_crop(crop).colours
        )  # of the camera's picture


def test_cells_of_the_training_s_laboratory_keep_their_tone() -> None:
    """Patients differ, and a patient is no stain."""
    model = read_model(default_model())
    crops = [prepare(read_image(file), model.manifest.geometry) for file in CELLS]
    assert tone_for(model, crops) == () and tone_for(model, crops[:10]) == ()
    assert tone_for(
        model, [prepare(recoloured(read_image(file)), model.manifest.geometry) for file in CELLS[:10]]
    )
    bare = replace(model, manifest=msgspec.structs.replace(model.manifest, drift=None))
    assert tone_for(bare, crops) == ()


def test_the_map_follows_the_new_layer(adapted) -> None:
    folder, _, file = adapted
    model = read_model(file)
    classifier = Classifier(model)
    explainer = Explainer(classifier, model.manifest)
    picture = read_image(next((folder / "cells" / "all").glob("*.png")))
    prediction = classifier.classify(picture)
    evidence = explainer.evidence() + explainer.empty
    log_odds = np.log(prediction.probabilities["ALL"] / prediction.probabilities["HEM"])
    assert float(evidence.mean()) == pytest.approx(log_odds, abs=1e-3)
    base = read_model(default_model())
    before = Classifier(base)
    before.classify_crop(prepare(picture, base.manifest.geometry))
    maps = before.activation_map()
    assert (
        maps is not None
        and np.corrcoef((maps[..., 0] - maps[..., 1]).ravel(), evidence.ravel())[0, 1] < 0.999
    )


def test_adapting_an_adapted_model_begins_at_its_base(adapted) -> None:
    folder, told, file = adapted
    done = leukoscope(
        "adapt", "--from", "cells", "--model", file, "--out", "again.tflite", "--json", cwd=folder
    )
    again = json.loads(done.stdout)
    assert again["before"] == told["before"] and again["after"] == told["after"]
    first, second = read_model(file).adaptation, read_model(folder / "again.tflite").adaptation
    assert first is not None and second is not None
    assert first.weights == second.weights and first.base == second.base


def test_no_file_and_1_where_it_is_not_better(tmp_path: Path) -> None:
    """Labels that were drawn at random teach nothing."""
    write_cells(tmp_path / "cells", mixed=True)
    done = leukoscope("adapt", "--from", "cells", "--out", "ours.tflite", "--json", cwd=tmp_path)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["taken"] is False and "not better" in told["reason"]
    assert told["specimens"] == 1 and told["held_back"] == "cells"  # folders named by class tell no patients
    assert "not better" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "ours.tflite").exists()


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ({"all": 4, "hem": 4}, "too few reviewed cells (4 ALL and 4 HEM)"),
        ({"all": 18, "hem": 2}, "too few reviewed cells (18 ALL and 2 HEM)"),
        ({"all": 0, "hem": 20}, "only one class was reviewed"),
    ],
)
def test_too_few_reviews_are_refused(tmp_path: Path, keep: dict[str, int], words: str) -> None:
    write_cells(tmp_path / "cells", keep=keep)
    done = leukoscope("adapt", "--from", "cells", "--out", "ours.tflite", cwd=tmp_path)
    assert done.returncode == 1
    assert words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "ours.tflite").exists()


def test_one_picture_with_both_labels_teaches_nothing(tmp_path: Path) -> None:
    write_cells(tmp_path / "cells")
    for file in sorted((tmp_path / "cells/all").glob("*.png"))[:8]:
        (tmp_path / "cells/hem" / f"again-{file.name}").write_bytes(file.read_bytes())
    done = leukoscope("adapt", "--from", "cells", "--out", "ours.tflite", cwd=tmp_path)
    assert done.returncode == 1
    assert "8 were called both ALL and HEM" in done.stderr


def test_a_model_without_features_is_refused(tmp_path: Path) -> None:
    write_cells(tmp_path / "cells")
    model = read_model(default_model())
    outputs = [output for output in model.manifest.outputs if output.name != "features"]
    bare = msgspec.structs.replace(model.manifest, outputs=outputs)
    write_model(tmp_path / "bare.tflite", model.flatbuffer, bare, model.card)
    done = leukoscope(
        "adapt", "--from", "cells", "--model", "bare.tflite", "--out", "ours.tflite", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "does not give its pooled features" in done.stderr


def test_reviews_of_a_database_with_the_archive(tmp_path: Path) -> None:
    """Two people; what they disagree on, other cells and cells without a picture are left out and named."""
    database, records = write_database(tmp_path)
    labels = ["ALL" if "/all/" in record.source else "HEM" for record in records]
    review(database, "Ana", {record.id: label for record, label in zip(records, labels)})
    review(database, "Ben", {record.id: label for record, label in zip(records[:20], labels)}, hour=12)
    review(database, "Ben", {records[0].id: "HEM" if labels[0] == "ALL" else "ALL"}, hour=13)
    review(database, "Ana", {records[1].id: "other"}, hour=14)
    review(database, "Ben", {records[1].id: "undone"}, hour=14)
    (tmp_path / "archive" / records[2].image.name).unlink()
    words = ("adapt", "--from", database, "--pictures", "archive", "--out", "ours.tflite", "--json")
    done = leukoscope(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert sum(told["reviewed"].values()) == 37
    assert told["specimens"] == 4 and told["held_back"] == "specimens"
    assert any("1 cells were called both" in note for note in told["notes"])
    assert any("no picture" in note for note in told["notes"])
    assert any("1 other" in note for note in told["notes"])
    assert set(told["reviewers"]) == {"Ana", "Ben"}


def test_cells_that_nobody_has_reviewed_tell_the_stain_too(tmp_path: Path) -> None:
    """As many of each specimen; those that the model was not asked about, or that are gone, take no part."""
    database, records = write_database(tmp_path)
    reviewed = {record.id: "ALL" if "/all/" in record.source else "HEM" for record in records[:20]}
    review(database, "Ana", reviewed)
    gone = records[30]
    (tmp_path / "archive" / gone.image.name).unlink()
    found = reviewed_in(database, tmp_path / "archive", read_model(default_model()).manifest)
    left = {record.id: record.specimen for record in records[20:] if record is not gone}
    assert {picture.stem for picture in found.unreviewed} == set(left)
    assert len({left[picture.stem] for picture in found.unreviewed[:4]}) == 4
    assert len(found.cells) == 20


def test_people_who_disagree_on_many_cells_are_refused(tmp_path: Path) -> None:
    database, records = write_database(tmp_path)
    review(database, "Ana", {record.id: "ALL" for record in records[:20]})
    review(database, "Ana", {record.id: "HEM" for record in records[20:]})
    review(database, "Ben", {record.id: "HEM" for record in records[:10]}, hour=12)
    done = leukoscope("adapt", "--from", database, "--pictures", "archive", "--out", "o.tflite", cwd=tmp_path)
    assert done.returncode == 1
    assert "of 10 cells that were reviewed twice, 10 were called both" in done.stderr


def test_an_altered_adaptation_is_refused(adapted, tmp_path: Path) -> None:
    from edge.model import bundle

    _, _, file = adapted
    model = read_model(file)
    members = dict(model.members)
    adaptation = json.loads(members["adaptation.json"])
    cases = {
        "short": adaptation | {"weights": adaptation["weights"][:-1]},
        "newer": adaptation | {"schema": 3},
        "infinite": adaptation | {"bias": 1e300},
    }
    for name, changed in cases.items():
        data = bundle.append(model.flatbuffer, members | {"adaptation.json": json.dumps(changed).encode()})
        (tmp_path / f"{name}.tflite").write_bytes(data)
    lost = {key: value for key, value in members.items() if key != "adaptation.json"}
    (tmp_path / "lost.tflite").write_bytes(bundle.append(model.flatbuffer, lost))
    for name, words in (
        ("short", "255 weights"),
        ("newer", "schema 3"),
        ("infinite", "bias"),
        ("lost", "only manifest.json tells"),
    ):
        done = leukoscope("model", "verify", tmp_path / f"{name}.tflite", cwd=tmp_path)
        assert done.returncode == 2 and words in done.stderr, (name, done.stderr)


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    write_cells(tmp_path / "cells")
    broken = tmp_path / "cells/all/broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    done = leukoscope("adapt", "--from", "cells", "--out", "ours.tflite", cwd=tmp_path)
    assert done.returncode in (1, 2) and "broken.png" in done.stderr and "Traceback" not in done.stderr
    assert cv2.imread(str(broken)) is None
