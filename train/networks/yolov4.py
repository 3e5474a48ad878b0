"""YOLOv4, as Khandekar et al. 2021 (Biomedical Signal Processing and Control 68:102690) used it to find and name blasts.

Network: Bochkovskiy, Wang & Liao 2020, arXiv:2004.10934, layer by layer as in the authors' yolov4.cfg: CSP-Darknet53,
spatial pyramid pooling, path aggregation, three heads. How one cell's box and class are learnt: `train.networks.detection`.

Choices:
- Leaky ReLU in place of Mish, see `train.networks.darknet`.
- The anchors are those of COCO, as shares of the 608 pixels that they were made for; the article does not give its own.
- Its mosaic of four pictures is left out: a picture here has one label.
- The input's side is a multiple of 32.
"""

from typing import Any

import keras

from train.fit.model import NO_WEIGHTS
from train.fit.recipe import ModelRecipe
from train.networks.darknet import beside, chain, convolution, cross_stage, enlarged
from train.networks.detection import Head, detector, head
from train.networks.start import entry, multiple_of_32, started

PARAMETERS = 64_429_405
"""Of COCO's 80 classes, running means and variances too: the numbers in the authors' yolov4.weights (257,717,640
bytes, 20 of them a header, 4 each)."""

_MADE_FOR_PX = 608
_ANCHORS_PX = (
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)
ANCHORS = tuple(tuple((w / _MADE_FOR_PX, h / _MADE_FOR_PX) for w, h in each) for each in _ANCHORS_PX)
"""Of the heads from the finest to the coarsest."""


def network(recipe: ModelRecipe, classes: int = 2) -> keras.Model:
    """From (N, size, size, 3) to (N, classes) probabilities."""
    multiple_of_32(recipe)
    pixels = entry(recipe)
    fine, middle, coarse = _necked(*_backbone(pixels))
    maps = [
        head(convolution(x, filters, 3), classes, f"head{filters}")
        for x, filters in ((fine, 256), (middle, 512), (coarse, 1024))
    ]
    heads = [Head(raw, anchors) for raw, anchors in zip(maps, ANCHORS, strict=True)]
    return detector(pixels, heads, classes, recipe, "yolov4")


def _backbone(pixels: Any) -> tuple[Any, Any, Any]:
    """CSP-Darknet53: maps at an eighth, a sixteenth and a thirty-second of the size."""
    x = cross_stage(convolution(pixels, 32, 3), 64, 1, first=True)
    fine = cross_stage(cross_stage(x, 128, 2), 256, 8)
    middle = cross_stage(fine, 512, 8)
    return fine, middle, cross_stage(middle, 1024, 4)


def _necked(fine: Any, middle: Any, coarse: Any) -> tuple[Any, Any, Any]:
    """Spatial pyramid pooling of the coarse map, then context downwards and detail upwards again."""
    x = chain(coarse, 512, 1024, 512)
    pooled = [keras.layers.MaxPooling2D(side, 1, "same")(x) for side in (13, 9, 5)]
    coarse = chain(beside(*pooled, x), 512, 1024, 512)
    x = beside(convolution(middle, 256, 1), enlarged(convolution(coarse, 256, 1)))
    middle = chain(x, 256, 512, 256, 512, 256)
    x = beside(convolution(fine, 128, 1), enlarged(convolution(middle, 128, 1)))
    fine = chain(x, 128, 256, 128, 256, 128)
    middle = chain(beside(convolution(fine, 256, 3, strides=2), middle), 256, 512, 256, 512, 256)
    coarse = chain(beside(convolution(middle, 512, 3, strides=2), coarse), 512, 1024, 512, 1024, 512)
    return fine, middle, coarse


def build(recipe: ModelRecipe, weights: str = NO_WEIGHTS) -> keras.Model:
    """The network for two classes; see `train.networks.start.started`."""
    return started(network(recipe), recipe, weights)
