"""`leukoscope model list|show|verify`."""

import argparse
from pathlib import Path
from typing import Any

import msgspec

from edge.errors import LeukoscopeError
from edge.host.terminal import console, markdown
from edge.host.text import harmless, safe_json
from edge.model.adaptation import Adaptation
from edge.model.file import ModelFile, read_model, verify
from edge.model.installation import signature
from edge.model.installation.base import base_of
from edge.model.installed import default_model, find_model, installed_models

LONGEST_LINE = 10_000
"""Characters of a line of a card that are shown."""


def list_command(options: argparse.Namespace) -> int:
    """The installed models; the default one is marked.

    Raises:
        LeukoscopeError: there is none, or a file is damaged.
    """
    default = default_model()
    files = installed_models()
    files += [default] if default.stem not in {file.stem for file in files} else []
    rows = [_row(read_model(file), default) for file in files]
    if options.json:
        console.document(rows)
        return 0
    print(f"  {'name':<28} {'input':>9} {'MB':>6} {'refers below':>13}  {'sha256':<12}  file")
    for row in rows:
        mark = "*" if row["default"] else " "
        refer = f"{row['refer_below']:.2f}" if row["refer_below"] else "never"
        print(
            f"{mark} {harmless(row['name']):<28} {row['input_px']:>4}×{row['input_px']:<4} {row['bytes'] / 1e6:>6.1f} {refer:>13}"
            f"  {row['sha256'][:12]}  {harmless(row['file'], LONGEST_LINE)}"
        )
    console.summary("* is used if no --model is given")
    return 0


def _row(model: ModelFile, default: Path) -> dict[str, Any]:
    return {
        "name": model.path.stem,
        "default": model.path == default,
        "input_px": model.manifest.geometry.size,
        "crop_px": model.manifest.geometry.crop,
        "bytes": model.path.stat().st_size,
        "refer_below": model.refer_below(),
        "sha256": model.sha256,
        "file": str(model.path),
    }


def show_command(options: argparse.Namespace) -> int:
    """The card first, then the main facts; `--manifest` and `--json`: the whole manifest.

    Raises:
        LeukoscopeError: the file cannot be read.
    """
    model = read_model(find_model(options.file))
    encoded = msgspec.json.encode(model.manifest)
    if options.json:
        print(safe_json(encoded))
        return 0
    if options.manifest:
        print(safe_json(msgspec.json.format(encoded, indent=2)))
        return 0
    # A file may come from anyone.
    card = [harmless(line, LONGEST_LINE) for line in model.card.rstrip().splitlines()]
    markdown.show("\n".join([*card, "", "## This file"]))
    for name, value in _facts(model).items():
        print(f"{name:<13} {harmless(value, LONGEST_LINE)}")
    console.summary(f"the whole manifest: leukoscope model show {options.file or model.path.stem} --manifest")
    return 0


def _facts(model: ModelFile) -> dict[str, str]:
    manifest = model.manifest
    geometry = manifest.geometry
    return {
        "file": str(model.path),
        "name": manifest.name,
        "sha256": model.sha256,
        "size": f"{model.path.stat().st_size / 1e6:.1f} MB",
        "classes": ", ".join(manifest.labels),
        "input": f"{geometry.crop}×{geometry.crop} px in the centre, resized to {geometry.size}×{geometry.size}",
        "temperature": f"{manifest.temperature:g}",
        "refers below": f"{model.refer_below():g}" if model.refer_below() else "never",
    } | (_adaptation_facts(model.adaptation) if model.adaptation else {})


def _adaptation_facts(adaptation: Adaptation) -> dict[str, str]:
    made = adaptation.made
    counts = ", ".join(
        f"{number} {harmless(label)}" for label, number in (made.get("reviewed") or {}).items()
    )
    gain = " → ".join(
        f"{(made.get(side) or {}).get('auc', float('nan')):.3f}" for side in ("before", "after")
    )
    return {
        "adapted": f"{harmless(made.get('at', ''))} to {counts} of {made.get('specimens')} specimens",
        "AUC": f"{gain}, on {harmless(made.get('held_back', 'cells'))} that were held back",
        "base": adaptation.base.sha256,
    }


def verify_command(options: argparse.Namespace) -> int:
    """Does the network load, and is it what its manifest describes?

    Raises:
        LeukoscopeError: it does not, or it is not; with `--json` that is printed as well.
    """
    file = find_model(options.file)
    try:
        model = read_model(file)
        verify(model)
        signed = _signed(model, options.keys)
    except LeukoscopeError as error:
        if options.json:
            console.document({"file": str(file), "valid": False, "error": str(error)})
        raise
    name, sha256 = model.manifest.name, model.sha256
    who = "; ".join(f"{one['what']} {one['by']}" for one in signed)
    console.result(
        options.json,
        {"file": str(file), "name": name, "sha256": sha256, "valid": True, "signed": signed},
        f"{file}: {name}, sha256 {sha256}, valid; {who}",
    )
    return 0


def _signed(model: ModelFile, keys: Path | None) -> list[dict[str, Any]]:
    """By whom the file is signed, and its base if it is adapted.

    Args:
        keys: whose signatures count; None to say only whether each signature is right.

    Raises:
        LeukoscopeError: with keys, one of them is missing, wrong or not trusted; without, one is wrong.
    """
    files = [("file", model)] + ([("base", base_of(model))] if model.adaptation is not None else [])
    if keys is not None:
        found = signature.check(model, signature.trusted(keys))
        return [
            {"what": what, "by": f"signed by {one.name}", "key": one.key, "counter": one.counter}
            for (what, _), one in zip(files, found, strict=False)
        ]
    told: list[dict[str, Any]] = []
    for what, each in files:
        given = signature.signature_of(each)
        if given is None:
            told.append({"what": what, "by": "not signed", "key": None, "counter": None})
        elif signature.is_right(each, given):
            told.append(
                {"what": what, "by": f"signed by {given.key}", "key": given.key, "counter": given.counter}
            )
        else:
            raise LeukoscopeError(f"{model.path}: the signature of its {what} is wrong: the file was altered")
    return told
