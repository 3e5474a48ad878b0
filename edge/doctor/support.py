"""What support needs in one file: settings without secrets, versions, findings, health history, recent log."""

import io
import re
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edge.doctor.checks import output_of
from edge.errors import LeukoscopeError
from edge.health.report import versions
from edge.health.reporter import HISTORY_FILE, OLDER_HISTORY_FILE
from edge.model.classifier import default_model
from edge.model.file import read_model
from edge.settings import Settings

LOG_LINES = 3000
REMOVED = "(removed)"
# A key that names a secret, and its value; not one that names the file which holds it.
_SECRET = re.compile(
    r"""(?i)(?P<key>[\w.-]*(?:password|passwd|secret|token|api_?key)["']?\s*=\s*)("[^"\n]*"|'[^'\n]*'|[^\s,}]+)"""
)
# rtsp://name:word@host, also within a GStreamer pipeline.
_CREDENTIALS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/@\s\"']+@")


def pack(file: Path, config: Path, settings: Settings | None, findings: dict[str, Any]) -> None:
    """Write the bundle, a .tar.gz.

    Args:
        file: where to; replaced where it exists.
        config: the settings file; may be missing.
        settings: what was read from it, or None where it is wrong.
        findings: the document of `leukoscope doctor --json`.

    Raises:
        LeukoscopeError: it cannot be written.
    """
    folder = f"leukoscope-support-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    try:
        with tarfile.open(file, "w:gz") as archive:
            for name, content in _parts(config, settings, findings):
                entry = tarfile.TarInfo(f"{folder}/{name}")
                entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o644
                archive.addfile(entry, io.BytesIO(content))
    except OSError as error:
        raise LeukoscopeError(f"{file}: {error.strerror}; give a place that can be written") from error


def without_secrets(text: str) -> str:
    """Text with the values of secret keys and the names and passwords in addresses taken out."""
    text = _SECRET.sub(rf'\g<key>"{REMOVED}"', text)
    return _CREDENTIALS.sub(rf"\g<scheme>{REMOVED}@", text)


def _parts(config: Path, settings: Settings | None, findings: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    yield "doctor.json", _json(findings)
    yield "versions.json", _json(versions())
    try:
        yield "settings.toml", without_secrets(config.read_text(errors="replace")).encode()
    except OSError as error:
        yield "settings.txt", f"{config}: {error.strerror}\n".encode()
    if settings is not None:
        yield "model.json", _model(settings)
        folder = Path(settings.outbox.file).parent
        for name in (OLDER_HISTORY_FILE, HISTORY_FILE, "runs.json"):
            if (folder / name).is_file():
                yield name, without_secrets((folder / name).read_text(errors="replace")).encode()
    log = output_of(
        "journalctl", "--unit=leukoscope*", f"--lines={LOG_LINES}", "--no-pager", "--output=short-iso"
    )
    yield "log.txt", without_secrets(log or "no journal here\n").encode()
    units = output_of("systemctl", "status", "--no-pager", "--lines=0", "leukoscope*", "mosquitto*")
    yield "units.txt", (units or "no systemd here, or no unit runs\n").encode()


def _model(settings: Settings) -> bytes:
    try:
        file = read_model(Path(settings.model.file) if settings.model.file else default_model())
    except LeukoscopeError as error:
        return _json({"error": str(error)})
    return _json({"sha256": file.sha256, "manifest": msgspec.to_builtins(file.manifest)})


def _json(document: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
