"""The paper's method: network, balancing, noise, augmentation, and the rules of training."""

import cv2
import numpy as np
import pytest

from train import recipe as recipes
from train.augment import add_noise, augment, desaturate
from train.batches import TrainingBatches, scale_pixels
from train.dataset import Cell
from train.fit import Progress

PAPER = recipes.load("paper")
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def network():
    from train.model import mobilenet_m

    return mobilenet_m(PAPER.model)


def test_the_network_has_the_papers_parameters(network) -> None:
    def count(weights) -> int:
        return sum(int(np.prod(weight.shape)) for weight in weights)

    assert network.count_params() == 3_235_010
    assert count(network.trainable_weights) == 3_211_074
    assert count(network.non_trainable_weights) == 23_936
    assert float(network.get_layer("probabilities").kernel_regularizer.l1) == pytest.approx(0.015)
    assert network.input_shape == (None, 224, 224, 3)


def test_grey_is_hsv_with_saturation_zero() -> None:
    pixels = RNG.integers(0, 256, (40, 30, 3), np.uint8)
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = 0
    assert np.array_equal(desaturate(pixels), cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


@pytest.mark.parametrize("sigma", [3.0, 9.0])
def test_noise_has_its_sigma_and_no_bias(sigma: float) -> None:
    noisy = add_noise(np.full((200, 200, 3), 128, np.uint8), sigma, np.random.default_rng(1)).astype(float)
    assert noisy.std() == pytest.approx(sigma, rel=0.02)
    assert noisy.mean() == pytest.approx(128, abs=0.1)
    assert abs(np.corrcoef(noisy[..., 0].ravel(), noisy[..., 1].ravel())[0, 1]) < 0.02


def test_hem_is_doubled_and_sigmas_are_in_equal_parts() -> None:
    cells = [Cell(str(i), "HEM" if i < 30 else "ALL", "1", "fold_0") for i in range(100)]
    crops = np.full((100, 224, 224, 3), (200, 100, 150), np.uint8)
    batches = TrainingBatches(crops, cells, PAPER, epoch=0)
    targets = np.concatenate([batches[i][1] for i in range(len(batches))])
    assert targets.sum(axis=0).tolist() == [70, 60]
    assert sorted(np.unique(batches._sigmas, return_counts=True)[1]) == [65, 65]
    grey = [
        image
        for i in range(len(batches))
        for image, target in zip(*batches[i], strict=True)
        if np.ptp(image[112, 112]) < 0.2 and target[1]
    ]
    assert len(grey) >= 30


def test_an_epoch_is_the_same_again_and_another_is_not() -> None:
    cells = [Cell(str(i), "ALL", "1", "fold_0") for i in range(20)]
    crops = RNG.integers(0, 256, (20, 224, 224, 3), np.uint8)
    first = TrainingBatches(crops, cells, PAPER, epoch=4)[0][0]
    assert np.array_equal(first, TrainingBatches(crops, cells, PAPER, epoch=4)[0][0])
    assert not np.array_equal(first, TrainingBatches(crops, cells, PAPER, epoch=5)[0][0])


def test_augmentation_keeps_within_its_ranges() -> None:
    disc = np.zeros((224, 224, 3), np.uint8)
    cv2.circle(disc, (112, 112), 60, (200, 100, 150), -1)
    for seed in range(30):
        out = augment(disc, PAPER.augment, np.random.default_rng(seed))
        ys, xs = np.nonzero(out[..., 0])
        assert 200 * 0.4 - 1 <= out[..., 0].max() <= 200 * 0.8 + 1
        # Both shifts at their end, turned into one axis and enlarged.
        assert np.hypot(xs.mean() - 112, ys.mean() - 112) <= 0.1 * 224 * 2**0.5 / 0.8 + 2
        assert 0.97 <= len(xs) / (np.pi * 60**2) <= 1 / 0.8**2 * 1.03  # zoom below 1 enlarges
        assert (
            out[ys[0], xs[0], 0] >= out[ys[0], xs[0], 2] >= out[ys[0], xs[0], 1]
        )  # colours keep their order


def test_pixels_are_scaled_by_1_255() -> None:
    assert scale_pixels(np.array([[[0, 51, 255]]], np.uint8), PAPER.model).ravel() == pytest.approx(
        [0, 0.2, 1]
    )


def test_learning_rate_and_stopping_rules() -> None:
    progress = Progress(learning_rate=PAPER.fit.learning_rate)
    assert progress.advance({"val_loss": 1.0}, PAPER.fit)
    for _ in range(5):
        assert not progress.advance({"val_loss": 1.5}, PAPER.fit)
    assert progress.learning_rate == pytest.approx(1e-4)
    for _ in range(14):
        progress.advance({"val_loss": 1.5}, PAPER.fit)
    assert progress.stopped == ""
    progress.advance({"val_loss": 1.5}, PAPER.fit)
    assert "20 epochs" in progress.stopped
    assert progress.best_epoch == 1
    assert progress.learning_rate == pytest.approx(1e-6, rel=0.01) or progress.learning_rate > 1e-6


def test_a_recipe_with_an_unknown_key_is_refused_by_name(tmp_path) -> None:
    file = tmp_path / "mine.toml"
    text = (recipes._FOLDER / "paper.toml").read_text()
    file.write_text(text.replace("dropout = 0.2", "dropuot = 0.2"))
    with pytest.raises(recipes.InputError, match="dropuot"):
        recipes.load(str(file))
