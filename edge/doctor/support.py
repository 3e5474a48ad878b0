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
from edge.host.durable import replace_file
from edge.host.secrets import redact
from edge.model.installation.install import of_settings
from edge.settings import Settings

LOG_LINES = 3000
LARGEST_PART_BYTES = 8 * 2**20
REMOVED = "(removed)"
# A key that names a secret, and its value; not one that names the file which holds it.
_SECRET = re.compile(
    r"""(?i)(?P<key>[\w.-]*(?:password|passwd|secret|token|api_?key)["']?\s*=\s*)("[^"\n]*"|'[^'\n]*'|[^\s,}]+)"""
)


def pack(file: Path, config: Path, settings: Settings | None, findings: dict[str, Any]) -> None:
    """Write the bundle, a .tar.gz.

    Args:
        file: where to; replaced if it exists.
        config: the settings file; may be missing.
        settings: what was read from it, or None if it is wrong.
        findings: the document of `leukoscope doctor --json`.

    Raises:
        LeukoscopeError: it cannot be written.
    """
    folder = f"leukoscope-support-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in _parts(config, settings, findings):
            content = without_secrets(text).encode(errors="replace")  # the one place where a part is added
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o644
            archive.addfile(entry, io.BytesIO(content))
    replace_file(file, packed.getvalue())


def without_secrets(text: str) -> str:
    """Text without the values of secret keys, user and password of addresses, and secrets that this process knows."""
    return redact(_SECRET.sub(rf'\g<key>"{REMOVED}"', text))


def _parts(config: Path, settings: Settings | None, findings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "doctor.json", _json(findings)
    yield "versions.json", _json(versions())
    yield _file(config, "settings.toml")
    if settings is not None:
        yield "model.json", _model(settings)
        folder = Path(settings.outbox.file).parent
        for name in (OLDER_HISTORY_FILE, HISTORY_FILE, "runs.json"):
            if (folder / name).is_file():
                yield _file(folder / name, name)
    log = output_of(
        "journalctl", "--unit=leukoscope*", f"--lines={LOG_LINES}", "--no-pager", "--output=short-iso"
    )
    yield "log.txt", f"{log or 'no journal here'}\n"
    units = output_of("systemctl", "status", "--no-pager", "--lines=0", "leukoscope*", "mosquitto*")
    yield "units.txt", f"{units or 'no systemd here, or no unit runs'}\n"


def _file(file: Path, name: str) -> tuple[str, str]:
    """The content of a text file, or why it cannot be read."""
    try:
        with file.open("rb") as opened:
            return name, opened.read(LARGEST_PART_BYTES).decode("utf-8-sig", errors="replace")
    except OSError as error:
        return f"{Path(name).stem}.txt", f"{file}: {error.strerror}\n"


def _model(settings: Settings) -> str:
    try:
        file = of_settings(settings.model)
    except LeukoscopeError as error:
        return _json({"error": str(error)})
    return _json({"sha256": file.sha256, "manifest": msgspec.to_builtins(file.manifest)})


def _json(document: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
