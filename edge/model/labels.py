"""The classes of a model: which is the positive one, and how a model file names them, without the network's libraries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from edge.errors import InputError
from edge.model import bundle

POSITIVE = "ALL"


class _Named(msgspec.Struct):
    labels: Annotated[list[str], msgspec.Meta(min_length=2, max_length=2)]
    positive: str = ""


def positive_of(labels: Sequence[str], named: str = "") -> str:
    """The positive class, which must not be missed: the named one, else ALL, else the first."""
    return named or (POSITIVE if POSITIVE in labels else labels[0])


def read_classes(path: Path) -> tuple[str, str]:
    """The two classes of a model file, the positive one first. Only the manifest is read; nothing is checked.

    Raises:
        InputError: it is no model file.
    """
    _, members = bundle.split(bundle.read_bounded(path))
    try:
        found = msgspec.json.decode(members["manifest.json"], type=_Named)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: manifest.json: {error}") from error
    positive = positive_of(found.labels, found.positive)
    return positive, found.labels[1] if found.labels[0] == positive else found.labels[0]
