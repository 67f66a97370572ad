"""Routes each call to an engine, with or without recording it, or to a cassette for replay."""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb import batch, cassettes
from gatewayx_nb.calls import (
    build_request,
    call_limits,
    check_options,
    check_tool_options,
    join_conversation,
)
from gatewayx_nb.engine_pool.cassette_calls import (
    KnownCall,
    RecordedCall,
    ReplayedCall,
    record_vectors,
    replay_vectors,
)
from gatewayx_nb.engine_pool.embeddings import check_texts
from gatewayx_nb.engine_pool.tool_host import PoolToolHost
from gatewayx_nb.errors import (
    CassetteMissError,
    ConfigError,
    EngineLoadError,
    EngineNotFoundError,
    MissingKeyError,
    TrustError,
    UsageError,
)
from gatewayx_nb.files import absolute_path, find_repository
from gatewayx_nb.hints import Hint
from gatewayx_nb.messages import ModelRef
from gatewayx_nb.secure_config import redact
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping

    from gatewayx_nb.calls import CallOptions, ConversationSlot, PlannedCall
    from gatewayx_nb.cassettes import (
        Cassette,
        CassetteEntry,
        CassetteRequest,
        Mode,
        RecordingSlot,
        Redaction,
        RequestBody,
    )
    from gatewayx_nb.engine_pool.embeddings import Vectors
    from gatewayx_nb.engine_pool.live_planner import LiveCall, LivePlanner
    from gatewayx_nb.engine_pool.usage import UsageTracker
    from gatewayx_nb.mcp_client import MCPServerStatus
    from gatewayx_nb.mcp_server import MCPServer
    from gatewayx_nb.messages import Message, Prompt
    from gatewayx_nb.model_registry import Target
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.secure_config import Limits
    from gatewayx_nb.storage import ResultsStore

_KEY_LOOKUP_INTERVAL = 1.0
"""Minimum seconds between two lookups of the keys that are masked in the prompts of a map."""


