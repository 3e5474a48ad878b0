"""HOST:PORT, as written in a setting or on a command line."""

from edge.errors import InputError


def bare_host(host: str) -> str:
    """A host as the network functions take it: the brackets of [::1] are for addresses with a port."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def host_and_port(text: str, option: str = "--broker", example: str = "127.0.0.1:1883") -> tuple[str, int]:
    """HOST:PORT as its two parts; an IPv6 address stands in brackets, which are left out of the host.

    Args:
        text: such as "127.0.0.1:1883" or "[::1]:1883".
        option: what the message calls it.
        example: what the message shows.

    Raises:
        InputError: it is not of that form.
    """
    host, _, port = text.rpartition(":")
    bare = bare_host(host)
    ambiguous = ":" in bare and bare == host  # ::1:1883 may be a host alone
    if (
        not bare
        or ambiguous
        or not port.isascii()
        or not port.isdigit()
        or len(port) > 5
        or int(port) > 65535
    ):
        raise InputError(f"{option} {text}: not of the form HOST:PORT, such as {example} or [::1]:1883")
    return bare, int(port)


def joined(host: str, port: int) -> str:
    """HOST:PORT of its two parts, an IPv6 address in brackets as an address needs it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
