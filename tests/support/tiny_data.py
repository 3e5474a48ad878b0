"""A made-up data set in the official layout, small enough to train on in seconds."""

from pathlib import Path

import cv2
import numpy as np

SUBJECTS = {"all": ["1", "2", "3", "4"], "hem": ["H1", "H7", "H8", "H9"]}
# What makes a recipe a matter of seconds: the smallest network that MobileNet's five halvings allow.
TINY = ["model.alpha=0.25", "model.size=32", "model.crop=64", "fit.batch=8"]


# Recipes of other kinds than those that ship: a regression on frozen features, and a student of a teacher.
RECIPES = Path(__file__).with_name("recipes")
REGRESSION, STUDENT = (str(RECIPES / f"{name}.toml") for name in ("regression", "student"))


def make(root: Path, cells_each: int = 6) -> Path:
    """Blue discs for ALL, red for HEM, so that there is something to learn."""
    rng = np.random.default_rng(0)
    for label, subjects in SUBJECTS.items():
        folder = root / "training_data" / "fold_1" / label
        folder.mkdir(parents=True)
        for subject in subjects:
            for cell in range(1, cells_each + 1):
                pixels = np.zeros((64, 64, 3), np.uint8)
                colour = (160, 60, 60) if label == "all" else (60, 60, 160)
                cv2.circle(pixels, (32, 32), int(rng.integers(18, 28)), colour, -1)
                pixels = cv2.add(pixels, rng.integers(0, 20, pixels.shape, np.uint8))
                cv2.imwrite(str(folder / f"UID_{subject}_1_{cell}_{label}.bmp"), pixels)
    return root
