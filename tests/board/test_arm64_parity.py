"""The comparison of two machines says where they differ; the emulated machine itself runs by `make arm64-parity`."""

from pathlib import Path

import numpy as np
import pytest
from tiny_model import write_tiny

from tests.board import outputs
from tests.board.arm64_parity import PROCESSORS, report, report_crops, some_images, with_logits


def test_differences_are_counted_and_turned_verdicts_returned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny(tmp_path / "m.tflite").path
    here = {"probabilities": np.array([[10, -10], [-20, 20], [1, -1]], np.int8)}
    same = {"probabilities": here["probabilities"].copy()}
    assert report(model, PROCESSORS[0], here, same) == 0
    assert "probabilities: identical; 0 of 6 values" in capsys.readouterr().out
    there = {"probabilities": np.array([[10, -10], [-20, 21], [-2, 1]], np.int8)}
    assert report(model, PROCESSORS[0], here, there) == 1
    assert "2 images differ, by 3 levels at most; 3 of 6 values" in capsys.readouterr().out


def test_what_the_boards_crops_do_to_verdicts_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny(tmp_path / "m.tflite").path
    here = {"probabilities": np.array([[10, -10], [-20, 20], [1, -1]], np.int8)}
    own = {"probabilities": np.array([[10, -10], [-20, 20], [-3, 3]], np.int8)}
    report_crops(model, here, own)
    assert (
        "its own crops turn 1 of 3 verdicts; a probability moves by 4 of 256 at most"
        in capsys.readouterr().out
    )


def test_the_logits_are_seen_beside_what_the_file_has_as_outputs(cnmc: Path, tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "m.tflite")
    with_logits(model, tmp_path / "extended.tflite")
    (tmp_path / "images.txt").write_text("\n".join(map(str, some_images(cnmc, 2))))
    for name in ("m", "extended"):
        outputs.main(
            str(tmp_path / f"{name}.tflite"), str(tmp_path / "images.txt"), str(tmp_path / f"{name}.npz")
        )
    with np.load(tmp_path / "m.npz") as plain, np.load(tmp_path / "extended.npz") as extended:
        np.testing.assert_array_equal(plain["probabilities"], extended["probabilities"])
        assert extended["logits"].shape == (2, 3)  # of the tiny network, the colours' means


def test_the_outputs_are_those_of_the_images_in_their_order(cnmc: Path, tmp_path: Path) -> None:
    images = some_images(cnmc, 3)
    assert len({image.parent for image in images}) > 1
    model = write_tiny(tmp_path / "m.tflite").path
    for name, order in (("forth", images), ("back", images[::-1])):
        (tmp_path / f"{name}.txt").write_text("\n".join(map(str, order)))
        outputs.main(str(model), str(tmp_path / f"{name}.txt"), str(tmp_path / f"{name}.npz"))
    with np.load(tmp_path / "forth.npz") as forth, np.load(tmp_path / "back.npz") as back:
        assert forth["crops"].shape == (3, 32, 32, 3) and forth["probabilities"].shape == (3, 2)
        for name in ("crops", "probabilities"):
            np.testing.assert_array_equal(forth[name], back[name][::-1])
