"""Converts failures of the Hugging Face Hub client to typed errors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import (
    AuthenticationError,
    ConfigError,
    GatewayError,
    ModelNotFoundError,
    TransportError,
    did_you_mean,
)
from gatewayx_nb.hints import Hint
from gatewayx_nb.text import plain, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_DETAIL_CHARS = 160
# A URL may contain a password, or a signature with which anyone can download the file.
_SECRET_IN_URL = re.compile(r"(?<=://)[^/\s@]+@|\?[^\s'\"]+")


@dataclass(frozen=True, slots=True)
class _ErrorTemplate:
    """How to build the error for one kind of failure."""

    error: type[GatewayError]
    message: str
    hint: Hint | str


_CHECK_HUB = "Check HF_ENDPOINT and the network, which may require you to log in first."
_TEMPLATES: Mapping[str, _ErrorTemplate] = {
    "invalid": _ErrorTemplate(
        TransportError, "the hub {endpoint} sent an invalid response: {detail}", _CHECK_HUB
    ),
    "redirect": _ErrorTemplate(
        TransportError,
        "the hub {endpoint} redirects to {detail}, which does not use HTTPS or is not on a"
        " permitted host",
        _CHECK_HUB,
    ),
    "changed": _ErrorTemplate(
        TransportError,
        "{repo!r} changed on the hub {endpoint} after its files were listed; the download was"
        " discarded",
        Hint("run_again"),
    ),
    "offline": _ErrorTemplate(
        TransportError,
        "the hub {endpoint} was not contacted, because HF_HUB_OFFLINE is set",
        "Unset HF_HUB_OFFLINE.",
    ),
    "network": _ErrorTemplate(
        TransportError,
        "the hub {endpoint} cannot be reached: {detail}",
        "Check the network and [network] in the settings, then pull again to resume.",
    ),
    "status": _ErrorTemplate(
        TransportError,
        "the hub {endpoint} returned status {status} for {repo!r}",
        Hint("run_again"),
    ),
    "client_unavailable": _ErrorTemplate(
        ConfigError, "huggingface_hub cannot be used: {detail}", Hint("install", extra="hub")
    ),
    "ca_bundle": _ErrorTemplate(
        ConfigError,
        "network.ca_bundle must be a readable PEM file: {detail}",
        "Fix it in config/gatewayx.toml.",
    ),
    "disk": _ErrorTemplate(
        ConfigError,
        "{repo!r} cannot be written: {detail}",
        "Free disk space, then pull again to resume.",
    ),
    "other": _ErrorTemplate(
        TransportError, "{repo!r} cannot be pulled: {detail}", Hint("run_again")
    ),
}


def hub_error(
    failure: Mapping[str, Any], repo: str, endpoint: str, *, has_token: bool
) -> GatewayError:
    """Return the typed error for a failure that the client has reported.

    Args:
        failure: The failure's kind, text, status and suggestions.
        repo: Name of the repository.
        endpoint: The base URL of the hub.
        has_token: Whether a token was sent.
    """
    kind, status = failure["kind"], failure["status"]
    if kind == "repository":
        return _repository_error(repo, failure["similar"], has_token=has_token)
    if kind == "gated" or (
        kind == "status" and status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    ):
        return _access_error(repo, endpoint, kind, status, has_token=has_token)
    detail = shorten(plain(_SECRET_IN_URL.sub("", failure["text"])), _MAX_DETAIL_CHARS).rstrip(".")
    template = _TEMPLATES[kind]
    message = template.message.format(
        endpoint=endpoint, repo=repo, status=status, detail=detail or "no reason given"
    )
    return template.error(f"{message}.", hint=template.hint, model=repo)


def _repository_error(repo: str, similar: list[str], *, has_token: bool) -> ModelNotFoundError:
    # The hub does not distinguish missing repositories from private ones, to keep private names
    # secret.
    alternative = "your HF_TOKEN cannot read it" if has_token else "it is private"
    hint = "Check its name on the hub"
    if not has_token:
        hint += ", or set HF_TOKEN in the environment to a token that can read it"
    return ModelNotFoundError(
        f"the hub has no repository {repo!r}, or {alternative}.{did_you_mean(repo, similar)}",
        hint=f"{hint}.",
        model=repo,
    )


def _access_error(
    repo: str, endpoint: str, kind: str, status: int | None, *, has_token: bool
) -> AuthenticationError:
    problem = "your HF_TOKEN is not accepted" if has_token else "it requires a token"
    hint = "Create a token in your settings on the hub, and set HF_TOKEN to it."
    if has_token and status == HTTPStatus.FORBIDDEN:
        problem = "your HF_TOKEN lacks permission to read it"
        hint = "Give the token read access to it in your settings on the hub."
    if kind == "gated":
        problem = "its authors ask you to accept their terms"
        hint = f"Accept them at {endpoint}/{repo}"
        hint += "." if has_token else ", then set HF_TOKEN in the environment to your token."
    return AuthenticationError(
        f"the hub denies access to {repo!r}: {problem}.", hint=hint, status=status, model=repo
    )
