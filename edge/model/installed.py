"""The models of this machine: which there are, which is the default, and the file of a name."""

import os
from pathlib import Path

from edge.errors import InputError

DEFAULT_MODEL = "mobilenet_m_0_25_192.tflite"
"""The best on new patients and under other cameras; 0_25_128 has a third of its work."""

INSTALLED_MODELS = Path("/opt/leukoscope/models")
SUFFIX = ".tflite"


def places() -> list[Path]:
    """Where models are looked for: the source checkout's folder, then the installed one."""
    return [Path(__file__).resolve().parents[2] / "models", INSTALLED_MODELS]


def folders() -> list[Path]:
    """Those of `places` that exist."""
    return [folder for folder in places() if folder.is_dir()]


def installed_models() -> list[Path]:
    """Every model file of this machine, the smallest first; of two with one name the one that is found first."""
    found: dict[str, Path] = {}
    for folder in folders():
        for file in folder.glob(f"*{SUFFIX}"):
            found.setdefault(file.stem, file)
    return sorted(found.values(), key=lambda file: (file.stat().st_size, file.name))


def default_model() -> Path:
    """The model file if none is named: LEUKOSCOPE_MODEL, the source checkout's, or the installed one.

    Raises:
        InputError: there is none.
    """
    named = os.environ.get("LEUKOSCOPE_MODEL")
    if named:
        return Path(named)
    for folder in folders():
        if (folder / DEFAULT_MODEL).is_file():
            return folder / DEFAULT_MODEL
    raise InputError(
        f"no model file: {DEFAULT_MODEL} is not in {INSTALLED_MODELS}; give one with --model FILE, or set "
        "[model] file"
    )


def find_model(named: str | Path | None) -> Path:
    """The file of a model.

    Args:
        named: a path, or the name of an installed model; "" or None for the default one.

    Raises:
        InputError: it is neither an existing file nor the name of an installed model.
    """
    if not named:
        return default_model()
    path = Path(named)
    if path.exists() or path.name != str(named) or path.suffix == SUFFIX:
        return path  # what is wrong with a path, the reader of the file reports
    models = {file.stem: file for file in installed_models()}
    if str(named) in models:
        return models[str(named)]
    import difflib  # late: nearly every name is right

    near = difflib.get_close_matches(str(named), models, n=1)
    hint = f"did you mean {near[0]}?" if near else "see: leukoscope model list"
    raise InputError(f"{named}: no such file, and no installed model of that name; {hint}")
