"""Splits of any data set: every cell once, no patient on two sides, the same again."""

import hashlib
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.cli.main import main
from edge.errors import InputError
from edge.imaging.files import read_image
from train.data import balance, split
from train.data.dataset import LABELS, Cell, scan, subject_group

# Twins among them, and patients with cells of both classes, as one's own data may have.
SUBJECTS = ("1", "2", "3", "20", "21", "51", "75", "78", "H2", "H3", "H4", "H5", "H6", "H10", "H14", "H22")


@st.composite
def datasets(draw: st.DrawFn) -> list[Cell]:
    counts = draw(
        st.dictionaries(
            st.tuples(st.sampled_from(SUBJECTS), st.sampled_from(LABELS)), st.integers(1, 30), min_size=1
        )
    )
    cells = [
        Cell(f"training_data/fold_1/{label}/UID_{subject}_{n}_1_{label}.png", label, subject, "fold_1")
        for (subject, label), count in counts.items()
        for n in range(count)
    ]
    return draw(st.permutations(cells)) if len(cells) < 60 else cells


def sides_of(made: split.Split, cells: list[Cell]) -> list[list[Cell]]:
    by_path = {cell.path: cell for cell in cells}
    return [[by_path[path] for path in made.side(name)] for name in split.SIDES]


def groups(cells: list[Cell]) -> set[str]:
    return {subject_group(cell.subject) for cell in cells}


@settings(max_examples=60, deadline=None)
@given(datasets(), st.integers(0, 3))
def test_a_split_by_subject_parts_no_patient(cells: list[Cell], seed: int) -> None:
    try:
        made = split.split_fold(cells, 1, "subject", seed)
    except InputError as error:
        assert "subjects (" in str(error) or "images;" in str(error) or "too few" in str(error)
        return
    sides = sides_of(made, cells)
    assert sorted(itertools.chain(*sides)) == sorted(cells)
    for one, other in itertools.combinations(sides, 2):
        assert not groups(one) & groups(other)
    assert all({cell.label for cell in side} == set(LABELS) for side in sides)
    assert made == split.split_fold(cells[::-1], 1, "subject", seed)


@settings(max_examples=60, deadline=None)
@given(datasets(), st.integers(0, 3))
def test_a_split_by_image_has_exact_counts(cells: list[Cell], seed: int) -> None:
    total = Counter(cell.label for cell in cells)
    try:
        made = split.split_fold(cells, 1, "image", seed)
    except InputError:
        assert min(total[label] for label in LABELS) < 10
        return
    sides = sides_of(made, cells)
    assert sorted(itertools.chain(*sides)) == sorted(cells)
    for label in LABELS:
        n = total[label]
        train, val = n * 7 // 10, n // 10
        assert [sum(c.label == label for c in side) for side in sides] == [train, val, n - train - val]
    assert made == split.split_fold(cells[::-1], 1, "image", seed)


@settings(max_examples=60, deadline=None)
@given(datasets(), st.integers(2, 5), st.integers(0, 3), st.sampled_from([0, 0.1, 0.3]))
def test_cross_validation_judges_each_cell_once(
    cells: list[Cell], folds: int, seed: int, val_share: float
) -> None:
    patients = {label: groups([cell for cell in cells if cell.label == label]) for label in LABELS}
    try:
        splits = split.cross_validation(cells, folds, seed, val_share=val_share)
    except InputError as error:
        assert f"{folds} folds need" in str(error) or "take fewer folds" in str(error)
        return
    assert all(len(names) >= folds for names in patients.values())
    assert [(made.fold, made.method, made.seed) for made in splits] == [
        (fold, "subject", seed) for fold in range(folds)
    ]
    assert sorted(path for made in splits for path in made.test) == sorted(cell.path for cell in cells)
    for made in splits:
        train, val, test = sides_of(made, cells)
        assert sorted(train + val + test) == sorted(cells)
        assert not groups(train + val) & groups(test)
        for label in LABELS:
            n = sum(cell.label == label for cell in train + val)
            assert sum(cell.label == label for cell in val) == round(val_share * n)
    assert splits == split.cross_validation(cells[::-1], folds, seed, val_share=val_share)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 500), min_size=3, max_size=7), st.integers(0, 9))
def test_sides_are_as_even_as_an_exhaustive_search_makes_them(amounts: list[int], seed: int) -> None:
    column, shares = np.array(amounts, float)[:, None], np.array([0.7, 0.1, 0.2])
    best = min(
        balance.unevenness(np.array(sides), column, shares)
        for sides in itertools.product(range(3), repeat=len(amounts))
    )
    made = balance.assign(column, shares, np.random.default_rng(seed))
    assert balance.unevenness(made, column, shares) <= best + 0.002


