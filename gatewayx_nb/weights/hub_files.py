"""Parses references to models on the Hugging Face hub, and chooses among a repository's files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import (
    ConfigError,
    ModelNotFoundError,
    TransportError,
    UsageError,
    did_you_mean,
)
from gatewayx_nb.hints import Hint
from gatewayx_nb.text import size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HUB_PREFIX = "hf:"

_EXAMPLE_REFERENCE = "hf:bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M"
_REFERENCE = re.compile(r"hf:(?P<repo>\w[\w.-]*/\w[\w.-]*)(?::(?P<choice>\S+))?", re.ASCII)
# The forms in which other tools and the hub's pages refer to a repository.
_OTHER_FORM = re.compile(
    r"(?:hf:/*|(?:https?://)?(?:huggingface\.co|hf\.co)/)?"
    r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(?::(?P<choice>[\w.-]+))?.*",
    re.ASCII,
)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[^\\/:*?\"<>|\x00-\x1f]+\.gguf")  # characters that every system allows

# https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#sharded-model
_SPLIT_SUFFIX = re.compile(r"-(?P<number>\d{5})-of-(?P<count>\d{5})$", re.IGNORECASE)
_QUANT = re.compile(
    r"(?<![^-._/])(?:UD-)?(?:I?Q\d+(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|BF16|FP?16|F32)(?![^-./])",
    re.IGNORECASE,
)
_PREFERRED_QUANTS = (
    *("Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_XS", "IQ4_NL", "MXFP4", "MXFP4_MOE"),
    *("Q5_K_M", "Q5_K_S", "Q5_0", "Q6_K", "Q8_0", "F16", "FP16", "BF16", "F32"),
)
"""The default quantizations, in order of preference: first the smallest that loses little quality.

