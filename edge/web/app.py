"""The page: its routes, put together from who may use it, the box, the results and the texts."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from edge.errors import LeukoscopeError
from edge.host.text import harmless
from edge.logger import reviews
from edge.notice import NOTICE
from edge.records import Record, fitting
from edge.specimen.counting import SHIPPED, Classes, columns, positive_name
from edge.specimen.settings import LARGEST_TARGET
from edge.web.access import COOKIE, SESSION_S, Attempts, Guard, body_of, refused
from edge.web.events import WATCHERS_LIMIT
from edge.web.faults import PageError
from edge.web.parts import Parts
from edge.web.texts import NAMES, catalogue, chosen

HERE = Path(__file__).parent
# A report has its style within it, and no script.
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
)
LANGUAGE_COOKIE = "leukoscope_language"
PAGES = ("live", "cells", "specimens", "health", "settings")
# A record is in the database so soon after the box has published it.
STORED_S = 0.7
NAME_LIMIT, COMMENT_LIMIT = 200, 1000

Endpoint = Callable[[Request], Awaitable[Response]]
Answering = Callable[["Page", Request], Awaitable[Response]]


def make_app(parts: Parts, names: set[str], loopback: bool) -> Any:
    """The ASGI application.

    Args:
        parts: see there.
        names, loopback: for the check of the Host header, see `access.host_names`.
    """
    page = Page(parts)
    routes = [
        Route("/", page.to_live),
        Route("/login", page.login_page),
        Route("/login", page.login, methods=["POST"]),
        Route("/logout", page.logout, methods=["POST"]),
        Route("/language", page.language, methods=["POST"]),
        *(Route(f"/{name}", page.show(name)) for name in PAGES),
        Route("/review", page.show("review")),
        Route("/cells/{cell}", page.show("cell")),
        Route("/report", page.report),
        Route("/events", page.events),
        Route("/api/cells", page.cells),
        Route("/api/cells/{cell}", page.cell),
        Route("/api/cells/{cell}/picture", page.picture),
        Route("/api/cells/{cell}/map", page.heat_map),
        Route("/api/cells/{cell}/review", page.review, methods=["POST"]),
        Route("/api/specimens", page.specimens),
        Route("/api/review", page.to_review),
        Route("/api/agreement", page.agreement),
        Route("/api/checked", page.checked),
        Route("/api/commands/{name}", page.command, methods=["POST"]),
        Route("/api/laboratory", page.laboratory),
        Route("/api/laboratory/{name}", page.change_model, methods=["POST"]),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    app = Starlette(routes=routes, lifespan=page.lifespan)
    return Guard(app, parts.password, parts.sessions, names, loopback)


def _answers(endpoint: "Answering") -> "Answering":
    """What a person did wrong, or what is not there at the moment, as JSON with its words and their code."""

    @wraps(endpoint)
    async def call(page: "Page", request: Request) -> Response:
        try:
            return await endpoint(page, request)
        except PageError as error:
            return refused(harmless(error, 500), error.status, error.code)
        except LeukoscopeError as error:
            if error.exit_status == 2:
                return refused(harmless(error, 500), 404, "not_found")
            page.parts.store.close()  # opened anew by the next request
            return refused(harmless(error, 500), 503, "database")

    return call


class Page:
    """The endpoints."""

    def __init__(self, parts: Parts):
        self.parts = parts
        self._attempts = Attempts()
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
        )
        self._templates.filters.update(safe_text=harmless, filled=_filled)

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """While the page is served it follows the box."""
        parts = self.parts
        parts.events.attach()
        parts.box.start()
        view = asyncio.create_task(parts.box.keep_view(lambda: parts.events.watchers > 0))
        preparing = asyncio.create_task(asyncio.to_thread(parts.store.prepare))
        try:
            yield
        finally:
            view.cancel()
            preparing.cancel()
            parts.laboratory.close()
            await asyncio.to_thread(parts.box.stop)
            parts.store.close()

    async def to_live(self, _request: Request) -> Response:
        """The first page."""
        return RedirectResponse("/live", 303)

    def show(self, name: str) -> Endpoint:
        """The endpoint of a page of people."""

        async def endpoint(request: Request) -> Response:
            classes = await asyncio.to_thread(self.parts.store.classes)
            return self._page(request, name, classes, cell=request.path_params.get("cell", ""))

        return endpoint

    def _page(
        self, request: Request, name: str, classes: Sequence[Classes] = (SHIPPED,), **values: Any
    ) -> Response:
        parts = self.parts
        token = request.scope.get("leukoscope_token", "")
        key = ""
        if not token and not parts.password.needed:
            key, token = parts.sessions.begin()
        language = self._language(request)
        texts = catalogue(language)
        html = self._templates.get_template(f"{name}.html").render(
            t=texts,
            texts=texts,
            language=language,
            languages=NAMES,
            pages=PAGES,
            page=name,
            token=token,
            device=harmless(parts.box.device),
            notice=texts["notice"],
            settings=parts.settings,
            blind=parts.blind,
            password=parts.password.needed,
            classes=[list(pair) for pair in classes],
            columns=columns(classes),
            labels=reviews.labels(classes),
            roles=_roles(classes),
            positive=positive_name(classes),
            negative=classes[0].negative,
            **values,
        )
        response = HTMLResponse(html)
        if key:
            self._set_session(response, key)
        return response

    def _language(self, request: Request) -> str:
        return chosen(
            request.cookies.get(LANGUAGE_COOKIE, ""),
            request.headers.get("accept-language", ""),
            self.parts.language,
        )

    def _set_session(self, response: Response, key: str) -> None:
        response.set_cookie(
            COOKIE, key, max_age=int(SESSION_S), httponly=True, samesite="strict", secure=self.parts.secure
        )

    async def login_page(self, request: Request) -> Response:
        """Asks for the password."""
        if not self.parts.password.needed or request.scope["leukoscope_token"]:
            return RedirectResponse("/live", 303)
        return self._page(request, "login")

    async def login(self, request: Request) -> Response:
        """Begins a session for who knows the password."""
        address = request.client.host if request.client else ""
        if (wait_s := self._attempts.wait_s(address)) > 0:
            answer = refused("too many wrong passwords; wait", 429, "wait")
            answer.headers["retry-after"] = str(int(wait_s) + 1)
            return answer
        right = self.parts.password.needed and self.parts.password.fits(
            str((await body_of(request)).get("password", ""))
        )
        self._attempts.note(address, right)
        if not right:
            return refused("wrong password", 401, "password")
        key, _ = self.parts.sessions.begin()
        response = JSONResponse({"ok": True})
        self._set_session(response, key)
        return response

    async def logout(self, request: Request) -> Response:
        """Ends the session."""
        self.parts.sessions.end(request.cookies.get(COOKIE, ""))
        return JSONResponse({"ok": True})

    async def language(self, request: Request) -> Response:
        """Remembers a language."""
        language = str((await body_of(request)).get("language", ""))
        if language not in NAMES:
            return refused("no such language", 400, "language")
        response = JSONResponse({"ok": True})
        response.set_cookie(
            LANGUAGE_COOKIE, language, max_age=365 * 86400, samesite="strict", secure=self.parts.secure
        )
        return response

    async def events(self, _request: Request) -> Response:
        """What happens on the box, as it happens."""
        if self.parts.events.watchers >= WATCHERS_LIMIT:
            return refused(f"{WATCHERS_LIMIT} browsers watch already", 503, "watchers")
        return StreamingResponse(self.parts.events.listen(), media_type="text/event-stream")

    @_answers
    async def cells(self, request: Request) -> Response:
        """A page of cells."""
        filters = {
            name: value[:NAME_LIMIT] for name, value in request.query_params.items() if name != "before"
        }
        before = request.query_params.get("before", "")[:NAME_LIMIT]
        shown, following = await asyncio.to_thread(self.parts.store.cells, filters, before)
        return JSONResponse({"cells": shown, "next": following, "notice": NOTICE})

    async def _record(self, request: Request) -> Record | None:
        return await asyncio.to_thread(self.parts.store.cell, request.path_params["cell"])

    @_answers
    async def cell(self, request: Request) -> Response:
        """One cell."""
        record = await self._record(request)
        if record is None:
            return refused("there is no such cell", 404, "cell")
        return JSONResponse(await asyncio.to_thread(self.parts.store.shown, record) | {"notice": NOTICE})

    @_answers
    async def picture(self, request: Request) -> Response:
        """Its archived picture."""
        record = await self._record(request)
        if record is None:  # it may be announced a moment before it is stored
            await asyncio.sleep(STORED_S)
            record = await self._record(request)
        file = None if record is None else self.parts.pictures.file(record)
        if file is None:
            return refused("the picture of this cell was not kept", 404, "picture")
        return FileResponse(file, media_type="image/png", headers={"cache-control": "private, max-age=86400"})

    @_answers
    async def heat_map(self, request: Request) -> Response:
        """Where its verdict comes from."""
        record = await self._record(request)
        if record is None:
            return refused("there is no such cell", 404, "cell")
        png = await asyncio.to_thread(self.parts.pictures.heat_map, record)
        return Response(png, media_type="image/png", headers={"cache-control": "private, max-age=86400"})

    @_answers
    async def review(self, request: Request) -> Response:
        """A person says what a cell is."""
        body = await body_of(request)
        reviewer = _text(body, "reviewer", NAME_LIMIT).strip()
        if not reviewer:
            return refused("say who reviews", 400, "who")
        record = await asyncio.to_thread(
            self.parts.store.review,
            request.path_params["cell"],
            str(body.get("label", "")),
            reviewer,
            _text(body, "comment", COMMENT_LIMIT),
            time.time_ns(),
        )
        return JSONResponse({"ok": True, **_verdict(record), "notice": NOTICE})

    @_answers
    async def to_review(self, request: Request) -> Response:
        """Cells that wait for this person; without what the model says of them, unless the settings allow it."""
        asked = request.query_params
        reviewer = asked.get("reviewer", "").strip()[:NAME_LIMIT]
        if not reviewer:
            return refused("say who reviews", 400, "who")
        found = await asyncio.to_thread(
            self.parts.store.to_review,
            asked.get("specimen", "")[:NAME_LIMIT],
            asked.get("order", ""),
            reviewer,
            asked.get("second") == "1",
        )
        cells = [{"id": record.id} | ({} if self.parts.blind else _verdict(record)) for record in found]
        return JSONResponse({"cells": cells, "notice": NOTICE})

    @_answers
    async def agreement(self, request: Request) -> Response:
        """How far the reviewers of a specimen agree."""
        specimen = request.query_params.get("specimen", "")[:NAME_LIMIT]
        found = await asyncio.to_thread(self.parts.store.agreements, specimen)
        return JSONResponse({"agreements": [agreement._asdict() for agreement in found]})

    @_answers
    async def checked(self, request: Request) -> Response:
        """Whether this laboratory has reviewed enough cells of a model file."""
        sha256 = request.query_params.get("model", "")[:NAME_LIMIT]
        return JSONResponse(await asyncio.to_thread(self.parts.store.checked, sha256))

    @_answers
    async def laboratory(self, request: Request) -> Response:
        """The adaptation under way or made last, and whether the model that runs was checked here."""
        sha256 = request.query_params.get("model", "")[:NAME_LIMIT]
        checked = await asyncio.to_thread(self.parts.store.checked, sha256)
        return JSONResponse({**self.parts.laboratory.state(), **checked, "notice": NOTICE})

    @_answers
    async def change_model(self, request: Request) -> Response:
        """`adapt` begins; `install` and `back` are passed on to the box."""
        name = request.path_params["name"]
        await body_of(request)
        if name == "adapt":
            self.parts.laboratory.start()
            return JSONResponse({"ok": True})
        if name == "install":
            file, sha256 = await asyncio.to_thread(self.parts.laboratory.made)
            result = await self.parts.box.command("model_install", file=file, sha256=sha256)
        elif name == "back":
            result = await self.parts.box.command("model_back")
        else:
            return refused("the page sends no such command", 404, "command")
        return JSONResponse({"ok": True, "result": result})

    @_answers
    async def specimens(self, _request: Request) -> Response:
        """The last specimens."""
        return JSONResponse(
            {"specimens": await asyncio.to_thread(self.parts.store.specimens), "notice": NOTICE}
        )

    @_answers
    async def report(self, request: Request) -> Response:
        """A specimen's report; a page of its own, with its own policy within it."""
        specimen = request.query_params.get("specimen", "")[:NAME_LIMIT]
        text = await asyncio.to_thread(self.parts.report, specimen, self._language(request))
        return HTMLResponse(text, headers={"content-security-policy": REPORT_POLICY})

    @_answers
    async def command(self, request: Request) -> Response:
        """Start, stop, capture: passed on to the box."""
        name, body = request.path_params["name"], await body_of(request)
        given: dict[str, Any] = {}
        if name == "specimen_start":
            given["specimen"] = _text(body, "specimen", NAME_LIMIT).strip()
            if not given["specimen"]:
                return refused("give the specimen a name", 400, "name")
            if isinstance(target := body.get("target"), int):
                given["target"] = min(target, LARGEST_TARGET + 1)  # which the box refuses, in its words
        elif name not in ("specimen_stop", "capture"):
            return refused("the page sends no such command", 404, "command")
        return JSONResponse({"ok": True, "result": await self.parts.box.command(name, **given)})


def _roles(classes: Sequence[Classes]) -> dict[str, str]:
    """Class names to the style that shows them."""
    return {pair.negative: "HEM" for pair in classes} | {pair.positive: "ALL" for pair in classes}


def _filled(text: str, **values: str) -> str:
    """A text with its {names} filled in, as `t` of the scripts does."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _text(body: dict[str, object], name: str, limit: int) -> str:
    """A text of a body, cut, as a database and a message can hold it: JSON may hold NUL and halves of surrogate pairs."""
    return fitting(str(body.get(name, ""))[:limit], limit)


def _verdict(record: Record) -> dict[str, Any]:
    return {"verdict": record.verdict, "kind": record.kind, "probabilities": record.probabilities}