def test_the_real_fold_by_subject_is_as_even_as_its_patients_allow(cnmc: Path) -> None:
    cells = scan(cnmc)
    for seed in range(3):
        counts = split.summary(split.split_fold(cells, 1, "subject", seed), cells)["counts"]
        shares = [counts[side]["ALL"] / 2418 for side in split.SIDES]
        assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.002)
        # Three healthy patients of 405, 385 and 373 cells: the largest trains.
        assert [counts[side]["HEM"] for side in split.SIDES] == [405, 373, 385]


@pytest.mark.parametrize("folds", [3, 5])
def test_the_large_healthy_patients_judge_in_different_folds(cnmc: Path, folds: int) -> None:
    cells = scan(cnmc)
    splits = split.cross_validation(cells, folds, 0, val_share=0.1)
    homes = [
        next(
            made.fold
            for made in splits
            if subject in groups(sides_of(made, cells)[2])
            or f"H3+{subject}" in groups(sides_of(made, cells)[2])
        )
        for subject in ("H10", "H14", "H22")
    ]
    assert len(set(homes)) == 3
    patients = {label: groups([cell for cell in cells if cell.label == label]) for label in LABELS}
    for made in splits:
        test = sides_of(made, cells)[2]
        for label in LABELS:
            count = len(groups([cell for cell in test if cell.label == label]))
            assert abs(count - len(patients[label]) / folds) < 2.5


@pytest.fixture(scope="module")
def contents(cnmc: Path) -> dict[str, str]:
    """The hash of the pixels of each real image."""
    return {cell.path: hashlib.sha256(read_image(cnmc / cell.path)).hexdigest() for cell in scan(cnmc)}


def test_no_content_stands_on_two_sides(cnmc: Path, contents: dict[str, str]) -> None:
    cells = scan(cnmc)
    as_one_fold = [Cell(cell.path, cell.label, cell.subject, "fold_1") for cell in cells]
    for seed in range(3):
        made = split.split_fold(as_one_fold, 1, "subject", seed)
        sides = [{contents[path] for path in made.side(name)} for name in split.SIDES]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
        for fold in split.cross_validation(cells, 5, seed, val_share=0.1):
            judged = {contents[path] for path in fold.test}
            assert not judged & {contents[path] for path in fold.train + fold.val}


def test_everything_trains_for_a_model_that_ships(cnmc: Path, tmp_path: Path) -> None:
    cells = scan(cnmc)
    made = split.everything(cells, 7)
    assert (made.fold, made.method, made.seed) == (split.NO_FOLD, "none", 7)
    assert made.train == sorted(cell.path for cell in cells) and not made.val and not made.test
    split.write(made, tmp_path / "split.json")
    assert split.read(tmp_path / "split.json") == made


def test_folds_that_cannot_be_made_are_refused_with_their_numbers() -> None:
    cells = [Cell(f"{s}_{n}", "HEM" if s[0] == "H" else "ALL", s, "fold_0") for s in SUBJECTS for n in "12"]
    with pytest.raises(InputError, match=r"class HEM has 4 subjects .*; 5 folds need at least 5"):
        split.cross_validation(cells, 5, 0, val_share=0)
    with pytest.raises(InputError, match="1 folds"):
        split.cross_validation(cells, 1, 0, val_share=0)
    with pytest.raises(InputError, match=r"share 1\.5"):
        split.cross_validation(cells, 2, 0, val_share=1.5)
    with pytest.raises(InputError, match="split by none"):
        split.split_fold(cells, 0, "none", 0)


@pytest.mark.parametrize("method", ["image", "subject"])
def test_a_fold_without_a_class_is_refused_by_name(
    tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "training_data" / "fold_0" / "all"
    folder.mkdir(parents=True)
    for n in range(30):
        (folder / f"UID_{n}_1_1_all.bmp").touch()
    assert main(["dataset", "split", str(tmp_path), "--fold", "0", "--method", method]) == 2
    assert "fold_0: no HEM images; both classes are needed" in capsys.readouterr().err


def test_an_empty_folder_and_a_name_without_a_subject_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["dataset", "split", str(tmp_path), "--fold", "0", "--method", "image"]
    assert main(command) == 2
    assert f"{tmp_path}: no images under training_data/fold_N/all" in capsys.readouterr().err
    folder = tmp_path / "training_data" / "fold_0" / "all"
    folder.mkdir(parents=True)
    (folder / "UID_1_1_all.bmp").touch()
    assert main(command) == 2
    assert "UID_1_1_all.bmp: not a C-NMC name; expected UID_<subject>" in capsys.readouterr().err
