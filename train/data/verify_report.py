"""The result of checking a data set, and its report as text."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from train.data.dataset import LABELS


class Finding(msgspec.Struct, frozen=True, order=True):
    """One image, relative to the data set's root, and its remark."""

    path: str
    reason: str


class Duplicate(msgspec.Struct, frozen=True, order=True):
    """Images with the same pixels, and their subjects."""

    subjects: list[str]
    paths: list[str]


class Part(msgspec.Struct):
    """Counts of one part.

    Attributes:
        images: that are here, readable or not.
        classes: how many of each class, by name.
        official: images in the official release; None if there is no manifest.
        verified: images that are the official ones.
    """

    images: int = 0
    classes: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(LABELS, 0))
    official: int | None = None
    verified: int = 0


class Report(msgspec.Struct):
    """What `verify` found; `dataset verify --json` prints it.

    Attributes:
        directory: that was checked.
        manifest: that it was checked against; None if there is none and no hash was compared.
        layout: what the directory was recognised as.
        classes: names of the positive and the negative class.
        notes: how the patients were found, and what was left out.
        parts: counts by the part's name.
        missing: by part, the official paths of images that are not here.
        altered: here under an official name with other content.
        extra: not in the official release, or a second file of one image.
        unreadable, names, sizes: broken files; names and places that do not parse; other than the official
            width and height, which is a fault only if there is a manifest.
        unchecked: readable, but nothing is known that their content could be compared with.
        duplicates: under subjects that are not known as twins.
        known_twins, within_subject: duplicates that are no fault.
        empty_classes: "fold_0 HEM".
        ok: nothing above is a fault.
    """

    directory: str
    manifest: str | None
    layout: str = ""
    classes: list[str] = msgspec.field(default_factory=lambda: list(LABELS))
    notes: list[str] = msgspec.field(default_factory=list)
    parts: dict[str, Part] = msgspec.field(default_factory=dict)
    missing: dict[str, list[str]] = msgspec.field(default_factory=dict)
    altered: list[Finding] = msgspec.field(default_factory=list)
    extra: list[Finding] = msgspec.field(default_factory=list)
    unreadable: list[Finding] = msgspec.field(default_factory=list)
    names: list[Finding] = msgspec.field(default_factory=list)
    sizes: list[Finding] = msgspec.field(default_factory=list)
    unchecked: list[Finding] = msgspec.field(default_factory=list)
    duplicates: list[Duplicate] = msgspec.field(default_factory=list)
    known_twins: list[Duplicate] = msgspec.field(default_factory=list)
    within_subject: list[Duplicate] = msgspec.field(default_factory=list)
    empty_classes: list[str] = msgspec.field(default_factory=list)
    ok: bool = False


def report_lines(report: Report, *, limit: int = 10) -> list[str]:
    """The report as text, at most `limit` images of a kind; missing ones are counted by part."""
    lines = [f"layout: {report.layout}", *report.notes]
    names: dict[str, str] = dict(zip(LABELS, report.classes, strict=True))
    for name, part in report.parts.items():
        if not part.images:
            continue
        classes = ", ".join(f"{names[label]} {n}" for label, n in part.classes.items() if n) or "no labels"
        hashes = f"; {part.verified} verified of {part.official or 0} official" if report.manifest else ""
        lines.append(f"{name:8} {part.images} images ({classes}){hashes}")
    if not report.manifest:
        lines.append("no manifest: content was not compared with the official images; give --manifest CSV")
    for name, paths in report.missing.items():
        first = ", ".join(Path(path).name for path in paths[:3])
        lines.append(f"missing in {name}: {len(paths)} ({first}{', …' if len(paths) > 3 else ''})")
    titles = {
        "altered": report.altered,
        "extra": report.extra,
        "unreadable": report.unreadable,
        "misnamed or misplaced": report.names,
        "other size": report.sizes,
        "cannot be checked": report.unchecked,
    }
    for title, findings in titles.items():
        lines += _some(title, [f"{finding.path}: {finding.reason}" for finding in findings], limit)
    kinds = {
        "duplicated under another subject": report.duplicates,
        "duplicated under known twin subjects, no fault": report.known_twins,
        "duplicated within a subject, no fault": report.within_subject,
    }
    for title, duplicates in kinds.items():
        texts = [f"{', '.join(d.subjects)}: {' = '.join(d.paths)}" for d in duplicates]
        lines += _some(title, texts, limit)
    lines += [f"empty class: {name}" for name in report.empty_classes]
    lines.append("No problems found" if report.ok else "Problems found; see above")
    return lines


def _some(title: str, texts: list[str], limit: int) -> list[str]:
    if not texts:
        return []
    more = [f"  and {len(texts) - limit} more; --json names them all"] if len(texts) > limit else []
    return [f"{title}: {len(texts)}", *(f"  {text}" for text in texts[:limit]), *more]


def reporter(say: Callable[[str], None], *, every_s: float = 5.0) -> Callable[[int, int], None]:
    """A progress callback that reports the progress, at most once per interval."""
    last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= every_s:
            last = time.monotonic()
            say(f"{done} of {total} images")

    return progress
