"""The paper's method: network, balancing, noise, augmentation, and the rules of training."""

import cv2
import numpy as np
import pytest

from edge.errors import InputError
from train.data.dataset import Cell
from train.fit import recipe as recipes
from train.fit.augment import add_noise, augment, colour_matrix, desaturate, stain_table
from train.fit.batches import TrainingBatches, scale_pixels
from train.fit.model import block_of
from train.fit.optimizer import build
from train.fit.run import Progress

PAPER = recipes.load("paper")
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def network():
    from train.fit.model import mobilenet_m

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
    side = PAPER.training_geometry.size
    crops = np.zeros((100, side, side, 3), np.uint8)
    crops[:, 60:-60, 60:-60] = 200, 100, 150
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


@pytest.mark.parametrize(("before_resizing", "left"), [(False, 1.0), (True, 1 / 3)])
def test_noise_on_the_cameras_pixels_is_averaged_by_resizing(before_resizing: bool, left: float) -> None:
    plain = ["model.crop=300", "model.size=100", "noise.sigma_levels=[9]", "augment="]
    recipe = recipes.changed(PAPER, [*plain, f"noise.before_resizing={str(before_resizing).lower()}"])
    side = recipe.training_geometry.size
    assert side == (300 if before_resizing else 100)
    grey = np.full((8, side, side, 3), 128, np.uint8)
    inputs, _ = TrainingBatches(grey, [Cell(str(i), "ALL", "1", "fold_0") for i in range(8)], recipe, 0)[0]
    assert inputs.shape[1:] == (100, 100, 3)
    # Nine pixels become one, with a third of the sigma.
    assert (inputs * 255).std() == pytest.approx(9 * left, rel=0.03)


@pytest.mark.parametrize("other", ["augment.before_resizing=true", "distil.variants=2", "fit.probe_c=0.1"])
def test_noise_on_the_cameras_pixels_does_not_go_with_everything(other: str) -> None:
    changes = ["noise.sigma_levels=[]", "balance=", "noise.before_resizing=true"]
    with pytest.raises(InputError, match="noise.before_resizing: it does not go with"):
        recipes.changed(PAPER, [*changes, other])


def test_an_epoch_is_the_same_again_and_another_is_not() -> None:
    cells = [Cell(str(i), "ALL", "1", "fold_0") for i in range(20)]
    side = PAPER.training_geometry.size
    crops = RNG.integers(0, 256, (20, side, side, 3), np.uint8)
    first = TrainingBatches(crops, cells, PAPER, epoch=4)[0][0]
    assert np.array_equal(first, TrainingBatches(crops, cells, PAPER, epoch=4)[0][0])
    assert not np.array_equal(first, TrainingBatches(crops, cells, PAPER, epoch=5)[0][0])


def test_augmentation_keeps_within_its_ranges() -> None:
    disc = np.zeros((224, 224, 3), np.uint8)
    cv2.circle(disc, (112, 112), 60, (200, 100, 150), -1)
    for seed in range(30):
        out = augment(disc, PAPER.augment, np.random.default_rng(seed))
        ys, xs = np.nonzero(out[..., 0])
        assert 255 * 0.4 - 1 <= out[..., 0].max() <= 255 * 0.8 + 1  # stretched, then darkened
        # Both shifts at their end, turned into one axis and enlarged.
        assert np.hypot(xs.mean() - 112, ys.mean() - 112) <= 0.1 * 224 * 2**0.5 / 0.8 + 2
        assert 0.97 <= len(xs) / (np.pi * 60**2) <= 1 / 0.8**2 * 1.03  # zoom below 1 enlarges
        assert (
            out[ys[0], xs[0], 0] >= out[ys[0], xs[0], 2] >= out[ys[0], xs[0], 1]
        )  # colours keep their order


def test_brightness_can_be_a_factor_of_the_stretched_image() -> None:
    recipe = recipes.AugmentRecipe(brightness=(0.5, 0.5), brightness_stretched=True)
    pixels = np.full((8, 8, 3), 20, np.uint8)
    pixels[2, 2] = (120, 70, 20)
    out = augment(pixels, recipe, RNG)
    assert out[2, 2].tolist() == [128, 64, 0] and not out[0, 0].any()


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


OURS = recipes.load("leukoscope")


def test_the_recipe_of_the_image_split_is_ours_without_the_mean_colour_and_with_noise_alone() -> None:
    changes = ["model.cell_mean=", "balance=", "camera=", "fit.epochs=80"]
    noise = ["camera.noise_share=0.7", "camera.noise_sigma_levels=13.0"]
    assert recipes.load("image_split") == recipes.changed(OURS, [*changes, *noise])


