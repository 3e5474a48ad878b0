"""Pictures of archived cells, and where their verdicts come from."""

import threading
from pathlib import Path

import cv2

from edge.imaging.files import read_image
from edge.imaging.preprocess import Geometry, prepare
from edge.model.classifier import Classifier
from edge.model.explain import Explainer, picture
from edge.model.file import read_model
from edge.model.installed import find_model
from edge.records import Record
from edge.web.faults import PageError

LARGEST_PICTURE_BYTES = 16 * 2**20


class Pictures:
    """The archive of the box.

    Args:
        folder: of the archive.
        model: the model file of the box, or "" for the default one.
    """

    def __init__(self, folder: Path, model: str):
        self._folder, self._model = folder, model
        self._explainer: tuple[Classifier, Explainer] | None = None
        self._lock = threading.Lock()
        self._sha256 = ""
        self._geometry = Geometry(crop=1, size=1)

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
        """A PNG: the cell, and what in it speaks for ALL (red) and for HEM (blue).

        Raises:
            PageError: there is no picture, or another model file judged it.
            LeukoscopeError: the model file cannot be used, or it has no activation map.
        """
        file = self.file(record)
        if file is None:
            raise PageError("the picture of this cell was not kept", "picture", 404)
        with self._lock:  # one interpreter
            classifier, explainer = self._ready(record)
            frame = read_image(file)
            prediction = classifier.classify(frame)
            drawn = picture(prepare(frame, self._geometry), explainer.evidence(), prediction, "")
        return cv2.imencode(".png", drawn[..., ::-1])[1].tobytes()

    def _ready(self, record: Record) -> tuple[Classifier, Explainer]:
        if self._explainer is None:
            model = read_model(find_model(self._model))
            classifier = Classifier(model)
            self._explainer = classifier, Explainer(classifier, model.manifest)
            self._sha256, self._geometry = model.sha256, model.manifest.geometry
        if record.model.sha256 != self._sha256:
            raise PageError("another model file judged this cell", "other_model", 404)
        return self._explainer
