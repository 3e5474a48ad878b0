"""`leukoscope model keygen|sign|install|back`."""

import argparse
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from edge import settings as settings_file
from edge.doctor.running import in_use
from edge.errors import InputError, LeukoscopeError
from edge.host.terminal import console
from edge.model.file import ModelFile
from edge.model.installation import install as installation
from edge.model.installation import signature
from edge.model.installation.fetch import fetched
from edge.model.installed import find_model
from edge.notice import NOTICE
from edge.settings import Settings

TAKEN_S = 90.0
"""The running daemon takes a model within a second, and has shown within so long whether it works with it."""

_STEP_S = 0.2


def keygen_command(options: argparse.Namespace) -> int:
    """A new pair of keys."""
    line = signature.make_key(options.file, options.name or options.file.stem)
    public = f"{options.file}{signature.PUBLIC_SUFFIX}"
    console.result(
        options.json,
        {"key_file": str(options.file), "public_file": public, "public": line.strip()},
        f"{options.file}: the private key; whoever has it can sign: keep it on one machine, and a copy off it",
        f"{public}: the public key; add its line to the file that [model] trusted_keys names",
    )
    return 0


def sign_command(options: argparse.Namespace) -> int:
    """Sign a model file in its place."""
    model = signature.sign(Path(find_model(options.file)), options.key, options.counter)
    signed = signature.signature_of(model)
    assert signed is not None
    told = {"file": str(model.path), "sha256": model.sha256, "key": signed.key, "counter": signed.counter}
    words = f"{model.path}: signed, counter {signed.counter}; sha256 {model.sha256}"
    console.result(options.json, told, words)
    return 0


def install_command(options: argparse.Namespace) -> int:
    """Check, try, switch; 1 where it is refused or the daemon went back.

    Raises:
        LeukoscopeError: it is refused; what ran before still does.
    """
    settings = settings_file.load(settings_file.find(options.config))
    with _brought(options, settings) as file:
        done = installation.install(
            file,
            settings.model,
            Path(settings.archive.directory),
            settings.camera.background == "black",
            options.sha256 or "",
        )
    if not options.json:
        console.note(done.comparison.words())
    runs = _wait(settings, done.model)
    words = f"{done.model.manifest.name}, sha256 {done.model.sha256}: installed; {runs}"
    console.result(options.json, done.facts() | {"daemon": runs}, words)
    if not options.json:
        console.note(f"to take it back: leukoscope model back; {NOTICE}")
    return 0


@contextlib.contextmanager
def _brought(options: argparse.Namespace, settings: Settings) -> Iterator[Path]:
    """The file to install: of this machine, or from a network address."""
    if not options.file.startswith(("http://", "https://")):
        yield Path(find_model(options.file))
        return
    if not options.sha256:
        raise InputError(
            "a model from a network address needs --sha256, so that exactly this file is meant; `sha256sum` tells it"
        )
    with fetched(options.file, options.sha256, settings.model) as file:
        yield file


def back_command(options: argparse.Namespace) -> int:
    """Go back to the model that ran before.

    Raises:
        LeukoscopeError: none ran before.
    """
    settings = settings_file.load(settings_file.find(options.config))
    model = installation.back(settings.model)
    told = {"name": model.manifest.name, "sha256": model.sha256}
    console.result(options.json, told, f"{told['name']}, sha256 {told['sha256']}: runs again")
    return 0


def _wait(settings: Settings, model: ModelFile) -> str:
    """Wait until the running daemon has shown that it works with a model; what became of it, in words.

    Raises:
        LeukoscopeError: the daemon went back.
    """
    if not in_use(settings):
        return "the daemon does not run; it takes the model at its next start"
    store, until = installation.store_of(settings.model), time.monotonic() + TAKEN_S
    while time.monotonic() < until:
        state = store.state()
        if state.current != model.sha256:
            raise LeukoscopeError(
                f"the daemon went back to the model before: {state.fault or 'by a command'}"
            )
        if state.trial is None:
            return "the daemon works with it"
        time.sleep(_STEP_S)
    return "the daemon has taken no frame with it yet; `leukoscope doctor` tells which model runs"
