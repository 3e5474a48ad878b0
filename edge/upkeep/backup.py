"""A backup of a box: one TAR file with its settings, models, results and pictures, and a manifest as its last member.

The file appears under its name when it is whole and on the disk. What waits in the outbox is not in it: it belongs to
the broker, and a second box with the same outbox would give the same numbers twice.
"""

import contextlib
import glob
import hashlib
import io
import os
import secrets
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from edge.errors import LeukoscopeError
from edge.host.durable import PARTIAL_SUFFIX, flush_folder
from edge.logger.addresses import words_of
from edge.logger.queries import Results
from edge.logger.stores.sinks import open_sink
from edge.records import rfc3339
from edge.settings import Settings
from edge.upkeep.models import parts_of

SCHEMA = 2
MANIFEST, SETTINGS, RESULTS, PICTURES = (
    "manifest.json",
    "settings/leukoscope.toml",
    "results/results.db",
    "pictures",
)
TABLES = ("cells", "fields", "reviews")
PAGE = 500
BLOCK_BYTES = 2**20
MODE = 0o600
"""Pictures and names of specimens are in it."""


class Member(msgspec.Struct, frozen=True):
    """One file of a backup: its sha256 and size in bytes."""

    sha256: str
    bytes: int


class Manifest(msgspec.Struct, kw_only=True):
    """What a backup holds; its last member, so that a file that is cut off has none.

    Attributes:
        made_at: RFC 3339.
        device: the box's name.
        config: where the settings file was.
        results: rows of each table.
        members: every other member by its name.
        left_out: what the settings name and a backup does not hold: passwords and keys.
    """

    schema: int = SCHEMA
    made_at: str
    device: str
    config: str
    results: dict[str, int]
    members: dict[str, Member]
    left_out: list[str]


def backup(
    config: Path,
    settings: Settings,
    target: str,
    out: Path,
    pictures: bool = True,
    step: Callable[[], None] = lambda: None,
) -> Manifest:
    """Write a backup; the box may go on working meanwhile.

    Args:
        config: the settings file.
        settings: as it says.
        target: the results database.
        out: the file to write; an earlier one is replaced when the new one is whole.
        pictures: whether the archive's pictures are part of it.
        step: is called with each file.

    Raises:
        LeukoscopeError: something cannot be read or written; an earlier backup of this name stays.
    """
    _remove_partial(out)
    partial = out.with_name(f".{out.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    try:
        with (
            tempfile.TemporaryDirectory(
                prefix=f".{out.name}.", suffix=PARTIAL_SUFFIX, dir=out.parent
            ) as folder,
            os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "wb") as file,
        ):
            manifest = _write(file, config, settings, target, pictures, Path(folder), step)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(out)
        flush_folder(out.parent)
    except OSError as error:
        raise LeukoscopeError(f"{error.filename or out}: {error.strerror}; no backup was made") from error
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def named_secrets(settings: Settings) -> list[str]:
    """Files with passwords and keys that the settings name."""
    found = []
    for values in msgspec.to_builtins(settings).values():
        for key, value in values.items() if isinstance(values, dict) else ():
            if value and key.endswith(("password_file", "key_file")):
                found.append(str(value))
    return found


def pictures_in(archive: Path) -> Iterator[Path]:
    """The pictures of an archive."""
    for file in sorted(archive.glob("*/*.png")):
        if file.is_file() and not file.is_symlink() and not file.name.startswith("."):
            yield file


def _write(
    file: IO[bytes],
    config: Path,
    settings: Settings,
    target: str,
    pictures: bool,
    folder: Path,
    step: Callable[[], None],
) -> Manifest:
    members: dict[str, Member] = {}
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, path: Path) -> None:
            with contextlib.suppress(FileNotFoundError):  # a picture that the archive has removed meanwhile
                with path.open("rb") as source:
                    members[name] = _add(tar, name, source)
                step()

        add(SETTINGS, config)
        for name, part in parts_of(settings):
            add(name, part)
        rows = _copy_results(target, folder / "results.db")
        add(RESULTS, folder / "results.db")
        archive = Path(settings.archive.directory)
        for picture in pictures_in(archive) if pictures else ():
            add(f"{PICTURES}/{picture.parent.name}/{picture.name}", picture)
        manifest = Manifest(
            made_at=rfc3339(time.time_ns()),
            device=settings.device.id,
            config=str(config.resolve()),
            results=rows,
            members=members,
            left_out=named_secrets(settings),
        )
        _add(tar, MANIFEST, io.BytesIO(msgspec.json.encode(manifest)))
    return manifest


def _add(tar: tarfile.TarFile, name: str, source: IO[bytes]) -> Member:
    """Add a file as it is now: what grows meanwhile is cut, what shrinks is an error."""
    described = tarfile.TarInfo(name)
    described.size = source.seek(0, os.SEEK_END)
    described.mtime = int(time.time())
    described.mode = MODE
    source.seek(0)
    hashed = _Hashed(source)
    tar.addfile(described, hashed)
    return Member(hashed.digest.hexdigest(), described.size)


class _Hashed:
    """A file whose bytes are hashed as they are read."""

    def __init__(self, source: IO[bytes]):
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.digest.update(data)
        return data


def _copy_results(target: str, file: Path) -> dict[str, int]:
    """Copy the tables into a new SQLite file, as they are at one moment; rows by table."""
    open_sink(target).close()  # brings older tables to today's
    results = Results(target)
    copy = f"sqlite:///{file}"
    open_sink(copy).close()
    sql = results.sql
    written = sql.create_engine(copy)
    rows = {}
    try:
        isolation = {} if results.engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        with results.engine.connect().execution_options(**isolation) as source, written.begin() as sink:
            if results.engine.dialect.name == "sqlite":
                source.exec_driver_sql("BEGIN")  # one moment for all tables
            for name in TABLES:
                table = getattr(results.tables, name)
                rows[name] = 0
                read = source.execution_options(yield_per=PAGE).execute(sql.select(table))
                for page in read.mappings().partitions(PAGE):
                    sink.execute(table.insert(), [dict(row) for row in page])
                    rows[name] += len(page)
        with written.connect() as done:
            done.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            done.exec_driver_sql("PRAGMA journal_mode=DELETE")
    except sql.exc.SQLAlchemyError as error:
        raise LeukoscopeError(f"cannot copy {results.name}: {words_of(error)}; no backup was made") from None
    finally:
        written.dispose()
        results.close()
    return rows


def _remove_partial(out: Path) -> None:
    """What a kill left of an earlier attempt at this name."""
    for left in out.parent.glob(f".{glob.escape(out.name)}.*{PARTIAL_SUFFIX}"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def decode_manifest(data: bytes) -> Any:
    """The manifest of a backup.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    return msgspec.json.decode(data, type=Manifest)
