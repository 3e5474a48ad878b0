"""From a trained run to the one model file that the box reads. Needs TensorFlow."""

import train.quiet  # noqa: F401 - before TensorFlow is loaded
