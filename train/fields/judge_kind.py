"""The gate on typed validation cells."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from edge.model.fields import KindGate
from edge.model.finder import CellFinder
from edge.model.network import Network, read_network, shipped_network
from train.fields.folders import Folders
from train.fields.kind import pictures_of
from train.fields.kind_cells import LYMPHOID, KindCell, of_fields, of_typed
from train.fields.labelled import side_of


def judge_kind(folders: Folders, finder: CellFinder, file: Path | None = None) -> dict[str, Any]:
    """What the gate says of the validation part of typed cells: by type, and of lymphoid and others as a whole."""
    assert folders.typed is not None
    gate = KindGate(Network(read_network(file or shipped_network("kind"), "kind")))
    cells = of_typed(folders.typed, finder, "validation")
    if folders.fields is not None:
        cells += of_fields(side_of(folders.listed(), "validation"), finder, "raabin")
    return summary(gate, cells)


def summary(gate: KindGate, cells: list[KindCell]) -> dict[str, Any]:
    """Counts of each kind that was told, by set and type; the share of lymphoid kept and of others named."""
    told = [kind for kind, _ in gate.ask(list(pictures_of(cells)))]
    by_type: dict[str, Counter[str]] = defaultdict(Counter)
    for cell, kind in zip(cells, told, strict=True):
        by_type[f"{cell.set} {cell.type}"][kind] += 1
    shares = {}
    for name in sorted({cell.set for cell in cells}):
        mine = [(cell.label, kind) for cell, kind in zip(cells, told, strict=True) if cell.set == name]
        lymphoid = [kind for label, kind in mine if label == LYMPHOID]
        others = [kind for label, kind in mine if label != LYMPHOID]
        shares[name] = {
            "lymphoid_kept": round(lymphoid.count("lymphoid") / max(1, len(lymphoid)), 4),
            "lymphoid_named_other": round(lymphoid.count("other") / max(1, len(lymphoid)), 4),
            "others_named": round(others.count("other") / max(1, len(others)), 4),
            "lymphoid": len(lymphoid),
            "others": len(others),
        }
    return {"kind": {key: dict(counts) for key, counts in by_type.items()}, "shares": shares}
