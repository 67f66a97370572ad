"""The conformance kit: every rule that an engine has to keep, looked at by one call.

>>> from gatewayx_nb.llm_engines import Chunk
>>> from gatewayx_nb.testing import ScriptedEngine, check
>>> check(ScriptedEngine(["Hi.", Chunk(finish_reason="stop")]), ask=True)
scripted: keeps 14 rules
"""

from __future__ import annotations

import concurrent.futures
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gatewayx_nb.errors import EngineLoadError, GatewayError
from gatewayx_nb.llm_engines import HTTPEngine, LLMEngine
from gatewayx_nb.model_registry.folders import SUFFIX, Folder
from gatewayx_nb.model_registry.loader import load
from gatewayx_nb.portal import Portal
from gatewayx_nb.secure_config import redact
from gatewayx_nb.testing.contract import ANSWERS, CONTRACT, LAST
from gatewayx_nb.testing.dialects import dialect_of
from gatewayx_nb.testing.server import Server
from gatewayx_nb.testing.subject import Subject
from gatewayx_nb.testing.wire import FAULTS, STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from gatewayx_nb.testing.dialects import Dialect
    from gatewayx_nb.testing.subject import Rule

KEY = "canary-0123456789-of-the-conformance-kit"
"""The key that engines are given where the caller names none."""

_GRACE = 5.0
"""Seconds that a rule may take beside the answers: to cancel, and to close."""

_ANSWERS = 6
"""Answers whose time a rule may take; one that takes longer has its thread blocked."""

