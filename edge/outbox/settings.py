"""Settings of the outbox and of the picture archive."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

RESEND_S = 120.0
"""Default of `resend_s`: twice the longest time that Mosquitto takes to write what it has acknowledged."""


def fields_file(cells: Path) -> Path:
    """The outbox of the fields' records, which lies beside that of the cells'."""
    return cells.with_name(f"{cells.name}.fields")


class OutboxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Records that wait for the broker.

    Attributes:
        file: SQLite database.
        max_mb: megabytes of records, about a thousand each; when it is full no new frames are taken.
        resend_s: seconds for which a record is kept after the broker has acknowledged it, and sent again after
            a new connection: a broker that crashes may lose what it has acknowledged but not yet written. 0 for
            not at all.
    """

    file: str = "/var/lib/leukoscope/outbox.db"
    max_mb: Annotated[int, Meta(ge=1, le=1_000_000)] = 1024
    resend_s: Annotated[float, Meta(ge=0, le=86400)] = RESEND_S


class ArchiveSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which pictures are kept, and in which folder.

    Attributes:
        directory: a folder for the archive alone: the oldest files in it are removed.
        keep: "none", "referred" (those that a person has to check) or "all".
        max_mb: megabytes (2^20 bytes) that the pictures may take together.
    """

    directory: str = "/var/lib/leukoscope/archive"
    keep: Literal["none", "referred", "all"] = "none"
    max_mb: Annotated[int, Meta(ge=1, le=10_000_000)] = 1000
