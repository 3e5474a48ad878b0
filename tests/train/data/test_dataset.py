"""The official layout, the names, and the splits of the paper."""

from pathlib import Path

import pytest

from edge.errors import InputError
from train.data import dataset, split

PAPER_COUNTS = {  # train / val / test of (ALL, HEM) in each fold
    0: ((2397, 1130), (1677, 239, 481), (791, 113, 226)),
    1: ((2418, 1163), (1692, 241, 485), (814, 116, 233)),
    2: ((2457, 1096), (1719, 245, 493), (767, 109, 220)),
}


def made_up_fold(fold: int, n_all: int, n_hem: int) -> list[dataset.Cell]:
    cells = []
    for label, count, prefix in (("ALL", n_all, ""), ("HEM", n_hem, "H")):
        for i in range(count):
            subject = f"{prefix}{i % 7 + 100}"
            name = f"UID_{subject}_{i}_1_{label.lower()}.bmp"
            cells.append(
                dataset.Cell(
                    f"training_data/fold_{fold}/{label.lower()}/{name}", label, subject, f"fold_{fold}"
                )
            )
    return cells


@pytest.mark.parametrize("fold", PAPER_COUNTS)
def test_the_split_by_image_has_the_papers_counts(fold: int) -> None:
    (n_all, n_hem), all_counts, hem_counts = PAPER_COUNTS[fold]
    cells = made_up_fold(fold, n_all, n_hem)
    counts = split.summary(split.split_fold(cells, fold, "image", 0), cells)["counts"]
    assert tuple(side["ALL"] for side in counts.values()) == all_counts
    assert tuple(side["HEM"] for side in counts.values()) == hem_counts


def test_the_split_by_image_of_the_real_fold(cnmc: Path) -> None:
    cells = dataset.scan(cnmc)
    made = split.split_fold(cells, 1, "image", 0)
    assert [len(made.side(side)) for side in split.SIDES] == [2506, 357, 718]
    everything = made.train + made.val + made.test
    assert len(set(everything)) == len(everything) == 3581


def test_a_split_by_subject_keeps_patients_and_twins_on_one_side(cnmc: Path) -> None:
    cells = [
        dataset.Cell(cell.path, cell.label, cell.subject, "fold_1") for cell in dataset.scan(cnmc)
    ]  # every subject there is, so that twins are among them
    by_path = {cell.path: cell for cell in cells}
    for seed in range(5):
        made = split.split_fold(cells, 1, "subject", seed)
        groups = [
            {dataset.subject_group(by_path[path].subject) for path in made.side(side)} for side in split.SIDES
        ]
        assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
        assert sum(len(made.side(side)) for side in split.SIDES) == len(cells)


def test_a_class_with_too_few_subjects_is_refused() -> None:
    cells = [
        cell for cell in made_up_fold(0, 70, 70) if cell.subject not in {f"H{n}" for n in range(102, 107)}
    ]
    with pytest.raises(InputError, match="class HEM has 2 subjects"):
        split.split_fold(cells, 0, "subject", 0)


def test_same_seed_same_split_and_files_round_trip(tmp_path: Path) -> None:
    cells = made_up_fold(2, 100, 50)
    made = split.split_fold(cells, 2, "image", 3)
    assert made == split.split_fold(list(reversed(cells)), 2, "image", 3)
    assert made != split.split_fold(cells, 2, "image", 4)
    split.write(made, tmp_path / "split.json")
    assert split.read(tmp_path / "split.json") == made


def test_names_are_read_in_any_case_and_strangers_are_errors() -> None:
    assert dataset.parse_name("uid_h3_12_4_HEM.bmp") == ("H3", "HEM")
    assert dataset.parse_name("UID_51_1_10_all.png") == ("51", "ALL")
    with pytest.raises(InputError, match="cell7.bmp"):
        dataset.parse_name("cell7.bmp")


def test_a_name_that_contradicts_its_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "training_data" / "fold_0" / "hem"
    folder.mkdir(parents=True)
    (folder / "UID_5_1_1_all.bmp").touch()
    with pytest.raises(InputError, match="its name says ALL"):
        dataset.scan(tmp_path)


def test_prelim_labels_come_from_the_table(cnmc: Path) -> None:
    prelim = {cell.path: cell for cell in dataset.scan(cnmc) if cell.part == "prelim"}
    assert prelim["prelim/1.png"].subject == "57"
    assert {cell.label for cell in prelim.values()} == {"ALL", "HEM"}
