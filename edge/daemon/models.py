"""The model at work: another one is taken between two frames, and given back if the box does not work with it."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edge.daemon.judge import classifier_of, judge_of
from edge.daemon.pipeline import Pipeline
from edge.daemon.specimens import Specimens
from edge.errors import InputError, LeukoscopeError
from edge.health.report import Health
from edge.host import threads
from edge.model.classifier import Prediction, is_sound
from edge.model.drift import Drift
from edge.model.file import ModelFile
from edge.model.installation import install as installation
from edge.model.installation.fetch import fetched
from edge.model.installation.trial import SLOW_MS, SLOWER
from edge.mqtt.commands.requests import ModelBackRequest, ModelInstallRequest
from edge.settings import Settings

if TYPE_CHECKING:
    from edge.daemon.fields import FieldPipeline

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""Interval at which the folder of models is checked for a newly installed one."""

PROVEN_RESULTS = 20
"""After this many results a model on trial has shown that the box works with it."""

_FAULTS = (RuntimeError, ValueError, LeukoscopeError)

Made = TypeVar("Made")


class Models:
    """Follows [model] directory. For the thread of the daemon's loop, but for the commands and the report.

    Args:
        settings: of the box.
        model: what runs.
        crop_px: side of the square that shows the cell.
        pipeline, fields, specimens, health: what is told of another model.
    """

    def __init__(
        self,
        settings: Settings,
        model: ModelFile,
        crop_px: int,
        pipeline: Pipeline,
        fields: "FieldPipeline | None",
        specimens: Specimens,
        health: Health,
    ):
        self._settings, self._crop_px, self._model = settings, crop_px, model
        self._pipeline, self._fields = pipeline, fields
        self._specimens, self._health = specimens, health
        self._store = installation.store_of(settings.model)
        self._fetching = threading.Lock()
        self._stamp = self._store.stamp()
        self._look_at_s = 0.0
        self._drift = Drift(model.summary())
        self._results, self._invoke_ms, self._usual_ms = 0, 0.0, 0.0
        self._on_trial, self._fault = self._read_trial()

    def look(self) -> None:
        """Between two frames: take another model, if one was installed."""
        if time.monotonic() < self._look_at_s:
            return
        self._look_at_s = time.monotonic() + LOOK_S
        stamp = self._store.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        model = self._model
        try:
            model = installation.of_settings(self._settings.model)
            if model.sha256 != self._model.sha256:
                self._take(model)
        except LeukoscopeError as error:
            self._give_up(f"it does not load: {error}", "" if model is self._model else model.sha256)
        self._on_trial, self._fault = self._read_trial()

    def trying(self, work: Callable[[], Made]) -> Made:
        """Classify; with a model on trial that fails, do it again with the one before, so that no frame is lost."""
        try:
            return work()
        except _FAULTS as error:
            if not self._on_trial or not self._give_up(f"it fails: {error}", self._model.sha256):
                raise
            return work()

    def judged(self, prediction: Prediction) -> None:
        """One more result."""
        if is_sound(prediction.reasons):
            self._drift.add(prediction.features, prediction.colours)
        self._results += 1
        self._invoke_ms += prediction.timings_ms.get("invoke", 0.0)
        if self._results < PROVEN_RESULTS:
            return
        mean_ms, self._results, self._invoke_ms = self._invoke_ms / self._results, 0, 0.0
        if not self._on_trial:
            self._usual_ms = mean_ms
        elif self._usual_ms and mean_ms > SLOW_MS and mean_ms > SLOWER * self._usual_ms:
            reason = f"it takes {mean_ms:.0f} ms a cell, the one before took {self._usual_ms:.0f} ms"
            self._give_up(reason, self._model.sha256)
        else:
            installation.proven(self._settings.model, self._model.sha256)
            self._on_trial, self._usual_ms = False, mean_ms
            log.info("model %s works", self._model.sha256[:12])

    def install(self, request: ModelInstallRequest) -> "dict[str, Any] | Future[dict[str, Any]]":
        """`model_install`: a file on this box, at once; from a network address, when it is here.

        Raises:
            LeukoscopeError: it is refused; the model that runs goes on.
        """
        if bool(request.file) == bool(request.address):
            raise InputError("give either a file on this box or an address")
        if request.file:
            return self._install(Path(request.file), request.sha256)
        if self._fetching.locked():
            raise LeukoscopeError("another model is being fetched; wait for it")
        answer: Future[dict[str, Any]] = Future()
        threads.start("model", lambda: self._fetch(request, answer))
        return answer

    def _fetch(self, request: ModelInstallRequest, answer: "Future[dict[str, Any]]") -> None:
        """In a thread of its own: a server may take minutes, and the next command must be heard."""
        try:
            with self._fetching, fetched(request.address, request.sha256, self._settings.model) as file:
                installed = self._install(file, request.sha256)
            answer.set_result(installed)  # when the next model may be asked for
        except LeukoscopeError as error:
            log.warning("model_install: %s", error)
            answer.set_exception(error)
        except Exception as error:  # a thread's top: the box goes on, and whoever asked is answered
            log.exception("model_install failed by an unexpected error")
            answer.set_exception(LeukoscopeError(f"unexpected error: {type(error).__name__}"))

    def _install(self, file: Path, sha256: str) -> dict[str, Any]:
        settings = self._settings
        archive, black = Path(settings.archive.directory), settings.camera.background == "black"
        return installation.install(file, settings.model, archive, black, sha256).facts()

    def back(self, _request: ModelBackRequest) -> dict[str, Any]:
        """`model_back`: what ran before.

        Raises:
            LeukoscopeError: none did.
        """
        model = installation.back(self._settings.model)
        return {"name": model.manifest.name, "sha256": model.sha256}

    def report(self) -> dict[str, Any]:
        """For health: more about the model, and the drift."""
        adaptation = self._model.manifest.adaptation
        more = {
            "adapted": adaptation,
            "checked_here": adaptation is not None,
            "on_trial": self._on_trial,
            "fault": self._fault,
        }
        return {"model": more, "drift": self._drift.report()}

    def _take(self, model: ModelFile) -> None:
        classifier = classifier_of(model, self._settings, self._crop_px)
        self._pipeline.use(classifier, model)
        if self._fields is not None:
            self._fields.use(classifier)
        judge = judge_of(model)
        self._specimens.use(judge)
        self._health.use(judge.model)
        self._model, self._drift = model, Drift(model.summary())
        self._results, self._invoke_ms = 0, 0.0
        log.info("model %s taken", model.sha256[:12])

    def _give_up(self, reason: str, failed: str) -> bool:
        """Back to the model before; whether that could be done.

        Args:
            reason: what is wrong.
            failed: the sha256 of the model; "" if it is not known which of those installed it is.
        """
        try:
            named = f"model {failed[:12]}" if failed else "the installed model"
            model = installation.back(self._settings.model, f"{named}: {reason}", failed)
            self._take(model)
        except LeukoscopeError as error:
            log.error("model: %s; there is no way back: %s", reason, error)
            return False
        self._stamp = self._store.stamp()
        self._on_trial, self._fault = self._read_trial()
        return True

    def _read_trial(self) -> tuple[bool, str]:
        try:
            state = self._store.state()
        except LeukoscopeError as error:
            return False, str(error)
        return state.trial is not None and state.current == self._model.sha256, state.fault
