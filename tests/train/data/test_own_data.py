"""Data sets as they are published and as a laboratory has them: recognised, or refused with what would be needed."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.cli.main import main
from edge.errors import InputError
from train.data.dataset import Classes, load

BEFORE = iter(range(1_000_000))


def image(path: Path) -> Path:
    """A picture like no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((32, 32, 3), next(BEFORE) % 250, np.uint8)
    pixels[0, 0] = next(BEFORE) % 251
    cv2.imwrite(str(path), pixels)
    return path


def cnmc_names(label: str, subjects: list[str], each: int = 4) -> list[str]:
    return [f"UID_{subject}_{n}_1_{label}.bmp" for subject in subjects for n in range(1, each + 1)]


def folds(training: Path) -> None:
    for fold in range(3):
        for label, subjects in (("all", ["1", "2", "3"]), ("hem", ["H1", "H7", "H8"])):
            for name in cnmc_names(label, subjects):
                image(training / f"fold_{fold}" / label / name)


def prelim(images: Path, table: Path) -> None:
    rows = []
    for number, name in enumerate(["UID_57_1_1_all.bmp", "UID_H9_1_1_hem.bmp"], 1):
        image(images / f"{number}.bmp")
        rows.append(f"{name},{number}.bmp,{int('all' in name)}")
    table.write_text("Patient_ID,new_names,labels\n" + "\n".join(rows) + "\n")


def archive(top: Path) -> Path:
    root = top / "PKG - C-NMC 2019"
    folds(root / "C-NMC_training_data")
    part = "C-NMC_test_prelim_phase_data"
    prelim(root / part / part, root / f"{part}_labels.csv")
    image(root / "C-NMC_test_final_phase_data" / "C-NMC_test_final_phase_data" / "1.bmp")
    return root


def kaggle(top: Path) -> Path:
    root = top / "C-NMC_Leukemia"
    folds(root / "training_data")
    part = "C-NMC_test_prelim_phase_data"
    prelim(root / "validation_data" / part, root / "validation_data" / f"{part}_labels.csv")
    image(root / "testing_data" / "C-NMC_test_final_phase_data" / "1.bmp")
    return root


def short(top: Path) -> Path:
    root = top / "cnmc"
    folds(root / "training_data")
    (root / "prelim").mkdir()
    prelim(root / "prelim", root / "prelim" / "labels.csv")
    image(root / "final" / "1.bmp")
    return root


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize(
    ("make", "words"), [(archive, "TCIA archive"), (kaggle, "Kaggle"), (short, "short folder names")]
)
def test_each_published_layout_is_recognised(make, words, above, tmp_path, capsys) -> None:
    root = make(tmp_path)
    given = tmp_path if above else root
    data = load(given)
    assert data.root == root and words in data.layout
    assert {
        part: sum(cell.part == part for cell in data.cells) for part in ("fold_0", "fold_2", "prelim")
    } == {
        "fold_0": 24,
        "fold_2": 24,
        "prelim": 2,
    }
    assert all((data.root / cell.path).is_file() for cell in data.cells)
    assert main(["dataset", "verify", str(given)]) == 0
    said = capsys.readouterr().out
    assert words in said and "prelim   2 images (ALL 1, HEM 1)" in said and "final    1 images" in said
    assert main(["dataset", "split", str(given), "--fold", "1", "--method", "subject", "--json"]) == 0
    assert sum(json.loads(capsys.readouterr().out)["counts"]["train"].values()) > 0


def test_two_copies_side_by_side_are_not_guessed_between(tmp_path: Path) -> None:
    archive(tmp_path), kaggle(tmp_path)
    with pytest.raises(InputError, match="several copies of C-NMC"):
        load(tmp_path)


def test_folders_all_and_hem_at_any_depth(tmp_path: Path) -> None:
    for name in cnmc_names("all", ["3", "4"]):
        image(tmp_path / "all" / name)
    for name in cnmc_names("hem", ["H6", "H12"]):
        image(tmp_path / "second half" / "HEM" / name)
    data = load(tmp_path)
    assert {(c.label, c.subject) for c in data.cells} == {
        ("ALL", "3"),
        ("ALL", "4"),
        ("HEM", "H6"),
        ("HEM", "H12"),
    }
    assert not data.notes
    image(tmp_path / "all" / "UID_3_9_9_hem.bmp")
    with pytest.raises(InputError, match="its name says HEM, but it is labelled ALL"):
        load(tmp_path)


