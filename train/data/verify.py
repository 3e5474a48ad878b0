"""Checks whether a copy of C-NMC 2019 is complete and unaltered; also checks own cells in the same layout."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from edge.errors import ImageError, InputError
from edge.imaging.decode import decode
from edge.imaging.files import read_bytes, shown
from train.data.cnmc import Layout, Rows, read_labels, recognise
from train.data.dataset import LABELS, Cell, images_below, load, subject_group
from train.data.official import Key, Original, bmp_bytes, key, read_manifest, size_of
from train.data.own import PART
from train.data.verify_report import Duplicate, Finding, Part, Report


@dataclass(frozen=True, slots=True)
class _Image:
    path: Path
    relative: str
    part: str
    cell: Cell | None
    digest: str = ""  # of the pixels, as an official BMP
    width: int = 0
    height: int = 0
    error: str = ""  # why it cannot be read
    difference: str = ""  # why it is not the official one
    unchecked: bool = False

    @property
    def key(self) -> Key:
        # Only official names are unique within their part.
        return (PART, self.relative) if self.part == PART else key(self.part, self.path.name)

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


def verify(
    directory: Path,
    manifest: Path | None = None,
    *,
    positive: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Check every image of a data set.

    Args:
        directory: as `dataset.load` takes it.
        manifest: CSV of path, part, name, sha256 and bytes of the official images; `manifest.csv` in the
            directory if not given. Without any, no hash is compared.
        positive: the name of the positive class, if the classes are not named ALL and HEM.
        progress: called with the number of images done and of all.

    Raises:
        InputError: the directory is no data set, or the manifest is not one.
    """
    if not directory.is_dir() and not directory.is_file():
        raise InputError(f"{directory}: no such folder; give a data folder or a CSV (path, patient, class)")
    layout = recognise(directory) if directory.is_dir() else None
    report = Report(shown(directory), None)
    if layout is None:
        data = load(directory, positive)
        root, report.layout, report.notes = data.root, data.layout, data.notes
        report.classes = data.classes.names()
        images = [_Image(root / cell.path, shown(Path(cell.path)), cell.part, cell) for cell in data.cells]
    else:
        root, report.layout = layout.root, layout.name
        report.notes = [f"left out: {', '.join(layout.left_out)}"] if layout.left_out else []
        found = sorted(path for folder in layout.folders() for path in images_below(folder))
        if not found:
            raise InputError(
                f"{directory}: no data set: no images under training_data/fold_N/all and …/hem, nor in prelim; "
                "see docs/training.md"
            )
        images = _place(layout, found, report)
    if manifest is None:
        manifest = next((f for f in (directory / "manifest.csv", root / "manifest.csv") if f.is_file()), None)
    originals = read_manifest(manifest) if manifest else {}
    report.manifest = shown(manifest) if manifest else None
    images = _examine(images, originals, progress)
    _count(images, originals, report)
    _compare(images, originals, report)
    _find_duplicates(images, report)
    _judge(report)
    return report


def _place(layout: Layout, paths: Iterable[Path], report: Report) -> list[_Image]:
    """Part and name of each image; what does not parse goes into the report."""
    rows: Rows | None = None
    images = []
    for path in paths:
        relative, part, cell = shown(path.relative_to(layout.root)), layout.part_of(path), None
        try:
            if part == "prelim" and rows is None:
                rows = {}  # a faulty table is named once, by its first image
                rows = read_labels(layout.labels or path.with_name("labels.csv"))
            if part != "final" and not (part == "prelim" and not rows):
                cell = layout.cell(path, rows)
        except InputError as error:
            reason = str(error).removeprefix(f"{path}: ").removeprefix(f"{path.name}: ")
            report.names.append(Finding(relative, reason))
        if part is not None:
            images.append(_Image(path, relative, part, cell))
    return images


def _examine(
    images: list[_Image], originals: Mapping[Key, Original], progress: Callable[[int, int], None] | None
) -> list[_Image]:
    """Read them all, several at once: decoding and hashing leave Python's lock."""

    def one(image: _Image) -> _Image:
        return _look(image, originals.get(image.key))

    examined = []
    with ThreadPoolExecutor() as pool:
        try:
            for image in pool.map(one, images):
                examined.append(image)
                if progress:
                    progress(len(examined), len(images))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise KeyboardInterrupt(f"{len(examined)} of {len(images)} images are checked") from None
    return examined


