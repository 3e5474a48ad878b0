"""The settings file of the box: every table and its keys, typed, with unit, range and default.

Each package keeps the settings of its own table in its `settings` module; here they become one file.
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from edge.cameras.settings import CameraSettings as CameraSettings
from edge.cameras.settings import SimulatorSettings
from edge.errors import InputError
from edge.health.settings import HealthSettings
from edge.host import secrets, typedfile
from edge.host.toml.faults import find_faults
from edge.imaging.settings import QualitySettings
from edge.model.settings import ModelSettings
from edge.mqtt.settings import PASSWORD_VARIABLE, MqttSettings
from edge.outbox.settings import ArchiveSettings, OutboxSettings
from edge.specimen.settings import SpecimenSettings
from edge.web.settings import WebSettings

if TYPE_CHECKING:
    from edge.host.toml.lines import Lines

DEFAULT_PLACES = (Path("leukoscope.toml"), Path("/etc/leukoscope/leukoscope.toml"))
"""Where the settings file is looked for if a command names none; the first that exists is used."""

REMEDY = "systemd/leukoscope.toml documents every key"


class DeviceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which box this is.

    Attributes:
        id: its name in topics and records.
        site: where the box is installed, for people.
    """

    id: Annotated[
        str,
        Meta(pattern=r"\A[A-Za-z0-9_.-]{1,64}\Z", description='1 to 64 letters, digits, "_", "." or "-"'),
    ] = "leukoscope"
    site: str = ""


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
    specimen: SpecimenSettings = SpecimenSettings()
    web: WebSettings = WebSettings()

    def sha256(self) -> str:
        """A name for exactly these settings; secrets are in files and so not part of it."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


def find(named: Path | None) -> Path:
    """The settings file to read: the one that was named, else the first of `DEFAULT_PLACES` that exists.

    Raises:
        InputError: none was named, and none of them exists.
    """
    if named is not None:
        return named
    for place in DEFAULT_PLACES:
        if place.is_file():
            return place
    places = " or ".join(map(str, DEFAULT_PLACES))
    raise InputError(f"no settings file: {places} does not exist; give one with --config FILE")


def load(file: Path) -> Settings:
    """Read and check a settings file.

    Raises:
        InputError: it is missing, is not TOML, or keys are unknown or out of range; each fault is one line
            with the line number in the file and the key.
    """
    return _checked(file)[0]


def load_with_lines(file: Path) -> "tuple[Settings, Lines]":
    """As `load`, and the line of each key, for messages about what the settings name.

    Raises:
        InputError: as for `load`.
    """
    settings, text = _checked(file)
    return settings, _lines_of(text)


def _checked(file: Path) -> tuple[Settings, str]:
    """The settings, and the text of the file."""
    text = typedfile.read_text(file, name=f"settings {file}", remedy=REMEDY)
    found = typedfile.decode_toml(text, name=f"settings {file}")
    _remember_secrets(found)
    if faults := find_faults(found, Settings):
        lines = _lines_of(text)
        raise InputError(
            "\n".join(f"settings {file}{lines.place(*fault.key)}: {fault.text}" for fault in faults)
        )
    return msgspec.convert(found, Settings), text


def _lines_of(text: str) -> "Lines":
    from edge.host.toml.lines import key_lines  # late: the daemon needs no lines, if nothing is wrong

    return key_lines(text)


def _remember_secrets(found: dict[str, Any]) -> None:
    """Whatever ${NAME} in any setting stands for is a secret from now on, also if it is never expanded."""
    secrets.remember(os.environ.get(PASSWORD_VARIABLE, ""))
    for table in found.values():
        for value in table.values() if isinstance(table, dict) else ():
            if isinstance(value, str):
                secrets.remember_variables(value)
