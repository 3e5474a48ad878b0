"""Checking a copy of the data set: real images, altered, taken away and doubled."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.cli.main import main
from edge.errors import InputError
from train.data.official import bmp_bytes, read_manifest
from train.data.verify import verify
from train.data.verify_report import report_lines

FOLD_1 = Path("training_data", "fold_1")


@pytest.fixture
def copy(cnmc: Path, tmp_path: Path) -> Path:
    """Four real images of each class of fold 1, and a manifest of exactly these."""
    root = tmp_path / "copy"
    names = set()
    for label in ("all", "hem"):
        folder = root / FOLD_1 / label
        folder.mkdir(parents=True)
        for source in sorted((cnmc / FOLD_1 / label).iterdir())[:4]:
            shutil.copy(source, folder)
            names.add(("fold_1", f"{source.stem}.bmp"))
    with (cnmc / "manifest.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if (row["part"], row["name"]) in names]
    assert len(rows) == 8
    with (root / "manifest.csv").open("w", newline="") as lines:
        table = csv.DictWriter(lines, rows[0])
        table.writeheader()
        table.writerows(rows)
    return root


def images(root: Path, label: str = "all") -> list[Path]:
    return sorted((root / FOLD_1 / label).iterdir())


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path))


def test_every_real_image_of_the_folds_is_the_official_one(cnmc: Path) -> None:
    report = verify(cnmc)
    for name, count in (("fold_0", 77), ("fold_1", 3581), ("fold_2", 43)):
        assert (report.parts[name].images, report.parts[name].verified) == (count, count)
    assert not report.altered and not report.extra and not report.unreadable and not report.duplicates
    # The originals of the preliminary test have a header that a PNG does not tell.
    assert len(report.unchecked) == report.parts["prelim"].images == 14
    assert {part: len(paths) for part, paths in report.missing.items()} == {
        "final": 2586,
        "fold_0": 3450,
        "fold_2": 3510,
        "prelim": 1853,
    }
    text = report_lines(report)
    assert len(text) < 40 and any(line.startswith("missing in fold_0: 3450 (UID_11_") for line in text)


def test_a_whole_copy_has_nothing_wrong(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "verify", str(copy)]) == 0
    assert "8 verified of 8 official" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".bmp", []), (".tiff", []), (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]), (".png", [])],
)
def test_a_copy_kept_without_loss_verifies(copy: Path, suffix: str, options: list[int]) -> None:
    for path in images(copy):
        pixels = read(path)
        path.unlink()
        cv2.imwrite(str(path.with_suffix(suffix)), pixels, options)
    report = verify(copy)
    assert report.ok and report.parts["fold_1"].verified == 8


def test_an_original_with_another_header_is_known_by_its_own_bytes_only(copy: Path) -> None:
    """As the originals of the preliminary test have."""
    path = images(copy)[0]
    data = bmp_bytes(read(path)[..., ::-1])
    original = data[:10] + (138).to_bytes(4, "little") + data[14:54] + bytes(84) + data[54:]
    manifest = copy / "manifest.csv"
    with manifest.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        if row["name"] == f"{path.stem}.bmp":
            row.update(sha256=hashlib.sha256(original).hexdigest(), bytes=str(len(original)))
    with manifest.open("w", newline="") as lines:
        table = csv.DictWriter(lines, rows[0])
        table.writeheader()
        table.writerows(rows)
    report = verify(copy)
    assert report.ok and [finding.path.rpartition("/")[2] for finding in report.unchecked] == [path.name]
    path.unlink()
    path.with_suffix(".bmp").write_bytes(original)
    report = verify(copy)
    assert report.ok and not report.unchecked and report.parts["fold_1"].verified == 8
    path.with_suffix(".bmp").write_bytes(original[:-10] + bytes([1] * 10))
    assert len(verify(copy).altered) == 1


@pytest.mark.parametrize(("suffix", "reason"), [(".jpg", "JPEG"), (".webp", "lossy WebP")])
def test_lossy_copies_are_altered_with_that_reason(copy: Path, suffix: str, reason: str) -> None:
    path = images(copy)[0]
    pixels = read(path)
    path.unlink()
    cv2.imwrite(str(path.with_suffix(suffix)), pixels, [cv2.IMWRITE_WEBP_QUALITY, 90] * (suffix == ".webp"))
    report = verify(copy)
    assert not report.ok and not report.missing
    assert [(f.path, f.reason.startswith(reason)) for f in report.altered] == [
        (path.with_suffix(suffix).relative_to(copy).as_posix(), True)
    ]


def test_each_fault_is_named(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    altered, missing, broken, small = images(copy)
    pixels = read(altered)
    pixels[200, 200, 0] ^= 1  # one bit of one pixel
    cv2.imwrite(str(altered), pixels)
    missing.unlink()
    broken.write_bytes(broken.read_bytes()[:2000])
    cv2.imwrite(str(small), read(small)[:400, :400])
    doubled = images(copy, "hem")[0]
    shutil.copy(doubled, doubled.with_name("UID_H99_1_1_hem.png"))
    shutil.copy(doubled, doubled.with_name("cell7.png"))

    assert main(["dataset", "verify", str(copy), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [f["path"].rpartition("/")[2] for f in report["altered"]] == sorted([altered.name, small.name])
    assert [path.rpartition("/")[2] for path in report["missing"]["fold_1"]] == [f"{missing.stem}.bmp"]
    assert [f["path"].rpartition("/")[2] for f in report["unreadable"]] == [broken.name]
    assert "truncated" in report["unreadable"][0]["reason"]
    assert [f["reason"] for f in report["sizes"]] == ["400×400 pixels"]
    assert {f["path"].rpartition("/")[2] for f in report["extra"]} == {"UID_H99_1_1_hem.png", "cell7.png"}
    assert [f["path"].rpartition("/")[2] for f in report["names"]] == ["cell7.png"]
    assert [d["subjects"] for d in report["duplicates"]] == [sorted(["H10", "H99"])]
    assert report["ok"] is False


def test_known_twins_and_doubles_of_a_subject_are_no_fault(copy: Path) -> None:
    (copy / "manifest.csv").unlink()
    source = next(path for path in images(copy, "hem") if "UID_H10_" in path.name)
    shutil.copy(source, source.with_name("UID_H3_1_1_hem.png"))
    other = images(copy)[0]
    subject = other.name.split("_")[1]
    shutil.copy(other, other.with_name(f"UID_{subject}_999_1_all.png"))
    report = verify(copy)
    assert report.ok and report.manifest is None
    assert [d.subjects for d in report.known_twins] == [["H10", "H3"]]
    assert [d.subjects for d in report.within_subject] == [[subject]]
    assert any("no manifest" in line for line in report_lines(report))


def test_an_image_in_another_fold_or_twice_is_extra(copy: Path) -> None:
    path = images(copy)[0]
    elsewhere = copy / "training_data" / "fold_2" / "all"
    elsewhere.mkdir(parents=True)
    cv2.imwrite(str(path.with_suffix(".bmp")), read(path))
    shutil.move(images(copy)[2], elsewhere)
    report = verify(copy)
    assert sorted(finding.reason.split(" of ")[0] for finding in report.extra) == [
        "a second file",
        "official in fold_1",
    ]
    assert report.empty_classes == ["fold_2 HEM"]


def made_up(root: Path, size: int = 64) -> Path:
    rng = np.random.default_rng(0)
    for label, subject in (("all", "1"), ("all", "2"), ("hem", "H1")):
        path = root / "training_data" / "fold_0" / label / f"UID_{subject}_1_1_{label}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (size, size, 3), np.uint8))
    return root


def test_cells_of_ones_own_need_no_manifest(tmp_path: Path) -> None:
    report = verify(made_up(tmp_path))
    assert report.ok and report.parts["fold_0"].classes == {"ALL": 2, "HEM": 1}
    assert len(report.sizes) == 3  # said, but no fault


def test_every_bad_name_is_named_and_an_empty_class_is_a_fault(tmp_path: Path) -> None:
    folder = made_up(tmp_path) / "training_data" / "fold_0"
    healthy = folder / "hem" / "UID_H1_1_1_hem.png"
    shutil.copy(healthy, folder / "hem" / "UID_1_1_hem.png")  # no subject
    shutil.copy(healthy, folder / "all" / "UID_H7_1_1_hem.png")
    healthy.rename(folder / "stray.png")
    report = verify(tmp_path)
    assert {finding.path.rpartition("/")[2] for finding in report.names} == {
        "UID_1_1_hem.png",
        "UID_H7_1_1_hem.png",
        "stray.png",
    }
    assert report.empty_classes == ["fold_0 HEM"]
    assert not report.ok


def test_a_prelim_without_its_table_or_with_another_is_named_once(tmp_path: Path) -> None:
    prelim = made_up(tmp_path) / "prelim"
    prelim.mkdir()
    for number in (1, 2):
        cv2.imwrite(str(prelim / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    assert ["labels.csv: missing" in finding.reason for finding in verify(tmp_path).names] == [True]
    (prelim / "labels.csv").write_text("name,label\n1.bmp,1\n")
    assert ["expected Patient_ID" in finding.reason for finding in verify(tmp_path).names] == [True]
    (prelim / "labels.csv").write_text("Patient_ID,new_names,labels\nUID_57_29_1_all.bmp,1.bmp,1\n")
    assert [finding.path for finding in verify(tmp_path).names] == ["prelim/2.png"]


def test_what_is_no_data_set_or_no_manifest_is_wrong_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "verify", str(tmp_path / "nowhere")]) == 2
    (tmp_path / "training_data" / "fold_0" / "all").mkdir(parents=True)
    assert main(["dataset", "verify", str(tmp_path)]) == 2
    assert "no images under training_data/fold_N/all" in capsys.readouterr().err
    made_up(tmp_path)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("file,hash\na,b\n")
    assert main(["dataset", "verify", str(tmp_path), "--manifest", str(wrong)]) == 2
    assert "not a manifest" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"gone\.csv"):
        read_manifest(tmp_path / "gone.csv")
