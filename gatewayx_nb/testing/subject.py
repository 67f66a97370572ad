"""An engine that is looked at, what it answers, and the form of a rule."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gatewayx_nb.errors import GatewayError
from gatewayx_nb.llm_engines import Chunk, HTTPEngine, LLMEngine, Message, Request, Secret
from gatewayx_nb.rendering import shorten

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from gatewayx_nb.llm_engines import FinishReason, Usage
    from gatewayx_nb.testing.dialects import Dialect
    from gatewayx_nb.testing.server import Server
    from gatewayx_nb.testing.steps import Script, Seen, Step

PROMPT = "Say hello."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call: its chunks, and the error that ended it."""

    chunks: tuple[Chunk, ...]
    error: Exception | None

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def finish_reason(self) -> FinishReason | None:
        """The last one there was."""
        reasons = (chunk.finish_reason for chunk in reversed(self.chunks))
        return next(filter(None, reasons), None)

    @property
    def usage(self) -> Usage | None:
        """The last one there was."""
        return next(filter(None, (chunk.usage for chunk in reversed(self.chunks))), None)

    @property
    def is_raw(self) -> bool:
        """Whether it ended in an error that is none of ours."""
        return self.error is not None and not isinstance(self.error, GatewayError)

    @override
    def __str__(self) -> str:
        if self.error is not None:
            return f"raised {type(self.error).__name__}: {shorten(str(self.error), 120)}"
        return f"gave {shorten(self.text, 60)!r}, ended by {self.finish_reason!r}"


class Subject:
    """An engine that is looked at.

    Args:
        engine: Its class.
        name: What it is called.
        key: The key that it is given, which it must not show.
        path: Its file, if it has one.
        given: The instance to look at, where there is no making another.
        dialect: What its provider speaks.
        patience: Seconds that an answer may take.

    Attributes:
        server: The fault server at its base URL; ``None`` where it is asked as it is.
        script: What the server plays.
    """

    def __init__(  # noqa: PLR0913 - what is known of an engine
        self,
        engine: type[LLMEngine],
        *,
        name: str,
        key: str,
        path: Path | None = None,
        given: LLMEngine | None = None,
        dialect: Dialect | None = None,
        patience: float = 10.0,
    ) -> None:
        self.type = engine
        self.name = name
        self.key = key
        self.path = path
        self.dialect = dialect
        self.patience = patience
        self.server: Server | None = None
        self.script: Script = []
        self._given = given
        self._made: LLMEngine | None = given

    @property
    def speaks_http(self) -> bool:
        """Whether a server of ours can stand in for its provider."""
        return issubclass(self.type, HTTPEngine)

    @property
    def engine(self) -> LLMEngine:
        """One instance for all rules, as a pool has one for all calls."""
        if self._made is None:
            self._made = self.make()
        return self._made

    def make(self) -> LLMEngine:
        """Make an instance as a pool does; an engine that is given is its own."""
        if self._given is not None:
            return self._given
        options: dict[str, Any] = dict(self.dialect.options) if self.dialect else {}
        if self.server is not None:
            options["base_url"] = self.server.url
        engine = self.type(Secret(self.key), **options)
        engine.name = self.name
        engine.base_url = str(options.get("base_url") or engine.base_url)
        return engine

    def play(self, seen: Seen) -> Sequence[Step]:
        """Give the script of the moment: a script for a `Server`."""
        return self.script(seen) if callable(self.script) else self.script

    def request(self, prompt: str = PROMPT, *, streamed: bool = True) -> Request:
        """Give a request that sets nothing but its prompt."""
        model = self.engine.model_name or "model"
        return Request(messages=(Message("user", prompt),), model=model, streamed=streamed)

    async def ask(
        self, script: Script | None = None, *, prompt: str = PROMPT, streamed: bool = True
    ) -> Outcome:
        """Ask the engine, with its server playing this script."""
        self.script = self.script if script is None else script
        chunks: list[Chunk] = []
        try:
            async with asyncio.timeout(self.patience):
                async for chunk in self.engine.stream(self.request(prompt, streamed=streamed)):
                    chunks.append(chunk)  # noqa: PERF401 - those before an error count too
        except Exception as error:  # noqa: BLE001 - which one it is, is what is asked
            return Outcome(tuple(chunks), error)
        return Outcome(tuple(chunks), None)


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for an engine.

    Attributes:
        says: The rule, in a sentence.
        mend: What to do where it is broken.
        look: Gives what was seen instead, or ``None`` where it holds. It may raise that too.
    """

    says: str
    mend: str
    look: Callable[[Subject], Awaitable[str | None]]