def test_patients_from_folders_are_told_plainly(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        image(tmp_path / patient / "all" / "a.png")
        image(tmp_path / "hem" / patient / "b.png")
    image(tmp_path / "hem" / "loose.png")
    data = load(tmp_path)
    assert {cell.path: cell.subject for cell in data.cells} == {
        "p1/all/a.png": "p1",
        "p2/all/a.png": "p2",
        "hem/p1/b.png": "p1",
        "hem/p2/b.png": "p2",
        "hem/loose.png": "hem",
    }
    assert "each folder of images counts as one patient (3: hem, p1, p2)" in data.notes[0]


def own(root: Path, names: tuple[str, ...] = ("Blast", "normal"), patients: int = 4) -> Path:
    for name in names:
        for patient in range(patients):
            for n in range(4):
                image(root / name / f"{name}-p{patient}" / f"{n}.png")
    return root


def test_folders_named_by_class_are_mapped_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = own(tmp_path / "mine")
    split = ["dataset", "split", str(root), "--method", "subject", "--json"]
    assert main(split) == 2
    assert "--positive Blast or --positive normal" in capsys.readouterr().err
    assert main([*split, "--positive", "blast", "--out", str(tmp_path / "s.json")]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert set(counts["train"]) == {"Blast", "normal"} and counts["test"]["Blast"] > 0
    assert (tmp_path / "s.json").is_file()
    data = load(root, "normal")
    assert data.classes == Classes("normal", "Blast")
    assert {c.label for c in data.cells if c.path.startswith("normal/")} == {"ALL"}
    assert main(["dataset", "verify", str(root), "--positive", "Blast"]) == 0
    assert "folders named by class" in capsys.readouterr().out
    assert main([*split, "--positive", "AML"]) == 2
    assert "no such class" in capsys.readouterr().err


def test_class_folders_below_others_are_found_by_the_positive_name(tmp_path: Path) -> None:
    for half in ("first", "second"):
        own(tmp_path / half, patients=1)
    data = load(tmp_path, "blast")
    assert data.classes == Classes("Blast", "normal") and len(data.cells) == 16


def test_more_classes_than_two_are_refused_by_name(tmp_path: Path) -> None:
    root = own(tmp_path / "mine", ("L1", "L2", "normal"))
    with pytest.raises(InputError, match=r"3 classes \(L1, L2, normal\).*two folders.*CSV.*3 outputs"):
        load(root, "L1")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_names_patient_and_class(tmp_path: Path, separator: str) -> None:
    names = ["a.png", "sub/b.png", "c.png"]
    for name in names:
        image(tmp_path / name)
    rows = [["Path", "Patient", "Class"], [names[0], "Ann", "blast"], ["sub\\b.png", "Ben", "normal"]]
    rows.append([str(tmp_path / "c.png"), "Ben", "Normal"])
    table = tmp_path / "cells.csv"
    table.write_text("\ufeff" + "\n".join(separator.join(row) for row in rows))
    data = load(table, "blast")
    assert [(c.path, c.subject, c.label) for c in data.cells] == [
        ("a.png", "Ann", "ALL"),
        ("c.png", "Ben", "HEM"),
        ("sub/b.png", "Ben", "HEM"),
    ]
    assert data.layout == "table of path, patient, class" and not data.notes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file,label\na.png,x\n", "its columns are file, label; expected path, patient, class"),
        ("path,class\n", "names no image"),
        ("path,class\nno.png,x\na.png,y\n", "1 of its images are not there, the first no.png"),
        ("path,class\na.png,x\na.png,y\n", "names a.png more than once"),
        ("path,class\na.png,\n", "line 2: path or class is empty"),
        ("path,class\na.png,x\n", "only the class x"),
        ("path,class\na.png,x\nb.png,refer\n", "'refer' cannot be the name of a class"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    image(tmp_path / "a.png"), image(tmp_path / "b.png")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        load(tmp_path / "t.csv", "x")
    assert reason in str(caught.value)


def test_several_data_sets_are_one(tmp_path: Path) -> None:
    first, second = short(tmp_path / "a"), tmp_path / "b"
    for name in cnmc_names("all", ["61"]) + cnmc_names("hem", ["H61"]):
        image(second / name[-7:-4] / name)
    data = load([first, second])
    assert data.root == tmp_path and len(data.cells) == 74 + 8
    assert all((data.root / cell.path).is_file() for cell in data.cells)
    with pytest.raises(InputError, match="inside another"):
        load([second, second])
    other = own(tmp_path / "c")
    with pytest.raises(InputError, match="its classes are|C-NMC"):
        load([first, other], "Blast")


def test_a_model_of_other_classes_needs_the_mapping(tmp_path: Path) -> None:
    for name in cnmc_names("all", ["1"]) + cnmc_names("hem", ["H1"]):
        image(tmp_path / name[-7:-4] / name)
    with pytest.raises(InputError, match="those of the model Blast and normal"):
        load(tmp_path, None, Classes("Blast", "normal"))
    assert load(tmp_path, "all", Classes("Blast", "normal")).classes == Classes()


@pytest.mark.parametrize("words", [["--seed", "-1"], ["--seed", "5000000000"], ["--seed", "x"]])
def test_numbers_out_of_range_are_refused(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["dataset", "split", str(tmp_path), "--fold", "0", "--method", "image", *words])
    assert caught.value.code == 2


def test_the_real_new_patients(cnmc: Path) -> None:
    folder = cnmc.parent / "new_patients"
    if not folder.is_dir():
        pytest.skip(f"no new patients at {folder}")
    data = load(folder)
    assert len(data.cells) == 211 and {cell.subject for cell in data.cells} == {"3", "4", "H6", "H12"}


def test_a_copy_may_hold_folders_of_a_mac(tmp_path: Path) -> None:
    root = kaggle(tmp_path)
    shutil.copytree(root / "testing_data", tmp_path / "__MACOSX" / "C-NMC_Leukemia" / "testing_data")
    (root / "training_data" / "fold_0" / "all" / "._UID_1_1_1_all.bmp").write_bytes(b"\0\5\26\7")
    assert len(load(tmp_path).cells) == 74
