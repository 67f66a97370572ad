"""Methods that call a model, shared by pools and conversations."""

from __future__ import annotations

import functools
import inspect
import re
from abc import ABC, abstractmethod
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from gatewayx_nb.arguments import check_keywords
from gatewayx_nb.calls.options import OPTIONS, AskOptions, CallOptions, option_table
from gatewayx_nb.calls.planner import run_async, run_blocking
from gatewayx_nb.calls.prompt_messages import read_messages
from gatewayx_nb.calls.streams import AsyncReplyStream, ReplyStream
from gatewayx_nb.concurrency import forbid_blocking_call
from gatewayx_nb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from typing_extensions import Unpack

    from gatewayx_nb.calls.planner import PlannedCall
    from gatewayx_nb.messages import Messages, Prompt
    from gatewayx_nb.replies import Reply

T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., Any]")
C = TypeVar("C", bound="Caller")


_PARAMETER_MEANINGS: Mapping[str, str] = {
    "prompt": "the prompt: a str, or a list of messages",
    "messages": "the list of messages, instead of `prompt`",
    "models": "one or more references to compare; a repeated reference is called each time",
    "inputs": "one or more values of `{{input}}` in the prompt; each is a separate run",
    "samples": "number of calls to each model",
    "pool": "the pool that makes the calls; the default pool if omitted",
} | {name: option.help for name, option in OPTIONS.items()}
"""The meaning of each parameter of a call, in one line."""


_KEYWORDS = frozenset({*OPTIONS, "prompt", "messages"})


def show_options(options: type[Any], meanings: Mapping[str, str] | None = None) -> Callable[[F], F]:
    """Return a decorator that shows the keywords of a method instead of its ``**options``.

    ``inspect.signature``, completion and ``help`` then show a keyword for each option, and the
    docstring has an ``Args`` section. Only attributes of the function are set, so calls are not
    slower.

    Args:
        options: The TypedDict of the options.
        meanings: The meanings of parameters that differ from the usual ones.
    """
    option_by_name = option_table(options)
    help_texts = {name: option.help for name, option in option_by_name.items()} | dict(
        meanings or {}
    )

    def decorate(function: F) -> F:
        # The signature has no annotations: type checkers read them from the source, and they
        # would clutter the help.
        named_parameters = [
            parameter.replace(annotation=inspect.Parameter.empty)
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option.default)
            for name, option in option_by_name.items()
        ]
        signature = inspect.Signature([*named_parameters, *keywords])
        function.__signature__ = signature  # type: ignore[attr-defined]
        function.__doc__ = _with_arguments(
            inspect.cleandoc(function.__doc__ or ""), signature.parameters, help_texts
        )
        return function

    return decorate


def hide_option(name: str) -> Callable[[type[C]], type[C]]:
    """Return a class decorator that hides an option from the inherited signatures.

    The class receives copies of the methods, because a signature is an attribute of the function.
    """

    def decorate(caller: type[C]) -> type[C]:
        for method in ("ask", "aask", "stream", "astream"):
            copied_method = _without_option(getattr(caller, method), name)
            copied_method.__qualname__ = f"{caller.__qualname__}.{method}"
            setattr(caller, method, copied_method)
        return caller

    return decorate


def _without_option(function: FunctionType, name: str) -> FunctionType:
    copied_function = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    functools.update_wrapper(copied_function, function)
    copied_function.__kwdefaults__ = function.__kwdefaults__
    signature = inspect.signature(function)
    parameters = [
        parameter for parameter in signature.parameters.values() if parameter.name != name
    ]
    copied_function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    copied_function.__doc__ = re.sub(rf"\n    {name}: .*", "", function.__doc__ or "")
    return copied_function


def _with_arguments(docstring: str, names: Iterable[str], meanings: Mapping[str, str]) -> str:
    """Return a docstring with an ``Args`` section before its other sections."""
    meanings = {**_PARAMETER_MEANINGS, **meanings}
    lines = [
        f"    {name}: {text[0].upper()}{text[1:]}."
        for name in names
        if (text := meanings.get(name))
    ]
    summary, heading, other_sections = re.split(
        r"(\n\n(?:Returns|Raises):\n|\Z)", docstring, maxsplit=1
    )
    return "\n".join([f"{summary}\n\nArgs:", *lines]) + heading + other_sections


def select_prompt(prompt: Prompt | None, messages: Messages | None) -> Prompt:
    """Return ``prompt`` or ``messages``, exactly one of which must be set.

    Messages are parsed here, so that a comparison reads their images only once.

    Raises:
        UsageError: If both or neither of them are set, or a message is invalid.
    """
    if prompt is None and messages is None:
        raise UsageError(
            "the prompt is missing.", hint='For example, `ask("Why is the sky blue?")`.'
        )
    if prompt is not None and messages is not None:
        raise UsageError(
            "`prompt` and `messages` are both set.",
            hint="Pass one of them; the last message is the prompt.",
        )
    input_prompt = cast("Prompt", messages if prompt is None else prompt)
    return input_prompt if isinstance(input_prompt, str) else read_messages(input_prompt)


