"""The report of an export, beside the model file: changes by int8, calibration, activation maps."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from edge.errors import LeukoscopeError
from edge.model.file import Manifest
from export.figures.parity import Scored
from export.figures.referral import Judged, Point, curve
from export.int8.layers import LayerError
from train.evaluate import page, plots
from train.plot_style import BLUE, GREEN, GREY, ORANGE

_DPI = 130


@dataclass(frozen=True)
class Report:
    """All that a report is made of.

    Attributes:
        manifest: as it stands in the file.
        scored: what float and int8 say, the set of the parity first.
        judged: the cells that temperature and band were fitted on; None if there were none.
        layers: the errors of the layers.
    """

    manifest: Manifest
    scored: Sequence[Scored]
    judged: Judged | None
    layers: Sequence[LayerError]


KNOWN_PATIENTS = (
    "These cells are of patients that trained the model. On new patients it is wrong more often than here, so a "
    "temperature and a band from here are too bold."
)


def reached(found: dict[str, Any]) -> str:
    """Whether the wanted sensitivity is reached, in words.

    Args:
        found: of `export.figures.referral.fit`.
    """
    wanted, got = found["wanted_sensitivity"], found["with_band"]["sensitivity"]
    if not found["reached"]:
        return (
            f"A sensitivity of {wanted:.1%} was not reached by any band that leaves half of the cells of each class "
            f"decided; this one comes nearest, with {got:.1%}."
        )
    if not found["refer_below"]:
        return f"Without any band it has the wanted sensitivity of {wanted:.1%} ({got:.1%}), so none is set."
    return f"This is the smallest band with the wanted sensitivity of {wanted:.1%} on the cells it decides ({got:.1%})."


def write(folder: Path, report: Report) -> None:
    """Write report.json, report.html and the plots.

    Raises:
        LeukoscopeError: it cannot be written.
    """
    manifest = report.manifest
    points = curve(report.judged, manifest.temperature) if report.judged else []
    content = {
        "model": manifest.name,
        "flatbuffer_sha256": manifest.flatbuffer_sha256,
        "temperature": manifest.temperature,
        "refer_below": manifest.refer_below,
        "parity": manifest.parity,
        "flips": _flips(report.scored[0]),
        "calibration": manifest.calibration,
        "risk_coverage": [asdict(point) for point in points],
        "localisation": manifest.localisation,
        "metrics": manifest.metrics,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, indent=1, allow_nan=False)
        (folder / "report.json").write_text(text + "\n", encoding="utf-8")
        sections = [
            page.section("Float against int8", _parity(folder, report)),
            page.section("Referrals", _referral(folder, report, points)),
            page.section("Where it looks", _where(manifest)),
        ]
        title = f"Export of {manifest.name}"
        (folder / "report.html").write_text(page.page(title, [page.meaning(), *sections]), encoding="utf-8")
    except OSError as error:
        raise LeukoscopeError(
            f"{folder}: {error.strerror}; give --report a folder that can be written"
        ) from error


def risk_coverage(points: Sequence[Point], chosen: float, file: Path) -> None:
    """Risk over coverage, and what each band does to sensitivity, specificity and coverage.

    Args:
        points: of `export.figures.referral.curve`.
        chosen: refer_below of the file; 0 for none.
    """
    figure = Figure((9.2, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    known = [point for point in points if point.risk is not None]
    left.plot([p.coverage for p in known], [p.risk for p in known], "-", color=BLUE, linewidth=2)
    at = next((p for p in points if p.refer_below == chosen), points[0])
    left.plot([at.coverage], [at.risk], "o", color=ORANGE, markersize=9, label="this file")
    left.set(xlabel="coverage: share of cells that are decided", ylabel="risk: share of those that are wrong")
    left.set(xlim=(0, 1.02), ylim=(0, None), title="Risk and coverage")
    for name, colour, line in (
        ("sensitivity", BLUE, "-"),
        ("specificity", ORANGE, "--"),
        ("coverage", GREEN, "-."),
    ):
        shown = [(p.refer_below, getattr(p, name)) for p in points if getattr(p, name) is not None]
        right.plot(*zip(*shown, strict=True), line, color=colour, label=name)
    right.axvline(at.refer_below, color=GREY, linestyle=":", label="this file")
    right.set(xlabel="refer_below", xlim=(0.5, 1.0), ylim=(0, 1.02), title="Effect of a band")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.suptitle("Each patient weighing the same", fontsize="medium")
    figure.savefig(file, dpi=_DPI, metadata={"Software": None})


def layer_noise(layers: Sequence[LayerError], file: Path) -> None:
    """Signal-to-noise ratio after each layer."""
    figure = Figure((8.6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([e.signal_to_noise_db for e in layers], "-o", color=BLUE, markersize=4)
    axes.set_xticks(range(len(layers)), [e.name for e in layers], rotation=90, fontsize=6)
    axes.set(ylabel="signal to noise, dB", title="What int8 loses, layer by layer")
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=_DPI, metadata={"Software": None})


def _flips(scored: Scored) -> list[dict[str, Any]]:
    """The cells with different verdicts by float and int8."""
    return [
        {"path": cell.path, "label": cell.label, "float": float(before), "int8": float(after)}
        for cell, before, after in zip(scored.set.cells, scored.float_scores, scored.int8_scores, strict=True)
        if (before >= 0.5) != (after >= 0.5)
    ]


def _parity(folder: Path, report: Report) -> str:
    parity = report.manifest.parity
    rows = [
        ("Cells with the same verdict", f"{parity['agreement']:.2%}"),
        ("Points of accuracy that int8 loses", f"{parity['drop_points']:.2f}"),
        ("Largest change of a probability", f"{parity['largest_probability_change']:.3f}"),
        ("Mean change of a probability", f"{parity['mean_probability_change']:+.4f}"),
    ]
    body = page.table(f"{parity['n']} cells: {parity['cells']}", ("What", "How much"), rows)
    if "float" in parity:
        names = ("accuracy", "auc", "ece")
        both = [(page.TITLES[n], *(page.value(parity[kind], n) for kind in ("float", "int8"))) for n in names]
        body += page.table("Both at temperature 1", ("Figure", "float", "int8"), both)
    flips = [
        (each["path"], each["label"], f"{each['float']:.3f}", f"{each['int8']:.3f}")
        for each in _flips(report.scored[0])
    ]
    if flips:
        heads = ("Cell", "Is", "Score for ALL, float", "int8")
        body += page.table("Cells that flip", heads, flips)
    if report.layers:
        file = folder / "layers.png"
        layer_noise(report.layers, file)
        body += page.picture(
            file, "Signal-to-noise ratio after each layer.", "All layers before it in int8 too."
        )
    return body


def _referral(folder: Path, report: Report, points: Sequence[Point]) -> str:
    found = report.manifest.calibration
    if report.judged is None:
        return page.paragraph(found["why_not"], warning=True)
    body = page.paragraph(reached(found), warning=not found["reached"])
    if not found["new_patients"]:
        body += page.paragraph(KNOWN_PATIENTS, warning=True)
    body += _bands(found)
    file = folder / "risk_coverage.png"
    risk_coverage(points, report.manifest.refer_below, file)
    body += page.picture(
        file,
        "Risk over coverage, and sensitivity, specificity and coverage over refer_below.",
        "A cell whose likelier class has less than refer_below is referred to a person.",
    )
    file = folder / "reliability.png"
    fits = {
        "before": (report.judged.is_all, report.judged.scores(1.0)),
        "after": (report.judged.is_all, report.judged.scores(report.manifest.temperature)),
    }
    plots.reliability(fits, found["ece"], file)
    caption = "The points count cells, the ECE in the title lets each patient weigh the same."
    return body + page.picture(
        file, "Share that is right over confidence, before and after the temperature.", caption
    )


def _bands(found: dict[str, Any]) -> str:
    """What happens without a band, with the chosen one, and with bands that do not know the patient."""
    kinds = {
        "without a band": found["without_band"],
        "with this one": found["with_band"],
        "each patient by the others": found["each_patient_by_the_others"],
    }
    shown = {name: each for name, each in kinds.items() if each}
    titles = {
        "refer_below": "Refer below",
        "coverage": "Cells decided",
        "risk": "Of these wrong",
        "sensitivity": "Sensitivity",
        "specificity": "Specificity",
        "missed": "Of all ALL cells, called HEM",
    }
    rows = [
        (title, *("–" if each[key] is None else f"{each[key]:.3f}" for each in shown.values()))
        for key, title in titles.items()
    ]
    return page.table(f"{found['n']} cells: {found['cells']}", ("Figure", *shown), rows)


def _where(manifest: Manifest) -> str:
    found = manifest.localisation
    if not found:
        return page.paragraph("This file has no activation map.")
    rows = [
        (
            f"{side} ({each['n']})",
            *(f"{each[key]:.3f}" for key in ("inside", "chance", "above_chance", "peak_inside")),
            f"{found['as_it_is'][side]['inside']:.3f}",
        )
        for side, each in found["by_verdict"].items()
    ]
    heads = ("Called", "Mass inside", "By chance", "Cells above chance", "Peak on the cell", "Before: inside")
    text = (
        "Of what speaks for the verdict beyond what an empty field says, the share that lies inside the cell; by "
        "chance it would be the cell's share of the picture. Before: without taking the empty field off."
    )
    return page.paragraph(text) + page.table(f"{found['n']} cells: {found['cells']}", heads, rows)
