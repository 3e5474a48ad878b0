"""What a person opens in the browser: pages and reports in their language, and the password before them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from edge.host.text import harmless
from edge.logger import reviews
from edge.specimen.counting import SHIPPED, Classes, columns, positive_name
from edge.web.access import COOKIE, NAME_LIMIT, SESSION_S, Attempts, body_of, refused
from edge.web.parts import Parts
from edge.web.routes.answers import answers
from edge.web.texts import NAMES, catalogue, chosen

# A report has its style within it, and no script.
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
)
LANGUAGE_COOKIE = "leukoscope_language"
PAGES = ("live", "cells", "specimens", "health", "settings")

Endpoint = Callable[[Request], Awaitable[Response]]


class Pages:
    """The endpoints of people."""

    def __init__(self, parts: Parts):
        self.parts = parts
        self._attempts = Attempts()
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parents[1] / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
        )
        self._templates.filters.update(safe_text=harmless, filled=_filled)

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/", self.to_live),
            Route("/login", self.login_page),
            Route("/login", self.login, methods=["POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Route("/language", self.language, methods=["POST"]),
            *(Route(f"/{name}", self.show(name)) for name in PAGES),
            Route("/review", self.show("review")),
            Route("/cells/{cell}", self.show("cell")),
            Route("/report", self.report),
        ]

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

    @answers
    async def report(self, request: Request) -> Response:
        """A specimen's report; a page of its own, with its own policy within it."""
        specimen = request.query_params.get("specimen", "")[:NAME_LIMIT]
        text = await asyncio.to_thread(self.parts.report, specimen, self._language(request))
        return HTMLResponse(text, headers={"content-security-policy": REPORT_POLICY})


def _roles(classes: Sequence[Classes]) -> dict[str, str]:
    """Class names to the style that shows them."""
    return {pair.negative: "HEM" for pair in classes} | {pair.positive: "ALL" for pair in classes}


def _filled(text: str, **values: str) -> str:
    """A text with its {names} filled in, as `t` of the scripts does."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text
