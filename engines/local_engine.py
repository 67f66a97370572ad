"""A small language model on the user's own machine: llama.cpp, in this process, without a key."""

from __future__ import annotations

import importlib.util
import os
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from ..errors import (
    ConfigError,
    ContextLengthError,
    GatewayError,
    ModelNotFoundError,
    TruncatedError,
    classify,
    nearest,
)
from ..llm_engines import Chunk, FinishReason, LLMEngine, Message, ModelInfo, Request, Usage
from ..weights import DEFAULT, VARIABLE, catalogue, check_gguf, chosen, locate
from ._llama import Call, Host

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
}

_CONTEXT = 4096  # tokens a call; 512 MB of memory in all, and 890 MB for the 8,192 of SmolLM2


@dataclass(frozen=True, slots=True)
class _Model:
    name: str
    path: Path


class LocalEngine(LLMEngine):
    """Answers with SmolLM2, or with any GGUF file, on this machine's processors.

    The file is loaded by the first call. Four calls are answered at once, further ones wait. At
    temperature 0, or with a seed, the same call gives the same answer; beside other calls the
    rounding differs, and with it now and then a word.

    Args:
        api_key: Not used.
        **kwargs: ``model``, a name of ``config/models.toml``; ``model_path``, a GGUF file, which
            wins over ``GATEWAYX_LOCAL_MODEL``; ``context``, the tokens of prompt and answer
            together that a call may have, 4,096 by default.
    """

    model_name = "smollm2"
    requires_key = False
    features = frozenset({"system", "history", "schema"})
    keywords = frozenset({"model_path", "context"})

    def __init__(self, api_key: str = "", **kwargs: Any) -> None:  # noqa: ANN401 - as the contract has it
        super().__init__(api_key, **kwargs)
        self._hosts: dict[Path, Host] = {}

    @override
    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Yield the answer piece by piece; leaving it early ends it within a piece.

        Raises:
            ModelNotFoundError: The model is neither in the catalogue nor the user's own file.
            ConfigError: Its weights are not on this machine, or cannot be loaded.
            EngineLoadError: xllamacpp is not installed.
            ContextLengthError: The prompt is longer than ``context``.
            ProviderError: llama.cpp refuses the request.
            TruncatedError: The engine was closed meanwhile.
        """
        model = self._resolve(request.model or self.model_name)
        call = Call(_body(request))
        self._host(model.path).submit(call)
        finished = False
        try:
            async with aclosing(call.events()) as events:
                async for event in events:
                    for chunk in _chunks(event, model.name):
                        finished = finished or chunk.finish_reason is not None
                        yield chunk
        except GatewayError as error:
            error.engine, error.model = self.name, model.name
            raise
        finally:
            call.stop()
        if not finished:
            raise TruncatedError(
                "The local model stopped before the end of its answer.",
                engine=self.name,
                model=model.name,
            )

    @override
    async def health_check(self) -> bool:
        """Tell whether llama.cpp and the weights are here; loads neither."""
        return importlib.util.find_spec("xllamacpp") is not None and bool(await self.models())

    @override
    async def models(self) -> list[ModelInfo]:
        """List the models whose files are on this machine."""
        own = self._own()
        if own is not None:
            return [ModelInfo(self.name, own.stem)]
        return [
            ModelInfo(self.name, name, default=name == self.model_name)
            for name, row in catalogue().items()
            if row.here
        ]

    @override
    def get_cost_per_token(self) -> float:
        """Give 0: it runs on the user's own machine."""
        return 0.0

    @override
    async def cleanup(self) -> None:
        """Free the memory and the threads."""
        while self._hosts:
            _, host = self._hosts.popitem()
            host.close()

    def _own(self) -> Path | None:
        """Give the user's own file, where one is named."""
        path = self.options.get("model_path")
        return check_gguf(Path(path).expanduser(), "model_path") if path else chosen(os.environ)

    def _resolve(self, name: str) -> _Model:
        own = self._own()
        names = [*catalogue(), *([own.stem] if own else [])]
        if name not in {*names, self.model_name if own else ""}:
            known = ", ".join(repr(known) for known in names)
            raise ModelNotFoundError(
                f"The engine {self.name!r} has no model {name!r}; known: {known}."
                f"{nearest(name, names)}",
                mend=f"%gatewayx pull {DEFAULT}, or set {VARIABLE} to a GGUF file.",
                engine=self.name,
                model=name,
            )
        if own is not None:
            return _Model(own.stem, own)
        path = locate(name, {})
        if path is None:
            raise ConfigError(
                f"The weights of {name!r} are not on this machine.",
                mend=f"%gatewayx pull {name}",
                engine=self.name,
                model=name,
            )
        return _Model(name, path)

    def _host(self, path: Path) -> Host:
        context = int(self.options.get("context", _CONTEXT))
        if path not in self._hosts:
            self._hosts[path] = Host(path, context)
        return self._hosts[path]


def _body(request: Request) -> dict[str, Any]:
    """Give the request as llama.cpp takes it: only what the caller set, and how we listen.

    https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
    """
    system = [Message("system", request.system)] if request.system is not None else []
    repeatable = request.seed is not None or request.temperature == 0
    named = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        "stop": list(request.stop) or None,
        "seed": request.seed,
        "response_format": request.schema
        and {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": dict(request.schema)},
        },
        # A prompt whose beginning is at hand from the call before is rounded otherwise: of 16
        # answers at temperature 0 it changed 14, and the time by a quarter.
        "cache_prompt": False if repeatable else None,
    }
    return {
        **{name: value for name, value in named.items() if value is not None},
        **request.params,
        "messages": [
            {"role": turn.role, "content": _paired(turn.content)}
            for turn in (*system, *request.messages)
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # events while it reads a long prompt, so that it can be stopped
    }


def _paired(text: str) -> str:
    """Replace lone surrogates, which no JSON parser takes, by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _chunks(event: dict[str, Any], model: str) -> Iterator[Chunk]:
    """Read one of llama.cpp's events, which are OpenAI's chat completion chunks.

    Those that only tell how much of the prompt is read give none.
    """
    if "error" in event:
        raise _fault(event["error"])
    for choice in event["choices"]:
        delta, reason = choice["delta"], choice["finish_reason"]
        text, reasoning = delta.get("content") or "", delta.get("reasoning_content") or ""
        if text or reasoning or reason:
            finish = _FINISH.get(reason, "other") if reason else None
            yield Chunk(text, reasoning, finish, model=model, request_id=event["id"])
    if usage := event.get("usage"):
        cached = usage.get("prompt_tokens_details", {}).get("cached_tokens")
        yield Chunk(usage=Usage(usage["prompt_tokens"], usage["completion_tokens"], cached))


def _fault(error: dict[str, Any]) -> GatewayError:
    """Give the typed error for llama.cpp's; the types are those of its ``server-common.cpp``."""
    status, code = error["code"], error["type"]
    if code == "exceed_context_size_error":
        return ContextLengthError(
            f"The prompt has {error['n_prompt_tokens']} tokens; the local model takes"
            f" {error['n_ctx']}, its answer included.",
            mend="Shorten it, or set context under [engines.local] in config/gatewayx.toml.",
            status=status,
            code=code,
        )
    return classify(status, code)(
        f"The local model refuses the request: {error['message']}", status=status, code=code
    )
