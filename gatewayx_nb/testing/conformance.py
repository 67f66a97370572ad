"""The conformance kit, which checks all rules for an engine with one call.

>>> from gatewayx_nb.llm_engines import Chunk
>>> from gatewayx_nb.testing import ScriptedEngine, check
>>> check(ScriptedEngine(["Hi.", Chunk(finish_reason="stop")]), ask=True)
scripted: passes 14 rules
"""

from __future__ import annotations

import concurrent.futures
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gatewayx_nb.concurrency import Portal
from gatewayx_nb.errors import EngineLoadError, GatewayError, UsageError, did_you_mean
from gatewayx_nb.files import quoted_path
from gatewayx_nb.llm_engines import HTTPEngine, LLMEngine
from gatewayx_nb.model_registry import SUFFIX, EngineFolder, load, suggested_name, why_unusable
from gatewayx_nb.secure_config import redact
from gatewayx_nb.testing.contract import ANSWER_RULES, FINAL_RULES, STATIC_RULES
from gatewayx_nb.testing.dialects import dialect_of
from gatewayx_nb.testing.server import Server
from gatewayx_nb.testing.subject import EngineUnderTest
from gatewayx_nb.testing.tool_rules import TOOL_RULES
from gatewayx_nb.testing.wire import FAULT_RULES, STREAM_RULES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from gatewayx_nb.testing.dialects import DialectSample
    from gatewayx_nb.testing.subject import Rule

KEY = "canary-0123456789-of-the-conformance-kit"
"""The default key for engines."""

_CLEANUP_TIMEOUT = 5.0
"""Additional seconds for a rule to cancel and close calls."""

_MAX_REPLIES = 6
"""Maximum number of replies per rule; a rule that takes longer counts as blocked."""

_NO_CALLS = "it was not called; pass `ask=True` to allow it"
_NO_DIALECT = "its dialect is unknown; pass `dialect=`"


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """A rule that an engine breaks.

    Attributes:
        rule: The rule, in a sentence.
        observed: The observed behaviour.
        hint: How to fix the engine.
    """

    rule: str
    observed: str
    hint: str

    @override
    def __str__(self) -> str:
        return f"{self.rule}, but {self.observed}. {self.hint}"


@dataclass(frozen=True, slots=True)
class Report:
    """The rules that an engine passed.

    Attributes:
        engine: The engine's name.
        rules: The rules, each a sentence.
        skipped: Why other rules were skipped; empty if no rule was skipped.
    """

    engine: str
    rules: tuple[str, ...]
    skipped: str = ""

    @override
    def __repr__(self) -> str:
        skipped = f"; {self.skipped}" if self.skipped else ""
        return f"{self.engine}: passes {len(self.rules)} rules{skipped}"


class ConformanceError(GatewayError, AssertionError):
    """An engine breaks rules, all listed in ``broken``."""

    def __init__(self, engine: str, broken: tuple[BrokenRule, ...]) -> None:
        count = f"{len(broken)} rule{'s' if len(broken) > 1 else ''}"
        lines = "".join(f"\n* {rule}" for rule in broken)
        super().__init__(f"engine {engine!r} breaks {count}:{lines}", engine=engine)
        self.broken = broken


def check(
    engine: str | PathLike[str] | type[LLMEngine] | LLMEngine,
    *,
    ask: bool = False,
    key: str = KEY,
    dialect: DialectSample | None = None,
    timeout: float = 10.0,
) -> Report:
    """Check an engine against the rules; this may take several seconds.

    An `HTTPEngine` is called with a loopback server in place of its provider. Other engines are
    called only if ``ask`` is set, because they may contact their provider.

    Args:
        engine: An engine file ``<name>_engine.py``, a class, or an instance. An instance is cleaned
            up at the end.
        ask: Whether an engine that does not use HTTP through `HTTPEngine` may be called, with
            about ten prompts of a few words.
        key: The key for the engine, which it must not expose.
        dialect: The format of an `HTTPEngine`; if omitted, the format of its base class.
        timeout: Maximum number of seconds for a reply.

    Raises:
        ConformanceError: If the engine breaks rules; the error lists all of them with their fixes.
        UsageError: If the file does not exist.
    """
    identity = _identity(engine)
    dialect = dialect or dialect_of(identity["engine"])
    subject = EngineUnderTest(**identity, key=key, dialect=dialect, timeout=timeout)
    # The rules run on a separate loop, because an engine may block it.
    portal = Portal("gatewayx conformance")
    try:
        with Server(subject.respond) as server:
            rules, skipped_note = _select_rules(subject, server, ask=ask)
            return _report(subject, rules, skipped_note, portal)
    finally:
        portal.close()


def _report(
    subject: EngineUnderTest, rules: list[Rule], skipped_note: str, portal: Portal
) -> Report:
    try:
        subject.engine  # noqa: B018 - creates the engine, to report a failure only once
    except Exception as error:  # noqa: BLE001 - an engine may raise any exception
        raise ConformanceError(subject.name, (_creation_error(subject, error),)) from None
    broken_rules = tuple(_broken_rules(subject, rules, portal))
    if broken_rules:
        raise ConformanceError(subject.name, broken_rules)
    return Report(subject.name, tuple(rule.text for rule in rules), skipped_note)


