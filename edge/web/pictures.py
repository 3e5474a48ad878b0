"""Pictures of archived cells, and where their verdicts come from."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from edge.records import Record
from edge.web.faults import PageError

if TYPE_CHECKING:
    from edge.web.maps import Maps

LARGEST_PICTURE_BYTES = 16 * 2**20


class Pictures:
    """The archive of the box.

    Args:
        folder: of the archive.
        model: the model file of the box, or "" for the default one.
    """

    def __init__(self, folder: Path, model: str):
        self._folder, self._model = folder, model
        self._maps: Maps | None = None
        self._lock = threading.Lock()

    def file(self, record: Record) -> Path | None:
        """The archived picture; None if there is none. A record's own text never leads out of the archive."""
        if record.image is None:
            return None
        try:
            file = (self._folder / record.image.name).resolve()
            inside = file.is_relative_to(self._folder.resolve()) and file.is_file()
            return file if inside and file.stat().st_size <= LARGEST_PICTURE_BYTES else None
        except (OSError, ValueError):
            return None

    def heat_map(self, record: Record) -> bytes:
        """A PNG: the cell, and what in it speaks for the positive class (red) and for the other (blue).

        Raises:
            PageError: there is no picture, or another model file judged it.
            LeukoscopeError: the model file cannot be used, or it has no activation map.
        """
        file = self.file(record)
        if file is None:
            raise PageError("the picture of this cell was not kept", "picture", 404)
        with (
            self._lock
        ):  # one interpreter; its libraries take memory, so they are loaded when a map is asked for
            if self._maps is None:
                from edge.web.maps import Maps

                self._maps = Maps(self._model)
            return self._maps.draw(file, record.model.sha256)
