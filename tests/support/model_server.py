"""An HTTP server that answers as a test likes: whole, cut off, too slow, endless."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"

Behaviour = Callable[[socket.socket], None]


@contextlib.contextmanager
def server(behaviour: Behaviour, path: str = "/m.tflite") -> Iterator[str]:
    """Answers each connection, after its request, as a test likes; gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:  # the test is over
                    return
                with connection, contextlib.suppress(OSError):
                    connection.recv(65536)
                    behaviour(connection)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}{path}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def gives(data: bytes) -> Behaviour:
    """Answers with these bytes."""
    return lambda connection: connection.sendall(HEAD % len(data) + data)
