"""Creates and calls an engine under test, and defines the structure of a rule."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gatewayx_nb.errors import GatewayError
from gatewayx_nb.llm_engines import Chunk, HTTPEngine, LLMEngine, Message, Request, Secret
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from gatewayx_nb.llm_engines import FinishReason, Usage
    from gatewayx_nb.testing.dialects import DialectSample
    from gatewayx_nb.testing.server import Server
    from gatewayx_nb.testing.steps import ReceivedRequest, Script, Step

    Check = Callable[["EngineUnderTest"], Awaitable[str | None]]

PROMPT = "Say hello."


@dataclass(frozen=True, slots=True)
class CallResult:
    """The outcome of a call: its chunks, and the error that ended it."""

    chunks: tuple[Chunk, ...]
    error: Exception | None

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def finish_reason(self) -> FinishReason | None:
        """The last finish reason, if any."""
        reasons = (chunk.finish_reason for chunk in reversed(self.chunks))
        return next(filter(None, reasons), None)

    @property
    def usage(self) -> Usage | None:
        """The last usage, if any."""
        return next(filter(None, (chunk.usage for chunk in reversed(self.chunks))), None)

    @property
    def is_raw(self) -> bool:
        """Whether the call ended in an exception that is not a `GatewayError`."""
        return self.error is not None and not isinstance(self.error, GatewayError)

    @override
    def __str__(self) -> str:
        if self.error is not None:
            return f"raised {type(self.error).__name__}: {shorten(str(self.error), 120)}"
        return f"returned {shorten(self.text, 60)!r} with finish reason {self.finish_reason!r}"


class EngineUnderTest:
    """An engine under test, with the server and the script that replace its provider.

    Args:
        engine: The engine's class.
        name: The engine's name.
        key: The key for the engine, which the engine must not expose.
        path: The engine's file, if any.
        instance: The instance to test, if no other instance can be created.
        dialect: The format of the engine's provider.
        timeout: Maximum number of seconds for a reply.

    Attributes:
        server: The fault server at the engine's base URL; ``None`` if the engine is called
            unchanged.
        script: The script that the server plays.
    """

    def __init__(  # noqa: PLR0913 - all describe the engine
        self,
        engine: type[LLMEngine],
        *,
        name: str,
        key: str,
        path: Path | None = None,
        instance: LLMEngine | None = None,
        dialect: DialectSample | None = None,
        timeout: float = 10.0,
    ) -> None:
        self.type, self.name, self.key, self.path = engine, name, key, path
        self.dialect, self.timeout = dialect, timeout
        self.server: Server | None = None
        self.script: Script = []
        # A passed instance cannot be recreated, so `create` returns it.
        self._instance = self._engine = instance

    @property
    def speaks_http(self) -> bool:
        """Whether a test server can replace the engine's provider."""
        return issubclass(self.type, HTTPEngine)

    @property
    def engine(self) -> LLMEngine:
        """One instance for all rules, because a pool also has one instance for all calls."""
        if self._engine is None:
            self._engine = self.create()
        return self._engine

    def create(self) -> LLMEngine:
        """Create an instance as a pool does, or return the instance under test."""
        if self._instance is not None:
            return self._instance
        options: dict[str, Any] = dict(self.dialect.options) if self.dialect else {}
        if self.server is not None:
            options["base_url"] = self.server.url
        engine = self.type(Secret(self.key), **options)
        engine.name = self.name
        engine.base_url = str(options.get("base_url") or engine.base_url)
        return engine

    def respond(self, request: ReceivedRequest) -> Sequence[Step]:
        """Return the current script, for use in a `Server`."""
        return self.script(request) if callable(self.script) else self.script

    def request(
        self,
        prompt: str = PROMPT,
        *,
        streamed: bool = True,
        **fields: Any,  # noqa: ANN401 - the fields of a request
    ) -> Request:
        """Return a request in which only the prompt and these fields are set."""
        model = self.engine.model_name or "model"
        set_fields = {"messages": (Message("user", prompt),), **fields}
        return Request(model=model, streamed=streamed, **set_fields)

    async def ask(
        self,
        script: Script | None = None,
        *,
        prompt: str = PROMPT,
        streamed: bool = True,
        **fields: Any,  # noqa: ANN401 - the fields of a request
    ) -> CallResult:
        """Call the engine while its server plays this script."""
        self.script = self.script if script is None else script
        request = self.request(prompt, streamed=streamed, **fields)
        chunks: list[Chunk] = []
        try:
            async with asyncio.timeout(self.timeout):
                async for chunk in self.engine.stream(request):
                    chunks.append(chunk)  # noqa: PERF401 - keeps the chunks before an error
        except Exception as error:  # noqa: BLE001 - the rules check its class
            return CallResult(tuple(chunks), error)
        return CallResult(tuple(chunks), None)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule for an engine.

    Attributes:
        text: The rule, in a sentence.
        hint: How to fix a violation.
        check: Returns the observed violation, or ``None`` if the engine follows the rule. An
            exception is also a violation.
    """

    text: str
    hint: str
    check: Check


def rule(rules: list[Rule], text: str, hint: str) -> Callable[[Check], Check]:
    """Return a decorator that adds a check to a list of rules; see `Rule`."""

    def add(check: Check) -> Check:
        rules.append(Rule(text, hint, check))
        return check

    return add