class CallRouter:
    """Plans every call of a pool: live, replayed or recorded.

    Args:
        planner: Plans the calls to engines.
        refresh_if_due: Checks for changed files before a call is planned.
    """

    def __init__(self, planner: LivePlanner, refresh_if_due: Callable[[], object]) -> None:
        self._planner = planner
        self._refresh_if_due = refresh_if_due
        self._open_cassettes: list[Cassette] = []
        self._are_options_checked = False
        self.tool_host = PoolToolHost(self, planner)

    def for_rows(self, usage: UsageTracker, limits: Limits) -> CallRouter:
        """Return a router for the calls of a map, which does not check files for changes.

        The options of its calls must already be normalized.

        Args:
            usage: Receives the usage of the calls.
            limits: The limits of each call.
        """
        planner = self._planner.for_rows(usage, limits)
        router = CallRouter(planner, lambda: None)
        router.tool_host = PoolToolHost(router, planner, for_rows=True)
        router._open_cassettes = self._open_cassettes
        router._are_options_checked = True
        return router

    @property
    def cassette(self) -> Cassette | None:
        """The most recently opened cassette that is still open; ``None`` if there is none."""
        return self._open_cassettes[-1] if self._open_cassettes else None

    @property
    def replayed_cassette(self) -> Cassette | None:
        """The open cassette if it is in replay mode, which does not use this machine's engines."""
        cassette = self.cassette
        return cassette if cassette and cassette.mode == "replay" else None

    def open(
        self, path: Path, mode: str | None, speed: float | None, *, must_exist: bool = True
    ) -> Cassette:
        """Open a cassette; see `EnginePool.cassette`."""
        config = self._planner.config
        mode, variable = _resolve_mode(mode, config.env)
        if speed is not None and not (type(speed) in (int, float) and 0 < speed < math.inf):
            raise UsageError(
                f"speed must be a number > 0, got {speed!r}.",
                hint="1 is the recorded speed; if omitted, the replay is immediate.",
            )
        cassette = cassettes.Cassette(
            path,
            mode,
            self._redaction(),
            speed,
            # A cloned repository without settings is not a project, but is not trusted either.
            root=config.project.root if config.project else find_repository(path.parent),
            strict_model=config.settings.strict_model,
            must_exist=must_exist,
        )
        cassette.mode_variable, cassette.on_close = variable, self._close
        cassette.runs_tools = _runs_tools(config.env)
        self._open_cassettes.append(cassette)
        return cassette

    def adopt_cassettes(self, other: CallRouter) -> None:
        """Continue to record and replay with another pool's cassettes.

        From now on, this pool's keys and hook determine what is redacted.
        """
        # The list is shared, so that closing a cassette closes it for both pools.
        self._open_cassettes = other._open_cassettes
        for cassette in self._open_cassettes:
            cassette.use_redaction(self._redaction())

    @contextlib.contextmanager
    def borrowed(self, cassette: Cassette) -> Iterator[None]:
        """Use another pool's open cassette in the ``with`` block."""
        self._open_cassettes.append(cassette)
        try:
            yield
        finally:
            self._close(cassette)

    @property
    def active_mode(self) -> Mode | None:
        """The mode of the open cassette; ``None`` if none is open or the mode is ``"off"``."""
        cassette = self.active_cassette
        return cassette.mode if cassette else None

    def plan(
        self,
        prompt: Prompt,
        options: CallOptions,
        *,
        streamed: bool,
        known_reply: Reply | None = None,
    ) -> PlannedCall:
        """Plan a call; identical calls get their recordings in the order in which they are planned.

        Args:
            prompt: The prompt.
            options: The options.
            streamed: Whether the caller receives the answer as it arrives.
            known_reply: A reply for the cassette to record instead of calling an engine.

        Raises:
            CassetteMissError: If the call is not recorded and the mode is ``replay``.
            GatewayError: If the call cannot be made.
        """
        self._refresh_if_due()
        if not self._are_options_checked:
            options = check_options(options)
        if options.get("tools"):
            # `known_reply` is ignored, because a cassette records each request of a stored reply.
            return self.tool_host.plan(prompt, options, streamed=streamed)
        check_tool_options(options)
        return self.plan_request(prompt, options, streamed=streamed, known_reply=known_reply)

    def plan_resumed(
        self, reply: Reply, options: CallOptions, results: Mapping[str, object] | None
    ) -> PlannedCall:
        """Plan the call that continues a reply with open tool calls; see `Planner.plan_resumed`."""
        self._refresh_if_due()
        return self.tool_host.plan_resumed(reply, options, results)

    def plan_request(
        self,
        prompt: Prompt,
        options: CallOptions,
        *,
        streamed: bool,
        known_reply: Reply | None = None,
    ) -> PlannedCall:
        """Plan one request, with normalized options; see `plan`."""
        cassette = None if options.get("fresh") else self.active_cassette
        is_renewal = bool(options.get("renew"))
        if is_renewal:
            _check_renew(cassette, options)
        if cassette is None:
            return self._planner.plan(prompt, options, streamed=streamed)
        call = self._prepare(cassette, prompt, options, streamed=streamed)
        recording = self._find_recording(cassette, call.key, renew=is_renewal)
        if isinstance(recording, cassettes.RecordingSlot):
            if known_reply is not None:
                known_call = KnownCall(self._planner.runtime.shared_portal, known_reply)
                return RecordedCall(known_call, cassette, recording, call.messages[-1])
            try:
                live_call = self._planner.plan(prompt, call.options, streamed=streamed)
            except MissingKeyError as error:
                raise _with_miss_reason(error, cassette, call.key) from None
            return RecordedCall(live_call, cassette, recording, call.messages[-1])
        return ReplayedCall(
            self._planner.runtime.shared_portal,
            recording,
            call_limits(options, self._planner.config.settings.limits).timeout,
            cassette.speed,
            schema=cast("Any", options.get("schema")),
            add_turn=call.add_turn,
        )

    def check_reference(self, reference: str) -> None:
        """Check that a reference names an engine, on this machine or in the open cassette.

        Raises:
            EngineNotFoundError: If the engine does not exist.
        """
        registry, cassette = self._planner.registry, self.active_cassette
        engine = registry.references.parse(reference).engine
        try:
            registry.engines.require_engine(engine)
        except EngineNotFoundError:
            if cassette is None or not cassette.index.knows(reference, engine):
                raise
        except EngineLoadError:
            pass  # the engine exists; the call to it raises the error

    def plan_live(self, prompt: Prompt, options: CallOptions) -> LiveCall:
        """Plan a call to an engine, even if a cassette is open."""
        self._refresh_if_due()
        checked_options = check_options(options)
        if tools := checked_options.get("tools"):
            checked_options["tools"] = self.tool_host.servers.expand_listed(tools)
        return self._planner.plan(prompt, checked_options, streamed=True)

    def list_server(self, server: MCPServer) -> Coroutine[Any, Any, MCPServerStatus]:
        """Return a coroutine that lists an MCP server's tools and returns its status."""
        self._refresh_if_due()
        return self.tool_host.servers.list_tools(server, self.redactor())

    def redactor(self) -> Callable[[str], str]:
        """Return a function that masks the pool's keys in a string that will be stored.

        The keys are looked up at most once a second, because a lookup is slower than a search.
        """
        keys: list[str] = []
        due_at = -math.inf

        def mask(text: str) -> str:
            nonlocal keys, due_at
            now = time.monotonic()
            if now >= due_at:
                keys, due_at = (
                    list(set(self._secrets_by_name().values())),
                    now + _KEY_LOOKUP_INTERVAL,
                )
            return redact(text, keys)

        return mask

    def job_identity(self, reference: str | None) -> tuple[str, str]:
        """Return the full reference (``engine:model``), and the base URL and API, if specified."""
        registry = self._planner.registry
        target = registry.resolve(reference)
        model = target.model or registry.engines.default_model(target.name)
        # An engine's APIs may return different answers.
        address = f"{address_of(target)} {target.options.get('api', '')}".strip()
        return f"{target.name}:{model}".rstrip(":"), address

    def embed(
        self, texts: Iterable[str], model: str, store: ResultsStore | None
    ) -> Coroutine[Any, Any, Vectors]:
        """Return a coroutine that returns the embeddings and runs on the shared event loop.

        Args:
            texts: The texts to embed.
            model: Reference of the model.
            store: Stores the embeddings if there are many texts.
        """
        self._refresh_if_due()
        checked_texts, cassette = check_texts(texts), self.active_cassette
        if cassette is None:
            if len(checked_texts) >= batch.MANY_TEXTS and store is not None:
                return self._embed_stored(checked_texts, model, store)
            return self._planner.embed(checked_texts, model)
        key = self.cassette_key(
            model, cassettes.RequestBody(texts=tuple(map(cassette.redact, checked_texts)))
        )
        recording = self._find_recording(cassette, key)
        if isinstance(recording, cassettes.RecordingSlot):
            return record_vectors(cassette, recording, self._planner.embed(checked_texts, model))
        return replay_vectors(recording)

    def _embed_stored(
        self, texts: list[str], model: str, store: ResultsStore
    ) -> Coroutine[Any, Any, Vectors]:
        reference, address = self.job_identity(model)
        definition = {"model": reference, "address": address, "prompt": "", "kind": "embedding"}
        digest = batch.job_digest(definition)
        name = f"embed-{digest.hex()[:6]}"
        results = store.open_job(digest, name=name, definition=definition)
        return batch.embed_stored(texts, partial(self._planner.embed, model=model), results)

    @property
    def active_cassette(self) -> Cassette | None:
        """The cassette with which calls are recorded or replayed, if any."""
        cassette = self.cassette
        return None if cassette is None or cassette.mode == "off" else cassette

    def _close(self, cassette: Cassette) -> None:
        if cassette in self._open_cassettes:
            self._open_cassettes.remove(cassette)

    def _redaction(self) -> Redaction:
        config = self._planner.config
        hook = config.hook_permission()
        if hook and not config.may(hook):
            raise TrustError(
                f"this project would run {hook.target} ({hook.where}) on recorded text.",
                hint=Hint("trust", ids=hook.id),
                topic="project-hook",
            )
        folder = config.project if hook and config.project else config.user
        redact = cassettes.load_redact(
            config.settings.redact, folder.root, from_user_settings=hook is None
        )
        return cassettes.Redaction(redact, self._secrets_by_name, config.settings.prompts)

    def _secrets_by_name(self) -> dict[str, str]:
        # The keys of engines that were passed to the pool are not in a file or variable.
        keys = self._planner.registry.engines.api_keys()
        engine_keys = {f"of engine {name}": key for name, key in keys.items()}
        return self._planner.config.keys.secrets_by_name() | engine_keys

    def _prepare(
        self, cassette: Cassette, prompt: Prompt, options: CallOptions, *, streamed: bool
    ) -> _PreparedCall:
        """Prepare a call, and the key by which a cassette finds it."""
        slot = self._planner.chats.slot(options.get("chat"))
        request = build_request(prompt, "", options, streamed=streamed)
        full_request = join_conversation(request, slot)
        reference = options.get("model") or (slot.model if slot else None)
        fallback = cast("tuple[str, ...]", options.get("fallback", ()))
        key = self.cassette_key(
            reference, cassettes.body_of(full_request, fallback, cassette.redact)
        )
        options_with_slot: CallOptions = {**options, "chat": slot} if slot else options
        return _PreparedCall(key, options_with_slot, request.messages, slot)

    def cassette_key(self, reference: str | None, body: RequestBody) -> CassetteRequest:
        """Return the key by which a cassette finds a request to a model."""
        registry = self._planner.registry
        requested_reference = reference or registry.references.default
        resolved_reference = requested_reference
        # A replay must not depend on the keys of this machine, which may decide the default.
        if resolved_reference is None and self.replayed_cassette is not None:
            resolved_reference = self._planner.config.settings.default_model
        elif resolved_reference is None:
            with contextlib.suppress(ConfigError):  # raised again when the call is planned
                resolved_reference = registry.references.default_reference()
        model_ref = (
            registry.references.parse(resolved_reference) if resolved_reference else ModelRef("")
        )
        model = model_ref.model or registry.engines.default_model(model_ref.engine)
        return cassettes.CassetteRequest(
            requested_reference or "", model_ref.engine, model_ref.model or "", body, model
        )

    def _find_recording(
        self, cassette: Cassette, key: CassetteRequest, *, renew: bool = False
    ) -> CassetteEntry | RecordingSlot:
        try:
            return cassette.find(key, renew=renew)
        except CassetteMissError:
            if key.engine and not cassette.index.has_engine(key.engine):
                # This raises an error for a misspelt name.
                self._planner.registry.engines.require_engine(key.engine)
            raise


