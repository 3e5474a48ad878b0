"""What is taken away is away, and the rest stays."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import tiny_model

from export.figures import evidence
from train.studies import looks


def cell(radius: int = 60, seed: int = 0) -> np.ndarray:
    """A speckled bluish disc on black, 300 px."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(40, 120, (300, 300, 3), np.uint8)
    picture[..., 2] = np.minimum(picture[..., 2] + 60, 255)
    mask = np.zeros((300, 300), np.uint8)
    cv2.circle(mask, (150, 150), radius, 1, -1)
    return picture * mask[..., np.newaxis]


def test_a_silhouette_keeps_the_outline_alone() -> None:
    first, second = looks.silhouette(cell()), looks.silhouette(cell(seed=1))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(looks.mask_of(first), looks.mask_of(cell()))
    coloured = looks.own_colour(cell())
    assert len(np.unique(coloured[looks.mask_of(cell())], axis=0)) == 1
    np.testing.assert_allclose(coloured[150, 150], cell()[looks.mask_of(cell())].mean(axis=0), atol=0.5)


def test_a_disc_says_nothing_of_size() -> None:
    small, large = looks.disc(cell(50)), looks.disc(cell(80))
    np.testing.assert_array_equal(looks.mask_of(small), looks.mask_of(large))
    assert abs(small[150, 150].astype(int) - cell(50)[looks.mask_of(cell(50))].mean(axis=0)).max() <= 1


def test_without_colour_all_pixels_have_one_hue_and_their_own_brightness() -> None:
    grey = looks.grey(cell()).astype(float)
    inside = looks.mask_of(cell())
    ratios = grey[inside] / np.array(looks.MEAN_COLOUR)
    assert np.ptp(ratios, axis=1).max() < 0.05
    np.testing.assert_allclose(grey[inside].mean(axis=1), cell()[inside].mean(axis=1), atol=1.0)


def test_without_texture_the_outline_stays_and_without_rim_the_middle() -> None:
    smooth, inside = looks.smooth(cell()), looks.mask_of(cell())
    assert smooth[inside].std(axis=0).max() < 0.2 * cell()[inside].std(axis=0).min()
    assert not smooth[~inside].any() and smooth[inside].min() > 20
    large = cell(120)
    cut = looks.without_rim(large)
    assert looks.mask_of(cut).sum() < looks.mask_of(large).sum()
    np.testing.assert_array_equal(cut[140:160, 140:160], large[140:160, 140:160])


def test_the_command_prints_a_line_for_each(tmp_path: Path) -> None:
    model = tiny_model.write_tiny(tmp_path / "m.tflite").path
    for label, channel in (("all", 2), ("hem", 0)):  # BGR: ALL is redder
        (tmp_path / "cells" / label).mkdir(parents=True)
        picture = cell() // 2
        picture[..., channel] *= 2
        cv2.imwrite(
            str(tmp_path / "cells" / label / f"UID_{'H' if label == 'hem' else ''}1_1_1_{label}.png"), picture
        )
    words = [sys.executable, "-m", "train.studies.looks", str(model), "--data", str(tmp_path / "cells")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("with something taken away, 2 cells")
    rows = {line[:32].strip(): line[32:].split() for line in done.stdout.splitlines()[1:-1]}
    assert list(rows) == [look.name for look in looks.LOOKS]
    assert rows["as it is"][0] == "1.000" and rows["silhouette only"][0] == "0.500"
    file = tmp_path / "looks.json"
    subprocess.run([*words, "--evidence", str(file)], capture_output=True, check=True)
    known = evidence.read([file]).metrics[evidence.RESTS_ON]["text"]
    assert "on 2 cells" in known and "| as it is | 1.00 |" in known and "| silhouette only | 0.50 |" in known
    words[-1] = str(tmp_path / "nothing")
    assert subprocess.run(words, capture_output=True, text=True, check=False).returncode == 2
