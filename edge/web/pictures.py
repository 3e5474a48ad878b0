"""Pictures of archived cells, and where their verdicts come from."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from edge.logger.pictures import archived
from edge.model.settings import ModelSettings
from edge.records import Record
from edge.web.faults import PageError

if TYPE_CHECKING:
    from edge.web.maps import Maps


class Pictures:
    """The archive of the box.

    Args:
        folder: of the archive.
        model: settings of the model.
    """

    def __init__(self, folder: Path, model: ModelSettings):
        self._folder, self._model = folder, model
        self._maps: Maps | None = None
        self._lock = threading.Lock()

    def file(self, record: Record) -> Path | None:
        """The archived picture; None if there is none. A record's own text never leads out of the archive."""
        return archived(self._folder, record.image)

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
            from edge.web.maps import Maps

            if self._maps is None or self._maps.sha256 != record.model.sha256:
                self._maps = Maps(record.model.sha256, self._model)
            return self._maps.draw(file)
