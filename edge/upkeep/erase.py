"""Erases a specimen, or all that is older than a moment: results, reviews, pictures, and what waits on the box."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edge.errors import LeukoscopeError
from edge.logger.addresses import words_of
from edge.logger.queries import Results
from edge.logger.stores.sinks import open_sink
from edge.mqtt.client import BrokerClient
from edge.mqtt.connection import Connection
from edge.outbox.forget import InUseError, Unwanted, forget
from edge.outbox.settings import fields_file
from edge.records import ImageReference, rfc3339
from edge.settings import Settings
from edge.upkeep import erasures

BROKER_S = 10.0
PAGE = 500


class Erased(msgspec.Struct, kw_only=True):
    """What was erased, as numbers; and what could not be, in words."""

    cells: int = 0
    fields: int = 0
    reviews: int = 0
    rejects: int = 0
    pictures: int = 0
    waiting: int = 0
    left: list[str] = []

    def nothing(self) -> bool:
        """Whether there was nothing to erase."""
        return not (
            self.cells or self.fields or self.reviews or self.rejects or self.pictures or self.waiting
        )


def erase(settings: Settings, target: str, specimen: str | None, before: str) -> Erased:
    """Erase everywhere; done twice, it is the same.

    What waits on the box goes first, then pictures, then the database in one transaction: an erasing that was
    interrupted is found in the database, and is done again.

    Args:
        settings: of the box: its outbox, archive and broker.
        target: the results database.
        specimen: its name, or None.
        before: if no specimen is given: all that was captured before this moment, RFC 3339.

    Raises:
        LeukoscopeError: the daemon runs, or the database cannot be written.
    """
    erased = Erased()

    def unwanted(name: str, captured_at: str) -> bool:
        return name == specimen if specimen is not None else captured_at < before

    archive = Path(settings.archive.directory)
    tally = _waiting(Path(settings.outbox.file), archive, unwanted, erased, needed=specimen is not None)
    open_sink(target).close()  # brings older tables to today's
    results = Results(target)
    try:
        cells = results.tables.cells
        condition = cells.c.specimen == specimen if specimen is not None else cells.c.captured_at < before
        _pictures(results, condition, archive, erased)
        _database(results, condition, specimen, before, erased)
    finally:
        results.close()
    if tally:
        erased.left += _retained(settings)
    return erased


def _waiting(outbox: Path, archive: Path, unwanted: Unwanted, erased: Erased, needed: bool) -> bool:
    """Forget what waits in the outboxes, with its pictures; whether the tally went.

    Args:
        needed: fail while the daemon runs. Otherwise what waits stays: it is sent, stored, and erased another day.
    """
    tally = False
    for file in (outbox, fields_file(outbox)):
        try:
            gone, tally_gone = forget(file, unwanted, lambda name: _remove(name, archive, erased))
        except InUseError:
            if needed:
                raise
            continue
        erased.waiting += gone
        tally = tally or tally_gone
    return tally


def _pictures(results: Results, condition: Any, archive: Path, erased: Erased) -> None:
    """Remove the archived pictures of these cells."""
    query = results.sql.select(results.tables.cells.c.image).where(condition)
    for row in results.run(query):
        try:
            image = msgspec.json.decode(row.image or "null", type=ImageReference | None)
        except msgspec.MsgspecError:
            continue
        if image is not None:
            _remove(image.name, archive, erased)


def _remove(name: str, archive: Path, erased: Erased) -> None:
    """Remove a picture of the archive, if it is there; a record's own text never leads out of the folder."""
    try:
        file = (archive / name).resolve()
        if not file.is_relative_to(archive.resolve()) or not file.is_file():
            return
    except (OSError, ValueError):  # no name of a file
        return
    try:
        file.unlink()
    except OSError as error:
        erased.left.append(f"{file}: {error.strerror}; remove it by hand")
        return
    erased.pictures += 1
    with contextlib.suppress(OSError):  # the day's folder holds others
        file.parent.rmdir()


def _database(results: Results, condition: Any, specimen: str | None, before: str, erased: Erased) -> None:
    sql, tables = results.sql, results.tables
    lite = results.engine.dialect.name == "sqlite"
    cells, fields, reviews, rejects = tables.cells, tables.fields, tables.reviews, tables.rejects
    of_fields = fields.c.specimen == specimen if specimen is not None else fields.c.captured_at < before
    try:
        with results.engine.begin() as connection:
            ids = sql.select(cells.c.id).where(condition)
            erased.reviews = connection.execute(reviews.delete().where(reviews.c.cell.in_(ids))).rowcount
            erased.cells = connection.execute(cells.delete().where(condition)).rowcount
            erased.fields = connection.execute(fields.delete().where(of_fields)).rowcount
            erased.rejects = _rejects(connection, rejects, specimen, before)
            erasures.note(connection, specimen, before if specimen is None else "", rfc3339(time.time_ns()))
        if lite:
            _rewrite(results)
    except sql.exc.SQLAlchemyError as error:
        raise LeukoscopeError(f"cannot erase from {results.name}: {words_of(error)}") from None


def _rejects(connection: Any, rejects: Any, specimen: str | None, before: str) -> int:
    """Messages that were not stored: those that hold the specimen's name, or that came before the moment."""
    if specimen is None:
        return int(connection.execute(rejects.delete().where(rejects.c.received_at < before)).rowcount)
    gone = 0
    names = {specimen.encode(), msgspec.json.encode(specimen)[1:-1]} - {b""}
    for row in connection.execute(rejects.select()).all():
        if any(name in bytes(row.payload) for name in names):
            same = (rejects.c.received_at == row.received_at, rejects.c.topic == row.topic)
            gone += connection.execute(
                rejects.delete().where(*same, rejects.c.payload == row.payload)
            ).rowcount
    return gone


def _rewrite(results: Results) -> None:
    """Write the file of SQLite anew, so that nothing that was deleted stays in it."""
    with results.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql("VACUUM")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _retained(settings: Settings) -> Iterator[str]:
    """Remove the retained message of the topic `specimen`; gives what a person has to do if that fails."""
    topic = f"{settings.mqtt.topic}/{settings.device.id}/specimen"
    done = threading.Event()

    def send(client: BrokerClient) -> None:
        client.send(topic, b"", retain=True)

    connection = Connection(
        settings.mqtt,
        f"leukoscope-{settings.device.id}-erase",
        on_connected=send,
        on_publish=lambda *_: done.set(),
    )
    connection.start()
    heard = done.wait(BROKER_S)
    state = connection.state()
    connection.stop()
    if not heard:
        yield f"the broker still keeps {topic} ({state}): mosquitto_pub --retain --null-message -t {topic}"
