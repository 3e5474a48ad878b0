"""The files, folders and devices that the settings name: what `check`, `run` and `doctor` look at first.

It loads no camera, broker or database library, so that `check` is quick and works anywhere.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.doctor.findings import Finding, failed, warning
from edge.errors import InputError, LeukoscopeError
from edge.host import secrets
from edge.settings import Settings

LONGEST_PASSWORD_BYTES = 65535
"""What MQTT can carry."""

_DEVICE = re.compile(r"/dev/.+")


def look(settings: Settings) -> Iterator[Finding]:
    """Every fault and warning about what the settings name; nothing if all of it is there.

    Findings carry the name of the doctor's check that they belong to: model, camera, broker, outbox or archive.
    """
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _model,
        _source,
        _calibration,
        _credentials,
        _folders,
    )
    for check in checks:
        yield from check(settings)


def _model(settings: Settings) -> Iterator[Finding]:
    from edge.model.installation.install import of_settings

    key = ("model", "file")
    if settings.model.fetch and not settings.model.trusted_keys:
        yield failed(
            "model", "[model] fetch needs trusted_keys", "leukoscope model keygen", ("model", "fetch")
        )
    try:
        manifest = of_settings(settings.model).manifest
    except LeukoscopeError as error:
        where = "[model] file " if settings.model.file else ""
        yield failed("model", f"{where}{error}", "leukoscope model list", key)
        return
    try:
        settings.camera.crop_px(manifest.geometry.crop, manifest.microns_per_pixel)
    except InputError as error:
        yield failed("camera", str(error), key=("camera",))


def _source(settings: Settings) -> Iterator[Finding]:
    key = ("camera", "source")
    try:
        source = secrets.expand(settings.camera.source, "[camera] source")
    except InputError as error:
        yield failed("camera", str(error), key=key)
        return
    if source.startswith("files:"):
        path = Path(source.removeprefix("files:"))
        if not path.exists():
            yield failed("camera", f"[camera] source: {path}: no such file or folder", key=key)
        elif not os.access(path, os.R_OK):
            yield warning("camera", f"[camera] source: {path}: this user may not read it", key=key)
    elif _DEVICE.fullmatch(source) and not Path(source).exists():
        yield warning(
            "camera", f"[camera] source: {source} is not there; plug the camera in", "ls /dev/video*", key
        )


def _calibration(settings: Settings) -> Iterator[Finding]:
    file, key = settings.camera.calibration, ("camera", "calibration")
    if file:
        yield from _readable("camera", "[camera] calibration", file, key, "sudo leukoscope calibrate")


def _credentials(settings: Settings) -> Iterator[Finding]:
    mqtt = settings.mqtt
    files = [name for name in mqtt.__struct_fields__ if name.endswith("_file")]
    for name in ("username", *files):
        key = ("mqtt", name)
        try:
            value = secrets.expand(getattr(mqtt, name), f"[mqtt] {name}")
        except InputError as error:
            yield failed("broker", str(error), key=key)
            continue
        if value and name != "username":
            findings = list(_readable("broker", f"[mqtt] {name}", value, key))
            yield from findings
            if name.endswith("password_file") and not findings:
                yield from _password(Path(value), key)
    if mqtt.key_file and not mqtt.cert_file:
        yield failed("broker", "[mqtt] key_file is set without cert_file; set both", key=("mqtt", "key_file"))


def _password(file: Path, key: tuple[str, ...]) -> Iterator[Finding]:
    """Read the password once, so that it is known as a secret from here on."""
    try:
        data = file.read_bytes()[: LONGEST_PASSWORD_BYTES + 1]
        password = data.decode("utf-8-sig").strip("\r\n")
    except UnicodeDecodeError:
        yield failed("broker", f"[mqtt] {key[1]} {file}: not UTF-8; save it as UTF-8", key=key)
        return
    secrets.remember(password)
    if not password:
        yield failed("broker", f"[mqtt] {key[1]} {file}: it is empty", key=key)
    elif len(data) > LONGEST_PASSWORD_BYTES or "\n" in password:
        yield failed(
            "broker",
            f"[mqtt] {key[1]} {file}: more than one line; only the password may be in it",
            key=key,
        )


def _folders(settings: Settings) -> Iterator[Finding]:
    outbox = Path(settings.outbox.file)
    if outbox.is_dir():
        yield failed("outbox", f"[outbox] file: {outbox} is a folder; give a file", key=("outbox", "file"))
    else:
        yield from _writable("outbox", "[outbox] file", outbox.parent, ("outbox", "file"))
    if settings.archive.keep != "none":
        key = ("archive", "directory")
        yield from _writable("archive", "[archive] directory", Path(settings.archive.directory), key)


def _readable(check: str, what: str, file: str, key: tuple[str, ...], command: str = "") -> Iterator[Finding]:
    """Is it a regular file that this user may read?"""
    try:
        status = Path(file).stat()
    except OSError as error:
        if isinstance(error, PermissionError):
            yield warning(check, f"{what} {file}: this user may not look into its folder", key=key)
        else:
            yield failed(check, f"{what} {file}: {_reason(error)}", command, key)
        return
    if not stat.S_ISREG(status.st_mode):
        yield failed(check, f"{what} {file}: not a regular file", key=key)
    elif not os.access(file, os.R_OK):
        yield warning(check, f"{what} {file}: this user may not read it; try as the user leukoscope", key=key)


def _writable(check: str, what: str, folder: Path, key: tuple[str, ...]) -> Iterator[Finding]:
    """Is the folder there, or can the daemon make it?"""
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir():
        yield failed(check, f"{what}: {nearest} is a file, not a folder", key=key)
    elif nearest != folder:
        yield warning(
            check,
            f"{what}: the folder {folder} is not there yet; the service makes it",
            f"sudo mkdir -p {folder}",
            key,
        )
    elif not os.access(folder, os.W_OK):
        yield warning(check, f"{what}: this user may not write to {folder}; the service may", key=key)


def _reason(error: OSError) -> str:
    return "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