llama.cpp also chooses Q4_K_M: https://github.com/ggml-org/llama.cpp/blob/master/common/arg.cpp
"""

_MAX_LISTED_MODELS = 12


@dataclass(frozen=True, slots=True)
class HubReference:
    """A repository on the hub and the model in it.

    Attributes:
        repo: ``OWNER/REPO``.
        choice: The quantization or the file name, as typed; empty if omitted.
    """

    repo: str
    choice: str = ""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a repository.

    Attributes:
        path: The path in the repository.
        size: The size in bytes.
        sha256: The digest, in hexadecimal.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class WeightsVariant:
    """A model in a repository: a GGUF file, or all parts of a split file.

    Attributes:
        stem: The path without the suffix and the part number.
        quant: The upper-case quantization; empty if the name does not contain it.
        files: The files, in order of their parts.
    """

    stem: str
    quant: str
    files: tuple[HubFile, ...]

    @property
    def size(self) -> int:
        """The total size of all files in bytes."""
        return sum(file.size for file in self.files)

    @property
    def label(self) -> str:
        """The text to type in order to choose this model."""
        return self.quant or self.stem


def parse_reference(text: str) -> HubReference:
    """Parse ``hf:OWNER/REPO[:QUANT]``.

    Raises:
        UsageError: If the text has any other form.
    """
    if match := _REFERENCE.fullmatch(text):
        return HubReference(match["repo"], match["choice"] or "")
    other_form = _OTHER_FORM.fullmatch(text)
    suggested_reference = (
        ":".join(filter(None, ("hf", other_form["repo"], other_form["choice"])))
        if other_form
        else _EXAMPLE_REFERENCE
    )
    raise UsageError(
        f"a model on the hub must be `hf:OWNER/REPO` or `hf:OWNER/REPO:QUANT`, got {text!r}.",
        hint=Hint("pull", model=suggested_reference),
    )


def listed_files(listing: Iterable[Mapping[str, Any]]) -> list[HubFile]:
    """Return the files that a hub lists; invalid digests are omitted.

    Raises:
        TransportError: If the list has an unexpected format.
    """
    try:
        return [
            HubFile(str(file["path"]), int(file["size"] or 0), _digest(file["sha256"]))
            for file in listing
        ]
    except (LookupError, TypeError, ValueError):
        raise TransportError(
            "the hub sent an invalid response: its file list has an unexpected format.",
            hint="Check HF_ENDPOINT.",
        ) from None


def _digest(value: object) -> str:
    # Part of the digest becomes a name in the models folder.
    return value if isinstance(value, str) and _SHA256.fullmatch(value) else ""


def variants(files: Iterable[HubFile]) -> list[WeightsVariant]:
    """Return the models of a repository, smallest first; image projectors are omitted."""
    models = sorted((file for file in files if _is_model(file.path)), key=lambda file: file.path)
    variants_found = []
    for stem, parts in groupby(models, key=lambda file: _SPLIT_SUFFIX.sub("", file.path[:-5])):
        quants = _QUANT.findall(stem)
        variants_found.append(
            WeightsVariant(stem, quants[-1].upper() if quants else "", tuple(parts))
        )
    return sorted(variants_found, key=lambda variant: variant.size)


def _is_model(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return bool(_FILE_NAME.fullmatch(name)) and not name.startswith(("mmproj", "imatrix"))


def choose(reference: HubReference, files: Sequence[HubFile]) -> WeightsVariant:
    """Return the model that a reference chooses or, without a choice, the preferred model.

    Raises:
        ModelNotFoundError: If the repository has no such model.
        UsageError: If several models match.
        ConfigError: If a part of a split model is missing.
    """
    available_variants = variants(files)
    if not available_variants:
        raise ModelNotFoundError(
            f"{reference.repo!r} on the hub has no GGUF file.{_gguf_repository_note(reference)}",
            hint="Look for a repository whose name ends in -GGUF.",
        )
    if reference.choice:
        matching_variants = [
            variant for variant in available_variants if _matches_choice(variant, reference.choice)
        ]
    else:
        matching_variants = _preferred_variants(available_variants)
    if not matching_variants:
        quants = [variant.quant for variant in available_variants]
        raise ModelNotFoundError(
            f"{reference.repo!r} on the hub has no {reference.choice!r}; it has"
            f" {_list_text(available_variants)}."
            f"{did_you_mean(reference.choice.upper(), quants)}",
            hint=Hint("pull", model=f"hf:{reference.repo}"),
        )
    if len(matching_variants) > 1:
        raise UsageError(
            f"{reference.repo!r} on the hub has several models:"
            f" {_list_text(matching_variants, shows_stems=True)}.",
            hint=Hint("pull", model=f"hf:{reference.repo}:{matching_variants[0].stem}"),
        )
    _check_parts(reference, matching_variants[0])
    return matching_variants[0]


def _gguf_repository_note(reference: HubReference) -> str:
    if reference.repo.upper().endswith("GGUF"):
        return ""
    return " Models for local engines are in separate repositories."


def _matches_choice(variant: WeightsVariant, choice: str) -> bool:
    """Return whether a quantization or a file name matches a model, ignoring case."""
    wanted_name = choice.upper().removesuffix(".GGUF")
    stem = variant.stem.upper()
    return _SPLIT_SUFFIX.sub("", wanted_name) in (variant.quant, stem, stem.rpartition("/")[2])


def _preferred_variants(available_variants: Sequence[WeightsVariant]) -> list[WeightsVariant]:
    if len(available_variants) == 1:
        return list(available_variants)
    for quant in _PREFERRED_QUANTS:
        if matching_variants := [
            variant for variant in available_variants if variant.quant == quant
        ]:
            return matching_variants
    labelled_variants = [variant for variant in available_variants if variant.quant]
    # Among quantizations below four bits, the largest loses the least quality.
    return labelled_variants[-1:] or list(available_variants)


def _list_text(listed_variants: Sequence[WeightsVariant], *, shows_stems: bool = False) -> str:
    names = [
        f"{variant.stem if shows_stems else variant.label} ({size_text(variant.size)})"
        for variant in listed_variants[:_MAX_LISTED_MODELS]
    ]
    omitted_count = len(listed_variants) - len(names)
    return ", ".join(names) + (f" and {omitted_count} more" if omitted_count > 0 else "")


def _check_parts(reference: HubReference, variant: WeightsVariant) -> None:
    """Check that a split model is complete, and that each file has a digest."""
    split = _SPLIT_SUFFIX.search(variant.files[0].path[:-5])
    count = int(split["count"]) if split else 1
    if len(variant.files) != count:
        raise ConfigError(
            f"{variant.label!r} of {reference.repo!r} is split into {count} files, of which the hub"
            f" has {len(variant.files)}.",
            hint="Choose another model, or ask the authors of the repository.",
        )
    if any(not file.sha256 for file in variant.files):
        raise ConfigError(
            f"the hub has no SHA-256 digest for {variant.label!r} of {reference.repo!r}, so the"
            " file cannot be checked.",
            hint="Choose another model.",
        )


def model_name(repo: str, variant: WeightsVariant, *, with_owner: bool = False) -> str:
    """Return a short name for a model: ``smollm2-135m-instruct-q4_k_m``.

    Args:
        repo: The repository.
        variant: The model.
        with_owner: Whether to begin with the owner, because the short name is taken.
    """
    owner, _, name = repo.lower().partition("/")
    base = re.sub(r"[-_.]gguf$", "", name)
    suffix = variant.quant.lower() or variant.stem.lower().rpartition("/")[2].removeprefix(base)
    if suffix and not base.endswith(suffix):
        base = f"{base}-{suffix.lstrip('-_.')}"
    return re.sub(r"[^a-z0-9._-]", "-", f"{owner}-{base}" if with_owner else base)
