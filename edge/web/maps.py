"""Activation maps of archived cells, drawn when they are asked for."""

from pathlib import Path

import cv2

from edge.imaging.archived import archived_crop
from edge.model.classifier import Classifier
from edge.model.explain import Explainer, picture
from edge.model.file import read_model
from edge.model.installation.install import store_of
from edge.model.installed import find_model
from edge.model.settings import ModelSettings
from edge.web.faults import PageError


class Maps:
    """Draws maps with one model file; for one thread at a time.

    Args:
        sha256: of the file that judged the cells.
        settings: of the model: the file is looked for among the installed ones and as the settings name it.

    Attributes:
        sha256: see above.

    Raises:
        PageError: the file is not there any more.
        LeukoscopeError: it cannot be used, or it has no activation map.
    """

    def __init__(self, sha256: str, settings: ModelSettings):
        store = store_of(settings)
        self._model = read_model(store.file(sha256) if store.has(sha256) else find_model(settings.file))
        if self._model.sha256 != sha256:
            raise PageError("another model file judged this cell", "other_model", 404)
        self.sha256 = sha256
        self._classifier = Classifier(self._model)
        self._explainer = Explainer(self._classifier, self._model.manifest)

    def draw(self, file: Path) -> bytes:
        """A PNG: the picture beside what in it speaks for which verdict.

        Args:
            file: the archived picture.

        Raises:
            ImageError: the picture cannot be read.
        """
        shown = archived_crop(file, self._model.manifest.geometry)
        prediction = self._classifier.classify_crop(shown)
        drawn = picture(shown, self._explainer.evidence(), prediction, "")
        return cv2.imencode(".png", drawn[..., ::-1])[1].tobytes()
