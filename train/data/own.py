"""Own data sets: folders named all and hem, folders named by class, or a table. Reads no pixels."""

import csv
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from edge.errors import InputError
from edge.imaging.files import SUFFIXES
from train.data.cells import Cell, Classes, Label, choose_classes
from train.data.cnmc import is_official_name, parse_name

PART = "own"
_MAX_TABLE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder or table of one's own holds.

    Attributes:
        root: the paths of the cells are relative to it.
        layout: in words.
        classes: the names of the two classes.
        cells: in the order of their paths.
        notes: what the user must know about the patients.
    """

    root: Path
    layout: str
    classes: Classes
    cells: list[Cell]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class _Image:
    path: str
    class_name: str
    patient: str  # "" if only the file's name may give it
    folder: str  # used as the patient if nothing else names one


def read_folder(root: Path, images: list[Path], positive: str | None, expected: Classes | None) -> Found:
    """Images below folders that name their class.

    Folders named all and hem are found at any depth; folders with other names by the level at which the
    positive class is found, else on the first level.

    Args:
        root: the data set.
        images: every image below it, in the order of names.
        positive: name of the positive class, in any case; None for ALL.
        expected: class names of the model or run that the data are for.

    Raises:
        InputError: an image is below no class folder, there are not two classes, or nothing says which is
            positive, or a C-NMC name contradicts its folder.
    """
    paths = [path.relative_to(root).parts for path in images]
    named = [_depth_of(parts, ("all", "hem")) is not None for parts in paths]
    official = all(named) or (any(named) and positive is None)
    wanted = None if official else positive or (expected.positive if expected else None)
    level = _level(paths, wanted)

    def depth(parts: tuple[str, ...]) -> int | None:
        if official:
            return _depth_of(parts, ("all", "hem"))
        return level if len(parts) > level + 1 else None

    found, outside = [], []
    for path, parts in zip(images, paths, strict=True):
        place = depth(parts)
        if place is None:
            outside.append(path)
            continue
        below, above = "/".join(parts[place + 1 : -1]), "/".join(parts[:place])
        name = parts[place].upper() if official else parts[place]
        found.append(_Image("/".join(parts), name, "", below or above or parts[place]))
    if outside:
        where = "all or hem" if official else "a folder that names its class"
        raise InputError(
            f"{root}: {len(outside)} images are not below {where}, the first {outside[0]}; move or remove them"
        )
    layout = "folders all and hem" if official else "folders named by class"
    return _found(root, layout, found, positive, expected)


def _depth_of(parts: tuple[str, ...], names: tuple[str, ...]) -> int | None:
    """The position of the nearest folder above the image with one of these names."""
    return next((i for i in range(len(parts) - 2, -1, -1) if parts[i].casefold() in names), None)


def _level(paths: list[tuple[str, ...]], positive: str | None) -> int:
    """How deep the class folders are: where the positive class is, or below folders that hold all images."""
    if positive is not None:
        depths = [_depth_of(parts, (positive.casefold(),)) for parts in paths]
        known = Counter(depth for depth in depths if depth is not None)
        if known:
            return known.most_common(1)[0][0]
    level = 0
    while len({parts[: level + 1] for parts in paths}) == 1 and all(len(p) > level + 2 for p in paths):
        level += 1
    return level


def read_table(file: Path, positive: str | None, expected: Classes | None) -> Found:
    """A CSV with the columns path, patient and class; `patient` may be missing or empty.

    Paths are absolute or relative to the table's folder. Separated by commas, semicolons or tabs.

    Raises:
        InputError: it is no such table, names files that are not there, one twice, or other than two classes.
    """
    rows = _rows(file)
    root, found, missing = file.parent, [], []
    for number, row in enumerate(rows, 2):
        text, name = row.get("path", "").strip(), row.get("class", "").strip()
        if not text or not name:
            raise InputError(f"{file}: line {number}: path or class is empty; fill it or remove the line")
        path = _existing(root, text)
        if path is None:
            missing.append(text)
            continue
        if Path(path).suffix.lower() not in SUFFIXES:
            raise InputError(
                f"{file}: line {number}: {text} is no image; {', '.join(sorted(SUFFIXES))} are read"
            )
        upper = name.upper() if name.casefold() in ("all", "hem") else name
        folder = Path(path).parent.as_posix()
        found.append(_Image(path, upper, row.get("patient", "").strip(), folder))
    if missing:
        raise InputError(
            f"{file}: {len(missing)} of its images are not there, the first {missing[0]}; paths are relative "
            f"to {root.resolve()}"
        )
    twice = [path for path, times in Counter(image.path for image in found).items() if times > 1]
    if twice:
        raise InputError(f"{file}: names {twice[0]} more than once; remove the second line")
    return _found(root, "table of path, patient, class", found, positive, expected)


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        if file.stat().st_size > _MAX_TABLE_BYTES:
            raise InputError(f"{file}: larger than {_MAX_TABLE_BYTES // 2**20} MiB; not a table of images")
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text; save it as CSV UTF-8") from error
    lines = text.splitlines()
    separator = max(",;\t", key=(lines[0] if lines else "").count)
    try:
        rows = list(csv.reader(lines, delimiter=separator))
    except csv.Error as error:
        raise InputError(f"{file}: not a table: {error}") from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    if not {"path", "class"} <= set(header):
        raise InputError(
            f"{file}: its columns are {', '.join(header) or 'none'}; expected path, patient, class"
        )
    filled = [row for row in rows[1:] if any(cell.strip() for cell in row)]
    if not filled:
        raise InputError(f"{file}: names no image")
    return [dict(zip(header, row, strict=False)) for row in filled]


def _existing(root: Path, text: str) -> str | None:
    """The path of a file relative to the root if that is possible; backslashes may stand for slashes."""
    for candidate in (text, text.replace("\\", "/")):
        if (root / candidate).is_file():
            path = os.path.normpath(candidate)
            whole = Path(path)
            if whole.is_absolute() and whole.is_relative_to(root.resolve()):
                whole = whole.relative_to(root.resolve())
            return whole.as_posix()
    return None


def _found(
    root: Path, layout: str, images: list[_Image], positive: str | None, expected: Classes | None
) -> Found:
    names = list({image.class_name.casefold(): image.class_name for image in images}.values())
    classes = choose_classes(sorted(names), positive, expected, str(root))
    cells: list[Cell] = []
    by_folder: set[str] = set()
    for image in images:
        subject = image.patient
        if is_official_name(image.path):
            subject, named = parse_name(Path(image.path).name)
            if image.class_name in ("ALL", "HEM") and named != image.class_name:
                raise InputError(
                    f"{root / image.path}: its name says {named}, but it is labelled {image.class_name}"
                )
        if not subject:
            subject = image.folder
            by_folder.add(subject)
        label: Label = "ALL" if image.class_name.casefold() == classes.positive.casefold() else "HEM"
        cells.append(Cell(image.path, label, subject, PART))
    return Found(root, layout, classes, sorted(cells), _notes(cells, by_folder))


def _notes(cells: list[Cell], by_folder: set[str]) -> list[str]:
    if not by_folder:
        return []
    count = sum(cell.subject in by_folder for cell in cells)
    some = ", ".join(sorted(by_folder)[:3]) + (", …" if len(by_folder) > 3 else "")
    return [
        f"patients: {count} images name no patient, so each folder of images counts as one patient "
        f"({len(by_folder)}: {some}); if that is wrong, give a CSV (path, patient, class)"
    ]
