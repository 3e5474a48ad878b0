"""The page as an application: its routes, behind who may use it, and what runs while it is served."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from edge.web.access import Guard
from edge.web.parts import Parts
from edge.web.routes.api import Api
from edge.web.routes.pages import Pages


def make_app(parts: Parts, names: set[str], loopback: bool) -> Any:
    """The ASGI application.

    Args:
        parts: see there.
        names, loopback: for the check of the Host header, see `access.host_names`.
    """
    static = Mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    routes = [*Pages(parts).routes(), *Api(parts).routes(), static]
    app = Starlette(routes=routes, lifespan=lambda _app: following(parts))
    return Guard(app, parts.password, parts.sessions, names, loopback)


@contextlib.asynccontextmanager
async def following(parts: Parts) -> AsyncIterator[None]:
    """While the page is served it follows the box."""
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
