"""`ModelRegistry`: resolves references to engines that may be called, and loads their code."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gatewayx_nb.errors import (
    ConfigError,
    EngineLoadError,
    GatewayError,
)
from gatewayx_nb.hints import Hint
from gatewayx_nb.messages import ModelRef
from gatewayx_nb.model_registry import engine_objects, key_trust
from gatewayx_nb.model_registry.clone_checks import CloneChecks
from gatewayx_nb.model_registry.code_cache import EngineCodeCache
from gatewayx_nb.model_registry.engine_entries import EngineEntry
from gatewayx_nb.model_registry.engine_listing import EngineListing
from gatewayx_nb.model_registry.engine_sources import EngineSources
from gatewayx_nb.model_registry.engine_status import Target, lacks_base_url
from gatewayx_nb.model_registry.folders import EngineFile
from gatewayx_nb.model_registry.key_trust import NAMED_BY_CALLER, Choice
from gatewayx_nb.model_registry.packages import EnginePackage
from gatewayx_nb.model_registry.references import References
from gatewayx_nb.model_registry.report import LOCAL_ENGINE, Reporter
from gatewayx_nb.model_registry.resolution_errors import (
    load_error,
    missing_key,
    reference_type_error,
)
from gatewayx_nb.model_registry.static_metadata import file_problem
from gatewayx_nb.secure_config import (
    Secret,
    check_no_key,
    engine_variable,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry.engine_sources import EngineSource
    from gatewayx_nb.model_registry.loader import LoadedEngine
    from gatewayx_nb.secure_config import Config, ImportPlan, Permission


class ModelRegistry:
    """The available engines.

    Args:
        config: Settings and keys.
        instances: The pool's own engines, which take precedence over all files.

    Attributes:
        engines: The engines that the registry knows.
        references: Interprets references, and has the default.
    """

    def __init__(self, config: Config, instances: LLMEngine | Iterable[LLMEngine]) -> None:
        self._config = config
        self._instances = engine_objects.index_by_name(instances)
        self._sources = EngineSources(config)
        self._code_cache = EngineCodeCache()
        self._reporter = Reporter(config, self._sources, self._code_cache)
        # The targets by reference, each with the variables and settings that determine it.
        self._resolved_targets: dict[tuple[str, Choice], tuple[Target, tuple[object, ...]]] = {}
        self._clone_checks = CloneChecks(config, self._sources, {})
        self.engines = EngineListing(config, self._sources, self._instances, self._reporter)
        self.references = References(self.engines, self._clone_checks)
        self.refresh()

    def refresh(self) -> bool:
        """Check folders, keys and settings again; return whether anything changed."""
        self._code_cache.recheck()
        has_changed = self._config.refresh()
        if self._sources.refresh():
            has_changed = True
            # Without this, the code and failures of removed engines would stay in memory.
            self._code_cache.keep_only(set(self._sources.active.values()))
        # The dict is replaced last, so that no other thread adds a target that was resolved from
        # the old state.
        self._resolved_targets = {}
        if has_changed:
            self._clone_checks.forget()
        return has_changed

    @property
    def problems(self) -> list[str]:
        """Unreadable files, and settings for unknown engines, one line each."""
        trust_problem = self._config.trusted.problem
        trust_problems = [trust_problem.describe()] if trust_problem else []
        config = self._config
        files = [*config.keys.problems, *config.problems]
        problems = [*files, *trust_problems, *self._sources.problems]
        return [*problems, *self.engines.unknown_settings()]

    def forget_failures(self) -> None:
        """Clear the failures of engine files, so that the next use tries to load them again."""
        self._code_cache.forget_failures()

    def resolve(self, reference: str | None) -> Target:
        """Return the target of a reference, or of the default reference if omitted.

        A target is cached until the next `refresh`, or until a variable of its engine changes.

        Raises:
            EngineNotFoundError: If the engine does not exist.
            EngineLoadError: If the engine's code must not be executed.
            MissingKeyError: If the engine needs a key that is not set.
            TrustError: If the project needs a permission that the user has not given.
            ConfigError: If the default is missing or ambiguous.
        """
        if not isinstance(reference, str | None):
            raise reference_type_error(reference)
        name = self.references.default_reference() if reference in (None, "") else reference
        choice, cached_targets = self.references.choice(reference), self._resolved_targets
        if isinstance(name, str) and (name, choice) in cached_targets:
            target, inputs = cached_targets[name, choice]
            if inputs == self._inputs(target.name):
                return target
        ref = self.references.parse(name)
        # The inputs are read first, so that the next call notices a change made in the meantime.
        inputs = self._inputs(ref.engine)
        target = self._resolve(ref, choice)
        cached_targets[name, choice] = target, inputs
        return target

    def _resolve(self, ref: ModelRef, choice: Choice) -> Target:
        # The caller created the engine with its own key, so neither key nor trust is checked.
        if ref.engine in self._instances:
            return self._target(ref, None, Secret(self.engines.api_keys().get(ref.engine, "")))
        source = self.engines.find(ref.engine)
        key = key_trust.find_key(source, self._config)
        problem = self._reporter.static_metadata(source).problem
        if problem and isinstance(source, EngineFile):  # otherwise, a missing key is reported
            raise load_error(ref.engine, source, problem)
        if key.state != "set" and self._needs_key(source):
            if isinstance(source, EngineFile) and (problem := file_problem(source.path)):
                error = load_error(ref.engine, source, problem)
                self._code_cache.note_file_failure(source, error)
                raise error
            read_names = {
                *map(engine_variable, self.engines.engine_names),
                *self.engines.engine_by_name(),
            }
            key_notes = [
                *self._config.keys.problems,
                self._config.keys.near_miss(ref.engine, read_names),
            ]
            raise missing_key(ref.engine, key, key_notes, self._local_model_hint())
        key_trust.check_permissions(source, key, self._sources, self._config, choice)
        return self._target(ref, source, key.value)

    def check_recorded(self, engine: str) -> None:
        """Check that an engine may be called because a cassette contains one of its replies.

        Raises:
            GatewayError: As for `resolve`; the engine counts as chosen by the project.
        """
        source = self._sources.active.get(engine)
        choice = self._clone_checks.choice(source, "a recorded reply", is_user_choice=False)
        self._resolve(ModelRef(engine), choice)

    def current(self, target: Target) -> LoadedEngine | None:
        """Return an engine's code if it is loaded and was unchanged at the last check."""
        return self._code_cache.current(target.source) if target.source else None

    def load(self, target: Target) -> LoadedEngine:
        """Return an engine's code, loading it if it is not loaded or has changed.

        Raises:
            EngineLoadError: If the file cannot be used.
        """
        source = target.source
        if source is None:  # pragma: no cover - the pool's own engines are never loaded
            raise EngineLoadError(f"engine {target.name!r} has no file.")
        return self._code_cache.load(source, target.key)

    def missing_permissions(self) -> dict[str, list[Permission]]:
        """Return the permissions that the project needs and the user has not given, by subject."""
        missing_permissions: list[Permission] = []
        choices = self.references.choices()
        for source in self._sources.active.values():
            key = key_trust.find_key(source, self._config)
            missing_permissions += key_trust.missing_permissions(
                source, key, self._sources, self._config, choices.get(source.name, NAMED_BY_CALLER)
            )
        hook = self._config.hook_permission()
        other_permissions = [*([hook] if hook else ()), *self._config.hub_permissions()]
        other_permissions += self._config.mcp_permissions()
        missing_permissions += [
            permission for permission in other_permissions if not self._config.may(permission)
        ]
        return key_trust.group_by_subject(missing_permissions)

    def key_destinations(
        self, engines: Iterable[str], *, untrusted: bool, named: bool
    ) -> dict[str, list[Permission]]:
        """Return where the project sends the keys of engines; see `EnginePool.key_destinations`."""
        if untrusted:
            return key_trust.untrusted_key_destinations(
                engines, self._sources, self._config, are_named_by_user=named
            )
        return key_trust.key_destinations(engines, self._sources, self._config)

    def check_import(self, plan: ImportPlan) -> None:
        """Check that the user has allowed the destinations of imported keys and base URLs.

        Raises:
            TrustError: If a destination is not allowed.
        """
        key_trust.check_import(plan, self._sources, self._config)

    def allow_default(self) -> None:
        """Allow the saved default model, because the user named its engine when saving it."""
        source = self._sources.active.get(self.references.parse("").engine)
        if self._config.project and source:
            selected_by = self._config.project_choice(None)
            choice = self._clone_checks.choice(source, selected_by, is_user_choice=not selected_by)
            key = key_trust.find_key(source, self._config)
            missing_permissions = key_trust.missing_permissions(
                source, key, self._sources, self._config, choice
            )
            self._config.allow(missing_permissions)

    def note_instance_failure(self, target: Target, reason: str) -> None:
        """Store why an engine cannot be instantiated, for its status row."""
        if target.source:
            self._code_cache.note_instance_failure(target.source, reason)

    def clear_instance_failure(self, target: Target) -> None:
        """Clear an engine's instance failure, because the engine has been instantiated."""
        if target.source:
            self._code_cache.clear_instance_failure(target.source)

    def note_running_servers(self, names: Collection[str]) -> None:
        """Store which of the servers of `EngineListing.servers` responded to the last probe."""
        self._reporter.running_servers = names

    def targets(self, engine: str | None) -> list[Target]:
        """Return the target of one engine, or of every ready engine that is not the project's own.

        Raises:
            GatewayError: If the named engine cannot be called.
        """
        if engine is not None:
            return [self.resolve(engine)]
        targets = []
        for row in self.engines.rows():
            if row.state == "ready" and not self.engines.is_project_engine(row.name):
                with contextlib.suppress(GatewayError):  # a call raises the error
                    targets.append(self.resolve(row.name))
        return targets

    def model_features(self, target: Target, features: frozenset[str]) -> frozenset[str]:
        """Return the features of a model, which may be fewer than its engine declares."""
        return self._reporter.features(target.source, target.model, features)

    def ready_with(self, feature: str) -> list[str]:
        """Return the ready engines that support a feature.

        Only shipped engines and engines that are already loaded are considered.
        """
        names = []
        for row in self.engines.rows():
            source = self._sources.active.get(row.name)
            is_known = row.loaded or isinstance(source, EngineEntry) or row.name in self._instances
            if row.state == "ready" and (is_known or (source and source.origin == "shipped")):
                with contextlib.suppress(GatewayError):  # a call raises the error
                    target = self.resolve(row.name)
                    engine = target.instance or self.load(target)
                    names += [row.name] if feature in engine.features else []
        return names

    def _inputs(self, engine: str) -> tuple[object, ...]:
        """Return the values that determine an engine's target and may change between refreshes."""
        source = self._sources.active.get(engine)
        vendor_variable = source.key if isinstance(source, EngineEntry) else ""
        return self._config.inputs(engine, vendor_variable)

    def _local_model_hint(self) -> Hint:
        """Return the hint for using the local model: call it, or pull it first."""
        rows = (row for row in self.engines.rows() if row.name == LOCAL_ENGINE)
        is_ready = any(row.state == "ready" for row in rows)
        return Hint("call", reference=LOCAL_ENGINE) if is_ready else Hint("pull", model="smollm2")

    def _target(self, ref: ModelRef, source: EngineSource | None, key: Secret) -> Target:
        options = self._config.options(ref.engine)
        if lacks_base_url(source, options):
            raise ConfigError(
                f"engine {ref.engine!r} requires a base URL.",
                hint=Hint("set_base_url", engine=ref.engine),
                topic="missing-base-url",
            )
        return Target(
            name=ref.engine,
            model=ref.model
            or (None if options.get("model") else self._reporter.only_model(source)),
            source=source,
            instance=self._instances.get(ref.engine) if source is None else None,
            key=key,
            options=options,
            network=self._config.settings.network,
            rates=self._config.rates(ref.engine),
            headers=self._headers(ref.engine),
        )

    def _headers(self, engine: str) -> dict[str, str]:
        """Return an engine's additional headers, after checking that none contains a key."""
        headers = self._config.headers(engine)
        if headers and engine in self._instances:
            raise ConfigError(
                f"engine {engine!r} was passed to the pool, so [engines.{engine}] headers has"
                " no effect.",
                hint="Delete that setting, or set `headers` of the engine itself.",
                engine=engine,
            )
        if headers:
            sources = self._sources.active.values()
            engine_keys = (key_trust.find_key(source, self._config).value for source in sources)
            secrets = self._config.keys.secrets_by_name().values()
            check_no_key(
                headers, [*secrets, *engine_keys, *self.engines.api_keys().values()], engine
            )
        return headers

    def _needs_key(self, source: EngineSource) -> bool:
        """Return whether an engine needs a key; load a package if its source cannot be read."""
        if isinstance(source, EnginePackage) and source.source() is None:
            return self._code_cache.load(source).requires_key
        return self._reporter.static_metadata(source).requires_key
