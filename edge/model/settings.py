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
        directory: where `leukoscope model install` keeps the models of this box; an installed one runs in place of
            `file`.
        trusted_keys: a file of public keys, as `leukoscope model keygen` writes them; where it is set, a model that none
            of them has signed is refused.
        key_file: this box's own private key; what it adapts is signed with it.
        fetch: whether the box may bring a model from a network address, by command; only with `trusted_keys`.
    """

    file: str = ""
    threads: Annotated[int, Meta(ge=1, le=16)] = 1
    refer_below: Annotated[float, Meta(ge=0, le=1)] | None = None
    directory: str = "/var/lib/leukoscope/models"
    trusted_keys: str = ""
    key_file: str = ""
    fetch: bool = False