def _look(image: _Image, original: Original | None) -> _Image:
    try:
        data = read_bytes(image.path)
        pixels = decode(data, cut_allowed=True)
    except ImageError as error:
        return replace(image, error=str(error))
    height, width = pixels.shape[:2]
    official = bmp_bytes(pixels)
    image = replace(image, digest=hashlib.sha256(official).hexdigest(), width=width, height=height)
    if original is None or original.sha256 in (image.digest, hashlib.sha256(data).hexdigest()):
        return image
    # An original with another header than the one that can be made again: only its own bytes would tell.
    unknown = original.size not in (len(official), len(data))
    difference = _difference(data, image) or ("" if unknown else "other content than the official image")
    return replace(image, difference=difference, unchecked=not difference)


def _difference(data: bytes, image: _Image) -> str:
    """Why an image cannot be the official one, whatever that holds; "" where it could be."""
    lossy = _lossy_format(data)
    if lossy:
        return f"{lossy} does not keep the original's pixels"
    if image.size != (size_of(image.part),) * 2:
        return f"{image.width}×{image.height} pixels"
    return ""


def _lossy_format(data: bytes) -> str:
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    return "lossy WebP" if data[8:12] == b"WEBP" and b"VP8L" not in data[:4096] else ""


def _count(images: Iterable[_Image], originals: Mapping[Key, Original], report: Report) -> None:
    parts: dict[str, Part] = defaultdict(Part)
    for original in originals.values():
        parts[original.part].official = (parts[original.part].official or 0) + 1
    for image in images:
        part = parts[image.part]
        part.images += 1
        known = image.key in originals
        part.verified += known and not (image.error or image.difference or image.unchecked)
        if image.cell:
            part.classes[image.cell.label] += 1
    report.parts = dict(sorted(parts.items()))
    report.empty_classes = [
        f"{name} {label}"
        for name, part in report.parts.items()
        for label in LABELS
        if part.images and name != "final" and not part.classes[label]
    ]


def _compare(images: Iterable[_Image], originals: Mapping[Key, Original], report: Report) -> None:
    parts_of_name = defaultdict(list)
    for part, stem in originals:
        parts_of_name[stem].append(part)
    here: dict[Key, _Image] = {}
    for image in images:
        name = image.key
        if image.error:
            report.unreadable.append(Finding(image.relative, image.error))
        elif image.difference:
            report.altered.append(Finding(image.relative, image.difference))
        elif image.unchecked:
            report.unchecked.append(
                Finding(image.relative, "only the original BMP file of this part can be compared")
            )
        if not image.error and image.part != PART and image.size != (size_of(image.part),) * 2:
            report.sizes.append(Finding(image.relative, f"{image.width}×{image.height} pixels"))
        if name in here:
            report.extra.append(Finding(image.relative, f"a second file of {here[name].relative}"))
        elif originals and name not in originals:
            elsewhere = parts_of_name[name[1]] if image.cell and image.part != "prelim" else []
            reason = f"official in {elsewhere[0]}" if elsewhere else "not in the official release"
            report.extra.append(Finding(image.relative, reason))
        here.setdefault(name, image)
    missing: dict[str, list[str]] = defaultdict(list)
    for name, original in originals.items():
        if name not in here:
            missing[original.part].append(original.path)
    report.missing = {part: sorted(paths) for part, paths in sorted(missing.items())}


def _find_duplicates(images: Iterable[_Image], report: Report) -> None:
    same: dict[str, list[_Image]] = defaultdict(list)
    for image in images:
        if image.digest and image.cell:
            same[image.digest].append(image)
    for twins in same.values():
        if len(twins) == 1:
            continue
        subjects = sorted({image.cell.subject for image in twins if image.cell})
        duplicate = Duplicate(subjects, sorted(image.relative for image in twins))
        if len(subjects) == 1:
            report.within_subject.append(duplicate)
        elif len({subject_group(subject) for subject in subjects}) == 1:
            report.known_twins.append(duplicate)
        else:
            report.duplicates.append(duplicate)


def _judge(report: Report) -> None:
    for findings in (report.altered, report.extra, report.unreadable, report.names, report.sizes):
        findings.sort()
    for duplicates in (report.duplicates, report.known_twins, report.within_subject):
        duplicates.sort()
    report.ok = not (
        report.missing
        or report.altered
        or report.extra
        or report.unreadable
        or report.names
        or report.duplicates
        or report.empty_classes
        or (report.manifest and report.sizes)
    )
