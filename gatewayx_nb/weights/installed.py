"""Lists, locates and removes the models that were pulled to this machine."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError, GatewayError, ModelNotFoundError, did_you_mean
from gatewayx_nb.files import atomic_write
from gatewayx_nb.hints import Hint
from gatewayx_nb.messages import ModelInfo
from gatewayx_nb.weights.catalogue import (
    DEFAULT_MODEL,
    MODEL_PATH_VARIABLE,
    catalogue,
    configured_path,
    find_weights,
    models_folder,
)
from gatewayx_nb.weights.staging import LOCK_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from gatewayx_nb.weights.hub_files import HubFile

_RECORD_NAME = "model.json"
# A name with a separator would be a path to another folder.
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on this machine.

    Attributes:
        name: The name in a reference, after ``local:``.
        path: The GGUF file; for a split model, the first part.
        size: The total size of all files in bytes.
        source: The name that was pulled: a name in the catalogue, or ``hf:OWNER/REPO:QUANT``.
    """

    name: str
    path: Path
    size: int
    source: str


def pulled_models() -> list[LocalModel]:
    """Return the models that were pulled to this machine, sorted by name."""
    return sorted([*_from_catalogue(), *_from_hub()], key=lambda model: model.name)


def callable_models(engine: str, default: str, user_file: Path | None) -> list[ModelInfo]:
    """Return the models that an engine can load; the default model is first.

    Args:
        engine: Name of the engine.
        default: Name of the engine's default model.
        user_file: The user's own file, which replaces the catalogue's models.
    """
    models = {model.name: model.size for model in pulled_models()}
    if user_file is not None:
        models = {name: size for name, size in models.items() if name not in catalogue()}
        default = default if default in models else user_file.stem
        models.setdefault(user_file.stem, user_file.stat().st_size)
    infos = [ModelInfo(engine, name, name == default, size) for name, size in models.items()]
    return sorted(infos, key=lambda info: not info.default)


def _from_catalogue() -> Iterator[LocalModel]:
    for weights in catalogue().values():
        if weights.is_pulled:
            yield LocalModel(weights.name, weights.path, weights.size, source=weights.name)


def _from_hub() -> Iterator[LocalModel]:
    with contextlib.suppress(OSError):  # the folder does not exist before the first pull
        for folder in hub_folder("").iterdir():
            with contextlib.suppress(ConfigError):  # a call raises the error
                if model := hub_model(folder.name):
                    yield model


def hub_folder(name: str) -> Path:
    """Return the folder of a model from the hub; it may not exist."""
    return models_folder() / "hub" / name


def hub_model(name: str) -> LocalModel | None:
    """Return a model from the hub, or ``None`` if it was not pulled.

    Raises:
        ConfigError: If a file of the model is missing or does not have its original size.
    """
    record = _read_record(name)
    if record is None:
        return None
    model, sizes = record
    for path, size in sizes.items():
        actual_size = path.stat().st_size if path.is_file() else 0
        if actual_size != size:
            raise ConfigError(
                f"{path.name!r} of {name!r} is damaged: it has {actual_size:,} of {size:,} bytes.",
                hint=Hint("pull", model=model.source),
                model=name,
            )
    return model


def _read_record(name: str) -> tuple[LocalModel, dict[Path, int]] | None:
    """Return a model as recorded when it was pulled, and the sizes of its files."""
    if not _MODEL_NAME.fullmatch(name):
        return None
    folder = hub_folder(name)
    try:
        record = json.loads((folder / _RECORD_NAME).read_text("utf-8"))
        sizes = {folder / file["path"]: int(file["size"]) for file in record["files"]}
        model = LocalModel(name, next(iter(sizes)), sum(sizes.values()), str(record["source"]))
    except (OSError, ValueError, LookupError, TypeError, StopIteration):
        return None  # the record is missing or damaged; the next pull replaces it
    return model, sizes


def hub_source(name: str) -> str:
    """Return the source of a model, even if it is damaged; empty if no model has the name."""
    record = _read_record(name)
    return record[0].source if record else ""


def record_hub_model(name: str, source: str, commit: str, files: Sequence[HubFile]) -> None:
    """Record the files of a model, so that it counts as pulled.

    Args:
        name: The model's name.
        source: The model's reference on the hub.
        commit: The commit of the repository.
        files: The files, with paths inside the model's folder and the verified digests.
    """
    record = {"source": source, "commit": commit, "files": [asdict(file) for file in files]}
    atomic_write(hub_folder(name) / _RECORD_NAME, json.dumps(record, indent=1).encode())


def locate(name: str = DEFAULT_MODEL, env: Mapping[str, str] | None = None) -> Path | None:
    """Return the file to load for a model, or ``None`` if the model was not pulled.

    ``GATEWAYX_LOCAL_MODEL`` takes precedence over a model that is not from the hub. Nothing is
    hashed.

    Args:
        name: Name of a model.
        env: The environment variables; by default, the variables of the process.

    Raises:
        ModelNotFoundError: If no model has that name.
        ConfigError: If the model is damaged, or ``GATEWAYX_LOCAL_MODEL`` is not a GGUF file.
    """
    if model := hub_model(name):
        return model.path
    weights = find_weights(name)
    return configured_path(env) or (weights.path if weights.is_pulled else None)


def remove(name: str) -> Path:
    """Remove a pulled model from this machine, or the files that a stopped pull has left behind.

    Args:
        name: The model's name, or the name that was pulled.

    Returns:
        The file or folder that was removed.

    Raises:
        ModelNotFoundError: If no model with that name was pulled.
        ConfigError: If the model cannot be removed.
    """
    from filelock import FileLock, Timeout

    models = pulled_models()
    wanted_name = name.removeprefix("local:")
    names = [model.name for model in models if wanted_name in (model.name, model.source)]
    path = _pulled_path((*names, wanted_name)[0])
    if path is None:
        available_names = ", ".join(repr(model.name) for model in models) or "none"
        raise ModelNotFoundError(
            f"no model {name!r} was pulled; on this machine: {available_names}."
            f"{did_you_mean(wanted_name, [model.name for model in models])}"
            f"{_user_file_note(wanted_name)}",
            hint=Hint("list_local_models"),
            model=name,
        )
    try:
        with FileLock(models_folder() / LOCK_NAME, timeout=0):
            path.unlink() if path.is_file() else shutil.rmtree(path)
    except (OSError, Timeout) as error:
        reason = getattr(error, "strerror", None) or "another process is pulling a model"
        raise ConfigError(
            f"{name!r} cannot be removed: {reason}.", hint=Hint("run_again"), model=name
        ) from None
    return path


def _pulled_path(name: str) -> Path | None:
    """Return the file or folder of a pulled model, even if it is incomplete."""
    weights = catalogue().get(name)
    if weights is not None:
        return weights.path if weights.path.is_file() else None
    folder = hub_folder(name)
    return folder if _MODEL_NAME.fullmatch(name) and folder.is_dir() else None


def _user_file_note(name: str) -> str:
    """Return why the user's own file is not removed; empty if the name does not refer to it."""
    with contextlib.suppress(GatewayError):
        path = configured_path()
        if path is not None and path.stem == name:
            return f" {name!r} is a file of your own, in {MODEL_PATH_VARIABLE}."
    return ""
