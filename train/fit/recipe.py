"""Recipes: all hyper-parameters of a training, typed, read from TOML files that give the reason of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from edge.errors import InputError
from edge.host import typedfile
from edge.imaging.balance import CellMean
from edge.imaging.preprocess import Geometry, Interpolation
from train.data.dataset import Label

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Quality = Annotated[int, msgspec.Meta(ge=1, le=100)]

Network = Literal[
    "mobilenet_m",
    "alnett",
    "alexnet",
    "vgg16",
    "googlenet",
    "resnet50",
    "mma_mtl",
    "yolov4",
    "yolov4_tiny",
]
"""The paper's network and its rivals: the modules of `train.networks`."""

NETWORKS: tuple[str, ...] = get_args(Network)

MOBILENET_M = "mobilenet_m"
PRE_TRAINED = frozenset({MOBILENET_M, "vgg16", "resnet50"})
"""Networks that Keras has ImageNet weights of; the others start at random unless a file is given."""

_AROUND = 1.25
"""Sides of the crop that are kept for pictures that are altered before resizing: turned, a corner shows what lies there."""

_FOLDER = Path(__file__).resolve().parents[1] / "recipes"


class ModelRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The network and its input; see `train.fit.model.network`.

    Attributes:
        network: which; `alpha`, `dropout`, `l1`, `frozen_blocks` and `smooth_passes` are MobileNet_M's, a rival is as it was published.
        bn_momentum: of the running means in batch normalisation; ImageNet's 0.99 needs hundreds of steps
            to forget photographs, 0.95 a hundred.
        frozen_blocks: number of MobileNet's 14 blocks, from the image on, that keep their pre-trained weights, means
            and variances.
        members: networks side by side whose log-odds are averaged; above 1 it comes of `train.evaluate.ensemble`, not of
            a training.
        cell_mean: red, green and blue that the mean of each cell is brought to, 8-bit levels; none for as it is.
        smooth_passes: of a filter that MobileNet_M's first convolution sees the picture through; see `train.fit.layers`.
    """

    network: Network = "mobilenet_m"
    alpha: Positive
    size: Count
    crop: Count
    interpolation: Interpolation
    input_low: float
    input_high: float
    dropout: Share
    l1: NotNegative
    bn_momentum: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.99
    frozen_blocks: Annotated[int, msgspec.Meta(ge=0, le=14)] = 0
    members: Count = 1
    cell_mean: CellMean | None = None
    smooth_passes: Annotated[int, msgspec.Meta(ge=0, le=4)] = 0

    @property
    def geometry(self) -> Geometry:
        """What `edge.imaging.preprocess` needs to know."""
        return Geometry(crop=self.crop, size=self.size, interpolation=self.interpolation)


class BalanceRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which images an epoch shows, and how often.

    Attributes:
        grey_copies_of: the class whose training images come once more in grey (the paper's balancing).
        sampling: "each" shows every image once; "subjects" draws as many of either class, and from a
            subject of n cells in proportion to n ** subject_power.
        subject_power: 0 gives every subject the same weight, 1 every cell.
        draws: images of an epoch where they are drawn; 0 for as many as there are images.
    """

    grey_copies_of: Label | None = None
    sampling: Literal["each", "subjects"] = "each"
    subject_power: Share = 1.0
    draws: Annotated[int, msgspec.Meta(ge=0)] = 0


class NoiseRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Gaussian noise of training images, before they are augmented.

    Attributes:
        sigma_levels: standard deviations in 8-bit levels, in equal proportions.
        before_resizing: whether it is put on the camera's own pixels, and making the crop small averages some of it away;
            else on those of the network's input.
    """

    sigma_levels: list[NotNegative] = []
    before_resizing: bool = False


class AugmentRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Ranges of the random affine map and of the random colours; see `train.fit.augment`.

    Attributes:
        zoom: share of the side that is seen, below 1 enlarges; one draw for both axes where
            `zoom_keeps_shape`, else one for each.
        brightness: factor on the pixels.
        brightness_stretched: whether the factor is of the image stretched to 0…255, as
            `brightness_range` of Keras' ImageDataGenerator had it up to keras-preprocessing 1.1.
        channel_gain: each channel's own factor is 1 ± this.
        hue_deg, saturation: rotation of the colours about grey, and factor on their distance from grey.
        stain: each channel's optical density is multiplied by 1 ± this (Beer–Lambert: more or less dye).
        blur_sigma_pixels: Gaussian, of the network's input; 0 to this.
        before_resizing: pictures are turned and altered in the camera's own pixels, with what lies around the crop, and
            then cut and made small as on the box; else they are made small first, and turning smooths them.
    """

    rotation_deg: NotNegative = 0.0
    flip_horizontal: Share = 0.0
    flip_vertical: Share = 0.0
    brightness: tuple[Positive, Positive] = (1.0, 1.0)
    brightness_stretched: bool = False
    shift: Share = 0.0
    zoom: tuple[Positive, Positive] = (1.0, 1.0)
    zoom_keeps_shape: bool = False
    shear_deg: NotNegative = 0.0
    channel_gain: Share = 0.0
    hue_deg: NotNegative = 0.0
    saturation: tuple[NotNegative, NotNegative] = (1.0, 1.0)
    stain: Share = 0.0
    blur_sigma_pixels: NotNegative = 0.0
    before_resizing: bool = False


class CameraRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What another camera does to a picture, in its order; see `train.fit.shots`.

    Each alteration has its own share of the pictures, so that many stay as they are in one respect and some in all.

    Attributes:
        size_share, size: factor on the cell's size.
        blur_share, blur_sigma_pixels: Gaussian, 0 to this, in pixels of the network's input.
        gamma_share, gamma: exponent on the pixels, of 0 to 1.
        light_share, light: factor on the pixels.
        balance_share, balance: white balance, each channel's own factor is 1 ± this.
        noise_share, noise_sigma_levels: Gaussian noise, standard deviation 0 to this in 8-bit levels.
        jpeg_share, jpeg_quality: lossy compression with halved colour resolution (4:2:0).
    """

    size_share: Share = 0.0
    size: tuple[Positive, Positive] = (1.0, 1.0)
    blur_share: Share = 0.0
    blur_sigma_pixels: NotNegative = 0.0
    gamma_share: Share = 0.0
    gamma: tuple[Positive, Positive] = (1.0, 1.0)
    light_share: Share = 0.0
    light: tuple[Positive, Positive] = (1.0, 1.0)
    balance_share: Share = 0.0
    balance: Share = 0.0
    noise_share: Share = 0.0
    noise_sigma_levels: NotNegative = 0.0
    jpeg_share: Share = 0.0
    jpeg_quality: tuple[Quality, Quality] = (100, 100)


class FitRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Adam, its learning rate over time, and when to stop.

    Attributes:
        schedule: "plateau" lowers the rate by `learning_rate_factor` after `learning_rate_patience`
            epochs without a better validation loss, stops after `stop_patience`, and keeps the best
            epoch; "cosine" goes from `learning_rate` to `learning_rate_floor` over exactly `epochs`,
            keeps the last epoch, and needs no validation.
        warmup_epochs: of a rising rate before the cosine.
        layer_decay: the rate of a block of the network is that of the block above it times this.
        weight_decay: decoupled from the gradient (AdamW).
        probe_c: the head starts as a logistic regression on the pre-trained features, this the inverse of
            its L2 penalty; 0 starts it at random. See `train.fit.probe`.
        probe_passes: times that the crops are seen with noise and augmentation for that, beside as they are.
        epochs: at most; 0 keeps the head of the regression as it is.
        ema_decay: of a running mean of the weights, an update; at each epoch's end the mean takes their
            place, after the validation. 0 for none.
        label_smoothing: share of a target that is spread over both classes.
        mixup_alpha: images and targets of a batch are mixed in a ratio from Beta(alpha, alpha); 0 for
            not at all (Zhang et al. 2018).
    """

    seed: Annotated[int, msgspec.Meta(ge=0)]
    batch: Count
    epochs: Annotated[int, msgspec.Meta(ge=0)]
    learning_rate: Positive
    learning_rate_floor: NotNegative
    schedule: Literal["plateau", "cosine"] = "plateau"
    learning_rate_factor: Share = 0.1
    learning_rate_patience: Count = 5
    stop_patience: Count = 20
    warmup_epochs: NotNegative = 0.0
    layer_decay: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    weight_decay: NotNegative = 0.0
    probe_c: NotNegative = 0.0
    probe_passes: Annotated[int, msgspec.Meta(ge=0)] = 0
    ema_decay: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    label_smoothing: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    mixup_alpha: NotNegative = 0.0


class DistilRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Distillation: learning a teacher's output for each picture, in addition to or instead of the labels; see
    `train.fit.distil`.

    Attributes:
        variants: differently turned pictures of each cell that the teacher judges; an epoch shows one of
            them, in turn. 0 for training on labels.
        live: the teacher judges every picture as it is shown, altered and mixed as the student sees it, in place of
            variants made before ("function matching", Beyer et al. 2022).
        temperature: the teacher's logits are divided by it; the student's own are not. Above 1 more than the
            side they are on is learnt (Hinton et al. 2015), below 1 the student is surer than its teacher,
            and so are its verdicts in int8.
        label_share: of the label in what is learnt, the rest is the teacher's.
    """

    variants: Annotated[int, msgspec.Meta(ge=0)] = 0
    live: bool = False
    temperature: Positive = 1.0
    label_share: Share = 0.0

    def __post_init__(self) -> None:
        if self.live and self.variants:
            raise ValueError(
                "distil.live: the pictures are judged as they are shown; leave distil.variants out"
            )

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher says what is learnt."""
        return self.live or self.variants > 0


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One whole method of training."""

    model: ModelRecipe
    fit: FitRecipe
    balance: BalanceRecipe = BalanceRecipe()
    noise: NoiseRecipe = NoiseRecipe()
    augment: AugmentRecipe = AugmentRecipe()
    camera: CameraRecipe = CameraRecipe()
    distil: DistilRecipe = DistilRecipe()

    @property
    def training_geometry(self) -> Geometry:
        """How the pictures that training alters are cut; what comes of them is cut by `model.geometry`."""
        if self.augment.before_resizing:
            side = round(_AROUND * self.model.crop)
        elif self.noise.before_resizing:
            side = self.model.crop
        else:
            return self.model.geometry
        return Geometry(crop=side, size=side, interpolation=self.model.interpolation)

    def __post_init__(self) -> None:
        if self.augment.before_resizing and (self.distil.variants or self.noise.sigma_levels):
            raise ValueError(
                "augment.before_resizing: it does not go with distil.variants or noise.sigma_levels; "
                "leave it out, or those (camera.noise_sigma_levels goes with it)"
            )
        if self.distil.variants and self.balance.grey_copies_of:
            raise ValueError(
                "distil.variants: a teacher does not see grey copies; leave balance.grey_copies_of out"
            )
        if self.noise.before_resizing and (
            self.augment.before_resizing or self.distil.variants or self.fit.probe_c
        ):
            raise ValueError(
                "noise.before_resizing: it does not go with augment.before_resizing, distil.variants or fit.probe_c; "
                "leave it out, or those"
            )


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
    remedy = f"give a TOML file or one of: {', '.join(names())}"
    return typedfile.read(file, Recipe, msgspec.toml.decode, name=f"recipe {name_or_file}", remedy=remedy)


_KEYS = {
    table.name: {key.name for key in msgspec.structs.fields(table.type)}
    for table in msgspec.structs.fields(Recipe)
}
"""The keys of each table."""


def _toml_value(change: str, value: str) -> Any:
    try:
        return msgspec.toml.decode(f"value = {value}")["value"]
    except msgspec.MsgspecError as error:
        if not value.isidentifier():
            raise InputError(f"--set {change}: {error}; write the value as in TOML") from error
        return value


def changed(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """A recipe with some values replaced.

    Args:
        changes: each "table.key=value", the value as in TOML: "fit.epochs=3", "augment.zoom=[0.9, 1.1]";
            a word needs no quotes ("model.interpolation=area"), which a shell would take away.
            No value gives the key, or a whole table as in "augment=", its default.

    Raises:
        InputError: a change is not of that form, names no key, or its value does not fit.
    """
    tables: dict[str, dict[str, Any]] = msgspec.to_builtins(recipe)
    for change in changes:
        key, _, value = change.partition("=")
        table, _, name = key.strip().partition(".")
        known = table in _KEYS and (name in _KEYS[table] if name else "=" in change and not value)
        if not known:
            raise InputError(f"--set {change}: no such key; give table.key=value, such as fit.epochs=3")
        if not name:
            tables[table] = {}  # its keys take their defaults, unless a later change sets them
        elif not value:
            tables.setdefault(table, {}).pop(name, None)
        else:
            tables.setdefault(table, {})[name] = _toml_value(change, value)
    try:
        return msgspec.convert(tables, Recipe)
    except msgspec.ValidationError as error:
        raise InputError(f"--set {' '.join(changes)}: {error}") from error
