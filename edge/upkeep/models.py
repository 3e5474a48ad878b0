"""The models in a backup: the one that the settings name, those that were installed, and the keys that are trusted."""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.host.durable import replace_file
from edge.model.file import read_model
from edge.model.installation import install as installation
from edge.model.installation.store import STATE_FILE, State, decode_state
from edge.model.installed import SUFFIX, find_model
from edge.settings import Settings

MODELS, INSTALLED, KEYS = "models", "installed", "settings/trusted.keys"
"""Names in a backup: the folder of the model of the settings, that of the installed ones with their state, the keys."""

STATE = f"{INSTALLED}/{STATE_FILE}"
RESTORED = "restored-models"
"""Folder beside the archive where a model is put that may not take the place of another one."""


def parts_of(settings: Settings) -> list[tuple[str, Path]]:
    """The files of a backup about models, each with its name in it; the state of the installed ones comes last.

    Raises:
        LeukoscopeError: the model of the settings, or the state, cannot be found or read.
    """
    model = find_model(settings.model.file)
    found = [(f"{MODELS}/{model.name}", model)]
    if settings.model.trusted_keys:
        found.append((KEYS, Path(settings.model.trusted_keys)))
    store = installation.store_of(settings.model)
    state = store.state()
    files = [store.file(sha256) for sha256 in (state.current, *state.before) if sha256]
    found += [(f"{INSTALLED}/{file.name}", file) for file in dict.fromkeys(files) if file.is_file()]
    if state != State():
        found.append((STATE, store.folder / STATE_FILE))
    return found


def restore_models(
    staged: Path, members: Iterable[str], settings: Settings, owned: Callable[[Path], None]
) -> str:
    """Put models and keys back where the settings look for them; what became of them, in words.

    Args:
        staged: the folder of the backup's files.
        members: their names in the backup.
        settings: of the backup.
        owned: gives a file to the user whose folder it is in.

    Raises:
        LeukoscopeError: a file is damaged or cannot be written.
    """
    names = sorted(members)
    _keys(staged, names, settings, owned)
    said = [_of_settings(staged, names, settings)]
    if STATE in names:
        said.append(_installed(staged, names, settings, owned))
    return "; ".join(said)


def _keys(staged: Path, names: list[str], settings: Settings, owned: Callable[[Path], None]) -> None:
    """The trusted keys, where none are there: whom a box trusts is not changed by a restore."""
    file = Path(settings.model.trusted_keys)
    if KEYS in names and settings.model.trusted_keys and not file.exists():
        replace_file(file, (staged / KEYS).read_bytes())
        owned(file)


def _of_settings(staged: Path, names: list[str], settings: Settings) -> str:
    name = next(PurePosixPath(found).name for found in names if found.startswith(f"{MODELS}/"))
    source = staged / MODELS / name
    model = read_model(source)
    named = settings.model.file
    if named and Path(named).name != named:  # a path
        if not Path(named).is_file() or read_model(Path(named)).sha256 != model.sha256:
            replace_file(Path(named), source.read_bytes())
        return f"{named}, sha256 {model.sha256[:12]}…"
    with contextlib.suppress(LeukoscopeError):
        if read_model(find_model(named)).sha256 == model.sha256:
            return f"{model.manifest.name} is installed, sha256 {model.sha256[:12]}…"
    kept = Path(settings.archive.directory).parent / RESTORED / name
    replace_file(kept, source.read_bytes())
    return f'another model is installed here; to go on with the one of the backup: [model] file = "{kept}"'


def _installed(staged: Path, names: list[str], settings: Settings, owned: Callable[[Path], None]) -> str:
    """The installed models, files first, then the state that names them."""
    state = decode_state((staged / STATE).read_bytes(), staged / STATE)
    store = installation.store_of(settings.model)
    words = f"installed: {state.current[:12]}…" if state.current else "none of the installed ones runs"
    with store.writing():
        current = store.state()
        if current.current and current.current != state.current:
            return _beside(staged, state, settings)
        for name in names:
            if name.startswith(f"{INSTALLED}/") and name.endswith(SUFFIX):
                _checked(staged / name)
                owned(store.file(store.add((staged / name).read_bytes())))
        if not current.current:
            counters = {**state.counters, **_higher(current.counters, state.counters)}
            store.write(msgspec.structs.replace(state, counters=counters))
            owned(store.folder / STATE_FILE)
    return words


def _beside(staged: Path, state: State, settings: Settings) -> str:
    """Another model was installed since: it stays, and the backup's is kept to be installed by hand."""
    source = staged / INSTALLED / f"{state.current}{SUFFIX}"
    if not state.current or not source.is_file():
        return "what was installed here since stays"
    kept = Path(settings.archive.directory).parent / RESTORED / source.name
    replace_file(kept, source.read_bytes())
    return f"what was installed here since stays; to go on with the one of the backup: leukoscope model install {kept}"


def _checked(file: Path) -> None:
    if read_model(file).sha256 != file.stem:
        raise InputError(f"{file.name}: damaged: it is not the model of its name")


def _higher(here: dict[str, int], there: dict[str, int]) -> dict[str, int]:
    return {key: counter for key, counter in here.items() if counter > there.get(key, 0)}
