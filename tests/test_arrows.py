"""Dependencies point one way: which package may import which, and no circle between modules."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

GROUND = {"errors", "notice"}
PIXELS = GROUND | {"host", "imaging"}
PARTS = PIXELS | {"records", "cameras", "model", "outbox", "mqtt", "health"}
DAEMON = PARTS | {"settings", "specimen", "daemon"}
EDGE: dict[str, set[str]] = {
    "errors": set(),
    "notice": set(),
    "host": GROUND,
    "records": GROUND | {"host"},
    "imaging": GROUND | {"host"},
    "cameras": PIXELS | {"records"},
    "model": PIXELS,
    "outbox": PIXELS | {"records"},
    "mqtt": GROUND | {"host", "records"},
    "health": PIXELS | {"records"},
    "specimen": GROUND | {"host", "records"},
    "settings": PARTS | {"specimen", "web"},
    "asyncapi": GROUND | {"host", "records", "mqtt", "specimen"},
    "daemon": DAEMON,
    "logger": GROUND | {"host", "records", "mqtt", "specimen"},
    "laboratory": PIXELS | {"records", "model", "specimen", "logger", "settings", "doctor"},
    "web": DAEMON - {"daemon"} | {"logger"},
    "upkeep": DAEMON - {"daemon"} | {"logger"},
    "doctor": DAEMON,
    "demo": PARTS | {"settings", "logger", "specimen", "web"},
    "bench": DAEMON | {"demo"},
    "classify": PIXELS | {"cameras", "model", "settings"},
    "cli": DAEMON | {"logger", "web", "upkeep", "doctor", "demo", "bench", "classify", "asyncapi"},
    "__main__": {"cli"},
}
"""Package or module of edge -> what it may import besides itself. `cli` is the roof."""

TRAIN: dict[str, set[str]] = {
    "plot_style": set(),
    "quiet": set(),
    "data": {"quiet"},
    "fit": {"data", "plot_style", "quiet"},
    "networks": {"data", "fit"},
    "evaluate": {"data", "fit", "plot_style", "quiet"},
    "compare": {"data", "fit", "evaluate", "plot_style"},
    "fields": {"data", "fit", "evaluate", "plot_style"},
    "studies": {"data", "fit", "evaluate", "plot_style", "quiet"},
    "laboratory": {"data"},
    "commands": {"data", "fit", "evaluate", "fields", "networks", "studies", "quiet"},
}

EXPORT: dict[str, set[str]] = {
    "int8": set(),
    "figures": {"int8"},
    "rivals": {"int8"},
    "latency": set(),
    "localise": set(),
    "compare": {"int8", "latency"},
    "family": {"int8", "figures", "latency"},
    "commands": {"int8", "figures", "localise"},
}

TOPS = {"edge": {"edge"}, "train": {"edge", "train"}, "export": {"edge", "train", "export"}}


def _modules(top: str) -> list[Path]:
    return sorted(path for path in (ROOT / top).rglob("*.py"))


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imports(tree: ast.AST, path: Path) -> Iterator[str]:
    """Every module of the project that the tree imports; `from a import b` counts as a.b if that is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in TOPS)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by the full name"
            if node.module and node.module.split(".")[0] in TOPS:
                for alias in node.names:
                    inner = ROOT / Path(*node.module.split("."), alias.name)
                    is_module = inner.with_suffix(".py").is_file() or inner.is_dir()
                    yield f"{node.module}.{alias.name}" if is_module else node.module


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported_at_start(path: Path) -> set[str]:
    """What a module imports when it is imported itself, not within a function."""
    statements = [node for node in _tree(path).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return {name for node in statements for name in _imports(node, path)}


@pytest.mark.parametrize("top", TOPS)
def test_packages_import_only_what_stands_below_them(top: str) -> None:
    wrong = []
    for path in _modules(top):
        for imported in _imports(_tree(path), path):
            if imported.split(".")[0] not in TOPS[top]:
                wrong.append(f"{_name(path)} -> {imported}")
    assert not wrong


@pytest.mark.parametrize(("top", "allowed"), [("edge", EDGE), ("train", TRAIN), ("export", EXPORT)])
def test_rooms_import_only_what_stands_below_them(top: str, allowed: dict[str, set[str]]) -> None:
    wrong = []
    for path in _modules(top):
        parts = _name(path).split(".")
        if len(parts) == 1:
            continue
        room = parts[1]
        assert room in allowed, f"{_name(path)}: say in this test what {room} may import"
        for imported in _imports(_tree(path), path):
            into = imported.split(".")
            if into[0] == top and len(into) > 1 and into[1] != room and into[1] not in allowed[room]:
                wrong.append(f"{_name(path)} -> {imported}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("top", TOPS)
def test_no_module_needs_itself_to_be_imported(top: str) -> None:
    graph = {_name(path): _imported_at_start(path) - {_name(path)} for path in _modules(top)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("top", TOPS)
def test_no_folder_holds_more_modules_than_one_can_overlook(top: str) -> None:
    folders = [ROOT / top, *(path for path in (ROOT / top).rglob("*") if path.is_dir())]
    for folder in folders:
        modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 14, f"{folder.relative_to(ROOT)} holds {len(modules)} modules"
