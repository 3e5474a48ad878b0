"""Evaluation: predictions, metrics with intervals, cross-validation, ensembles, and the report. It may
import train.fit, train.data and edge.
"""

import train.quiet  # noqa: F401 - before TensorFlow is loaded
