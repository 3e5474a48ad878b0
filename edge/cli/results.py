"""Options of the commands that store results and ask for them."""

from pathlib import Path

from edge.cli.arguments import Add, csv_file, json_option, span


def add_commands(add: Add) -> None:
    """log and results."""
    _log(add)
    _results(add)


def _log(add: Add) -> None:
    p = add(
        "log", "edge.logger.command:command", "Store results from a broker", "log --broker mqtt://localhost"
    )
    p.add_argument("--broker", required=True, metavar="mqtt://…")
    p.add_argument("--to", default="sqlite:///results.db", metavar="TARGET", help="default: %(default)s")
    p.add_argument("--group", metavar="NAME", help="share the results with the other loggers of this group")
    p.add_argument("--topic", default="leukoscope/+/cells", metavar="FILTER", help="default: %(default)s")
    p.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="default: the password in the address, or LEUKOSCOPE_MQTT_PASSWORD",
    )
    p.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="CA certificate that signed the broker's certificate"
    )
    p.add_argument("--cert-file", type=Path, metavar="FILE", help="this logger's own certificate")
    p.add_argument("--key-file", type=Path, metavar="FILE", help="the private key of that certificate")


def _results(add: Add) -> None:
    text = "Show totals or rows of a logger's database"
    p = add("results", "edge.logger.results:command", text, "results --by specimen")
    p.add_argument("database", nargs="?", default="sqlite:///results.db", help="default: %(default)s")
    p.add_argument("--by", choices=("specimen", "device"), default="specimen")
    p.add_argument("--device", metavar="ID", help="only this device")
    p.add_argument("--specimen", metavar="NAME", help="only this specimen")
    p.add_argument("--last", type=span, metavar="1h", help="captured in the last 90s, 15m, 1h or 7d")
    p.add_argument(
        "--csv", type=csv_file, metavar="FILE", help="write the rows themselves; - for standard output"
    )
    json_option(p, "print one JSON line per total")
