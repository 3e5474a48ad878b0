"""The building blocks of YOLO's networks: Darknet's convolution and the cross-stage partial block.

CSP: Wang et al. 2019, arXiv:1911.11929. Mish, which YOLOv4's backbone has, is no int8 operator of TFLite; all
convolutions have the leaky ReLU of the authors' own variant, yolov4-leaky.
"""

from typing import Any

import keras

_LEAK = 0.1
_EPSILON = 1e-5
"""Of the batch normalisation, as in Darknet."""


def convolution(x: Any, filters: int, side: int, strides: int = 1) -> Any:
    """Convolution without bias, batch normalisation, leaky ReLU."""
    x = keras.layers.Conv2D(filters, side, strides, "same", use_bias=False, kernel_initializer="he_normal")(x)
    x = keras.layers.BatchNormalization(epsilon=_EPSILON)(x)
    return keras.layers.LeakyReLU(_LEAK)(x)


def chain(x: Any, *filters: int) -> Any:
    """Convolutions one after the other, 1×1 and 3×3 in turn."""
    for number, each in enumerate(filters):
        x = convolution(x, each, 3 if number % 2 else 1)
    return x


def cross_stage(x: Any, filters: int, blocks: int, *, first: bool = False) -> Any:
    """A stage of CSP-Darknet: halved in size, then residual blocks on one part, the other part led past them.

    Args:
        blocks: residual blocks.
        first: the first stage keeps all its channels on either way.
    """
    x = convolution(x, filters, 3, strides=2)
    way = filters if first else filters // 2
    past, y = convolution(x, way, 1), convolution(x, way, 1)
    for _ in range(blocks):
        y = keras.layers.Add()([y, convolution(convolution(y, filters // 2, 1), way, 3)])
    return convolution(keras.layers.Concatenate()([convolution(y, way, 1), past]), filters, 1)


def beside(*parts: Any) -> Any:
    """Maps of the same size, their channels side by side."""
    return keras.layers.Concatenate()(list(parts))


def enlarged(x: Any) -> Any:
    """Twice as wide and high, each value repeated."""
    return keras.layers.UpSampling2D(2)(x)
