"""What a new model says of the pictures that the box has kept: which verdicts change, and how fast it is."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.errors import LeukoscopeError
from edge.model.classifier import Classifier, Prediction
from edge.model.file import ModelFile

PICTURES = 100
"""The newest so many of the archive: some seconds on a Raspberry Pi."""

SLOWER, SLOW_MS = 5.0, 50.0
"""A model that takes so many times as long as the one before, and so many milliseconds, does not fit this box."""


@dataclass(frozen=True)
class Comparison:
    """Two models on the same pictures.

    Attributes:
        pictures: how many.
        changed: from verdict to verdict, how often.
        moved: mean change of the probability of the positive class.
        before_ms, after_ms: median of the network's time.
    """

    pictures: int
    changed: dict[str, int] = field(default_factory=dict)
    moved: float = 0.0
    before_ms: float = 0.0
    after_ms: float = 0.0

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "pictures": self.pictures,
            "verdicts_that_change": self.changed,
            "mean_change_of_probability": round(self.moved, 4),
            "before_ms": round(self.before_ms, 3),
            "after_ms": round(self.after_ms, 3),
        }

    def words(self) -> str:
        """One line for a log."""
        if not self.pictures:
            return "no picture of the archive to try it on"
        changes = ", ".join(f"{number} {way}" for way, number in self.changed.items()) or "none"
        return (
            f"on the last {self.pictures} pictures, verdicts that change: {changes}; the probability moves by "
            f"{self.moved:.2f} on average; {self.after_ms:.1f} ms a cell, before {self.before_ms:.1f} ms"
        )


def newest_pictures(folder: Path, count: int = PICTURES) -> list[Path]:
    """The newest pictures of an archive, `<day>/<record id>.png`; days and ids sort by time."""
    found: list[Path] = []
    days = (
        sorted((path for path in folder.iterdir() if path.is_dir()), reverse=True) if folder.is_dir() else []
    )
    for day in days:
        pictures = sorted((p for p in day.glob("*.png") if not p.name.startswith(".")), reverse=True)
        found += pictures[: count - len(found)]
        if len(found) >= count:
            break
    return found


def compare(before: ModelFile, after: ModelFile, folder: Path, black: bool) -> Comparison:
    """Show both models the newest pictures of the archive.

    Args:
        before: what runs.
        after: what is to run.
        folder: of the archive.
        black: as [camera] background.

    Raises:
        LeukoscopeError: the new model cannot be run, or is far slower than the one before.
    """
    import statistics  # both late: only who installs a model needs them

    from edge.imaging.archived import archived_crop

    old, new = Classifier(before), Classifier(after)
    positive = after.manifest.positive_label()
    pairs: list[tuple[Prediction, Prediction]] = []
    for picture in newest_pictures(folder):
        try:
            shown = archived_crop(picture, before.manifest.geometry, black)
        except LeukoscopeError:  # damaged, or removed in the meantime
            continue
        pairs.append((old.classify_crop(shown), new.classify_crop(shown)))
    if not pairs:
        return Comparison(0)
    ways = Counter(f"{a.verdict} → {b.verdict}" for a, b in pairs if a.verdict != b.verdict)
    moved = statistics.fmean(abs(a.probabilities[positive] - b.probabilities[positive]) for a, b in pairs)
    before_ms, after_ms = (
        statistics.median(side.timings_ms["invoke"] for side in sides) for sides in zip(*pairs, strict=True)
    )
    if after_ms > SLOW_MS and after_ms > SLOWER * before_ms:
        raise LeukoscopeError(
            f"{after.path}: {after_ms:.0f} ms a cell on this box, {before_ms:.0f} ms before; it is too slow"
        )
    return Comparison(len(pairs), dict(ways.most_common()), moved, before_ms, after_ms)
