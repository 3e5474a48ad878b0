"""Loads TensorFlow without its messages: imported before anything that needs it.

They are of no use to a user: the processor's instructions, that there is no GPU, that a function is traced again.
"""

import logging
import warnings

from edge.host.terminal.console import waiting
from edge.host.terminal.noise import quiet, without_noise

_LOGGERS = ("tensorflow", "absl", "matplotlib", "matplotlib.font_manager", "fontTools")


def _raise_levels() -> None:
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


quiet()
_raise_levels()
with waiting("loading TensorFlow"), without_noise():
    import keras  # noqa: F401 - loads the backend
_raise_levels()  # what the backend set is of no use here
# Keras 3 asks NumPy 2 for an array in the way of NumPy 1.
warnings.filterwarnings(
    "ignore", "__array__ implementation doesn't accept a copy keyword", DeprecationWarning
)
