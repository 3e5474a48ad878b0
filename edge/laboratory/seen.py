"""What the network sees in reviewed cells: pooled features and the base's log-odds, of each cell in four positions."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.errors import InputError
from edge.imaging.archived import archived_crop
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import prepare
from edge.laboratory.cells import Reviewed
from edge.model.classifier import Classifier
from edge.model.file import ModelFile

TURNS = 4
"""A cell has no upper side: shown in four positions it counts as four quarters, which costs a millisecond a cell."""

TURNED_UP_TO = 500
"""Of more cells, each is shown once: there is enough to see."""


@dataclass(frozen=True)
class Seen:
    """N cells in V positions.

    Attributes:
        features: (N, V, F) float32.
        base: (N, V) float64, the base's log-odds of the positive class.
        positive: (N,) bool.
        specimen: (N,) str.
    """

    features: npt.NDArray[np.float32]
    base: npt.NDArray[np.float64]
    positive: npt.NDArray[np.bool_]
    specimen: npt.NDArray[np.str_]

    def of(self, rows: npt.NDArray[np.intp]) -> "Seen":
        """Some of the cells."""
        return Seen(self.features[rows], self.base[rows], self.positive[rows], self.specimen[rows])

    def __len__(self) -> int:
        return len(self.positive)


def look(
    model: ModelFile,
    reviewed: Reviewed,
    black: bool = False,
    step: Callable[[], None] = lambda: None,
    threads: int = 1,
) -> Seen:
    """Show the network every cell.

    Args:
        model: the base; an adaptation of it is not looked at.
        reviewed: the cells.
        black: of an archive's pictures, blacken all but the cell first, as [camera] background = "black" does.
        step: called after each cell.
        threads: of the interpreter.

    Raises:
        InputError: the model gives no features, or a picture cannot be read.
    """
    if model.manifest.features() is None:
        raise InputError(
            f"{model.path}: this model does not give its pooled features, so nothing can be fitted to them; export it "
            "anew with leukoscope export, or adapt one of `leukoscope model list`"
        )
    geometry = model.manifest.geometry

    def crops() -> Iterator[Pixels]:
        for cell in reviewed.cells:
            if reviewed.square:
                yield archived_crop(cell.picture, geometry, black)
            else:
                yield prepare(read_image(cell.picture), geometry)
            step()

    positive = np.array([cell.positive for cell in reviewed.cells])
    specimen = np.array([cell.specimen for cell in reviewed.cells])
    return of_crops(model, crops(), positive, specimen, threads)


def of_crops(
    model: ModelFile,
    crops: Iterable[Pixels],
    positive: npt.NDArray[np.bool_],
    specimen: npt.NDArray[np.str_],
    threads: int = 1,
) -> Seen:
    """Show the network N crops, (size, size, 3) uint8 RGB each; see `look`."""
    classifier, turns = Classifier(model, threads), TURNS if len(positive) <= TURNED_UP_TO else 1
    features, base = [], []
    for crop in crops:
        views = [
            _look(classifier, np.ascontiguousarray(np.rot90(crop, turn)), model) for turn in range(turns)
        ]
        features.append([view[0] for view in views])
        base.append([view[1] for view in views])
    return Seen(np.asarray(features, np.float32), np.asarray(base, np.float64), positive, specimen)


def _look(classifier: Classifier, crop: Pixels, model: ModelFile) -> tuple[npt.NDArray[np.float32], float]:
    probability = classifier.classify_crop(crop).probabilities[model.manifest.positive_label()]
    features = classifier.features()
    assert features is not None
    return features, float(np.log(probability / (1 - probability)))
