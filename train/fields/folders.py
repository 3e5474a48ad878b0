"""Where the data of whole fields lies: below the folders that a command was given."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edge.errors import InputError
from train.fields.labelled import Listed, listed_fields

TYPES = ("lymphocyte", "neutrophil")
"""A folder with these in it holds cells of known type."""


@dataclass(frozen=True)
class Folders:
    """The folders that were found; None if there is none.

    Attributes:
        fields: with boxes.csv.
        smears: with Annotations and Images.
        typed: with a folder a type.
        cells: with single cells on black, C-NMC.
        masks: with NNN.png and NNN_mask.png.
    """

    fields: Path | None = None
    smears: Path | None = None
    typed: Path | None = None
    cells: Path | None = None
    masks: Path | None = None

    @classmethod
    def below(cls, given: Iterable[Path]) -> "Folders":
        """Look in the folders that were given, and in those directly below them.

        Raises:
            InputError: one of them does not exist.
        """
        found: dict[str, Path] = {}
        for folder in given:
            if not folder.is_dir():
                raise InputError(f"data {folder}: no such folder")
            for part in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())):
                for name, is_there in (
                    ("fields", (part / "boxes.csv").is_file()),
                    ("smears", (part / "Annotations").is_dir()),
                    ("typed", all((part / name).is_dir() for name in TYPES)),
                    ("cells", (part / "training_data").is_dir()),
                    ("masks", (part / "001_mask.png").is_file()),
                ):
                    if is_there:
                        found.setdefault(name, part)
        fields = found.get("fields")
        if fields is not None and (fields / "masks" / "001_mask.png").is_file():
            found.setdefault("masks", fields / "masks")
        return cls(**found)

    def listed(self) -> list[Listed]:
        """Every field with boxes.

        Raises:
            InputError: there is none.
        """
        nowhere = Path("/nonexistent")
        return listed_fields(self.fields or nowhere, self.smears or nowhere)