def address_of(target: Target) -> str:
    """Return the base URL of a target's provider; empty if there is none."""
    base_urls = (getattr(owner, "base_url", "") for owner in (target.source, target.instance))
    return str(target.options.get("base_url") or next(filter(None, base_urls), ""))


@dataclass(frozen=True, slots=True)
class _PreparedCall:
    """A call that may be in a cassette.

    Attributes:
        key: The key by which the cassette finds the call.
        options: The options, with the conversation's slot.
        messages: The new messages, without the earlier ones of the conversation.
        slot: The call's position in a conversation, if any.
    """

    key: CassetteRequest
    options: CallOptions
    messages: tuple[Message, ...]
    slot: ConversationSlot | None

    def add_turn(self, reply: Reply) -> None:
        """Add the messages and the reply to the conversation, if the call belongs to one."""
        if self.slot:
            self.slot.add_turn(self.messages, reply)


def _resolve_mode(mode: str | None, env: Mapping[str, str]) -> tuple[Mode, str]:
    """Return the mode of a cassette, and the environment variable that set it, if any.

    Raises:
        UsageError: If the mode or the variable is invalid.
    """
    checked_mode = None if mode is None else cassettes.parse_mode(mode)
    # The variable lets a whole test run record or replay without changes to its notebooks.
    if override := env.get("GATEWAYX_CASSETTE_MODE", "").strip():
        return cassettes.parse_mode(override, "GATEWAYX_CASSETTE_MODE"), "GATEWAYX_CASSETTE_MODE"
    if checked_mode:
        return checked_mode, ""
    runs_in_ci = env.get("CI", "").strip().lower() not in {"", "0", "false", "no"}
    return ("replay", "CI") if runs_in_ci else ("auto", "")


