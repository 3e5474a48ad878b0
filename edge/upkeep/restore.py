"""Restores a backup: nothing that is newer is lost, and every step leaves a state that works.

The whole file is checked first. Then pictures come back, then results (rows that are missing are added, in one
transaction), then the model, and at last the settings. Each step may be done again: after a kill or a power cut the same
command finishes the work.
"""

import hashlib
import itertools
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.host.durable import READABLE, replace_file
from edge.logger.addresses import database, words_of
from edge.logger.queries import Results
from edge.logger.stores.sinks import open_sink
from edge.settings import load
from edge.upkeep import erasures
from edge.upkeep.backup import (
    BLOCK_BYTES,
    MANIFEST,
    PAGE,
    PICTURES,
    RESULTS,
    SCHEMA,
    SETTINGS,
    TABLES,
    Manifest,
    decode_manifest,
)
from edge.upkeep.models import INSTALLED, KEYS, MODELS, restore_models

LARGEST_PICTURE_BYTES = 2**28
LARGEST_MANIFEST_BYTES = 2**30
BEFORE_SUFFIX = ".before-restore"
STAGED = "leukoscope-restore-"


class Restored(msgspec.Struct, kw_only=True):
    """What came back, as numbers; and what a person should know."""

    made_at: str
    device: str
    results: dict[str, int]
    pictures: int = 0
    erased_left_out: int = 0
    settings: str = ""
    model: str = ""
    left_out: list[str] = []


def restore(
    file: Path,
    config: Path | None,
    target: str | None,
    step: Callable[[], None] = lambda: None,
) -> Restored:
    """Restore a backup.

    Args:
        file: the backup.
        config: where the settings go; None for where they were.
        target: the results database; None for the one of the settings in the backup.
        step: is called with each file.

    Raises:
        InputError: the file is no whole backup; nothing was changed.
        LeukoscopeError: something cannot be written; the same command goes on from there.
    """
    manifest = verify(file)
    _remove_staged()
    with tempfile.TemporaryDirectory(prefix=STAGED) as folder:
        staged = Path(folder)
        for name in manifest.members:
            if PurePosixPath(name).parts[0] != PICTURES:
                _extract(file, name, staged / name)
        settings_file = staged / SETTINGS
        settings = load(settings_file)
        target = target or settings.web.database
        done = Restored(
            made_at=manifest.made_at, device=manifest.device, results={}, left_out=manifest.left_out
        )
        if where := database(target).file:
            where.parent.mkdir(parents=True, exist_ok=True)
        open_sink(target).close()
        if where:
            _as_its_folder(where)
        results = Results(target)
        try:
            known = erasures.read(results)
            copy = Results(f"sqlite:///{staged / RESULTS}")
            try:
                unwanted = _erased_pictures(copy, known)
                done.pictures = _pictures(file, Path(settings.archive.directory), unwanted, step)
                _rows(copy, results, known, done)
            finally:
                copy.close()
        finally:
            results.close()
        done.model = restore_models(staged, manifest.members, settings, _as_its_folder)
        done.settings = _settings(settings_file, config or Path(manifest.config))
    return done


def _remove_staged() -> None:
    """What a kill left of an earlier restore of this user: it holds results."""
    for left in Path(tempfile.gettempdir()).glob(f"{STAGED}*"):
        if left.is_dir() and not left.is_symlink() and left.stat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)


def verify(file: Path) -> Manifest:
    """Read a whole backup and compare every hash.

    Raises:
        InputError: it is not one, or it is cut off or altered.
    """
    found: dict[str, tuple[str, int]] = {}
    manifest: Manifest | None = None
    try:
        with tarfile.open(file, mode="r|") as tar:
            for member in tar:
                source = tar.extractfile(member) if member.isreg() else None
                if source is None or manifest is not None or not _is_safe(member.name):
                    raise InputError(f"{file}: {member.name!r} does not belong into a backup")
                if member.name == MANIFEST:
                    manifest = decode_manifest(source.read(LARGEST_MANIFEST_BYTES))
                    continue
                digest = hashlib.sha256()
                while block := source.read(BLOCK_BYTES):
                    digest.update(block)
                found[member.name] = digest.hexdigest(), member.size
    except (tarfile.TarError, msgspec.MsgspecError, EOFError) as error:
        raise InputError(f"{file} is no whole backup: {error}; nothing was changed") from error
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error
    if manifest is None:
        raise InputError(f"{file} is no whole backup: it is cut off; nothing was changed")
    if manifest.schema > SCHEMA:
        raise InputError(f"{file}: a newer Leukoscope made this backup; update first")
    expected = {name: (member.sha256, member.bytes) for name, member in manifest.members.items()}
    if found != expected or SETTINGS not in found or RESULTS not in found:
        wrong = next((name for name in {**expected, **found} if found.get(name) != expected.get(name)), "?")
        raise InputError(f"{file} is no whole backup: {wrong} was altered or is missing; nothing was changed")
    return manifest


