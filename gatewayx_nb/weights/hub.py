"""Downloads a model from the Hugging Face hub; a stopped download can be resumed."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError, TransportError
from gatewayx_nb.files import fsync_directory
from gatewayx_nb.hints import Hint
from gatewayx_nb.text import size_text
from gatewayx_nb.weights.catalogue import catalogue, models_folder
from gatewayx_nb.weights.gguf import check_gguf
from gatewayx_nb.weights.hub_files import (
    HubFile,
    HubReference,
    WeightsVariant,
    choose,
    listed_files,
    model_name,
)
from gatewayx_nb.weights.hub_process import Hub, connect
from gatewayx_nb.weights.installed import (
    LocalModel,
    hub_folder,
    hub_source,
    pulled_models,
    record_hub_model,
)
from gatewayx_nb.weights.progress import progress_bar
from gatewayx_nb.weights.staging import locked
from gatewayx_nb.weights.wheel import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gatewayx_nb.secure_config import Config

_RESERVED_BYTES = 64_000_000  # disk space to leave free


def pull_from_hub(
    reference: HubReference, *, progress: bool, env: Mapping[str, str], config: Config
) -> LocalModel:
    """Download a model, or its missing parts, from the hub and return it.

    A stopped download is resumed. A file is kept only if its digest matches the hub's list.

    Args:
        reference: The repository and the model in it.
        progress: Whether to show the progress on stderr.
        env: The environment of the client's process.
        config: Provides the network settings.

    Raises:
        ConfigError: If `huggingface_hub` is missing, or a file has the wrong digest or cannot be
            written.
        ModelNotFoundError: If the hub does not have the repository, or the repository lacks the
            model.
        AuthenticationError: If the hub requires a token or acceptance of the model's terms.
        TransportError: If the hub cannot be reached or sends an invalid response.
        TrustError: If the project's network settings would be used without the user's permission.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ConfigError(
            "pulling from the hub requires huggingface_hub, which is not installed.",
            hint=Hint("install", extra="hub"),
        )
    hub = connect(env, config)

    def write_note(text: str) -> None:
        if progress:
            sys.stderr.write(f"{text}\n")

    try:
        listing = hub.run("list", reference.repo)
    except TransportError as error:
        if (model := _find_pulled(reference)) is None:
            raise
        write_note(f"{model.name}: not checked for a newer version: {error.message}")
        return model
    variant = choose(reference, listed_files(listing["files"]))
    name, commit = _free_name(reference, variant), str(listing["commit"])
    download = _Download(hub, reference, variant, commit, name, progress)
    if not reference.choice:
        write_note(f"{reference.repo}: {variant.label}, {size_text(variant.size)}")
    try:
        with locked(
            models_folder(),
            lambda: write_note(f"{name}: waiting for another process that pulls a model"),
        ):
            return download.run(f"hf:{reference.repo}:{variant.label}")
    except OSError as error:
        raise _disk_error(download.name, error) from error


def _find_pulled(reference: HubReference) -> LocalModel | None:
    """Return the model from an earlier pull of a reference; ``None`` if none or several match."""
    source_start = f"hf:{reference.repo}:{reference.choice}".lower()
    models = [
        model
        for model in pulled_models()
        if model.source.lower() == source_start
        or (not reference.choice and model.source.lower().startswith(source_start))
    ]
    return models[0] if len(models) == 1 else None


def _free_name(reference: HubReference, variant: WeightsVariant) -> str:
    """Return the model's name, with the owner's name if another model has the short name."""
    name = model_name(reference.repo, variant)
    existing_source = hub_source(name)
    if name in catalogue() or existing_source not in ("", f"hf:{reference.repo}:{variant.label}"):
        return model_name(reference.repo, variant, with_owner=True)
    return name


