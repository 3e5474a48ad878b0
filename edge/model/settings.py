"""Settings of the model."""

from typing import Annotated

import msgspec
from msgspec import Meta


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which model file, and how it is run.

    Attributes:
        file: its path, or the name of an installed model; "" for the default one.
        threads: of the interpreter.
        refer_below: if the likelier class has less than this probability, the verdict is "refer";
            without it the model file's own value is used.
    """

    file: str = ""
    threads: Annotated[int, Meta(ge=1, le=16)] = 1
    refer_below: Annotated[float, Meta(ge=0, le=1)] | None = None