def _is_safe(name: str) -> bool:
    parts = PurePosixPath(name).parts
    lengths = {PICTURES: 3, MODELS: 2, INSTALLED: 2}
    known = name in (MANIFEST, SETTINGS, RESULTS, KEYS) or (parts and lengths.get(parts[0]) == len(parts))
    return bool(known) and not any(part.startswith(".") or part == "/" or "\0" in part for part in parts)


def _members(file: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(file, mode="r|") as tar:
        for member in tar:
            source = tar.extractfile(member)
            if source is not None:
                yield member.name, source


def _extract(file: Path, wanted: str, to: Path) -> None:
    for name, source in _members(file):
        if name == wanted:
            to.parent.mkdir(exist_ok=True)
            with to.open("wb") as out:
                while block := source.read(BLOCK_BYTES):
                    out.write(block)
            return


def _erased_pictures(copy: Results, known: erasures.Erased) -> set[str]:
    """Names of pictures whose specimen was erased after the backup."""
    names = set()
    for row in _mappings(copy, copy.tables.cells):
        if row["image"] and known.holds(row):
            image = msgspec.json.decode(row["image"])
            if image:
                names.add(str(image["name"]))
    return names


def _pictures(file: Path, archive: Path, unwanted: set[str], step: Callable[[], None]) -> int:
    """Write the pictures that are missing; how many."""
    written = 0
    for name, source in _members(file):
        parts = PurePosixPath(name).parts
        if parts[0] != PICTURES or "/".join(parts[1:]) in unwanted:
            continue
        picture = archive.joinpath(*parts[1:])
        if not picture.exists():
            replace_file(picture, source.read(LARGEST_PICTURE_BYTES), mode=0o640)
            written += 1
        _as_its_folder(picture.parent)
        _as_its_folder(picture)
        step()
    return written


def _rows(copy: Results, results: Results, known: erasures.Erased, done: Restored) -> None:
    """Add the rows that are missing, in one transaction."""
    sql = results.sql
    from sqlalchemy.dialects import postgresql, sqlite

    insert: Any = sqlite.insert if results.engine.dialect.name == "sqlite" else postgresql.insert
    left_out: set[str] = set()
    try:
        with results.engine.begin() as connection:
            for name in TABLES:
                table = getattr(results.tables, name)
                if name == "reviews":  # has no key
                    present = set(connection.execute(sql.select(table)).all())
                    statement = table.insert()
                else:
                    statement = insert(table).on_conflict_do_nothing(index_elements=["id"])
                done.results[name] = 0
                for page in _pages(_mappings(copy, getattr(copy.tables, name))):
                    if name == "reviews":
                        unseen = (row for row in page if tuple(row.values()) not in present)
                        wanted = [row for row in unseen if row["cell"] not in left_out]
                    else:
                        wanted = [row for row in page if not known.holds(row)]
                        if name == "cells":
                            left_out.update(row["id"] for row in page if known.holds(row))
                    if wanted:
                        done.results[name] += max(0, connection.execute(statement, wanted).rowcount)
    except sql.exc.SQLAlchemyError as error:
        raise LeukoscopeError(
            f"cannot restore into {results.name}: {words_of(error)}; its results are as they were"
        ) from None
    done.erased_left_out = len(left_out)


def _pages(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while page := list(itertools.islice(rows, PAGE)):
        yield page


def _mappings(results: Results, table: Any) -> Iterator[dict[str, Any]]:
    for row in results.run(results.sql.select(table)):
        yield dict(row._mapping)


def _settings(restored: Path, config: Path) -> str:
    """Put the settings back as the last step; others that are there are kept beside them."""
    data = restored.read_bytes()
    if config.is_file():
        before = config.read_bytes()
        if before == data:
            return f"{config}, as it was"
        replace_file(
            config.with_name(config.name + BEFORE_SUFFIX), before, mode=config.stat().st_mode & 0o777
        )
        mode = config.stat().st_mode & 0o777
    else:
        mode = READABLE
    replace_file(config, data, mode=mode)
    _as_its_folder(config)
    return str(config)


def _as_its_folder(path: Path) -> None:
    """As root: what was made belongs to whom its folder belongs, so that the services can write it."""
    if os.getuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
