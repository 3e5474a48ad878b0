"""Settings of the quality gate."""

from typing import Annotated

import msgspec
from msgspec import Meta


class QualitySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a crop is referred whatever the network's output; metrics as in `edge.imaging.quality.measure`.

    Attributes:
        min_stained: less is no cell, or one that is not in the middle; 0 for no limit.
        min_sharpness: less is out of focus; 0 for no limit.
        min_brightness: less is underexposed, levels; 0 for no limit.
        max_brightness: more is overexposed, levels; 255 for no limit.
        max_saturated: more is overexposed; 1 for no limit.
    """

    min_stained: Annotated[float, Meta(ge=0, le=1)] = 0.2
    min_sharpness: Annotated[float, Meta(ge=0, le=10)] = 0.5
    min_brightness: Annotated[float, Meta(ge=0, le=255)] = 40.0
    max_brightness: Annotated[float, Meta(ge=0, le=255)] = 235.0
    max_saturated: Annotated[float, Meta(ge=0, le=1)] = 0.5
