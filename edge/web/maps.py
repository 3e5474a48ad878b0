"""Activation maps of archived cells, drawn when they are asked for."""

from pathlib import Path

import cv2

from edge.imaging.files import read_image
from edge.imaging.preprocess import prepare
from edge.model.classifier import Classifier
from edge.model.explain import Explainer, picture
from edge.model.file import read_model
from edge.model.installed import find_model
from edge.web.faults import PageError


class Maps:
    """Draws maps with one model file; for one thread at a time.

    Args:
        model: a model file, or the name of an installed one; "" for the default one.

    Raises:
        LeukoscopeError: the file cannot be used, or it has no activation map.
    """

    def __init__(self, model: str):
        self._model = read_model(find_model(model))
        self._classifier = Classifier(self._model)
        self._explainer = Explainer(self._classifier, self._model.manifest)

    def draw(self, file: Path, sha256: str) -> bytes:
        """A PNG: the picture beside what in it speaks for which verdict.

        Args:
            file: the archived picture.
            sha256: of the model file that judged it.

        Raises:
            PageError: another model file judged it.
            ImageError: the picture cannot be read.
        """
        if sha256 != self._model.sha256:
            raise PageError("another model file judged this cell", "other_model", 404)
        pixels = read_image(file)
        prediction = self._classifier.classify(pixels)
        shown = prepare(pixels, self._model.manifest.geometry)
        drawn = picture(shown, self._explainer.evidence(), prediction, "")
        return cv2.imencode(".png", drawn[..., ::-1])[1].tobytes()
