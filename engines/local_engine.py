"""A small local language model, which llama.cpp runs in this process without a key."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from ..errors import (
    ConfigError,
    ContextLengthError,
    GatewayError,
    ModelNotFoundError,
    TruncatedError,
    UnsupportedFeatureError,
    classify,
    did_you_mean,
)
from ..hints import Hint, as_hint
from ..json_schema import wrap_in_object
from ..llm_engines import (
    Chunk,
    FinishReason,
    LLMEngine,
    Message,
    ModelInfo,
    Request,
    ToolCallAssembler,
    Usage,
    chat_messages,
    chosen_tools,
)
from ..weights import (
    DEFAULT_MODEL,
    MODEL_PATH_VARIABLE,
    callable_models,
    catalogue,
    check_gguf,
    configured_path,
    hub_model,
    locate,
    pulled_models,
    takes_tools,
)
from ._grammar import grammar
from ._llama import LlamaCall, LlamaHost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

_FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
}

# Tokens per call; with this value, the process needs 512 MB (with SmolLM2's full context of 8,192
# tokens, 890 MB).
_DEFAULT_CONTEXT = 4096

_TOOL_MODEL = "hf:Qwen/Qwen3-0.6B-GGUF"  # a small model that calls tools, for hints

# llama.cpp's sampling parameters. The engine sets all other parameters itself or does not support
# them.
# https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
_SAMPLING_PARAMS = frozenset(
    {
        "cache_prompt",
        "dry_allowed_length",
        "dry_base",
        "dry_multiplier",
        "dry_penalty_last_n",
        "dry_sequence_breakers",
        "dynatemp_exponent",
        "dynatemp_range",
        "frequency_penalty",
        "grammar",
        "ignore_eos",
        "logit_bias",
        "min_p",
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "presence_penalty",
        "repeat_last_n",
        "repeat_penalty",
        "samplers",
        "top_k",
        "top_n_sigma",
        "typical_p",
        "xtc_probability",
        "xtc_threshold",
    }
)


@dataclass(frozen=True, slots=True)
class _Model:
    name: str
    path: Path
    pull_name: str = ""  # to pull if the file is damaged; empty for the user's own file

    @property
    def takes_tools(self) -> bool:
        """Whether the chat template in the file supports tools."""
        return takes_tools(self.path)


class LocalEngine(LLMEngine):
    """Engine that runs a GGUF model on this machine's CPU.

    The model is either SmolLM2, a model from the Hugging Face hub, or the user's own file.

    The first call loads the file. Four calls run at once; further calls wait. At temperature 0, or
    with a seed, the same call returns the same reply. Concurrent calls change the rounding, which
    occasionally changes a word.

    Args:
        api_key: Not used.
        **kwargs: ``model``, the name of a pulled model; ``model_path``, a GGUF file, which
            takes precedence over ``GATEWAYX_LOCAL_MODEL``; ``context``, the context length of a
            call in tokens, prompt and reply together (default 4,096).
    """

    model_name = "smollm2"
    requires_key = False
    features = frozenset({"system", "history", "schema", "tools"})
    keywords = frozenset({"model_path", "context"})
    unsupported_options = frozenset({"effort", "cache"})
    default_max_tokens: ClassVar[int] = 1024  # a small model may repeat itself endlessly
    params = _SAMPLING_PARAMS

    def __init__(self, api_key: str = "", **kwargs: Any) -> None:  # noqa: ANN401 - required by the engine interface
        super().__init__(api_key, **kwargs)
        self._hosts: dict[Path, LlamaHost] = {}

    @override
    def enforceable_schema(self, request: Request) -> Mapping[str, Any] | None:
        """Return the schema, with a bare value wrapped in an object; ``None`` if there are tools.

        A grammar enforces the schema, but llama.cpp takes no grammar in a request with tools. A
        small model does not know where to end a bare number: in tests, SmolLM2 always wrote 15
        digits.
        """
        if request.tools:
            return None
        return wrap_in_object(request.schema) if request.schema else request.schema

    @override
    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Yield the reply in chunks; if the stream is closed early, generation soon stops.

        At most one more chunk is generated.

        Raises:
            ModelNotFoundError: If the model is neither in the catalogue, nor pulled, nor the user's
                own file.
            ConfigError: If the weights are not on this machine or cannot be loaded.
            EngineLoadError: If xllamacpp is not installed.
            UnsupportedFeatureError: If the request has tools, and the model's chat template does
                not support them.
            ContextLengthError: If the prompt is longer than ``context``.
            ProviderError: If llama.cpp rejects the request.
            TruncatedError: If the engine is closed before the reply is complete.
        """
        model = self._model_for(request)
        call = LlamaCall(_body(request, takes_tools=model.takes_tools))
        self._host(model).submit(call)
        finish_reason, assembler = None, ToolCallAssembler()
        try:
            async with aclosing(call.events()) as events:
                async for event in events:
                    for chunk in _chunks(event, model.name, assembler):
                        finish_reason = finish_reason or chunk.finish_reason
                        yield _with_context_limit(chunk, finish_reason, request.max_tokens)
        except GatewayError as error:
            error.engine, error.model = self.name, model.name
            raise
        finally:
            call.stop()
        if finish_reason is None:
            raise TruncatedError(
                "the local model stopped before the end of its reply.",
                engine=self.name,
                model=model.name,
            )

    @override
    async def health_check(self) -> bool:
        """Return whether llama.cpp and the weights are installed; neither is loaded."""
        return importlib.util.find_spec("xllamacpp") is not None and bool(await self.models())

    @override
    async def models(self) -> list[ModelInfo]:
        """Return the models whose files are on this machine."""
        return callable_models(self.name, self.model_name, self._user_file())

    @override
    async def count_tokens(self, request: Request) -> int:
        """Return the number of tokens in a request, counted by the model's own tokenizer.

        The weights are loaded first, if necessary.
        """
        model = self._model_for(request)
        messages = _messages(request, takes_tools=model.takes_tools)
        tools = chosen_tools(request) or []
        return await asyncio.to_thread(self._host(model).count_tokens, messages, tools)

    @override
    def get_cost_per_token(self) -> float:
        """Return 0, because the model runs on the user's machine."""
        return 0.0

    @override
    async def cleanup(self) -> None:
        """Free the memory and stop the threads."""
        while self._hosts:
            _, host = self._hosts.popitem()
            host.close()

    def _user_file(self) -> Path | None:
        """Return the user's own GGUF file, if one is configured."""
        if path := self.options.get("model_path"):
            return check_gguf(Path(path).expanduser(), "model_path")
        return configured_path(os.environ)

    def _model_for(self, request: Request) -> _Model:
        """Return the model of a request.

        Raises:
            UnsupportedFeatureError: If the request has tools, and the model does not support them.
        """
        model = self._find_model(request.model or self.model_name)
        if request.tools and not model.takes_tools:
            raise UnsupportedFeatureError(
                f"the local model {model.name!r} does not call functions: its chat template does"
                " not support tools.",
                hint=Hint("pull", model=_TOOL_MODEL) | Hint("omit_option", option="tools"),
                topic="local-model-without-tools",
                engine=self.name,
                model=model.name,
            )
        return model

    def _find_model(self, name: str) -> _Model:
        if model := hub_model(name):
            return _Model(name, model.path, model.source)
        user_path = self._user_file()
        pulled = [model.name for model in pulled_models()]
        names = list(
            dict.fromkeys([*catalogue(), *([user_path.stem] if user_path else []), *pulled])
        )
        if name not in {*names, self.model_name if user_path else ""}:
            available_names = ", ".join(map(repr, names))
            raise ModelNotFoundError(
                f"engine {self.name!r} has no model {name!r}; available: {available_names}."
                f"{did_you_mean(name, names)}",
                hint=Hint("pull", model=DEFAULT_MODEL)
                | as_hint(f"Set {MODEL_PATH_VARIABLE} to a GGUF file."),
                engine=self.name,
                model=name,
            )
        if user_path is not None:
            return _Model(user_path.stem, user_path)
        path = locate(name, {})
        if path is None:
            hint = Hint("pull", model=name)
            raise ConfigError(
                f"the weights of {name!r} are not on this machine.",
                hint=hint | Hint("call", reference=f"{self.name}:{pulled[0]}") if pulled else hint,
                engine=self.name,
                model=name,
            )
        return _Model(name, path, name)

    def _host(self, model: _Model) -> LlamaHost:
        if model.path not in self._hosts:
            context = int(self.options.get("context", _DEFAULT_CONTEXT))
            pull_hint = Hint("pull", model=model.pull_name or DEFAULT_MODEL)
            self._hosts[model.path] = LlamaHost(model.path, context, pull_hint)
        return self._hosts[model.path]


