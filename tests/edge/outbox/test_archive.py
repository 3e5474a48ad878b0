"""Pictures of results: named in the record with their hash, durable, bounded, the oldest removed."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from broker import free_port

from edge.errors import LeukoscopeError
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.model.classifier import Classifier
from edge.model.file import read_model
from edge.model.installed import default_model
from edge.outbox.archive import Archive, ArchiveSettings
from edge.records import uuid7
from tests.edge.cameras.test_capture import stored

ROOT = Path(__file__).resolve().parents[3]


def picture(seed: int = 0, side: int = 64) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def archive(folder: Path, keep: str = "all", max_mb: int = 1) -> Archive:
    return Archive(ArchiveSettings(directory=str(folder), keep=keep, max_mb=max_mb))  # type: ignore[arg-type]


def test_a_picture_is_kept_without_loss_under_its_name_and_hash(tmp_path: Path) -> None:
    kept = archive(tmp_path / "pictures").keep(uuid7(), "ALL", picture())
    assert kept is not None
    file = tmp_path / "pictures" / kept.name
    assert hashlib.sha256(file.read_bytes()).hexdigest() == kept.sha256
    assert np.array_equal(read_image(file), picture())


@pytest.mark.parametrize(("keep", "kept"), [("none", []), ("referred", ["refer"]), ("all", ["ALL", "refer"])])
def test_only_what_the_settings_ask_for_is_kept(tmp_path: Path, keep: str, kept: list[str]) -> None:
    pictures = archive(tmp_path, keep)
    assert [verdict for verdict in ("ALL", "refer") if pictures.keep(uuid7(), verdict, picture())] == kept
    assert len(list(tmp_path.rglob("*.png"))) == len(kept)


def test_the_oldest_go_first_and_the_limit_holds_over_a_restart(tmp_path: Path) -> None:
    names = []
    for start in range(2):
        pictures = archive(tmp_path)
        for i in range(40):
            kept = pictures.keep(uuid7(), "refer", picture(40 * start + i, side=128))
            assert kept is not None
            names.append(kept.name)
        files = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.png"))
        assert sum(file.stat().st_size for file in tmp_path.rglob("*.png")) <= 2**20
        assert files == sorted(names)[-len(files) :]
        assert 10 < len(files) == pictures.state()["images"]


def test_a_disk_that_refuses_costs_the_picture_and_not_the_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = archive(tmp_path / "pictures")
    (tmp_path / "pictures").rmdir()
    (tmp_path / "pictures").write_text("in the way")
    assert [pictures.keep(uuid7(), "ALL", picture()) for _ in range(3)] == [None] * 3
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    assert pictures.state()["fault"]
    (tmp_path / "pictures").unlink()
    assert pictures.keep(uuid7(), "ALL", picture()) is not None
    assert pictures.state()["fault"] == ""


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    day = tmp_path / "2026-01-01"
    day.mkdir()
    for name in (f".{uuid7()}.png.0badcafe.partial", f".{uuid7()}.png.x7k_2a"):
        (day / name).write_bytes(bytes(2**20))
    (day / "notes.txt").write_text("mine")
    (day / "link.png").symlink_to(tmp_path / "nowhere")
    pictures = archive(tmp_path)
    assert pictures.keep(uuid7(), "ALL", picture()) is not None
    assert sorted(file.name for file in day.iterdir()) == ["link.png", "notes.txt"]
    assert pictures.state()["images"] == 1


def test_pictures_are_for_whom_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        kept = archive(tmp_path / "pictures").keep(uuid7(), "ALL", picture())
    finally:
        os.umask(before)
    assert kept is not None
    assert (tmp_path / "pictures" / kept.name).stat().st_mode & 0o777 == 0o600


def test_a_picture_that_cannot_be_removed_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pictures, stuck = archive(tmp_path), True
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if stuck and path.suffix == ".png":
            raise PermissionError(1, "Operation not permitted")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    kept = [pictures.keep(uuid7(), "ALL", picture(seed, side=128)) for seed in range(40)]
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.png")) <= 2**20
    assert kept[0] is not None and kept[-1] is None
    assert "cannot be removed" in str(pictures.state()["fault"])
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    stuck = False
    monkeypatch.setattr("edge.outbox.archive.RETRY_S", 0.0)
    pictures._retry_at_s = 0.0
    assert pictures.keep(uuid7(), "ALL", picture(99, side=128)) is not None
    assert pictures.state()["fault"] == ""


def test_a_picture_larger_than_the_archive_removes_no_other(tmp_path: Path) -> None:
    pictures = archive(tmp_path)
    assert pictures.keep(uuid7(), "ALL", picture()) is not None
    assert pictures.keep(uuid7(), "ALL", picture(side=1200)) is None
    assert pictures.state()["images"] == 1 and "larger" in str(pictures.state()["fault"])
    assert pictures.keep(uuid7(), "ALL", picture(1)) is not None


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LeukoscopeError, match=r"\[archive\] directory"):
        archive(tmp_path / "file" / "pictures")


def test_the_daemons_record_names_the_picture_and_it_gives_the_same_verdict_again(
    cnmc: Path, tmp_path: Path
) -> None:
    cells = tmp_path / "cells" / "slide 3"
    cells.mkdir(parents=True)
    for file in sorted((cnmc / "training_data" / "fold_2").rglob("*.png"))[:4]:
        cv2.imwrite(str(cells / file.name), cv2.imread(str(file)))
    config = tmp_path / "leukoscope.toml"
    config.write_text(
        f'[camera]\nsource = "files:{cells}"\n[mqtt]\nport = {free_port()}\n[outbox]\nfile = "{tmp_path}/outbox.db"\n'
        f'[archive]\ndirectory = "{tmp_path}/pictures"\nkeep = "all"\n'
    )
    command = [sys.executable, "-m", "edge", "run", "--config", str(config)]
    daemon = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 60
    while len(records := stored(tmp_path)) < 4 and time.monotonic() < deadline:
        time.sleep(0.1)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(30) == 0
    assert len(records) == 4
    classifier = Classifier(read_model(default_model()))
    for record in records:
        assert record.image is not None and record.specimen == "slide 3"
        file = tmp_path / "pictures" / record.image.name
        assert hashlib.sha256(file.read_bytes()).hexdigest() == record.image.sha256
        assert classifier.classify(read_image(file)).probabilities == record.probabilities
