"""Which model a box runs, and the steps by which another one takes its place or goes back."""

import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.model.file import ModelFile, read_model, verify
from edge.model.installation import signature
from edge.model.installation.signature import Signed
from edge.model.installation.store import KEPT, State, Store, Trial
from edge.model.installation.trial import Comparison, compare
from edge.model.installed import find_model
from edge.model.settings import ModelSettings

log = logging.getLogger(__name__)

STARTS = 3
"""A model on trial with which the daemon has begun so often without proving it is given up."""


@dataclass(frozen=True)
class Installed:
    """What an installation did.

    Attributes:
        model: what runs from now on.
        before: what ran until now.
        comparison: of the two on the box's own pictures.
        signed: who signed it; empty where no keys are set.
    """

    model: ModelFile
    before: ModelFile
    comparison: Comparison
    signed: list[Signed]

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "name": self.model.manifest.name,
            "sha256": self.model.sha256,
            "before": self.before.sha256,
            "adapted": self.model.adaptation is not None,
            "signed_by": [signed.name for signed in self.signed],
            "trial": self.comparison.facts(),
        }


def store_of(settings: ModelSettings) -> Store:
    """The folder of the box's own models."""
    return Store(Path(settings.directory))


def of_settings(settings: ModelSettings) -> ModelFile:
    """The model that a box runs: the installed one, else that of the settings.

    An installed file that is missing or damaged is passed over, with a line in the log, for the one before it.

    Raises:
        LeukoscopeError: no model can be read, or [model] trusted_keys does not trust it.
    """
    store = store_of(settings)
    try:
        state = store.state()
    except LeukoscopeError as error:
        log.error("%s; the model of the settings is used", error)
        state = State()
    faults = []
    for sha256 in (state.current, *state.before):
        if not sha256:
            break
        try:
            model = _stored(store, sha256)
            check_signature(model, settings)
            return model
        except LeukoscopeError as error:
            log.error("installed model: %s", error)
            faults.append(str(error))
    model = read_model(find_model(settings.file))
    check_signature(model, settings)
    return model


def check_signature(model: ModelFile, settings: ModelSettings) -> list[Signed]:
    """Refuse what [model] trusted_keys does not trust; nothing is asked where it is not set.

    Raises:
        LeukoscopeError: see `signature.check`.
    """
    if not settings.trusted_keys:
        return []
    return signature.check(model, signature.trusted(Path(settings.trusted_keys)))


def install(
    file: Path, settings: ModelSettings, archive: Path, black: bool = False, sha256: str = ""
) -> Installed:
    """Check a model file, try it on the newest pictures, and have the box run it from now on.

    Args:
        file: what is to run.
        settings: of the box.
        archive: the folder of its pictures.
        black: as [camera] background.
        sha256: what the file's hash must be, or "".

    Raises:
        LeukoscopeError: it is refused, with the reason; what ran before still does. Also if another model was installed
            while this one was tried: it was compared with one that no longer runs.
    """
    store, before = store_of(settings), of_settings(settings)
    model = read_model(file)
    if sha256 and model.sha256 != sha256:
        raise InputError(f"{file}: its sha256 is {model.sha256}, not {sha256}; copy it again")
    signed = check_signature(model, settings)
    _check_fits(model, before)
    verify(model)
    comparison = compare(before, model, archive, black)
    with store.writing():
        state = store.state()
        _check_counters(model, signed, state.counters)
        if (now := of_settings(settings)).sha256 != before.sha256:
            raise LeukoscopeError(
                f"{file}: another model was installed while this one was tried ({now.sha256[:12]} runs now); "
                "to replace that one, install this one again"
            )
        if model.sha256 == before.sha256:
            raise InputError(f"{file}: this model runs already")
        data = file.read_bytes()
        if store.add(data) != model.sha256:
            raise LeukoscopeError(f"{file}: it changed while it was read; try again")
        was = before.sha256 if before.sha256 in (state.current, *state.before) else ""
        earlier = [known for known in state.before if known not in (was, model.sha256)]
        counters = {**state.counters, **{one.key: one.counter for one in signed}}
        store.write(
            State(
                current=model.sha256,
                before=[was, *earlier][:KEPT],
                trial=Trial(since=time.time()),
                counters=counters,
            )
        )
        store.clean()
    log.info("model %s installed: %s", model.sha256[:12], comparison.words())
    return Installed(model, before, comparison, signed)


