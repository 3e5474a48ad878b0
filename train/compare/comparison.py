"""Everything that a comparison is made of, and its JSON document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from train.compare.figures import NEW, TEST, Contestant
from train.compare.lead import sentence
from train.data.dataset import OFFICIAL_CLASSES, Classes
from train.evaluate import paper


@dataclass(frozen=True)
class Comparison:
    """Everything that a comparison is made of.

    Attributes:
        contestants: the first is what the others are compared with.
        differences: of `train.compare.figures.differences`.
        fold: the official fold if it is an image split of one; else None.
        same_patients: whether the test cells are of patients that trained.
        machine: where the latency was measured, in words.
        notes: what the reader must know first.
        lead: of `train.compare.lead.lead`.
        facts: how it was made, by name.
        classes: of the data.
    """

    contestants: Sequence[Contestant]
    differences: Sequence[dict[str, Any]]
    fold: int | None
    same_patients: bool
    machine: str
    notes: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    classes: Classes = OFFICIAL_CLASSES
    lead: dict[str, Any] | None = None

    def sentence(self) -> str:
        """Who is ahead, and whether that is more than chance; "" if that is not known."""
        return sentence(self.lead) if self.lead else ""

    def json(self) -> dict[str, Any]:
        """As `compare --json` prints it."""
        return {
            "fold": self.fold,
            "machine": self.machine,
            "notes": list(self.notes),
            "lead": self.lead,
            "runs": [
                {"run": c.name, **c.facts, **c.cost, TEST.replace(" ", "_"): c.rows[TEST]}
                | ({NEW.replace(" ", "_"): c.rows[NEW]} if NEW in c.rows else {})
                | {"camera": dict(c.suite)}
                for c in self.contestants
            ],
            "differences": list(self.differences),
            "paper": {
                "rivals": [row._asdict() for row in paper.RIVALS],
                "mobilenet_m": {f"{sigma:g}": row._asdict() for sigma, row in self._paper_rows().items()},
            },
            "facts": dict(self.facts),
        }

    def _paper_rows(self) -> dict[float, paper.PaperRow]:
        return {} if self.fold is None else paper.RESULTS[self.fold]
