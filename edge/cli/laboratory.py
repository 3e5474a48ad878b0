"""Options of the commands with which a laboratory makes a model its own: adapt and review."""

from pathlib import Path

from edge.cli.arguments import Add, json_option, model_option, out_file, quiet_option

SOURCE = "sqlite:///results.db"


def add_commands(add: Add) -> None:
    """adapt and review."""
    _adapt(add)


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
    quiet_option(p)