def _body(request: Request, *, takes_tools: bool = False) -> dict[str, Any]:
    """Return the request body for llama.cpp, with the caller's options and streaming options.

    https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md

    Args:
        request: The request.
        takes_tools: Whether the model's chat template supports tools.
    """
    is_deterministic = request.seed is not None or request.temperature == 0
    optional_fields = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens or LocalEngine.default_max_tokens,
        "stop": list(request.stop) or None,
        "seed": request.seed,
        "tools": chosen_tools(request),
        "tool_choice": _tool_choice(request),
        "grammar": None if request.schema is None else grammar(request.schema),
        # Reusing a cached prompt prefix changes the rounding. In a test, it changed 14 of 16
        # replies at temperature 0, and saved only a quarter of the time.
        "cache_prompt": False if is_deterministic else None,
    }
    return {
        **{name: value for name, value in optional_fields.items() if value is not None},
        **request.params,
        "messages": _messages(request, takes_tools=takes_tools),
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # events during prompt processing, so that it can be stopped
    }


def _tool_choice(request: Request) -> str | None:
    """Return the ``tool_choice`` for llama.cpp.

    llama.cpp does not accept a tool's name, so `chosen_tools` declares only that tool, and a call
    is required.
    """
    choice = request.tool_choice
    return choice if choice in (None, "auto", "none") else "required"