def _runs_tools(env: Mapping[str, str]) -> bool:
    """Return whether the tools of replayed calls are run.

    Raises:
        UsageError: If ``GATEWAYX_CASSETTE_TOOLS`` is invalid.
    """
    value = env.get("GATEWAYX_CASSETTE_TOOLS", "").strip()
    if value not in ("", "run", "replay"):
        raise UsageError(
            f"GATEWAYX_CASSETTE_TOOLS must be 'run' or 'replay', got {short_repr(value)}.",
            hint="If it is not set, the recorded results are replayed.",
        )
    return value == "run"


def _check_renew(cassette: Cassette | None, options: CallOptions) -> None:
    if options.get("fresh"):
        raise UsageError(
            "renew and fresh cannot be combined: renew replaces the entry, fresh keeps it.",
            hint=Hint("omit_option", option="fresh"),
        )
    if cassette is None:
        raise UsageError(
            "renew requires an open cassette, and none is open.",
            hint=Hint("omit_option", option="renew")
            | Hint("open_cassette", path="cassettes/NAME.jsonl", mode="auto"),
        )


def _with_miss_reason(
    error: MissingKeyError, cassette: Cassette, request: CassetteRequest
) -> MissingKeyError:
    """Return an error for a missing key that also says why the call is not replayed."""
    full_stop = "" if error.message.endswith(".") else "."
    return error.with_appended_text(f"{full_stop} {cassette.miss_error(request).message}")


def cassette_path(name: str | Path) -> Path:
    """Return the absolute path of a cassette.

    Raises:
        UsageError: If the name is not a path, or is the name of a mode rather than of a file.
        ConfigError: If the name is not a valid file name.
    """
    if not isinstance(name, str | Path):
        raise UsageError(
            f"path must be a str or a Path, got {short_repr(name)}.",
            hint='For example, `cassette("cassettes/story.jsonl")`.',
        )
    path = absolute_path(name)
    if str(name) in cassettes.MODES and not os.path.exists(path):
        raise UsageError(
            f"path must be the file of a cassette, got the mode {str(name)!r}.",
            hint=Hint("open_cassette", path="cassettes/NAME.jsonl", mode=str(name)),
        )
    cassettes.check_file_name(path)
    return path
