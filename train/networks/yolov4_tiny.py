"""YOLOv4-tiny: the YOLOv4 authors' own small network, layer by layer as in their yolov4-tiny.cfg, for two cores.

How one cell's box and class are learnt, and the choices that go with it: `train.networks.detection` and
`train.networks.yolov4`.
"""

from typing import Any

import keras

from train.fit.model import NO_WEIGHTS
from train.fit.recipe import ModelRecipe
from train.networks.darknet import beside, convolution, enlarged
from train.networks.detection import Head, detector, head
from train.networks.start import entry, multiple_of_32, started

PARAMETERS = 6_062_814
"""Of COCO's 80 classes, running means and variances too: the numbers in the authors' yolov4-tiny.weights."""

_MADE_FOR_PX = 416
_ANCHORS_PX = (((23, 27), (37, 58), (81, 82)), ((81, 82), (135, 169), (344, 319)))
ANCHORS = tuple(tuple((w / _MADE_FOR_PX, h / _MADE_FOR_PX) for w, h in each) for each in _ANCHORS_PX)
"""Of the finer and the coarser head; as in the file, one anchor is both's."""


def network(recipe: ModelRecipe, classes: int = 2) -> keras.Model:
    """From (N, size, size, 3) to (N, classes) probabilities."""
    multiple_of_32(recipe)
    pixels = entry(recipe)
    x = convolution(convolution(pixels, 32, 3, strides=2), 64, 3, strides=2)
    for filters in (64, 128, 256):
        x, fine = _partial(x, filters)
    coarse = convolution(convolution(x, 512, 3), 256, 1)
    fine = convolution(beside(enlarged(convolution(coarse, 128, 1)), fine), 256, 3)
    maps = [head(fine, classes, "head256"), head(convolution(coarse, 512, 3), classes, "head512")]
    heads = [Head(raw, anchors) for raw, anchors in zip(maps, ANCHORS, strict=True)]
    return detector(pixels, heads, classes, recipe, "yolov4_tiny")


def _partial(x: Any, filters: int) -> tuple[Any, Any]:
    """A stage: half of the channels through two convolutions; its pooled output, and the map before the last joint."""
    x = convolution(x, filters, 3)
    first = convolution(x[..., filters // 2 :], filters // 2, 3)
    joined = convolution(beside(convolution(first, filters // 2, 3), first), filters, 1)
    return keras.layers.MaxPooling2D(2)(beside(x, joined)), joined


def build(recipe: ModelRecipe, weights: str = NO_WEIGHTS) -> keras.Model:
    """The network for two classes; see `train.networks.start.started`."""
    return started(network(recipe), recipe, weights)
