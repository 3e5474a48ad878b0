"""Options of the commands with which a laboratory makes a model its own: adapt, review, and those of `model`."""

from pathlib import Path

from edge.cli.arguments import (
    Add,
    AddAction,
    actions_of,
    config_option,
    json_option,
    model_option,
    out_file,
    sha256,
    whole,
)

SOURCE = "sqlite:///results.db"


def add_commands(add: Add) -> None:
    """adapt and review."""
    _adapt(add)
    _review(add)


def _adapt(add: Add) -> None:
    text = "Fit the model's last layer to cells that this laboratory has reviewed"
    p = add("adapt", "train.laboratory:adapt", text, "adapt --from sqlite:///results.db --out ours.tflite")
    p.add_argument(
        "--from",
        dest="source",
        default=SOURCE,
        metavar="DATABASE|DIR",
        help="reviews of `leukoscope log`'s database, or a data folder as `train --data` takes it (default: %(default)s)",
    )
    model_option(p)
    p.add_argument("--out", type=out_file, required=True, metavar="FILE", help="the adapted model file")
    p.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="the box's archive, for a DATABASE (default: [archive] directory)",
    )
    p.add_argument(
        "--positive", metavar="NAME", help="the positive class in DIR, if it is not named as the model's"
    )
    p.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="use model, archive and background of this settings file",
    )
    json_option(p)


def _review(add: Add) -> None:
    text = "Take reviewed cells to another place, or bring verdicts back"
    example = "review export --to reviewed"
    add_action = actions_of(add, "review", text, example, "train.laboratory:review_{}", json_option)
    text = "Write reviewed cells into a folder in the layout of C-NMC, with a table of all reviews"
    p = add_action("export", text, "export --to reviewed")
    p.add_argument(
        "--from",
        dest="source",
        default=SOURCE,
        metavar="DATABASE",
        help="of `leukoscope log` (default: %(default)s)",
    )
    p.add_argument("--to", type=Path, required=True, metavar="DIR", help="a new folder")
    p.add_argument(
        "--pictures", type=Path, metavar="DIR", help="the box's archive (default: [archive] directory)"
    )
    p.add_argument("--config", type=Path, metavar="FILE", help="use the archive of this settings file")
    text = "Store the verdicts of such a folder, as the table and the places of the pictures tell them"
    p = add_action("import", text, "import reviewed --to sqlite:///results.db")
    p.add_argument("folder", type=Path, metavar="DIR", help="a folder of `review export`")
    p.add_argument(
        "--to",
        dest="target",
        default=SOURCE,
        metavar="DATABASE",
        help="of `leukoscope log` (default: %(default)s)",
    )
    p.add_argument("--reviewer", default="", metavar="NAME", help="who has moved pictures to another class")


def add_model_actions(add: AddAction) -> None:
    """model keygen, sign, install and back."""
    module = "edge.laboratory.command"
    p = add("keygen", "Make a pair of keys to sign models with", "keygen laboratory.key")
    p.set_defaults(command=f"{module}:keygen_command")
    p.add_argument("file", type=out_file, metavar="FILE", help="the private key; FILE.pub is the public one")
    p.add_argument("--name", metavar="NAME", help="of the signer (default: FILE)")
    p = add("sign", "Sign a model file in its place", "sign ours.tflite --key laboratory.key")
    p.set_defaults(command=f"{module}:sign_command")
    p.add_argument("file", metavar="NAME|FILE", help="the model to sign")
    p.add_argument("--key", type=Path, required=True, metavar="FILE", help="of `leukoscope model keygen`")
    p.add_argument(
        "--counter",
        type=whole,
        metavar="N",
        help="a box installs none that is lower than the last (default: the seconds since 1970)",
    )
    p = add(
        "install",
        "Check a model file, try it on the box's newest pictures, and run it from now on",
        "install ours.tflite",
    )
    p.set_defaults(command=f"{module}:install_command")
    p.add_argument(
        "file", metavar="NAME|FILE|ADDRESS", help="http(s)://… only where the setting [model] fetch allows it"
    )
    p.add_argument(
        "--sha256", type=sha256, metavar="HASH", help="of the file; with an ADDRESS it must be given"
    )
    config_option(p)
    p = add("back", "Go back to the model that ran before", "back")
    p.set_defaults(command=f"{module}:back_command")
    config_option(p)
