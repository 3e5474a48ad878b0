"""Settings of specimens."""

from typing import Annotated

import msgspec
from msgspec import Meta

LARGEST_TARGET = 1_000_000
Target = Annotated[int, Meta(ge=1, le=LARGEST_TARGET)]
"""White cells to count."""


class SpecimenSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a specimen is counted.

    Attributes:
        target: white cells to count, unless whoever starts the specimen says otherwise.
    """

    target: Target = 200
