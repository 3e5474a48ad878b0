"""The doctor's look at the outboxes: what waits in them, what can never be sent, and whether there is room."""

import os
import tempfile
from pathlib import Path

import msgspec

from edge.doctor.findings import Finding, failed, ok, warning
from edge.doctor.running import in_use
from edge.errors import LeukoscopeError
from edge.outbox.file import Held, held_in
from edge.outbox.settings import fields_file
from edge.settings import Settings

# Of [outbox] max_mb; a full outbox takes no new frames.
NEARLY_FULL = 0.9


def outbox(settings: Settings) -> Finding:
    """Records can be kept: the folder can be written, or the running service keeps them; and what they wait for.

    A box that looks at whole fields has two outboxes, one beside the other.
    """
    cells = Path(settings.outbox.file)
    waiting = []
    for file in (cells, fields_file(cells)):
        if not file.exists():
            continue
        try:
            held = held_in(file)
        except LeukoscopeError as error:
            return failed(
                "outbox", f"{error}; at its next start the daemon takes over what can be read of it"
            )
        if trouble := _trouble(held, settings, of_fields=file != cells):
            return warning("outbox", f"{file}: {trouble}")
        if held.waiting:
            waiting.append(f"{held.waiting} {'records' if file == cells else 'records of fields'} wait")
    place = _place(settings)
    return msgspec.structs.replace(place, message="; ".join([place.message, *waiting]))


def _trouble(held: Held, settings: Settings, of_fields: bool) -> str:
    """What a person has to know of what an outbox holds; "" if all is well."""
    if held.aside:
        sequence, reason = held.aside[-1]
        return (
            f"{len(held.aside)} records are set aside and not sent, the last of them {sequence}: {reason}; "
            "they are in the table aside of that file"
        )
    used_mb = held.used_bytes / 2**20
    if used_mb > NEARLY_FULL * settings.outbox.max_mb:
        return (
            f"{used_mb:.0f} MB of [outbox] max_mb = {settings.outbox.max_mb} are used, {held.waiting} records "
            "wait for the broker; when it is full no new frames are taken"
        )
    if held.waiting and of_fields and settings.camera.view == "cell":
        return (
            f'{held.waiting} records of fields wait, and are not sent while [camera] view is "cell"; set it to '
            '"field" once more to send them'
        )
    return ""


def _place(settings: Settings) -> Finding:
    """Whether records can be written."""
    file = Path(settings.outbox.file)
    if in_use(settings):
        return ok("outbox", f"{file}: in use by the running service")
    folder = file.parent
    if not folder.is_dir():
        return failed(
            "outbox",
            f"{folder} does not exist; create it, or set [outbox] file to another place",
            f"sudo install -d -o leukoscope -g leukoscope {folder}",
        )
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return failed("outbox", f"{folder}: {error.strerror}; free space, or run this as the user leukoscope")
    return ok("outbox", f"{file}: can be written")
