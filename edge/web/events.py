"""What happens on the box, passed on to every browser that listens, as server-sent events.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

WATCHERS_LIMIT = 20
# Events that wait for a slow browser; then the oldest go.
WAITING_LIMIT = 100
# A comment so often keeps proxies from closing a quiet stream, and finds browsers that are gone.
BEAT_S = 15.0


class Events:
    """Made in the event loop's thread; `publish` may be called from any.

    Attributes:
        watchers: how many browsers listen.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queues: set[asyncio.Queue[str]] = set()
        self._newest: dict[str, str] = {}

    @property
    def watchers(self) -> int:
        """How many browsers listen."""
        return len(self._queues)

    def attach(self) -> None:
        """Use the running event loop from now on."""
        self._loop = asyncio.get_running_loop()

    def publish(self, name: str, data: Any, keep: bool = False) -> None:
        """Pass an event on.

        Args:
            name: its type.
            data: JSON values.
            keep: whether a browser that comes later gets the newest one of this name first.
        """
        text = f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
        if keep:
            self._newest[name] = text
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._spread, text)

    async def listen(self) -> AsyncIterator[str]:
        """The events for one browser, until it goes."""
        queue: asyncio.Queue[str] = asyncio.Queue(WAITING_LIMIT)
        for text in list(self._newest.values())[-WAITING_LIMIT:]:
            queue.put_nowait(text)
        self._queues.add(queue)
        try:
            while True:
                try:
                    yield await asyncio.wait_for(queue.get(), BEAT_S)
                except asyncio.TimeoutError:
                    yield ": still here\n\n"
        finally:
            self._queues.discard(queue)

    def _spread(self, text: str) -> None:
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(text)