def back(settings: ModelSettings, reason: str = "", failed: str = "") -> ModelFile:
    """Go back to the model that ran before.

    Args:
        settings: of the box.
        reason: why, if the box does it by itself; "" by a person's wish.
        failed: the sha256 of the model that the box gives up: if another one was installed meanwhile, that one runs;
            "" for whatever is installed.

    Returns:
        What runs from now on.

    Raises:
        LeukoscopeError: none ran before.
    """
    store = store_of(settings)
    with store.writing():
        state = store.state()
        if failed and state.current != failed:
            return of_settings(settings)
        usable = [sha256 for sha256 in state.before if not sha256 or store.has(sha256)]
        if not state.current or not usable:
            raise LeukoscopeError("no model ran before this one; there is nothing to go back to")
        rest = usable[1:]
        if not reason:  # a person may want it again
            rest = [*rest, state.current][-KEPT:] if usable[0] else []
        store.write(State(current=usable[0], before=rest, counters=state.counters, fault=reason))
        store.clean()
    model = of_settings(settings)
    log.log(
        logging.ERROR if reason else logging.INFO,
        "model: back to %s%s",
        model.sha256[:12],
        f": {reason}" if reason else "",
    )
    return model


def begins(settings: ModelSettings) -> None:
    """The daemon starts: count it, if a model is on trial, and give the model up if it has been too often."""
    store = store_of(settings)
    with contextlib.suppress(LeukoscopeError):  # the state cannot be read or written: the doctor tells of it
        state = store.state()
        if state.trial is None:
            return
        if state.trial.starts >= STARTS:
            reason = f"the box has started {STARTS} times with it, and it never became ready"
            back(settings, reason, failed=state.current)
            return
        with store.writing():
            state = store.state()  # somebody may have written it before the lock was ours
            if state.trial is not None:
                trial = msgspec.structs.replace(state.trial, starts=state.trial.starts + 1)
                store.write(msgspec.structs.replace(state, trial=trial))


def proven(settings: ModelSettings, sha256: str) -> None:
    """The daemon works with it: the trial has ended well."""
    store = store_of(settings)
    with contextlib.suppress(LeukoscopeError), store.writing():
        state = store.state()
        if state.trial is not None and state.current == sha256:
            store.write(msgspec.structs.replace(state, trial=None))


def _stored(store: Store, sha256: str) -> ModelFile:
    model = read_model(store.file(sha256))
    if model.sha256 != sha256:
        raise InputError(f"{model.path}: damaged: its sha256 is {model.sha256}")
    return model


def _check_fits(model: ModelFile, before: ModelFile) -> None:
    new, old = model.manifest, before.manifest
    if new.labels != old.labels or new.positive_label() != old.positive_label():
        raise InputError(
            f"{model.path}: its classes are {', '.join(new.labels)}, this box counts {', '.join(old.labels)}; to change "
            "them, set [model] file and restart"
        )
    if (new.geometry.crop, new.microns_per_pixel) != (old.geometry.crop, old.microns_per_pixel):
        raise InputError(
            f"{model.path}: it looks at {new.geometry.crop} pixels around the cell, the one that runs at "
            f"{old.geometry.crop}; to change that, set [model] file and restart"
        )


def _check_counters(model: ModelFile, signed: list[Signed], counters: Mapping[str, int]) -> None:
    for one in signed:
        if one.counter < counters.get(one.key, 0):
            raise LeukoscopeError(
                f"{model.path}: signed by {one.name} with the counter {one.counter}, and this box has had "
                f"{counters[one.key]}: it is older than what was installed; `leukoscope model back` goes back"
            )
