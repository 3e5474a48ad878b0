"""Recipes: every hyper-parameter of a training, typed, read from TOML with its reason beside it."""

from pathlib import Path
from typing import Annotated

import msgspec

from edge.errors import InputError
from edge.preprocess import Geometry, Interpolation
from train.dataset import Label

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]

_FOLDER = Path(__file__).with_name("recipes")


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class ModelRecipe(_Table):
    """The network and its input; see `train.model.mobilenet_m`."""

    alpha: Positive
    size: Count
    crop: Count
    interpolation: Interpolation
    input_low: float
    input_high: float
    dropout: Share
    l1: NotNegative

    @property
    def geometry(self) -> Geometry:
        """What `edge.preprocess` needs to know."""
        return Geometry(crop=self.crop, size=self.size, interpolation=self.interpolation)


class BalanceRecipe(_Table):
    """How the classes are made even: the class whose training images come once more in grey, or none."""

    grey_copies_of: Label | None = None


class NoiseRecipe(_Table):
    """Gaussian noise of training images: standard deviations in 8-bit levels, in equal proportions."""

    sigma_levels: list[NotNegative] = []


class AugmentRecipe(_Table):
    """Ranges of the random affine map and of the brightness factor; see `train.augment.augment`."""

    rotation_deg: NotNegative = 0.0
    flip_horizontal: Share = 0.0
    flip_vertical: Share = 0.0
    brightness: tuple[Positive, Positive] = (1.0, 1.0)
    shift: Share = 0.0
    zoom: tuple[Positive, Positive] = (1.0, 1.0)
    shear_deg: NotNegative = 0.0


class FitRecipe(_Table):
    """Adam, its learning rate over time, and when to stop."""

    seed: Annotated[int, msgspec.Meta(ge=0)]
    batch: Count
    epochs: Count
    learning_rate: Positive
    learning_rate_factor: Share
    learning_rate_patience: Count
    learning_rate_floor: NotNegative
    stop_patience: Count


class Recipe(_Table):
    """One whole method of training."""

    model: ModelRecipe
    fit: FitRecipe
    balance: BalanceRecipe = BalanceRecipe()
    noise: NoiseRecipe = NoiseRecipe()
    augment: AugmentRecipe = AugmentRecipe()


def names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load(name_or_file: str) -> Recipe:
    """Read a recipe by its name or from a TOML file.

    Raises:
        InputError: there is no such recipe, or a value in it does not fit; the message names the key.
    """
    file = _FOLDER / f"{name_or_file}.toml"
    if not file.is_file():
        file = Path(name_or_file)
    try:
        return msgspec.toml.decode(file.read_bytes(), type=Recipe)
    except OSError as error:
        raise InputError(
            f"recipe {name_or_file}: {error.strerror}; give a TOML file or one of: {', '.join(names())}"
        ) from error
    except msgspec.MsgspecError as error:
        raise InputError(f"recipe {file}: {error}") from error
