"""Studies behind the constants of the project, each a command `python -m train.studies.NAME`. It may import
everything in train, and edge.
"""

import train.quiet  # noqa: F401 - before TensorFlow is loaded
