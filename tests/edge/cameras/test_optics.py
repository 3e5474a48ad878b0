"""Calibration: an uneven, tinted lamp made even and neutral; what is no empty field refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.cameras import optics
from edge.cameras.backends.simulator import SimulatorSettings, draw
from edge.cameras.preparation import Preparation
from edge.cameras.settings import CameraSettings
from edge.errors import InputError, LeukoscopeError
from edge.imaging.background import blacken, cell_mask
from edge.imaging.frame import Pixels

ROOT = Path(__file__).resolve().parents[3]
WIDTH, HEIGHT = 640, 480
RNG = np.random.default_rng(0)
TINT = np.array([1.12, 1.0, 0.85])


def lit(scene: "np.ndarray", noise: float = 2.0, dimmed: float = 1.0) -> Pixels:  # type: ignore[type-arg]
    """A scene under a lamp that falls to 70 % at the corners, is too red, and through a noisy sensor."""
    y, x = np.mgrid[: scene.shape[0], : scene.shape[1]]
    way = np.hypot((x / scene.shape[1] - 0.45) * 1.3, y / scene.shape[0] - 0.5)
    light = (1 - 0.45 * way**2)[..., None] * TINT * dimmed
    return np.clip(np.rint(scene * light + RNG.normal(0, noise, scene.shape)), 0, 255).astype(np.uint8)


def empty(level: float = 190.0) -> "np.ndarray":  # type: ignore[type-arg]
    return np.full((HEIGHT, WIDTH, 3), level)


def smear() -> Pixels:
    optics_of_simulator = SimulatorSettings(kind="field", gradient=0.0, noise_sigma_levels=0.0)
    return draw(optics_of_simulator, WIDTH, HEIGHT, 0)


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    file = tmp_path / "calibration.npz"
    optics.save(file, *optics.measure_field([lit(empty()) for _ in range(8)], CameraSettings()))
    return file


def unevenness(picture: Pixels) -> float:
    blocks = cv2.resize(picture, (20, 20), interpolation=cv2.INTER_AREA).astype(float)
    return float((blocks.max(axis=(0, 1)) / blocks.min(axis=(0, 1)) - 1).max())


def test_an_empty_field_becomes_even_and_neutral(calibration: Path) -> None:
    field = lit(empty())
    corrected = optics.Correction(calibration, CameraSettings(), 448).apply(field)
    assert corrected.shape == (448, 448, 3) and corrected.dtype == np.uint8
    assert unevenness(field) > 0.15
    assert unevenness(corrected) < 0.015
    means = corrected.mean(axis=(0, 1))
    assert np.ptp(means) < 1.0


def test_cells_get_the_colours_that_they_have_under_an_even_lamp(calibration: Path) -> None:
    scene = smear()
    correction = optics.Correction(calibration, CameraSettings(), 400)
    expected = optics.centre(scene, 400).astype(float)
    corrected = correction.apply(lit(scene)).astype(float)
    factor = corrected.mean() / expected.mean()
    assert np.abs(corrected / factor - expected).mean() < 2.5  # levels; the sensor's noise alone makes 1.6
    assert np.abs(optics.centre(lit(scene), 400).astype(float) - expected).mean() > 8


def test_a_whole_frame_and_its_centre_are_corrected_alike(calibration: Path) -> None:
    frame = lit(smear())
    whole = optics.Correction(calibration, CameraSettings(), 301).apply(frame)
    part = optics.Correction(calibration, CameraSettings(), 301).apply(optics.centre(frame, 301).copy())
    assert np.array_equal(whole, part)


def test_the_arithmetic_is_that_of_rounded_multiplication(calibration: Path) -> None:
    frame = lit(smear())
    correction = optics.Correction(calibration, CameraSettings(), 200)
    corrected = correction.apply(frame)
    assert correction._part is not None
    exact = optics.centre(frame, 200) * (correction._part / (1 << optics.SHIFT))
    assert np.abs(corrected - np.minimum(exact, 255)).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        (smear().astype(float), "not empty"),
        (empty(12.0), "set lamp and exposure"),
        (empty(240.0), "set lamp and exposure"),
    ],
)
def test_what_is_no_empty_field_is_refused(scene: "np.ndarray", message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(LeukoscopeError, match=message):
        optics.measure_field([lit(scene)], CameraSettings())


def test_real_smears_are_no_empty_field() -> None:
    folder = ROOT.parent / "shared" / "smears" / "Images"
    if not folder.is_dir():
        pytest.skip(f"no smears at {folder}")
    refused = 0
    files = sorted(folder.glob("*.jpg"))[::15]
    for file in files:
        picture = cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)
        try:
            optics.measure_field([picture], CameraSettings())  # type: ignore[list-item]
        except LeukoscopeError:
            refused += 1
    assert refused == len(files)


def test_a_calibration_for_other_settings_or_sizes_is_refused(calibration: Path) -> None:
    with pytest.raises(InputError, match=r"exposure_us was 0\.0 and is 500\.0"):
        optics.Correction(calibration, CameraSettings(exposure_us=500.0), 200)
    correction = optics.Correction(calibration, CameraSettings(), 200)
    with pytest.raises(InputError, match="800 x 600"):
        correction.apply(np.zeros((600, 800, 3), np.uint8))
    with pytest.raises(InputError, match="no such file"):
        optics.Correction(calibration.with_name("nowhere.npz"), CameraSettings(), 200)
    calibration.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="not a calibration"):
        optics.Correction(calibration, CameraSettings(), 200)


def test_a_lamp_that_changes_is_noticed(calibration: Path) -> None:
    scene = smear()
    frames = optics.WATCH_EVERY * optics.WINDOW

    def fault(changed: "np.ndarray | float", dimmed: float = 1.0) -> str:  # type: ignore[type-arg]
        preparation = Preparation(CameraSettings(calibration=str(calibration)), 300)
        frame = np.clip(lit(scene, 0.0, dimmed) * changed, 0, 255).astype(np.uint8)
        for _ in range(frames):
            preparation.picture(frame)
        return preparation.fault

    assert fault(1.0) == ""
    assert "tinted" in fault(np.array([1.0, 1.0, 0.7]))
    assert "darker" in fault(1.0, dimmed=0.6)


def test_the_background_is_blackened_and_the_cell_is_kept() -> None:
    crop = optics.centre(smear(), 320)
    black = blacken(crop)
    mask = cell_mask(crop)
    assert 0.05 < mask.mean() < 0.6
    assert mask[54:74, 54:74].all()
    assert np.array_equal(black[150:170, 150:170], crop[150:170, 150:170])
    assert black[:10].max() == black[:, :10].max() == 0
    assert blacken(np.full((320, 320, 3), (194, 193, 190), np.uint8)).max() == 0


def test_masks_of_real_white_cells_cover_them_and_little_else() -> None:
    from train.studies.background import boxed_cells, study

    folder = ROOT.parent / "shared" / "smears"
    if not folder.is_dir():
        pytest.skip(f"no smears at {folder}")
    row = study(boxed_cells(folder))["0.33"]
    assert row["box_iou_over_0.7"] > 0.9
    assert row["covers_70_outside_under_15"] > 0.9


def leukoscope(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "edge", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=90)


def test_the_command_measures_stores_and_says_what_it_found(tmp_path: Path) -> None:
    fields = tmp_path / "fields"
    fields.mkdir()
    for i in range(4):
        cv2.imwrite(str(fields / f"{i}.png"), lit(empty())[..., ::-1])
    config = tmp_path / "leukoscope.toml"
    config.write_text(f'[camera]\nsource = "files:{fields}"\ncalibration = "state/calibration.npz"\n')
    done = leukoscope("calibrate", "--config", str(config), "--json", "--picture", "both.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["width"], report["height"]) == (WIDTH, HEIGHT)
    assert report["field_rgb"][0] > report["field_rgb"][1] > report["field_rgb"][2]
    assert report["corrected_unevenness"] < 0.005 < report["unevenness"]
    assert (tmp_path / "state" / "calibration.npz").exists()

    cv2.imwrite(str(fields / "4.png"), smear()[..., ::-1])
    for file in fields.glob("[0-3].png"):
        file.unlink()
    both = cv2.imread(str(tmp_path / "both.png"))[40:]  # below the names
    assert both.shape[0] == HEIGHT
    width = (both.shape[1] - 8) // 2
    before, after = both[:, :width], both[:, -width:]
    spread = [cv2.GaussianBlur(half, (0, 0), 8).std(axis=(0, 1)).max() for half in (before, after)]
    assert spread[1] < spread[0] / 2
    refused = leukoscope("calibrate", "--config", str(config), cwd=tmp_path)
    assert refused.returncode == 1
    assert "not empty" in refused.stderr
    config.write_text('[camera]\nsource = "simulator"\n')
    unnamed = leukoscope("calibrate", "--config", str(config), cwd=tmp_path)
    assert unnamed.returncode == 2
    assert "camera.calibration" in unnamed.stderr
