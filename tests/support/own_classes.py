"""The model that ships, with other names for its classes."""

from pathlib import Path

import msgspec

from edge.model.file import ModelFile, read_model, write_model

POSITIVE, NEGATIVE = "blast", "normal cell"


def own_model(path: Path, shipped: Path) -> ModelFile:
    """Write it; its positive class is `POSITIVE`."""
    model = read_model(shipped)
    names = {"ALL": POSITIVE, "HEM": NEGATIVE}
    labels = [names[label] for label in model.manifest.labels]
    manifest = msgspec.structs.replace(model.manifest, labels=labels, positive=POSITIVE, name="own")
    return write_model(path, model.flatbuffer, manifest, model.card)