def _select_rules(subject: EngineUnderTest, server: Server, *, ask: bool) -> tuple[list[Rule], str]:
    """Return the rules to check, and why the other rules are skipped; set up the server."""
    if not subject.speaks_http:
        return [
            *STATIC_RULES,
            *(ANSWER_RULES if ask else ()),
            *FINAL_RULES,
        ], "" if ask else _NO_CALLS
    subject.server = server
    if subject.dialect is None:
        return [*STATIC_RULES, *FAULT_RULES, *FINAL_RULES], _NO_DIALECT
    has_tools = "tools" in (subject.type.features or ()) and subject.dialect.call
    tool_rules = TOOL_RULES if has_tools else ()
    return [
        *STATIC_RULES,
        *ANSWER_RULES,
        *STREAM_RULES,
        *tool_rules,
        *FAULT_RULES,
        *FINAL_RULES,
    ], ""


def _broken_rules(
    subject: EngineUnderTest, rules: list[Rule], portal: Portal
) -> Iterator[BrokenRule]:
    for rule in rules:
        if subject.dialect:
            subject.script = subject.dialect.answer
        observation = portal.submit(_observe(rule, subject))
        try:
            problem = observation.result(_CLEANUP_TIMEOUT + _MAX_REPLIES * subject.timeout)
        except concurrent.futures.TimeoutError:
            hint = "Use `asyncio.to_thread`. The remaining rules were not checked."
            yield BrokenRule(rule.text, "the engine blocked its thread", hint)
            return
        if problem:
            yield BrokenRule(rule.text, redact(problem, [subject.key]), rule.hint)


async def _observe(rule: Rule, subject: EngineUnderTest) -> str | None:
    try:
        return await rule.check(subject)
    except Exception as error:  # noqa: BLE001 - an engine may raise any exception
        message = " ".join(str(error).split())
        return f"it raised {type(error).__name__}: {message}".rstrip(": ")


def _creation_error(subject: EngineUnderTest, error: Exception) -> BrokenRule:
    message = redact(f"{type(error).__name__}: {error}", [subject.key])
    hint = "Give every parameter of `__init__` except `api_key` a default, and accept `**kwargs`."
    return BrokenRule("an engine can be created from its key", f"it raised {message}", hint)


def _identity(engine: str | PathLike[str] | type[LLMEngine] | LLMEngine) -> dict[str, Any]:
    """Return an engine's class and name, and its file or instance."""
    if isinstance(engine, LLMEngine):
        engine_class = type(engine)
        # An HTTP engine is recreated with the server's URL as its base URL.
        instance = None if issubclass(engine_class, HTTPEngine) else engine
        name = engine.name or _engine_name(engine_class)
        return {"engine": engine_class, "name": name, "instance": instance}
    if isinstance(engine, type):
        return {"engine": engine, "name": engine.name or _engine_name(engine)}
    path = Path(engine).absolute()
    return {"engine": _load_class(path), "name": path.name.removesuffix(SUFFIX), "path": path}


def _engine_name(engine: type[LLMEngine]) -> str:
    return engine.__name__.removesuffix("Engine").lower() or "engine"


def _load_class(path: Path) -> type[LLMEngine]:
    """Return the class in an engine file.

    Raises:
        ConformanceError: If the file contains no engine class, or discovery would not find the
            file.
        UsageError: If the file does not exist.
    """
    folder = EngineFolder(path.parent, "path")
    folder.refresh()
    file = next((file for file in folder.files if file.path == path), None)
    if not path.is_file():
        raise _no_file_error(path, [file.name for file in folder.files])
    if file is None or file.refusal_reason:
        problem = f"{path.name!r} " + (
            f"{file.refusal_reason}" if file else f"does not end in {SUFFIX}, or begins with `_`"
        )
        shell_paths = f"{quoted_path(path)} {quoted_path(path.parent)}"
        hint = f"Only you may write it and its folder: `chmod go-w {shell_paths}`."
        if file is None or why_unusable(file.name):
            hint = f"Rename it to {suggested_name(path)}."
        broken_rule = BrokenRule("an engine file is found by its name", problem, hint)
        raise ConformanceError(path.name, (broken_rule,))
    try:
        return load(file).engine
    except EngineLoadError as error:
        broken_rule = BrokenRule(
            "an engine file loads and defines one engine", error.message, str(error.hint or "")
        )
        raise ConformanceError(file.name, (broken_rule,)) from error.__cause__


def _no_file_error(path: Path, names: list[str]) -> UsageError:
    problem = (
        "a folder" if path.is_dir() else "not a file" if path.parent.is_dir() else "not a folder"
    )
    problem_path = path if path.parent.is_dir() else path.parent
    suggestion = did_you_mean(path.name.removesuffix(SUFFIX), names)
    return UsageError(
        f"an engine file must exist, but {str(problem_path)!r} is {problem}.{suggestion}",
        hint="Pass the path of a file `<name>_engine.py`, a class or an instance.",
    )
