"""From reviewed cells to a model file with its own last layer, if that is better than the one before."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.host.text import harmless
from edge.laboratory import fit
from edge.laboratory.cells import Reviewed
from edge.laboratory.figures import Figures, Judged
from edge.laboratory.seen import Seen
from edge.model.adaptation import Adaptation, Base
from edge.model.drift import summarise
from edge.model.file import Manifest, ModelFile, write_model
from edge.model.installation.base import SIGNATURE
from edge.records import rfc3339

SURE = 0.9
"""In so large a share of bootstrap draws the new layer must be better than the old one to be taken."""

_CHANCE = 0.5
_MOST_NAMES = 20
_DIGITS = 7


@dataclass(frozen=True)
class Outcome:
    """What a fit gave.

    Attributes:
        reviewed: the cells.
        before, after: the base on the cells as they are, and the new layer on cells that were held back.
        by_specimen: whether whole specimens were held back; else cells.
        chance_of_gain: share of the draws in which it is better.
        gain: mean of AUC and balanced accuracy, after less before.
        changed: cells whose class changes: to the positive class, and to the negative.
        layer, choice: what was fitted to all cells.
        temperature: what the layer's log-odds were divided by.
        refer_below, band: below which probability cells are referred, and what that does.
        tone: see `Seen`.
    """

    reviewed: Reviewed
    before: Figures
    after: Figures
    by_specimen: bool
    chance_of_gain: float
    gain: float
    changed: tuple[int, int]
    layer: fit.Layer
    choice: fit.Choice
    temperature: float
    refer_below: float
    band: dict[str, Any]
    tone: tuple[float, ...] = ()

    @property
    def taken(self) -> bool:
        """Whether it is better, and surely enough, and surely better than chance."""
        return self.gain > 0 and self.chance_of_gain >= SURE and self._above_chance

    @property
    def _above_chance(self) -> bool:
        return self.after.intervals["auc"][0] > _CHANCE

    def reason(self) -> str:
        """Why it is not taken."""
        if self.gain > 0 and self.chance_of_gain >= SURE:
            low, high = self.after.intervals["auc"]
            return (
                f"not better than chance: AUC {self.after.auc:.3f} after ({low:.2f}–{high:.2f}); do the labels fit the "
                "pictures? review more cells"
            )
        return (
            f"not better: AUC {self.before.auc:.3f} before, {self.after.auc:.3f} after, better in "
            f"{100 * self.chance_of_gain:.0f} % of the draws (at least {100 * SURE:.0f} are needed); review more cells, "
            "or go on with the model as it is"
        )


def try_out(seen: Seen, reviewed: Reviewed) -> Outcome:
    """Fit, and compare with the base on cells that were held back."""
    held, by_specimen = fit.held_back(seen)
    base = seen.before()
    judged = Judged(seen.positive, fit.groups(seen), base, held)
    layer, choice = fit.fit(seen)
    temperature = fit.temperature(held, seen.positive)
    refer_below, band = fit.referral_band(held / temperature, seen.positive)
    up, down = int(((base < 0) & (held >= 0)).sum()), int(((base >= 0) & (held < 0)).sum())
    return Outcome(
        reviewed=reviewed,
        before=judged.figures(0),
        after=judged.figures(1),
        by_specimen=by_specimen,
        chance_of_gain=judged.chance_of_gain(0, 1),
        gain=judged.gain(0, 1),
        changed=(up, down),
        layer=layer.divided(temperature),
        choice=choice,
        temperature=temperature,
        refer_below=refer_below,
        band=band,
        tone=seen.tone,
    )


def facts(outcome: Outcome, manifest: Manifest) -> dict[str, Any]:
    """The outcome as `adapt --json` prints it and the model file keeps it."""
    reviewed = outcome.reviewed
    positive, negative = manifest.positive_label(), manifest.negative_label()
    people = Counter(cell.reviewer for cell in reviewed.cells if cell.reviewer)
    moments = sorted(cell.at for cell in reviewed.cells if cell.at)
    return {
        "reviewed": {positive: reviewed.count(True), negative: reviewed.count(False)},
        "specimens": len(reviewed.specimens()),
        "before": outcome.before.facts(),
        "after": outcome.after.facts(),
        "taken": outcome.taken,
        "held_back": "specimens" if outcome.by_specimen else "cells",
        "chance_of_gain": round(outcome.chance_of_gain, 3),
        "changed": {f"to {positive}": outcome.changed[0], f"to {negative}": outcome.changed[1]},
        "refer_below": outcome.refer_below,
        "with_band": outcome.band,
        "temperature": round(outcome.temperature, 4),
        "strength": outcome.choice.strength,
        "base_weight": outcome.choice.base_weight,
        "tone": list(outcome.tone),
        "reviewers": {harmless(name, 60): number for name, number in people.most_common(_MOST_NAMES)},
        "reviewed_from": moments[0] if moments else "",
        "reviewed_to": moments[-1] if moments else "",
        "others": reviewed.others,
        "notes": reviewed.notes,
    }


def write(base: ModelFile, outcome: Outcome, seen: Seen, file: Path) -> ModelFile:
    """Write the adapted model.

    Args:
        base: what was looked with; no adaptation in it.

    Raises:
        LeukoscopeError: the file cannot be written.
    """
    manifest, layer = base.manifest, outcome.layer
    adaptation = Adaptation(
        weights=[round(float(weight), _DIGITS) for weight in layer.weights],
        base_weight=round(layer.base_weight, _DIGITS),
        bias=round(layer.bias, _DIGITS),
        refer_below=outcome.refer_below,
        base=Base(
            name=manifest.name,
            sha256=base.sha256,
            manifest=base.members["manifest.json"].decode(),
            signature=base.members.get(SIGNATURE, b"").decode(),
        ),
        made=facts(outcome, manifest) | {"at": rfc3339(time.time_ns())},
        summary=summarise(np.asarray(seen.features[:, 0]), seen.colours),
        tone=list(outcome.tone),
    )
    return write_model(file, base.flatbuffer, manifest, base.card, adaptation)
