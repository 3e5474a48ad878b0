"""What the network sees in reviewed cells: pooled features and the base's log-odds, of each cell in four positions, with
the strength of the laboratory's stain brought to that of the training."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge.errors import InputError
from edge.imaging.archived import archived_crop
from edge.imaging.colours import colours, tone_of, tone_table, toned
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import prepare
from edge.imaging.quality import halved
from edge.laboratory.cells import Reviewed
from edge.model.classifier import Classifier
from edge.model.drift import colour_distances
from edge.model.file import ModelFile

TURNS = 4
"""A cell has no upper side: shown in four positions it counts as four quarters, which costs a millisecond a cell."""

TURNED_UP_TO = 500
"""Of more cells, each is shown once: there is enough to see."""

TONED_BY = 300
"""So many cells, evenly drawn, tell the strength of the stain; each is read once more for it."""


@dataclass(frozen=True)
class Seen:
    """N cells in V positions.

    Attributes:
        features: (N, V, F) float32.
        base: (N, V) float64, the base's log-odds of the positive class.
        positive: (N,) bool.
        specimen: (N,) str.
        colours: (M, 6) float32, the colour figures of those that have any, as the camera shows them.
        tone: the exponents with which they were shown, see `edge.imaging.colours`; empty for as they are.
        untoned: (N,) float64, the base's log-odds of each as it is; None where `tone` is empty.
        trained: (F,) float64, the mean features of what the base was trained on; None where they are not known.
    """

    features: npt.NDArray[np.float32]
    base: npt.NDArray[np.float64]
    positive: npt.NDArray[np.bool_]
    specimen: npt.NDArray[np.str_]
    colours: npt.NDArray[np.float32] | None = None
    tone: tuple[float, ...] = ()
    untoned: npt.NDArray[np.float64] | None = None
    trained: npt.NDArray[np.float64] | None = None

    def of(self, rows: npt.NDArray[np.intp]) -> "Seen":
        """Some of the cells."""
        return replace(
            self,
            features=self.features[rows],
            base=self.base[rows],
            positive=self.positive[rows],
            specimen=self.specimen[rows],
            untoned=None if self.untoned is None else self.untoned[rows],
        )

    def before(self) -> npt.NDArray[np.float64]:
        """(N,) log-odds of the base on each cell as it is: what runs without an adaptation."""
        return self.base[:, 0] if self.untoned is None else self.untoned

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

    def crop_of(picture: Path) -> Pixels:
        if reviewed.square:
            return archived_crop(picture, geometry, black)
        return prepare(read_image(picture), geometry)

    def crops() -> Iterator[Pixels]:
        for cell in reviewed.cells:
            yield crop_of(cell.picture)
            step()

    def of_the_stain() -> Iterator[Pixels]:
        every = max(1, len(reviewed.cells) // TONED_BY)
        yield from (crop_of(cell.picture) for cell in reviewed.cells[::every])
        for picture in reviewed.unreviewed:
            with contextlib.suppress(InputError):  # the archive has removed it meanwhile
                yield crop_of(picture)

    tone = tone_for(model, of_the_stain())
    positive = np.array([cell.positive for cell in reviewed.cells])
    specimen = np.array([cell.specimen for cell in reviewed.cells])
    return of_crops(model, crops(), positive, specimen, threads, tone)


def tone_for(model: ModelFile, crops: Iterable[Pixels]) -> tuple[float, ...]:
    """The exponents that bring the stain of some cells to that of the model's training; nobody need have reviewed them.

    Args:
        crops: (size, size, 3) uint8 RGB each.

    Returns:
        Three; none where the model does not tell the colours of its training, or the cells are no farther from them than the
        drift's threshold: the patients of one laboratory differ too, and that is no stain.
    """
    summary = model.manifest.drift
    if summary is None or not summary.colour_mean:
        return ()
    shown = [found for crop in crops if (found := colours(halved(crop))) is not None]
    if not shown:
        return ()
    mean = np.mean(shown, axis=0)
    if colour_distances(summary, mean).max() <= summary.colour_threshold:
        return ()
    return tone_of(summary.colour_mean, mean.tolist())


def of_crops(
    model: ModelFile,
    crops: Iterable[Pixels],
    positive: npt.NDArray[np.bool_],
    specimen: npt.NDArray[np.str_],
    threads: int = 1,
    tone: tuple[float, ...] = (),
) -> Seen:
    """Show the network N crops, (size, size, 3) uint8 RGB each, with a tone; see `look`."""
    classifier, turns = Classifier(model, threads), TURNS if len(positive) <= TURNED_UP_TO else 1
    table = tone_table(tone) if tone else None
    features, base, untoned, shown = [], [], [], []
    for crop in crops:
        as_it_is = _look(classifier, crop, model)
        untoned.append(as_it_is.log_odds)
        if (figures := colours(halved(crop))) is not None:
            shown.append(figures)
        shown_as = crop if table is None else toned(crop, table)
        views = [as_it_is if table is None else _look(classifier, shown_as, model)]
        turned = (np.ascontiguousarray(np.rot90(shown_as, turn)) for turn in range(1, turns))
        views += [_look(classifier, each, model) for each in turned]
        features.append([view.features for view in views])
        base.append([view.log_odds for view in views])
    return Seen(
        np.asarray(features, np.float32),
        np.asarray(base, np.float64),
        positive,
        specimen,
        np.asarray(shown, np.float32),
        tone,
        np.asarray(untoned, np.float64) if tone else None,
        np.asarray(summary.mean) if (summary := model.manifest.drift) is not None else None,
    )


class _View(NamedTuple):
    features: npt.NDArray[np.float32]
    log_odds: float


def _look(classifier: Classifier, crop: Pixels, model: ModelFile) -> _View:
    prediction = classifier.classify_crop(crop)
    probability = prediction.probabilities[model.manifest.positive_label()]
    assert prediction.features is not None
    return _View(prediction.features, float(np.log(probability / (1 - probability))))
