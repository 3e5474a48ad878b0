"""`leukoscope backup`, `restore` and `erase`."""

import argparse
import sys
import time
from pathlib import Path

import msgspec

from edge import settings as settings_file
from edge.errors import InputError
from edge.host.secrets import shown_address
from edge.host.terminal import console
from edge.host.terminal.progress import progress
from edge.host.text import harmless
from edge.logger.addresses import is_database
from edge.logger.results import span_s
from edge.notice import NOTICE
from edge.records import rfc3339
from edge.upkeep.backup import backup, pictures_in
from edge.upkeep.erase import Erased, erase
from edge.upkeep.restore import restore, verify


def backup_command(options: argparse.Namespace) -> int:
    """Write a backup of the box."""
    config = settings_file.find(options.config)
    settings = settings_file.load(config)
    pictures = not options.no_pictures
    archive = Path(settings.archive.directory)
    total = 3 + (sum(1 for _ in pictures_in(archive)) if pictures else 0)
    target = options.database or settings.web.database
    with progress("backup", total, not options.json) as (step, _):
        made = backup(config, settings, _database(target), options.out, pictures, step)
    if options.json:
        console.document({"file": str(options.out), **msgspec.structs.asdict(made)})
        return 0
    rows = ", ".join(f"{number} {name}" for name, number in made.results.items())
    count = sum(name.startswith("pictures/") for name in made.members)
    size_mb = options.out.stat().st_size / 1e6
    console.summary(
        f"{options.out}: {size_mb:.1f} MB; settings, models, {rows}, {count} pictures of {harmless(made.device)}"
    )
    if made.left_out:
        console.note(f"not in it, keep them elsewhere: {', '.join(made.left_out)}")
    return 0


def restore_command(options: argparse.Namespace) -> int:
    """Restore a backup, or with --check only read it."""
    if options.check:
        return _checked(options)
    total = len(verify(options.file).members)
    target = _database(options.database) if options.database else None
    with progress("restore", total, not options.json) as (step, _):
        done = restore(options.file, options.config, target, step)
    if options.json:
        console.document(done)
        return 0
    rows = ", ".join(f"{number} {name}" for name, number in done.results.items())
    console.summary(
        f"added: {rows}, {done.pictures} pictures; what was there already stays\nsettings: {done.settings}\n"
        f"model: {done.model}"
    )
    if done.erased_left_out:
        console.summary(f"left out, since they were erased after the backup: {done.erased_left_out} results")
    if done.left_out:
        console.note(f"not in the backup, put them back yourself: {', '.join(done.left_out)}")
    console.note("to apply: sudo systemctl restart leukoscope leukoscope-log leukoscope-web")
    return 0


def _checked(options: argparse.Namespace) -> int:
    """Read the whole backup, and say what it is."""
    manifest = verify(options.file)
    files = len(manifest.members)
    device, made_at = manifest.device, manifest.made_at
    console.result(
        options.json,
        {"file": str(options.file), "whole": True, "device": device, "made_at": made_at, "files": files},
        f"{options.file}: whole; {harmless(device)}, {harmless(made_at)}, {files} files",
    )
    return 0


def erase_command(options: argparse.Namespace) -> int:
    """Erase one specimen, or everything older than a time; 1 if something is left to do.

    Raises:
        InputError: neither or both were given, or nobody confirmed it.
    """
    if (options.specimen is None) == (options.older_than is None):
        raise InputError("give either SPECIMEN or --older-than, such as --older-than 365d")
    settings = settings_file.load(settings_file.find(options.config))
    target = _database(options.database or settings.web.database)
    before = ""
    if options.older_than is not None:
        seconds = span_s(options.older_than, "--older-than")
        before = rfc3339(max(0, time.time_ns() - round(seconds * 1e9)))
    what = f"specimen {harmless(options.specimen)!r}" if not before else f"everything before {before}"
    if not options.yes and not _confirmed(what):
        raise InputError(f"nothing was erased; to erase {what} without a question: --yes")
    done = erase(settings, target, options.specimen, before)
    if options.json:
        console.document(done)
    else:
        console.summary(f"erased of {what}: {_numbers(done)}; {NOTICE}")
        if done.nothing():
            console.note(
                f"nothing was found of {what}; is the name right? leukoscope results {shown_address(target)}"
            )
        else:
            console.note("backups that were made before still hold it; see docs/data-protection.md")
    for text in done.left:
        console.warn(f"left: {text}")
    return 1 if done.left else 0


def _numbers(done: Erased) -> str:
    named = {
        "results": done.cells,
        "fields": done.fields,
        "reviews": done.reviews,
        "pictures": done.pictures,
        "refused messages": done.rejects,
        "that waited on the box": done.waiting,
    }
    return ", ".join(f"{number} {name}" for name, number in named.items())


def _database(target: str) -> str:
    if not is_database(target):
        raise InputError(f"{harmless(target)}: give a database, sqlite:///FILE or postgresql://…")
    return target


def _confirmed(what: str) -> bool:
    if not sys.stdin.isatty():
        return False
    console.warn(
        f"{what} will be erased from the results, the reviews and the pictures; it cannot be undone."
    )
    return input("Type yes to erase: ").strip() == "yes"
