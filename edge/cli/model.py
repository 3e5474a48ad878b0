"""`leukoscope model list|show|verify`."""

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec

from edge.errors import LeukoscopeError
from edge.model.file import ModelFile, read_model, verify
from edge.model.installed import default_model, find_model, installed_models


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
        print(json.dumps(rows))
        return 0
    print(f"  {'name':<28} {'input':>9} {'MB':>6} {'refers below':>13}  {'sha256':<12}  file")
    for row in rows:
        mark = "*" if row["default"] else " "
        refer = f"{row['refer_below']:.2f}" if row["refer_below"] else "never"
        print(
            f"{mark} {row['name']:<28} {row['input_px']:>4}×{row['input_px']:<4} {row['bytes'] / 1e6:>6.1f} {refer:>13}"
            f"  {row['sha256'][:12]}  {row['file']}"
        )
    print("* is used if no --model is given")
    return 0


def _row(model: ModelFile, default: Path) -> dict[str, Any]:
    return {
        "name": model.path.stem,
        "default": model.path == default,
        "input_px": model.manifest.geometry.size,
        "crop_px": model.manifest.geometry.crop,
        "bytes": model.path.stat().st_size,
        "refer_below": model.manifest.refer_below,
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
        print(encoded.decode())
        return 0
    if options.manifest:
        print(msgspec.json.format(encoded, indent=2).decode())
        return 0
    print(f"{model.card.rstrip()}\n\n## This file")
    for name, value in _facts(model).items():
        print(f"{name:<16} {value}")
    print(f"the whole manifest: leukoscope model show {options.file or model.path.stem} --manifest")
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
        "refers below": f"{manifest.refer_below:g}" if manifest.refer_below else "never",
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
    except LeukoscopeError as error:
        if options.json:
            print(json.dumps({"file": str(file), "valid": False, "error": str(error)}), flush=True)
        raise
    if options.json:
        print(
            json.dumps(
                {"file": str(file), "name": model.manifest.name, "sha256": model.sha256, "valid": True}
            )
        )
    else:
        print(f"{file}: {model.manifest.name}, sha256 {model.sha256}, valid")
    return 0