def _messages(request: Request, *, takes_tools: bool) -> list[dict[str, Any]]:
    # Send even an empty system prompt, because the model's template would otherwise add its own.
    system = [Message("system", request.system)] if request.system is not None else []
    turns = request.messages
    messages = (*system, *(turns if takes_tools else map(_with_calls_in_text, turns)))
    message_dicts = chat_messages(replace(request, system=None, messages=messages))
    cleaned: list[dict[str, Any]] = json.loads(
        _replace_surrogates(json.dumps(message_dicts, ensure_ascii=False))
    )
    return cleaned


def _with_calls_in_text(turn: Message) -> Message:
    """Return a turn with its tool calls written into its text.

    Templates without tool support, such as SmolLM2's, would silently omit them. This is the format
    of Qwen and Hermes: https://qwen.readthedocs.io/en/latest/framework/function_call.html
    """
    if turn.role == "tool":
        return turn
    call_texts = (
        f'<tool_call>\n{{"name": {json.dumps(call.name)}, "arguments": {call.arguments or "{}"}}}\n'
        "</tool_call>"
        for call in turn.tool_calls
    )
    return Message(turn.role, "\n".join(filter(None, (turn.content, *call_texts))))


def _replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which JSON parsers reject, with U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _chunks(event: dict[str, Any], model: str, assembler: ToolCallAssembler) -> Iterator[Chunk]:
    """Convert a llama.cpp event, in the format of a `chat.completion.chunk`, to `Chunk` objects.

    Events that only report prompt progress yield nothing.

    Args:
        event: The event.
        model: Name of the model.
        assembler: Assembles the tool calls of the answer, which arrive in pieces.
    """
    if "error" in event:
        raise _event_error(event["error"])
    for choice in event["choices"]:
        delta, reason = choice["delta"], choice["finish_reason"]
        text, reasoning = delta.get("content") or "", delta.get("reasoning_content") or ""
        for call in delta.get("tool_calls") or ():
            function = call["function"]
            name, arguments = function.get("name") or "", function.get("arguments") or ""
            assembler.add(call["index"], call.get("id") or "", name, arguments)
        if reason and assembler:
            yield Chunk(tool_calls=assembler.finish_all())
        if text or reasoning or reason:
            finish_reason = _FINISH_REASONS.get(reason, "other") if reason else None
            yield Chunk(text, reasoning, finish_reason, model=model, request_id=event["id"])
    if usage := event.get("usage"):
        cached = usage.get("prompt_tokens_details", {}).get("cached_tokens")
        yield Chunk(usage=Usage(usage["prompt_tokens"], usage["completion_tokens"], cached))


def _with_context_limit(
    chunk: Chunk, finish_reason: FinishReason | None, max_tokens: int | None
) -> Chunk:
    """Return the chunk, with ``context_limit`` set if the context ended the reply.

    A reply with finish reason ``length`` was ended by the context if it is shorter than
    ``max_tokens`` or its default.
    """
    usage = chunk.usage
    if usage is None or finish_reason != "length":
        return chunk
    input_tokens, output_tokens = usage.input_tokens or 0, usage.output_tokens or 0
    if output_tokens >= (max_tokens or LocalEngine.default_max_tokens):
        return chunk
    return replace(chunk, context_limit=input_tokens + output_tokens)


def _event_error(error: dict[str, Any]) -> GatewayError:
    """Return the exception for a llama.cpp error; ``server-common.cpp`` defines the types."""
    status, code = error["code"], error["type"]
    if code == "exceed_context_size_error":
        return ContextLengthError(
            f"the prompt has {error['n_prompt_tokens']} tokens; the local model accepts at most"
            f" {error['n_ctx']}, including the reply.",
            hint="Shorten it, or set context under [engines.local] in config/gatewayx.toml.",
            status=status,
            code=code,
        )
    return classify(status, code)(
        f"the local model rejected the request: {error['message']}", status=status, code=code
    )
