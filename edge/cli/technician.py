"""Options of the commands of a technician: the page, specimens and their reports."""

from pathlib import Path

from edge.cli.arguments import Add, config_option, count, json_option, out_file


def add_commands(add: Add) -> None:
    """web, specimen and report."""
    _web(add)
    _specimen(add)
    _report(add)


def _web(add: Add) -> None:
    p = add("web", "edge.web.command:command", "Serve the technician's page", "web --config leukoscope.toml")
    config_option(p)
    p.add_argument(
        "--listen", default="", metavar="HOST:PORT", help="instead of [web] listen; port 0 for any"
    )


def _specimen(add: Add) -> None:
    p = add(
        "specimen",
        "edge.cli.specimen:command",
        "Start or stop the count of a specimen on a running box",
        'specimen start "slide 7"',
    )
    p.add_argument("action", choices=("start", "stop"), metavar="ACTION", help="start or stop")
    p.add_argument("name", nargs="?", default="", metavar="NAME", help="of the specimen; for start")
    p.add_argument("--target", type=count, metavar="N", help="white cells to count ([specimen] target)")
    config_option(p)
    json_option(p)


def _report(add: Add) -> None:
    p = add(
        "report",
        "edge.cli.report:command",
        "Write the report of a specimen",
        "report S1 --out S1.html",
    )
    p.add_argument("specimen", metavar="SPECIMEN", help="its name, as `leukoscope results` lists it")
    p.add_argument(
        "--from",
        dest="database",
        default="sqlite:///results.db",
        metavar="DATABASE",
        help="of `leukoscope log` (default: %(default)s)",
    )
    p.add_argument("--out", type=out_file, required=True, metavar="FILE.html|FILE.json|FILE.csv")
    p.add_argument(
        "--format", choices=("html", "fhir", "csv"), help="default: by the ending of FILE, .json for fhir"
    )
    p.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="the box's archive ([archive] directory), for the gallery",
    )
    p.add_argument(
        "--model",
        default="",
        metavar="NAME|FILE",
        help="whose card tells the errors (default: the installed)",
    )
    json_option(p)