@dataclass(frozen=True, slots=True)
class _Download:
    """The download of one model."""

    hub: Hub
    reference: HubReference
    variant: WeightsVariant
    commit: str
    name: str
    progress: bool

    def run(self, source: str) -> LocalModel:
        """Download missing files, check their digests, and record the model."""
        folder = hub_folder(self.name)
        version = self.variant.files[0].sha256[:12]
        # A changed model has another folder, because the old model may be in use.
        target = folder / version
        target.mkdir(parents=True, exist_ok=True)
        self._remove_stale_parts(folder, version)
        missing_files = [file for file in self.variant.files if not self._is_complete(target, file)]
        self._check_space(target, missing_files)
        if missing_files:
            self._fetch(target, missing_files)
        model_files = [
            replace(file, path=f"{version}/{_file_name(file)}") for file in self.variant.files
        ]
        fsync_directory(target)
        record_hub_model(self.name, source, self.commit, model_files)
        for subfolder in folder.iterdir():
            if subfolder.is_dir() and subfolder.name != version:
                shutil.rmtree(subfolder, ignore_errors=True)
        return LocalModel(self.name, folder / model_files[0].path, self.variant.size, source)

    def _remove_stale_parts(self, folder: Path, version: str) -> None:
        """Remove partial downloads of files that have since changed on the hub."""
        stale_parts = [part for part in folder.glob("*/*.part") if part.parent.name != version]
        for part in stale_parts:
            part.unlink()
        if stale_parts and self.progress:
            sys.stderr.write(
                f"{self.name}: the file changed on the hub after the last pull was stopped; it is"
                " downloaded from the beginning\n"
            )

    def _is_complete(self, target: Path, file: HubFile) -> bool:
        path = target / _file_name(file)
        return (
            path.is_file()
            and path.stat().st_size == file.size
            and self._digest([(path, file)]) == [file.sha256]
        )

    def _check_space(self, target: Path, missing_files: Sequence[HubFile]) -> None:
        """Check that the disk has enough space before a download that takes minutes."""
        needed_bytes = sum(file.size for file in missing_files) - _total_bytes(
            _part_paths(target, missing_files)
        )
        free_bytes = shutil.disk_usage(target).free
        if missing_files and free_bytes < needed_bytes + _RESERVED_BYTES:
            raise ConfigError(
                f"not enough disk space for {self.name!r} in {str(models_folder())!r}:"
                f" {size_text(needed_bytes)} are needed, {size_text(free_bytes)} are free.",
                hint="Free disk space, or choose a smaller model.",
                model=self.name,
            )

    def _fetch(self, target: Path, missing_files: Sequence[HubFile]) -> None:
        """Download files, check them, and rename them to their final names."""
        parts = _part_paths(target, missing_files)
        size = sum(file.size for file in missing_files)
        try:
            with progress_bar(f"{self.name}: download", size, enabled=self.progress) as report:
                for part, file in zip(parts, missing_files, strict=True):
                    self._fetch_file(part, file, lambda: report(_total_bytes(parts)))
        except KeyboardInterrupt:
            if self.progress:
                state = f"{size_text(_total_bytes(parts))} of {size_text(size)}"
                sys.stderr.write(f"{self.name}: stopped at {state}; pull again to resume\n")
            raise
        digests = self._digest(list(zip(parts, missing_files, strict=True)))
        for part, file, digest in zip(parts, missing_files, digests, strict=True):
            if digest != file.sha256:
                part.unlink()
                raise ConfigError(
                    f"{_file_name(file)!r} has SHA-256 {digest[:12]}…, not {file.sha256[:12]}… as"
                    " the hub lists; it was not kept.",
                    hint=Hint("run_again"),
                    model=self.name,
                )
        # llama.cpp loads a split model by the name of its first part.
        _check_format(parts[0], missing_files[0])
        for part, file in zip(parts, missing_files, strict=True):
            part.replace(target / _file_name(file))

    def _fetch_file(self, part: Path, file: HubFile, report: Callable[[], object]) -> None:
        if part.is_file() and part.stat().st_size > file.size:
            part.unlink()
        file_fields = {"commit": self.commit, **asdict(file)}
        try:
            self.hub.run("fetch", self.reference.repo, report, part=str(part), **file_fields)
        finally:
            if not _total_bytes([part]):
                _remove_empty(part)

    def _digest(self, files: Sequence[tuple[Path, HubFile]]) -> list[str]:
        """Return the digests of files and show the progress."""
        digests, checked_bytes = [], 0
        size = sum(file.size for _, file in files)
        with progress_bar(f"{self.name}: check", size, enabled=self.progress) as report:
            for path, file in files:
                digests.append(sha256_of(path, partial(_report_after, checked_bytes, report)))
                checked_bytes += file.size
        return digests


def _report_after(start: int, report: Callable[[int], object], count: int) -> None:
    report(start + count)


def _file_name(file: HubFile) -> str:
    return file.path.rpartition("/")[2]


def _part_paths(target: Path, files: Sequence[HubFile]) -> list[Path]:
    """Return the paths of partial files; the digest in each name distinguishes versions."""
    return [target / f"{_file_name(file)}.{file.sha256[:12]}.part" for file in files]


def _total_bytes(paths: Sequence[Path]) -> int:
    total = 0
    for path in paths:
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def _remove_empty(part: Path) -> None:
    """Remove an empty partial file, and its folders if they are empty."""
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)
        part.parent.rmdir()
        part.parent.parent.rmdir()


def _check_format(part: Path, file: HubFile) -> None:
    try:
        check_gguf(part, file.path)
    except ConfigError:
        part.unlink()
        raise ConfigError(
            f"{_file_name(file)!r} on the hub is not a GGUF file.", hint="Choose another model."
        ) from None


def _disk_error(name: str, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot write {name!r} to {str(models_folder())!r}: {error.strerror or error}.",
        hint="Free disk space or make the folder writable, then pull again to resume.",
        model=name,
    )