class Caller(ABC):
    """The methods that call a model."""

    @abstractmethod
    def _plan(self, prompt: Prompt, options: CallOptions, *, streamed: bool) -> PlannedCall:
        """Return a planned call; nothing is sent."""

    @overload
    def ask(
        self,
        prompt: Prompt | None = None,
        model: str | None = None,
        *,
        messages: Messages | None = None,
        schema: type[T],
        **options: Unpack[AskOptions],
    ) -> Reply[T]: ...
    @overload
    def ask(
        self,
        prompt: Prompt | None = None,
        model: str | None = None,
        *,
        messages: Messages | None = None,
        schema: object = None,
        **options: Unpack[AskOptions],
    ) -> Reply: ...
    @show_options(AskOptions)
    def ask(
        self,
        prompt: Prompt | None = None,
        model: str | None = None,
        *,
        messages: Messages | None = None,
        schema: object = None,
        **options: Unpack[AskOptions],
    ) -> Reply:
        """Call a model and wait for the whole reply.

        See also: the guides ``structured-answers``, ``prompts-from-data``, ``calling-functions``.

        Raises:
            UsageError: If an option is invalid; nothing is sent.
            GatewayError: If the call fails; the class of the error shows who can fix it.
            KeyboardInterrupt: If the user stops the call; its ``reply`` is the partial answer.
        """
        forbid_blocking_call("aask")
        call = self._planned(prompt, model, messages, schema, options, streamed=False)
        try:
            return run_blocking(call, call.run())
        except KeyboardInterrupt as interrupt:
            # Keep the partial answer; in a notebook, it is `sys.last_value.reply`.
            interrupt.reply = call.partial.reply(interrupted=True)  # type: ignore[attr-defined]
            raise

    @overload
    async def aask(
        self,
        prompt: Prompt | None = None,
        model: str | None = None,
        *,
        messages: Messages | None = None,
        schema: type[T],
        **options: Unpack[AskOptions],
    ) -> Reply[T]: ...
    @overload
    async def aask(
        self,
        prompt: Prompt | None = None,
        model: str | None = None,
        *,
        messages: Messages | None = None,
        schema: object = None,
        **options: Unpack[AskOptions],
    ) -> Reply: ...
    @show_options(AskOptions)
    async def aask(
        self,
        prompt: Prompt | None = None,
        model: str | None = None,
        *,
        messages: Messages | None = None,
        schema: object = None,
        **options: Unpack[AskOptions],
    ) -> Reply:
        """Call a model and await the whole reply.

        Raises:
            UsageError: If an option is invalid; nothing is sent.
            GatewayError: If the call fails; the class of the error shows who can fix it.
        """
        call = self._planned(prompt, model, messages, schema, options, streamed=False)
        return await run_async(call, call.run())

    @show_options(AskOptions)
    def stream(
        self,
        prompt: Prompt | None = None,
        model: str | None = None,
        *,
        messages: Messages | None = None,
        schema: object = None,
        **options: Unpack[AskOptions],
    ) -> ReplyStream:
        """Call a model and yield its answer in chunks.

        After the last chunk, ``stream.reply`` is the whole reply.

        Raises:
            GatewayError: If the call cannot be made; later failures are raised during iteration.
        """
        forbid_blocking_call("astream")
        return ReplyStream(self._planned(prompt, model, messages, schema, options, streamed=True))

    @show_options(AskOptions)
    def astream(
        self,
        prompt: Prompt | None = None,
        model: str | None = None,
        *,
        messages: Messages | None = None,
        schema: object = None,
        **options: Unpack[AskOptions],
    ) -> AsyncReplyStream:
        """Call a model and yield its answer in chunks to ``async for``; see `stream`.

        Raises:
            GatewayError: If the call cannot be made; later failures are raised during iteration.
        """
        call = self._planned(prompt, model, messages, schema, options, streamed=True)
        return AsyncReplyStream(call)

    def _planned(  # noqa: PLR0913 - the parameters of every call
        self,
        prompt: Prompt | None,
        model: str | None,
        messages: Messages | None,
        schema: object,
        options: AskOptions,
        *,
        streamed: bool,
    ) -> PlannedCall:
        check_keywords(options, _KEYWORDS)
        call_options: CallOptions = {**options, "model": model, "schema": schema}
        return self._plan(select_prompt(prompt, messages), call_options, streamed=streamed)
