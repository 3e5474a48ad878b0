"""`leukoscope doctor`: every check in order, each with what to do; the support bundle."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from edge import settings as settings_file
from edge.doctor import support
from edge.doctor.findings import Finding, failed, ok
from edge.doctor.named_files import look
from edge.doctor.show import Show
from edge.errors import LeukoscopeError
from edge.host.journal import safe_lines
from edge.host.terminal import console
from edge.notice import NOTICE
from edge.settings import Settings

_SEVERITY = {"ok": 0, "unknown": 0, "warning": 1, "failed": 2}


def examine(settings: Settings) -> Iterator[Finding]:
    """Every check in its order; one that fails, or is itself broken, does not keep the next from being tried.

    What `check` finds about files that the settings name comes first: it belongs to one of these checks, and if
    it is a failure, that check is not tried.
    """
    from edge.doctor import checks

    named = list(look(settings))
    known = [name for name, _ in checks.CHECKS]
    for name, check in checks.CHECKS:
        before = [found for found in named if found.name == name]
        worst = max(before, key=lambda found: _SEVERITY[found.state], default=ok(name, ""))
        if worst.state != "failed":
            tried = _tried(name, partial(check, settings))
            worst = max(worst, tried, key=lambda found: _SEVERITY[found.state]) if before else tried
        yield worst
    yield from (found for found in named if found.name not in known)


def _tried(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (LeukoscopeError, OSError) as error:
        return failed(name, str(error))
    except Exception as error:  # a check's top: the others are still to be tried
        return failed(
            name, f"the check itself failed ({type(error).__name__}: {error}); please report it with --bundle"
        )


def command(options: argparse.Namespace) -> int:
    """The command; 0 all works, 1 something failed, 2 the settings are wrong.

    Raises:
        LeukoscopeError: the bundle cannot be written.
    """
    findings: list[Finding] = []
    settings: Settings | None = None
    status = 0
    show = Show(shown=not options.json, quiet=options.quiet)
    with show:
        for finding in _all(options.config):
            if isinstance(finding, Settings):
                settings = finding
                continue
            # The one place where findings leave: whatever a driver, a broker or an address put into them.
            finding = msgspec.structs.replace(finding, message=safe_lines(finding.message))  # noqa: PLW2901
            findings.append(finding)
            show.found(finding)
            if finding.state == "failed":
                status = max(status, 2 if finding.name == "settings" else 1)
    document = {"ok": status == 0, "notice": NOTICE, "checks": msgspec.to_builtins(findings)}
    if options.json:
        console.document(document)
    else:
        show.end(findings)
    if options.bundle is not None:
        support.pack(options.bundle, settings_path(options.config), settings, document)
        console.note(f"{options.bundle}: for support; look into it before you send it")
    return status


def _all(named: Path | None) -> Iterator[Finding | Settings]:
    """The settings first; if they are right, they themselves and every other check."""
    try:
        file = settings_file.find(named)
        settings = settings_file.load(file)
    except LeukoscopeError as error:
        yield failed("settings", str(error))
        return
    yield ok("settings", f"{file}: valid")
    yield settings
    yield from examine(settings)


def settings_path(named: Path | None) -> Path:
    """The settings file that was named, or the place where it would be."""
    try:
        return settings_file.find(named)
    except LeukoscopeError:
        return settings_file.DEFAULT_PLACES[-1]
