"""What the page's scripts ask and send: JSON, pictures, and the stream of events."""

import asyncio
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from edge.notice import NOTICE
from edge.records import Record, fitting
from edge.specimen.settings import LARGEST_TARGET
from edge.web.access import NAME_LIMIT, body_of, refused
from edge.web.events import WATCHERS_LIMIT
from edge.web.parts import Parts
from edge.web.routes.answers import answers

# A record is in the database so soon after the box has published it.
STORED_S = 0.7
COMMENT_LIMIT = 1000


class Api:
    """The endpoints of the scripts."""

    def __init__(self, parts: Parts):
        self.parts = parts

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/events", self.events),
            Route("/api/cells", self.cells),
            Route("/api/cells/{cell}", self.cell),
            Route("/api/cells/{cell}/picture", self.picture),
            Route("/api/cells/{cell}/map", self.heat_map),
            Route("/api/cells/{cell}/review", self.review, methods=["POST"]),
            Route("/api/specimens", self.specimens),
            Route("/api/review", self.to_review),
            Route("/api/agreement", self.agreement),
            Route("/api/checked", self.checked),
            Route("/api/commands/{name}", self.command, methods=["POST"]),
            Route("/api/laboratory", self.laboratory),
            Route("/api/laboratory/{name}", self.change_model, methods=["POST"]),
        ]

    async def events(self, _request: Request) -> Response:
        """What happens on the box, as it happens."""
        if self.parts.events.watchers >= WATCHERS_LIMIT:
            return refused(f"{WATCHERS_LIMIT} browsers watch already", 503, "watchers")
        return StreamingResponse(self.parts.events.listen(), media_type="text/event-stream")

    @answers
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

    @answers
    async def cell(self, request: Request) -> Response:
        """One cell."""
        record = await self._record(request)
        if record is None:
            return refused("there is no such cell", 404, "cell")
        return JSONResponse(await asyncio.to_thread(self.parts.store.shown, record) | {"notice": NOTICE})

    @answers
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

    @answers
    async def heat_map(self, request: Request) -> Response:
        """Where its verdict comes from."""
        record = await self._record(request)
        if record is None:
            return refused("there is no such cell", 404, "cell")
        png = await asyncio.to_thread(self.parts.pictures.heat_map, record)
        return Response(png, media_type="image/png", headers={"cache-control": "private, max-age=86400"})

    @answers
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

    @answers
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

    @answers
    async def agreement(self, request: Request) -> Response:
        """How far the reviewers of a specimen agree."""
        specimen = request.query_params.get("specimen", "")[:NAME_LIMIT]
        found = await asyncio.to_thread(self.parts.store.agreements, specimen)
        return JSONResponse({"agreements": [agreement._asdict() for agreement in found]})

    @answers
    async def checked(self, request: Request) -> Response:
        """Whether this laboratory has reviewed enough cells of a model file."""
        sha256 = request.query_params.get("model", "")[:NAME_LIMIT]
        return JSONResponse(await asyncio.to_thread(self.parts.store.checked, sha256))

    @answers
    async def laboratory(self, request: Request) -> Response:
        """The adaptation under way or made last, and whether the model that runs was checked here."""
        sha256 = request.query_params.get("model", "")[:NAME_LIMIT]
        checked = await asyncio.to_thread(self.parts.store.checked, sha256)
        return JSONResponse({**self.parts.laboratory.state(), **checked, "notice": NOTICE})

    @answers
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

    @answers
    async def specimens(self, _request: Request) -> Response:
        """The last specimens."""
        return JSONResponse(
            {"specimens": await asyncio.to_thread(self.parts.store.specimens), "notice": NOTICE}
        )

    @answers
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


def _text(body: dict[str, object], name: str, limit: int) -> str:
    """A text of a body, cut, as a database and a message can hold it: JSON may hold NUL and halves of surrogate pairs."""
    return fitting(str(body.get(name, ""))[:limit], limit)


def _verdict(record: Record) -> dict[str, Any]:
    return {"verdict": record.verdict, "kind": record.kind, "probabilities": record.probabilities}
