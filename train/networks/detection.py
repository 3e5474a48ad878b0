"""What YOLO's networks give and how they learn it, for pictures of one cell: its box, and which class it is.

Each head is a map of (h, w, 3 · (5 + classes)) raw values: for each of three anchors x, y, width, height, objectness and
the classes' logits, as in YOLOv4 (Bochkovskiy et al. 2020, arXiv:2004.10934). The box to learn is read off the picture
itself, see `train.networks.picture`.

Choices where a detector becomes a classifier of one cell:
- The place and anchor whose prior box fits the cell best learns box and objectness, all others that nothing is there,
  but for those whose box overlaps it by 0.7 or more.
- Every place votes for the classes with its objectness; the sum of the votes is the picture's logits. So the classes are
  learnt from the picture's label where the cell is found.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from train.fit.recipe import ModelRecipe
from train.networks.picture import PictureTask, cell_box

ANCHORS_PER_PLACE = 3
RAW = 5
"""Values of an anchor beside its classes."""

IGNORED_OVERLAP = 0.7
"""As in the authors' files: an anchor that overlaps the cell so much is no error, though another is the best."""

PRIOR = 0.01
"""Objectness that every place begins with (Lin et al. 2017, arXiv:1708.02002): most places hold nothing."""

Boxes = npt.NDArray[np.float32]


class Head(NamedTuple):
    """One of a detector's maps.

    Attributes:
        raw: (N, h, w, 3 · (5 + classes)).
        anchors: (width, height) of its three, as shares of the side.
    """

    raw: Any
    anchors: tuple[tuple[float, float], ...]


def head(x: Any, classes: int, name: str) -> Any:
    """The last convolution of a head, which begins with finding nothing."""
    each = RAW + classes
    bias = np.zeros(ANCHORS_PER_PLACE * each, np.float32)
    bias[4::each] = -np.log(1 / PRIOR - 1)
    return keras.layers.Conv2D(
        ANCHORS_PER_PLACE * each, 1, bias_initializer=keras.initializers.Constant(bias.tolist()), name=name
    )(x)


def detector(pixels: Any, heads: Sequence[Head], classes: int, recipe: ModelRecipe, name: str) -> keras.Model:
    """The whole network: from the picture to the probabilities of the classes.

    Args:
        pixels: the input.
        heads: the detector's maps.
        classes: how many.
    """
    places = [keras.layers.Reshape((-1, RAW + classes))(each.raw) for each in heads]
    votes = [keras.ops.sum(keras.ops.sigmoid(p[..., 4:5]) * p[..., RAW:], axis=1) for p in places]
    logits = keras.layers.Add(name="votes")(votes) if len(votes) > 1 else votes[0]
    finding = FindsTheCell.of(recipe, name="finds_the_cell")
    finding.grids = [[*each.raw.shape[1:3], each.anchors] for each in heads]
    logits = finding([pixels, logits, *places])
    return keras.Model(pixels, keras.layers.Softmax(name="probabilities")(logits), name=name)


def found(model: keras.Model, inputs: Any) -> Boxes:
    """The box of the place that is surest of a cell.

    Args:
        model: of `detector`.
        inputs: (N, size, size, 3) in its own range.

    Returns:
        (N, 4) float32: x and y of the middle, width and height, as shares of the side.
    """
    layer = model.get_layer("finds_the_cell")
    seen = keras.Model(model.input, layer.input)(inputs)
    boxes, objectness = layer.boxes(seen[2:])
    surest = np.argmax(keras.ops.convert_to_numpy(objectness), axis=1)
    all_boxes = np.asarray(keras.ops.convert_to_numpy(boxes), np.float32)
    return np.take_along_axis(all_boxes, surest[:, np.newaxis, np.newaxis], axis=1)[:, 0]


def _priors(grids: Sequence[Any]) -> Boxes:
    """(P, 6) float32 of each place and anchor: the place's corner and size, the anchor's size; shares of the side."""
    rows = [
        [x / width, y / height, 1 / width, 1 / height, *anchor]
        for height, width, anchors in grids
        for y in range(height)
        for x in range(width)
        for anchor in anchors
    ]
    return np.array(rows, np.float32)


