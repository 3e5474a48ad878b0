"""Options of the commands that store results and show them: files, totals, reports and the page."""

import argparse
from pathlib import Path

from edge.cli.arguments import Add, config_option, count, csv_file, json_option, out_file
from edge.host.languages import FIRST, LANGUAGES


def add_commands(add: Add) -> None:
    """log, results, report, specimen, web, backup, restore and erase."""
    _log(add)
    _results(add)
    _report(add)
    _specimen(add)
    _web(add)
    _backup(add)
    _restore(add)
    _erase(add)


def _log(add: Add) -> None:
    p = add(
        "log", "edge.logger.command:command", "Store results from a broker", "log --broker mqtt://localhost"
    )
    p.add_argument(
        "--broker",
        required=True,
        metavar="mqtt://…",
        help="its address: mqtt://HOST[:PORT], with TLS mqtts://HOST[:PORT]",
    )
    p.add_argument(
        "--to",
        default="sqlite:///results.db",
        metavar="TARGET",
        help="sqlite:///FILE.db, postgresql://…, FILE.csv or FILE.jsonl (default: %(default)s)",
    )
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
    json_option(p, "print every new record as one JSON line")


def _results(add: Add) -> None:
    text = "Show totals or rows of a logger's database"
    p = add("results", "edge.logger.results:command", text, "results --by specimen")
    p.add_argument("database", nargs="?", default="sqlite:///results.db", help="default: %(default)s")
    p.add_argument(
        "--by", choices=("specimen", "device"), default="specimen", help="a total each (default: %(default)s)"
    )
    p.add_argument("--device", metavar="ID", help="only this device")
    p.add_argument("--specimen", metavar="NAME", help="only this specimen")
    p.add_argument("--last", metavar="1h", help="captured in the last 90s, 15m, 1h or 7d")
    p.add_argument(
        "--csv", type=csv_file, metavar="FILE", help="write the rows themselves; - for standard output"
    )
    p.add_argument("--limit", type=count, metavar="N", help="the last N totals only")
    json_option(p, "print one JSON line per total")


def _web(add: Add) -> None:
    p = add("web", "edge.web.command:command", "Serve the technician's page", "web --config leukoscope.toml")
    config_option(p)
    p.add_argument(
        "--listen", default="", metavar="HOST:PORT", help="instead of [web] listen; port 0 for any"
    )


def _specimen(add: Add) -> None:
    p = add(
        "specimen",
        "edge.web.shell:specimen",
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
        "edge.web.shell:report",
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
    p.add_argument(
        "--out",
        type=out_file,
        required=True,
        metavar="FILE.html|FILE.json|FILE.csv",
        help="to print, for a hospital's system (FHIR R4), or for a spreadsheet",
    )
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
    p.add_argument(
        "--language", choices=LANGUAGES, default=FIRST, help="of the page to print (default: %(default)s)"
    )
    json_option(p)


def _backup(add: Add) -> None:
    text = "Write the box's settings, model, results and pictures into one file"
    p = add("backup", "edge.upkeep.command:backup_command", text, "backup --out box-1.tar")
    p.add_argument("--out", type=out_file, required=True, metavar="FILE.tar", help="readable for you alone")
    p.add_argument("--no-pictures", action="store_true", help="without the pictures of the archive")
    _of_box(p)
    json_option(p)


def _restore(add: Add) -> None:
    text = "Bring back what a backup holds; nothing newer is lost"
    p = add("restore", "edge.upkeep.command:restore_command", text, "restore box-1.tar")
    p.add_argument("file", type=Path, metavar="FILE.tar", help="of `leukoscope backup`")
    p.add_argument("--check", action="store_true", help="only read it: is it whole?")
    p.add_argument(
        "--config", type=Path, metavar="FILE", help="where the settings go (default: where they were)"
    )
    p.add_argument("--to", dest="database", metavar="DATABASE", help="default: [web] database of the backup")
    json_option(p)


def _erase(add: Add) -> None:
    text = "Erase one specimen, or all that is older, from results, reviews and pictures"
    p = add("erase", "edge.upkeep.command:erase_command", text, 'erase "slide 7"')
    p.add_argument(
        "specimen", nargs="?", metavar="SPECIMEN", help="its name, as `leukoscope results` lists it"
    )
    p.add_argument("--older-than", metavar="365d", help="instead: all captured before the last 365d, 48h …")
    p.add_argument("--yes", action="store_true", help="do not ask")
    _of_box(p)
    json_option(p)


def _of_box(p: argparse.ArgumentParser) -> None:
    config_option(p)
    p.add_argument("--from", dest="database", metavar="DATABASE", help="default: [web] database")
