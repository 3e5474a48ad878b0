"""The model that an adaptation was made of, out of the adapted file."""

import msgspec

from edge.errors import InputError
from edge.model.file import Manifest, ModelFile

SIGNATURE = "signature"
"""Name of the member of the archive that holds the signature."""

_KEPT = ("labels.txt", "card.md")


def base_of(model: ModelFile) -> ModelFile:
    """The model itself, or the base of an adapted one.

    Raises:
        InputError: the base in it cannot be read.
    """
    if model.adaptation is None:
        return model
    base = model.adaptation.base
    try:
        manifest = msgspec.json.decode(base.manifest, type=Manifest)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InputError(f"{model.path}: the base in its adaptation cannot be read: {error}") from error
    if (
        manifest.flatbuffer_sha256 != model.manifest.flatbuffer_sha256
        or manifest.labels != model.manifest.labels
    ):
        raise InputError(f"{model.path}: its adaptation was made of another model; the file was altered")
    members = {name: model.members[name] for name in _KEPT}
    members["manifest.json"] = base.manifest.encode()
    if base.signature:
        members[SIGNATURE] = base.signature.encode()
    return ModelFile(model.path, manifest, model.flatbuffer, model.card, base.sha256, None, members)