@keras.saving.register_keras_serializable("leukoscope")
class FindsTheCell(PictureTask):
    """The detector's second loss: where the cell is. Inputs: picture, logits, then (N, places, 5 + classes) a head.

    Attributes:
        grids: of each head its height, width and anchors.
    """

    def __init__(self, *arguments: Any, grids: Sequence[Any] = (), **more: Any):
        super().__init__(*arguments, **more)
        self.grids = list(grids)

    def boxes(self, places: Sequence[Any]) -> tuple[Any, Any]:
        """(N, P, 4) boxes as shares of the side, and (N, P) logits of objectness, of all heads."""
        raw = keras.ops.concatenate([keras.ops.cast(p, "float32") for p in places], axis=1)
        prior = keras.ops.convert_to_tensor(_priors(self.grids))
        middle = prior[:, :2] + keras.ops.sigmoid(raw[..., :2]) * prior[:, 2:4]
        size = keras.ops.exp(keras.ops.clip(raw[..., 2:4], -8.0, 8.0)) * prior[:, 4:]
        return keras.ops.concatenate([middle, size], axis=-1), raw[..., 4]

    def task_loss(self, picture: Any, judged: list[Any]) -> Any:
        """Of the best place 1 - CIoU, of all places the cross-entropy of objectness; mean over the pictures."""
        boxes, objectness = self.boxes(judged[1:])
        cell = cell_box(picture, self.low, self.high)[:, np.newaxis]
        best = self._best(cell[:, 0])
        overlap, penalty = overlaps(boxes, cell)
        quiet = keras.ops.cast(overlap < IGNORED_OVERLAP, "float32") * (1 - best)
        entropy = keras.ops.softplus(objectness) * quiet + keras.ops.softplus(-objectness) * best
        located = (1 - overlap + penalty) * best
        return keras.ops.mean(keras.ops.sum(entropy + located, axis=1))

    def _best(self, cell: Any) -> Any:
        """(N, P) float32: 1 for the place that holds the cell's middle and the anchor that is most like it."""
        prior = keras.ops.convert_to_tensor(_priors(self.grids))
        anchors = prior[:, 4:]
        common = keras.ops.prod(keras.ops.minimum(cell[:, np.newaxis, 2:], anchors), axis=-1)
        both = keras.ops.prod(cell[:, 2:], axis=-1)[:, np.newaxis] + keras.ops.prod(anchors, axis=-1)
        away = (cell[:, np.newaxis, :2] - prior[:, :2]) / prior[:, 2:4]
        inside = keras.ops.all((away >= 0) & (away < 1), axis=-1)
        likeness = keras.ops.where(inside, common / (both - common), -1.0)
        return keras.ops.one_hot(keras.ops.argmax(likeness, axis=1), likeness.shape[1])

    def get_config(self) -> dict[str, Any]:
        """What a saved model needs to make this again."""
        return {**super().get_config(), "grids": self.grids}


def overlaps(boxes: Any, others: Any) -> tuple[Any, Any]:
    """Intersection over union, and what CIoU takes off it (Zheng et al. 2020, arXiv:1911.08287).

    Args:
        boxes, others: (…, 4), middle, width and height; they broadcast.

    Returns:
        Both (…).
    """
    low = keras.ops.maximum(*(b[..., :2] - b[..., 2:] / 2 for b in (boxes, others)))
    high = keras.ops.minimum(*(b[..., :2] + b[..., 2:] / 2 for b in (boxes, others)))
    common = keras.ops.prod(keras.ops.maximum(high - low, 0.0), axis=-1)
    areas = [keras.ops.prod(b[..., 2:], axis=-1) for b in (boxes, others)]
    overlap = common / (areas[0] + areas[1] - common + 1e-9)
    far_low = keras.ops.minimum(*(b[..., :2] - b[..., 2:] / 2 for b in (boxes, others)))
    far_high = keras.ops.maximum(*(b[..., :2] + b[..., 2:] / 2 for b in (boxes, others)))
    diagonal = keras.ops.sum(keras.ops.square(far_high - far_low), axis=-1) + 1e-9
    distance = keras.ops.sum(keras.ops.square(boxes[..., :2] - others[..., :2]), axis=-1)
    slopes = [keras.ops.arctan(b[..., 2] / (b[..., 3] + 1e-9)) for b in (boxes, others)]
    shape = 4 / np.pi**2 * keras.ops.square(slopes[0] - slopes[1])
    weight = keras.ops.stop_gradient(shape / (1 - overlap + shape + 1e-9))
    return overlap, distance / diagonal + weight * shape