def test_subject_draws_give_classes_and_subjects_their_shares() -> None:
    cells = [Cell(f"a{i}", "ALL", "1", "fold_0") for i in range(900)]
    cells += [Cell(f"b{i}", "ALL", "2", "fold_0") for i in range(9)]
    cells += [Cell(f"c{i}", "HEM", "H1", "fold_0") for i in range(90)]
    crops = np.zeros((len(cells), 32, 32, 3), np.uint8)

    def drawn(power: float) -> np.ndarray:
        changes = ["balance.draws=1000", f"balance.subject_power={power}", "model.size=32"]
        batches = TrainingBatches(crops, cells, recipes.changed(OURS, changes), epoch=0)
        return batches._images[:, 0]

    for power, share_of_2 in ((0.0, 1 / 2), (0.5, 3 / 33), (1.0, 9 / 909)):
        chosen = drawn(power)
        assert len(chosen) == 1000
        assert sum(cells[i].label == "HEM" for i in chosen) == 500
        assert sum(cells[i].subject == "2" for i in chosen) == pytest.approx(500 * share_of_2, abs=2)
    counts = np.bincount(drawn(0.0), minlength=len(cells))
    assert set(counts[909:]) <= {5, 6}  # 500 draws of 90 cells, evenly


def test_colours_keep_black_and_grey_and_brightness_is_a_factor() -> None:
    recipe = recipes.changed(
        OURS, ["augment.hue_deg=30.0", "augment.saturation=[0.5, 1.5]", "augment.brightness=[0.5, 0.5]"]
    ).augment
    for seed in range(20):
        matrix = colour_matrix(recipe, np.random.default_rng(seed))
        assert matrix @ np.array([100.0, 100, 100]) == pytest.approx([50, 50, 50], abs=1e-6)
    none = recipes.load("paper").augment
    still = np.diag(colour_matrix(none, np.random.default_rng(0)))
    assert still == pytest.approx([still[0]] * 3)  # the paper varies brightness alone
    assert 0.4 <= still[0] <= 0.8


def test_stain_scales_the_optical_density() -> None:
    table = stain_table(0.2, np.random.default_rng(3))[0]
    assert table[0].tolist() == [0, 0, 0] and table[255].tolist() == [255, 255, 255]
    density = -np.log(table[100] / 255.0) / -np.log(100 / 255.0)
    assert (density >= 0.79).all() and (density <= 1.21).all() and np.ptp(density) > 0.01


def test_mixup_mixes_images_and_targets_alike() -> None:
    cells = [Cell(str(i), "ALL" if i < 8 else "HEM", str(i), "fold_0") for i in range(16)]
    crops = np.zeros((16, 32, 32, 3), np.uint8)
    crops[8:] = 200
    plain = ["model.size=32", "fit.batch=16", "balance.draws=16", "augment.brightness=[1.0, 1.0]"]
    plain += [
        "augment.channel_gain=0.0",
        "augment.stain=0.0",
        "augment.shift=0.0",
        "augment.rotation_deg=0.0",
    ]
    plain += [
        "augment.zoom=[1.0, 1.0]",
        "augment.shear_deg=0.0",
        "camera=",
        "fit.mixup_alpha=1.0",
        "model.cell_mean=",
    ]
    recipe = recipes.changed(OURS, plain)
    inputs, targets = TrainingBatches(crops, cells, recipe, epoch=0)[0]
    low, high = scale_pixels(np.array([0, 200], np.uint8), recipe.model)
    shares = (inputs[:, 16, 16, 0] - low) / (high - low)  # how much of a HEM image is in it
    np.testing.assert_allclose(shares, targets[:, 1], atol=0.01)
    assert len(np.unique(targets[:, 1].round(3))) > 2


def test_cosine_schedule_warms_up_falls_and_needs_no_validation() -> None:
    fit_recipe = recipes.changed(
        OURS, ["fit.epochs=10", "fit.warmup_epochs=1.0", "fit.learning_rate=0.01"]
    ).fit
    rates = [float(build(fit_recipe, 20).learning_rate)] + [
        float(build(fit_recipe, 20)._learning_rate(step)) for step in (10, 20, 110, 200)
    ]
    assert rates[0] < 0.001 and rates[1] == pytest.approx(0.005, rel=0.01)
    assert rates[2] == pytest.approx(0.01, rel=0.01) and rates[3] == pytest.approx(0.005, rel=0.02)
    assert rates[4] == pytest.approx(fit_recipe.learning_rate_floor, rel=0.1)
    progress = Progress(learning_rate=0.01)
    for _ in range(9):
        assert progress.advance({"loss": 1.0}, fit_recipe) and not progress.stopped
    progress.advance({"loss": 2.0}, fit_recipe)
    assert progress.stopped == "10 epochs done" and progress.best_epoch == 10


def test_rates_shrink_from_the_head_down() -> None:
    assert [block_of(name) for name in ("conv1_bn/gamma", "conv_dw_1/kernel", "conv_pw_13_bn/beta")] == [
        0,
        1,
        13,
    ]
    assert block_of("probabilities/kernel") == block_of("head_bn/gamma") == 14
