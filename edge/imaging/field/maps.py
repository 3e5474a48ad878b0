"""What the planes of the cell finder's output mean, defined once for training and the box."""

CELL_STRIDE_PX = 4
"""One position of the output stands for this many pixels of the network's input in each direction."""

MASK_STRIDE_PX = 2
"""The mask is twice as fine: four planes hold its four parts, in the order of depth-to-space."""

SIDE_MULTIPLE_PX = 32
"""The input's sides are multiples of it."""

CHANNELS = 8
MASK, HEAT, SIZE, SCALE = (0, 4), 4, (5, 7), 7
"""Planes: logits of "in a white cell" (4), logit of "a cell's centre" (1), width and height (2), red cells (1)."""

SIZE_BASE_PX = 24.0
STEPS_AN_OCTAVE = 3.0
"""A length is encoded as `STEPS_AN_OCTAVE` · log2(length / `SIZE_BASE_PX`), so that int8 is as exact for small ones as
for large ones, and all planes have a similar range."""
