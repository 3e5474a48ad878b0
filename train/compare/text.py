"""A comparison on the terminal."""

from collections.abc import Sequence
from typing import Any

from train.compare.figures import DIFFERENCES, NEW, TEST, Contestant
from train.evaluate import camera

_ROW = (
    "accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "precision",
    "recall",
    "f1",
    "auc",
    "auc_hard_labels",
)
_HEADS = ("accuracy", "mean P", "mean R", "mean F1", "ALL P", "ALL R", "ALL F1", "AUC", "AUC hard")


def text(contestants: Sequence[Contestant], found: Sequence[dict[str, Any]], first: str = "") -> str:
    """Figures, noise, other cameras, differences and cost, a table each.

    Args:
        found: the differences.
        first: a sentence that stands before the tables.
    """
    parts = [first] if first else []
    parts += [_figures(contestants, which) for which in (TEST, NEW) if which in contestants[0].rows]
    parts += [_noise(contestants), _cameras(contestants)]
    parts += [_differences(found)] if found else []
    return "\n\n".join([*parts, _cost(contestants)])


def _figures(contestants: Sequence[Contestant], which: str) -> str:
    n = contestants[0].rows[which][0]["n"]
    lines = [[c.name, *(_number(c.rows[which][0][key]) for key in _ROW)] for c in contestants]
    return _table((f"{which}, {n} cells", *_HEADS), lines)


def _noise(contestants: Sequence[Contestant]) -> str:
    levels = [f"σ {row['sigma']:g}" for row in contestants[0].rows[TEST]]
    lines = [[c.name, *(_number(row["accuracy"]) for row in c.rows[TEST])] for c in contestants]
    return _table((f"accuracy on the {TEST} under noise", *levels), lines)


def _cameras(contestants: Sequence[Contestant]) -> str:
    lines = []
    for c in contestants:
        worst = camera.worst(c.suite)
        lines.append(
            [
                c.name,
                _number(c.suite[camera.CLEAN]["auc"]),
                _number(c.suite[worst]["auc"] if worst else None),
                worst,
            ]
        )
    return _table(("other cameras", "AUC clean", "worst AUC", "where"), lines)


def _differences(found: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in found:
        for name in ("accuracy", "auc"):
            each = row["figures"][name]
            values = (
                _signed(each["difference"]),
                _interval(each["over_patients"]),
                _interval(each["over_cells"]),
            )
            lines.append([f"{row['run']} less {row['less']}, {row['cells']}", name, *values])
    assert {"accuracy", "auc"} <= set(DIFFERENCES)
    return _table(("difference, 95 % intervals paired", "figure", "", "over patients", "over cells"), lines)


def _cost(contestants: Sequence[Contestant]) -> str:
    heads = ("cost", "network", "weights", "epochs", "s an epoch", "parameters", "MMAC", "int8 MB", "ms here")
    lines = []
    for c in contestants:
        facts, cost = c.facts, c.cost
        lines.append(
            [
                c.name,
                facts["network"],
                facts["weights"],
                f"{facts['epochs']}",
                _number(facts["seconds_an_epoch"], 0),
                f"{cost['parameters']:,}",
                _number(_scaled(cost["multiply_adds"], 1e-6), 1),
                _number(_scaled(cost["int8_bytes"], 1e-6), 2),
                _number(_scaled(cost["latency_ms"], 1), 2),
            ]
        )
    return _table(heads, lines)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


def _interval(interval: Sequence[float] | None) -> str:
    return "–" if interval is None else f"{interval[0]:+.3f} … {interval[1]:+.3f}"


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as what is in them, the first to the left, the others to the right."""
    rows = [heads, *lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ).rstrip()