_NOT_ASKED = "it was not asked: that takes `ask=True`"
_NO_DIALECT = "its dialect is not known: pass `dialect=`"


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that an engine breaks.

    Attributes:
        rule: The rule, in a sentence.
        seen: What was seen instead.
        mend: What to do.
    """

    rule: str
    seen: str
    mend: str

    @override
    def __str__(self) -> str:
        return f"{self.rule}, but {self.seen}. {self.mend}"


@dataclass(frozen=True, slots=True)
class Report:
    """What an engine that breaks no rule was looked at for.

    Attributes:
        engine: Its name.
        kept: The rules, each a sentence.
        left: Why others were not looked at; empty where all were.
    """

    engine: str
    kept: tuple[str, ...]
    left: str = ""

    @override
    def __repr__(self) -> str:
        left = f"; {self.left}" if self.left else ""
        return f"{self.engine}: keeps {len(self.kept)} rules{left}"


class ConformanceError(GatewayError, AssertionError):
    """An engine breaks rules; ``broken`` are all of them."""

    def __init__(self, engine: str, broken: tuple[Broken, ...]) -> None:
        count = f"{len(broken)} rule{'s' if len(broken) > 1 else ''}"
        lines = "".join(f"\n* {one}" for one in broken)
        super().__init__(f"engine {engine!r} breaks {count}:{lines}", engine=engine)
        self.broken = broken


def check(
    engine: str | PathLike[str] | type[LLMEngine] | LLMEngine,
    *,
    ask: bool = False,
    key: str = KEY,
    dialect: Dialect | None = None,
    patience: float = 10.0,
) -> Report:
    """Look whether an engine keeps the rules; takes up to some seconds.

    An `HTTPEngine` is asked, at a server on the loopback that stands in for its provider. Any other
    engine is asked only where that is allowed, because it may reach its provider.

    Args:
        engine: An engine file ``<name>_engine.py``, a class, or an instance. An instance is cleaned
            up in the end.
        ask: Whether an engine that does not speak HTTP through `HTTPEngine` may be asked. Some
            ten prompts of a few words are.
        key: The key that it is given. It must not show.
        dialect: What an `HTTPEngine` speaks. Default: that of the base which it builds on.
        patience: Seconds that an answer may take.

    Raises:
        ConformanceError: It breaks rules; all of them are listed, each with what to do.
    """
    known = _identity(engine)
    speaks = dialect or dialect_of(known["engine"])
    subject = Subject(**known, key=key, dialect=speaks, patience=patience)
    portal = Portal("gatewayx conformance")
    try:
        with Server(subject.play) as server:
            groups, left = _groups(subject, server, ask=ask)
            return _judge(subject, groups, left, portal)
    finally:
        portal.close()


def _judge(subject: Subject, rules: list[Rule], left: str, portal: Portal) -> Report:
    try:
        subject.engine  # noqa: B018 - made here, so that its failing is told once
    except Exception as error:  # noqa: BLE001 - an engine may raise anything
        raise ConformanceError(subject.name, (_unmade(subject, error),)) from None
    broken = tuple(_broken(subject, rules, portal))
    if broken:
        raise ConformanceError(subject.name, broken)
    return Report(subject.name, tuple(rule.says for rule in rules), left)


def _groups(subject: Subject, server: Server, *, ask: bool) -> tuple[list[Rule], str]:
    """Give the rules to look at, and why others are left out; put a server before the engine."""
    if not subject.speaks_http:
        return [*CONTRACT, *(ANSWERS if ask else ()), *LAST], "" if ask else _NOT_ASKED
    subject.server = server
    if subject.dialect is None:
        return [*CONTRACT, *FAULTS, *LAST], _NO_DIALECT
    return [*CONTRACT, *ANSWERS, *STREAMS, *FAULTS, *LAST], ""


def _broken(subject: Subject, rules: list[Rule], portal: Portal) -> Iterator[Broken]:
    for rule in rules:
        if subject.dialect:
            subject.script = subject.dialect.answer
        looking = portal.submit(_seen(rule, subject))
        try:
            seen = looking.result(_GRACE + _ANSWERS * subject.patience)
        except concurrent.futures.TimeoutError:
            mend = "Give it to `asyncio.to_thread`. The rules behind this one were not looked at."
            yield Broken(rule.says, "the engine blocked its thread", mend)
            return
        if seen:
            yield Broken(rule.says, redact(seen, [subject.key]), rule.mend)


async def _seen(rule: Rule, subject: Subject) -> str | None:
    try:
        return await rule.look(subject)
    except Exception as error:  # noqa: BLE001 - an engine may raise anything
        said = " ".join(str(error).split())
        return f"it raised {type(error).__name__}: {said}".rstrip(": ")


def _unmade(subject: Subject, error: Exception) -> Broken:
    said = redact(f"{type(error).__name__}: {error}", [subject.key])
    mend = "Give every parameter of `__init__` but `api_key` a default, and take `**kwargs`."
    return Broken("an engine can be made of its key", f"it raised {said}", mend)


def _identity(engine: str | PathLike[str] | type[LLMEngine] | LLMEngine) -> dict[str, Any]:
    """Give what is known of an engine: its class and name, and its file or the instance."""
    if isinstance(engine, LLMEngine):
        kind = type(engine)
        # One that speaks HTTP is made anew, with our server as its base URL.
        given = None if issubclass(kind, HTTPEngine) else engine
        return {"engine": kind, "name": engine.name or _name(kind), "given": given}
    if isinstance(engine, type):
        return {"engine": engine, "name": engine.name or _name(engine)}
    path = Path(engine).absolute()
    return {"engine": _load(path), "name": path.name.removesuffix(SUFFIX), "path": path}


def _name(engine: type[LLMEngine]) -> str:
    return engine.__name__.removesuffix("Engine").lower() or "engine"


def _load(path: Path) -> type[LLMEngine]:
    """Give the class in an engine file.

    Raises:
        ConformanceError: There is none, or the file would not be found.
    """
    folder = Folder(path.parent, "path")
    folder.refresh()
    file = next((file for file in folder.found if file.path == path), None)
    if file is None or file.refusal:
        seen = f"{path.name!r} {file.refusal if file else 'is none'}"
        mend = f"Name it `<name>{SUFFIX}`, and let nobody else write it: `chmod go-w {path}`."
        raise ConformanceError(
            path.name, (Broken("an engine is a file that is found by its name", seen, mend),)
        )
    try:
        return load(file).engine
    except EngineLoadError as error:
        broken = Broken("an engine file loads, and defines one engine", error.what, error.mend)
        raise ConformanceError(file.name, (broken,)) from error.__cause__
