"""Interprets references to models: aliases, the default, and who chose an engine."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError, GatewayError, MissingKeyError
from gatewayx_nb.hints import Hint
from gatewayx_nb.messages import ModelRef
from gatewayx_nb.model_registry import key_trust
from gatewayx_nb.model_registry.key_trust import NAMED_BY_CALLER, Choice
from gatewayx_nb.model_registry.report import LOCAL_ENGINE
from gatewayx_nb.model_registry.resolution_errors import reference_type_error
from gatewayx_nb.secure_config import SHIPPED_ALIASES

if TYPE_CHECKING:
    from gatewayx_nb.model_registry.clone_checks import CloneChecks
    from gatewayx_nb.model_registry.engine_listing import EngineListing

MOCK_ENGINE = "mock"
"""The mock engine, which is never chosen as the default."""


class References:
    """Interprets references with the settings and the available engines.

    Args:
        engines: The available engines.
        clone_checks: Checks how the project affects the choice of an engine.

    Attributes:
        default: The default reference that `EnginePool.use` has set, or ``None``.
    """

    def __init__(self, engines: EngineListing, clone_checks: CloneChecks) -> None:
        self.default: str | None = None
        self._engines, self._clone_checks = engines, clone_checks

    def parse(self, reference: str) -> ModelRef:
        """Return the engine and model of a reference, whether or not they are available.

        Raises:
            UsageError: If it is not a string.
            ConfigError: If it is empty and there is no default.
        """
        if not isinstance(reference, str):
            raise reference_type_error(reference)
        return ModelRef.parse(self._expand_alias(reference or self.default_reference()))

    def default_reference(self) -> str:
        """Return the default reference.

        It is the reference chosen by `EnginePool.use` or the settings, or the only engine with a
        key, or the local engine.

        Raises:
            ConfigError: If there are several keys or models and no default is chosen.
            MissingKeyError: If no key is set and the local model is not installed.
        """
        default = self.default or self._engines.config.settings.default_model
        if default:
            return default
        # The mock is never the default: its echo could be mistaken for a model's reply.
        rows = [
            row for row in self._engines.rows() if row.state == "ready" and row.name != MOCK_ENGINE
        ]
        engines_with_key = [row.name for row in rows if row.key == "set"]
        if len(engines_with_key) > 1:
            raise ConfigError(
                "no default model is set, and several engines have a key:"
                f" {', '.join(engines_with_key)}.",
                hint=Hint("set_option", option="model", value=engines_with_key[0])
                | Hint("choose_default", reference=engines_with_key[0]),
            )
        candidates = engines_with_key or [row.name for row in rows if row.name == LOCAL_ENGINE]
        candidates = candidates or self._pulled_models()
        if len(candidates) > 1:
            raise ConfigError(
                "no default model is set, and several models are installed:"
                f" {', '.join(candidates)}.",
                hint=Hint("choose_default", reference=candidates[0]),
            )
        if not candidates:
            raise MissingKeyError(
                "no model is available: no key is set, and the local model is not installed.",
                hint=Hint("set_key", engine="grok") | Hint("pull", model="smollm2"),
                topic="no-default-model",
            )
        return candidates[0]

    def choice(self, reference: str | None) -> Choice:
        """Return why a reference's engine is called.

        The user's default model or alias counts as naming the engine, and so does a key that the
        user has put into the project's key file, if git does not track that file. Neither counts if
        the project has replaced or redirected the engine that the user may have meant.
        """
        chosen_reference = reference or self.default
        if chosen_reference is None and not self._engines.config.settings.default_model:
            return self._automatic_choice()
        expanded_reference = self._expand_alias(str(chosen_reference))
        if chosen_reference is not None and expanded_reference == chosen_reference:
            return NAMED_BY_CALLER
        source = self._engines.sources.active.get(self.parse(chosen_reference or "").engine)
        if selected_by := self._engines.config.project_choice(chosen_reference):
            return self._clone_checks.choice(source, selected_by, is_user_choice=False)
        subject = (
            "the default model" if chosen_reference is None else f"the alias {chosen_reference!r}"
        )
        selected_by = (
            f"{subject}, in place of another engine" if self._clone_checks.replaces(source) else ""
        )
        # Using a shipped alias is like naming the engine.
        if chosen_reference and SHIPPED_ALIASES.get(chosen_reference) == expanded_reference:
            return Choice(selected_by)
        return self._clone_checks.choice(source, selected_by, is_user_choice=True)

    def choices(self) -> dict[str, Choice]:
        """Return, by engine name, why engines that the caller has not named are called."""
        references = [None, *self._engines.config.settings.aliases]
        choices: dict[str, Choice] = {}
        for reference in references:
            with contextlib.suppress(GatewayError):  # there is no default
                name = reference or self.default_reference()
                choice, engine = self.choice(reference), self.parse(name).engine
                choices[engine] = choices.get(engine, NAMED_BY_CALLER) | choice
        return choices

    def _automatic_choice(self) -> Choice:
        with contextlib.suppress(GatewayError):  # there is no default
            source = self._engines.sources.active.get(self.default_reference())
            if source is None:
                return NAMED_BY_CALLER
            is_users_key = key_trust.find_key(source, self._engines.config).owner != "project"
            is_chosen = (
                is_users_key
                or self._clone_checks.replaces(source)
                or self._clone_checks.may_be_cloned_with_key(source)
            )
            selected_by = "the only engine with a key" if is_chosen else ""
            return self._clone_checks.choice(source, selected_by, is_user_choice=True)
        return NAMED_BY_CALLER

    def _pulled_models(self) -> list[str]:
        """Return references to the models that are installed on this machine."""
        return [str(model) for model in self._engines.models() if model.engine == LOCAL_ENGINE]

    def _expand_alias(self, reference: str) -> str:
        """Expand an alias; an engine with that name takes precedence over a shipped alias."""
        expanded_reference = self._engines.config.settings.aliases.get(reference, reference)
        is_engine = (
            reference in self._engines.sources.active or reference in self._engines.instances
        )
        return (
            reference
            if is_engine and expanded_reference == SHIPPED_ALIASES.get(reference)
            else expanded_reference
        )
