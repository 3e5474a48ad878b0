"""Loads TensorFlow without its messages: imported before anything that needs it.

They tell a user nothing: which instructions the processor has, that there is no GPU, that a function is traced again.
"""

import logging
import warnings

from edge.host.noise import quiet, without_noise

quiet()
with without_noise():
    import keras  # noqa: F401 - loads the backend

for _name in ("tensorflow", "absl", "matplotlib", "matplotlib.font_manager", "fontTools"):
    logging.getLogger(_name).setLevel(logging.ERROR)
# Keras 3 asks NumPy 2 for an array in the way of NumPy 1.
warnings.filterwarnings(
    "ignore", "__array__ implementation doesn't accept a copy keyword", DeprecationWarning
)
