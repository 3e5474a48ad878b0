"""Every setting of the box: typed, with unit, range and default, in one place."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edge.cameras.backends.simulator import SimulatorSettings
from edge.cameras.settings import CameraSettings as CameraSettings
from edge.errors import InputError
from edge.host import typedfile
from edge.imaging.quality import QualitySettings
from edge.mqtt.settings import MqttSettings
from edge.outbox.archive import ArchiveSettings
from edge.outbox.queue import RESEND_S


class DeviceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who this box is.

    Attributes:
        id: its name in topics and records; no spaces, "/", "+" or "#".
        site: where it stands, for people.
    """

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "leukoscope"
    site: str = ""


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which model file, and how it is run.

    Attributes:
        file: path; "" for the one that was installed.
        threads: of the interpreter.
        refer_below: where the likelier class has less than this probability, the verdict is "refer";
            without it the model file's own value holds.
    """

    file: str = ""
    threads: Annotated[int, Meta(ge=1, le=16)] = 1
    refer_below: Annotated[float, Meta(ge=0, le=1)] | None = None


class OutboxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where records wait for the broker.

    Attributes:
        file: SQLite database.
        max_mb: megabytes of records, about a thousand each; at this bound no new frames are taken.
        resend_s: seconds for which a record is kept after the broker has acknowledged it, and sent again after
            a new connection: a broker that crashes may lose what it has acknowledged but not yet written. 0 for
            not at all.
    """

    file: str = "/var/lib/leukoscope/outbox.db"
    max_mb: Annotated[int, Meta(ge=1, le=1_000_000)] = 1024
    resend_s: Annotated[float, Meta(ge=0, le=86400)] = RESEND_S


class HealthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often health is published.

    Attributes:
        interval_s: seconds.
    """

    interval_s: Annotated[float, Meta(ge=1, le=3600)] = 10.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole settings file."""

    device: DeviceSettings = DeviceSettings()
    model: ModelSettings = ModelSettings()
    camera: CameraSettings = CameraSettings()
    simulator: SimulatorSettings = SimulatorSettings()
    quality: QualitySettings = QualitySettings()
    mqtt: MqttSettings = MqttSettings()
    outbox: OutboxSettings = OutboxSettings()
    archive: ArchiveSettings = ArchiveSettings()
    health: HealthSettings = HealthSettings()

    def sha256(self) -> str:
        """A name for exactly these settings; secrets are in files and so not part of it."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


def load(file: Path) -> Settings:
    """Read and check a settings file.

    Raises:
        InputError: it is missing, is not TOML, or keys are unknown or out of range; each of them is named.
    """
    remedy = "systemd/leukoscope.toml shows every key"
    found = typedfile.read(file, dict[str, Any], msgspec.toml.decode, name=f"settings {file}", remedy=remedy)
    try:
        return msgspec.convert(found, Settings)
    except msgspec.ValidationError as error:
        faults = _faults(found) or [str(error)]
    raise InputError("\n".join(f"settings {file}: {fault}" for fault in faults))


def _faults(found: dict[str, Any]) -> list[str]:
    """What is wrong with each key alone; that can be tried, since every setting has a default."""
    faults = []
    for name, table in found.items():
        parts = [{key: table[key]} for key in table] if isinstance(table, dict) and table else [table]
        for part in parts:
            try:
                msgspec.convert({name: part}, Settings)
            except msgspec.ValidationError as error:
                faults.append(str(error))
    return faults
