"""Settings of the health messages."""

from typing import Annotated

import msgspec
from msgspec import Meta


class HealthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often health is published.

    Attributes:
        interval_s: seconds.
    """

    interval_s: Annotated[float, Meta(ge=1, le=3600)] = 10.0
