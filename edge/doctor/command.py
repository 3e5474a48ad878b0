"""`leukoscope doctor`: tries everything that a support call would ask, in order, and says what to do."""

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from edge import settings as settings_file
from edge.doctor import checks, support
from edge.errors import LeukoscopeError
from edge.notice import NOTICE
from edge.settings import Settings

State = Literal["ok", "warning", "failed"]
_CHECKS: tuple[tuple[str, Callable[[Settings], str]], ...] = (
    ("software", checks.software),
    ("model", checks.model),
    ("outbox", checks.outbox),
    ("disk", checks.disk),
    ("memory", checks.memory),
    ("camera", checks.camera),
    ("broker", checks.broker),
    ("clock", checks.clock),
    ("temperature", checks.temperature),
    ("power", checks.power),
    ("service", checks.service),
)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check gave.

    Attributes:
        name: of the check.
        state: "warning" where the box works, but not for long or not well.
        message: what was seen, and where it is not ok, what to do.
    """

    name: str
    state: State
    message: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Every check in its order; one that fails does not keep the next from being tried."""
    for name, check in _CHECKS:
        try:
            yield Finding(name=name, state="ok", message=check(settings))
        except checks.CautionError as caution:
            yield Finding(name=name, state="warning", message=str(caution))
        except (LeukoscopeError, OSError) as error:
            yield Finding(name=name, state="failed", message=str(error))


def command(options: argparse.Namespace) -> int:
    """The command; 0 all works, 1 something failed, 2 the settings are wrong."""
    findings: list[Finding] = []
    status = 0
    try:
        settings = settings_file.load(options.config)
        message = f"{options.config}: valid"
        _found(Finding(name="settings", state="ok", message=message), findings, options.json)
        for finding in examine(settings):
            _found(finding, findings, options.json)
        status = 1 if any(finding.state == "failed" for finding in findings) else 0
    except LeukoscopeError as error:
        settings, status = None, error.exit_status
        _found(Finding(name="settings", state="failed", message=str(error)), findings, options.json)
    document = {"ok": status == 0, "notice": NOTICE, "checks": msgspec.to_builtins(findings)}
    if options.json:
        print(msgspec.json.encode(document).decode())
    elif status == 0:
        print("All that was tried works.")
    if options.bundle is not None:
        support.pack(options.bundle, options.config, settings, document)
        print(f"{options.bundle}: for support; look into it before you send it", file=sys.stderr)
    return status


def _found(finding: Finding, findings: list[Finding], as_json: bool) -> None:
    """Keep a finding, and show it as soon as it is there: a camera may take seconds."""
    findings.append(finding)
    if not as_json:
        print(f"{finding.state:8}{finding.name:13}{finding.message}", flush=True)
