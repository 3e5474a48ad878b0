"""What an endpoint answers where it cannot do what it is asked."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from edge.errors import LeukoscopeError
from edge.host.text import harmless
from edge.web.access import refused
from edge.web.faults import PageError
from edge.web.parts import Parts


class Served(Protocol):
    """Whose endpoint it is."""

    parts: Parts


AnyServed = TypeVar("AnyServed", bound=Served)
Endpoint = Callable[[AnyServed, Request], Awaitable[Response]]


def answers(endpoint: Endpoint[AnyServed]) -> Endpoint[AnyServed]:
    """What a person did wrong, or what is not there at the moment, as JSON with its words and their code."""

    @wraps(endpoint)
    async def call(page: AnyServed, request: Request) -> Response:
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
