"""The rules that every engine must follow; some are checked without calls."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from typing import TYPE_CHECKING, get_args

from gatewayx_nb.llm_engines import FEATURES, Chunk, FinishReason, Reply, call_generate
from gatewayx_nb.model_registry import StaticMetadataReader
from gatewayx_nb.testing.steps import ReceivedRequest, Stall, WaitForRequests
from gatewayx_nb.testing.subject import PROMPT, EngineUnderTest, Rule, rule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewayx_nb.testing.dialects import DialectSample
    from gatewayx_nb.testing.steps import Step

_CANCEL_TIMEOUT = 2.0
"""Maximum number of seconds until a cancelled call ends."""

STATIC_RULES: list[Rule] = []
"""Rules that need no call."""

FINAL_RULES: list[Rule] = []
"""Rules that are checked last, because checking them leaves the engine unusable."""

ANSWER_RULES: list[Rule] = []
"""Rules for an engine that replies."""

_PROMPTS = ("one and then some", "two and then more")


@rule(
    STATIC_RULES,
    "`requires_key` in the source equals the class attribute",
    "Write `requires_key = False` in the class body, and nowhere else.",
)
async def _requires_key(subject: EngineUnderTest) -> str | None:
    if subject.path is None:
        return None
    literal = StaticMetadataReader().read(subject.path).requires_key
    requires_key = subject.type.requires_key
    return (
        None if literal is requires_key else f"the source has {literal}, the class {requires_key!r}"
    )


@rule(
    STATIC_RULES,
    "`features` is a frozenset of known names",
    f"The names are {', '.join(sorted(FEATURES))}.",
)
async def _features(subject: EngineUnderTest) -> str | None:
    features: object = subject.engine.features
    if not isinstance(features, (frozenset, set)):
        return f"it is {features!r}"
    unknown_names = sorted(map(repr, features - FEATURES))
    return f"it contains {', '.join(unknown_names)}" if unknown_names else None


@rule(
    STATIC_RULES,
    "`model_name` is a str",
    "Set it to the model to call when only the engine's name is used.",
)
async def _model_name(subject: EngineUnderTest) -> str | None:
    name: object = subject.engine.model_name
    return None if isinstance(name, str) else f"it is {name!r}"


@rule(
    STATIC_RULES,
    "`generate` accepts any keyword argument",
    "End its parameters with `**kwargs`, which receives a caller's `params`.",
)
async def _keywords(subject: EngineUnderTest) -> str | None:
    parameters = inspect.signature(subject.type.generate).parameters.values()
    accepts_any_keyword = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return (
        None
        if accepts_any_keyword
        else f"it is `generate{inspect.signature(subject.type.generate)}`"
    )


@rule(STATIC_RULES, "the methods that a pool awaits are `async def`", "Write `async` before `def`.")
async def _coroutines(subject: EngineUnderTest) -> str | None:
    # `generate` and `health_check` may be plain methods.
    names = ("generate_response", "cleanup", "models", "embed")
    plain_methods = [
        name for name in names if not inspect.iscoroutinefunction(getattr(subject.type, name))
    ]
    if inspect.isgeneratorfunction(subject.type.stream):  # otherwise, a plain method is valid
        plain_methods.append("stream")
    return f"these are not: {', '.join(plain_methods)}" if plain_methods else None


@rule(
    STATIC_RULES,
    "`get_cost_per_token` returns dollars or None",
    "Return a float >= 0, or None if the price is unknown.",
)
async def _price(subject: EngineUnderTest) -> str | None:
    price: object = subject.engine.get_cost_per_token()
    is_number = isinstance(price, (int, float)) and not isinstance(price, bool) and price >= 0
    return None if price is None or is_number else f"it returned {price!r}"


@rule(
    STATIC_RULES,
    "the engine does not expose its key",
    "Store it only in `self.api_key`, and add it to a header when a request is made.",
)
async def _secret(subject: EngineUnderTest) -> str | None:
    engine = subject.engine
    shown_texts = {"repr()": repr(engine), "str()": str(engine), "vars()": repr(vars(engine))}
    shown_texts["a pickle"] = _pickled(engine)
    leaking_names = [name for name, text in shown_texts.items() if subject.key in text]
    return f"it was found in {', '.join(leaking_names)}" if leaking_names else None


def _pickled(engine: object) -> str:
    try:
        return pickle.dumps(engine).decode("latin-1")
    except Exception:  # noqa: BLE001 - an engine that cannot be pickled cannot leak its key
        return ""


@rule(
    FINAL_RULES,
    "`cleanup` can run twice, and before any call",
    "Close open resources and set their attributes to None.",
)
async def _cleanup(subject: EngineUnderTest) -> str | None:
    # A new engine has made no calls, while the tested engine has made the calls of earlier rules.
    for engine in (subject.create(), subject.engine):
        await engine.cleanup()
        await engine.cleanup()
    return None


@rule(
    ANSWER_RULES,
    "`stream` yields Chunks with text",
    "Yield `Chunk(text=…)`; raise an error on failure.",
)
async def _chunks(subject: EngineUnderTest) -> str | None:
    outcome = await subject.ask()
    wrong_types = [type(chunk).__name__ for chunk in outcome.chunks if not isinstance(chunk, Chunk)]
    if outcome.error is not None or wrong_types:
        return f"it yielded {wrong_types[0]}" if wrong_types else f"it {outcome}"
    return None if outcome.text else "it yielded no text"


@rule(
    ANSWER_RULES,
    "a reply ends with a finish reason",
    f"Yield `Chunk(finish_reason=…)` last: {', '.join(get_args(FinishReason))}.",
)
async def _finish_reason(subject: EngineUnderTest) -> str | None:
    chunks = (await subject.ask()).chunks
    reasons = [chunk.finish_reason for chunk in chunks]
    positions = [index for index, reason in enumerate(reasons) if reason]
    if not positions:
        return "there is none"
    if reasons[positions[-1]] not in get_args(FinishReason):
        return f"it is {reasons[positions[-1]]!r}"
    has_later_text = any(chunk.text for chunk in chunks[positions[-1] + 1 :])
    return "text follows it" if has_later_text else None


@rule(ANSWER_RULES, "`generate` returns a str or a Reply", "Return the text.")
async def _generate(subject: EngineUnderTest) -> str | None:
    async with asyncio.timeout(subject.timeout):
        answer = await call_generate(subject.engine, PROMPT)
    if not isinstance(answer, (str, Reply)):
        return f"it returned {type(answer).__name__}"
    return None if str(answer) else "it returned an empty str"


@rule(
    ANSWER_RULES,
    "concurrent streams do not mix",
    "Keep the state of a call in local variables, not on `self`.",
)
async def _concurrent_streams(subject: EngineUnderTest) -> str | None:
    if subject.dialect and subject.server:
        subject.script = _by_prompt(subject.dialect, len(subject.server.requests) + 2)
        expected_texts = ["Onelo.", "Twolo."]
    else:
        separate_texts = [(await subject.ask(prompt=prompt)).text for prompt in _PROMPTS]
        repeated_texts = [(await subject.ask(prompt=prompt)).text for prompt in _PROMPTS]
        if separate_texts != repeated_texts:
            return None  # not applicable to a model whose replies vary
        expected_texts = separate_texts
    texts = await _interleaved(subject)
    return None if texts == expected_texts else f"expected {expected_texts}, got {texts}"


def _by_prompt(
    dialect: DialectSample, requests: int
) -> Callable[[ReceivedRequest], Sequence[Step]]:
    """Return a script that answers each prompt with its own text after both have arrived."""

    def script(request: ReceivedRequest) -> Sequence[Step]:
        word = b"One" if _PROMPTS[0].encode() in request.body else b"Two"
        steps = list(dialect.stream(*(event.replace(b"Hel", word) for event in dialect.events)))
        return [*steps[:3], WaitForRequests(requests), *steps[3:]]

    return script


async def _interleaved(subject: EngineUnderTest) -> list[str]:
    """Return the text of two streams that are read alternately, one chunk at a time."""
    streams = [subject.engine.stream(subject.request(prompt)) for prompt in _PROMPTS]
    texts, unfinished_numbers = ["", ""], {0, 1}
    async with asyncio.timeout(subject.timeout):
        while unfinished_numbers:
            numbers = sorted(unfinished_numbers)
            chunks = await asyncio.gather(*(anext(streams[n], None) for n in numbers))
            for number, chunk in zip(numbers, chunks, strict=True):
                if chunk is None:
                    unfinished_numbers.discard(number)
                else:
                    texts[number] += chunk.text
    return texts


@rule(
    ANSWER_RULES,
    "a cancelled stream ends",
    "Let CancelledError propagate: do not catch BaseException or await in a `finally` block.",
)
async def _cancellation(subject: EngineUnderTest) -> str | None:
    if subject.dialect:
        steps = list(subject.dialect.stream(*subject.dialect.events))
        subject.script = [*steps[:3], Stall()]
    has_begun = asyncio.Event()

    async def read() -> None:
        async for _ in subject.engine.stream(subject.request()):
            has_begun.set()
            await asyncio.sleep(0)  # an engine that never waits could not be cancelled

    task = asyncio.ensure_future(read())
    waiting_task = asyncio.ensure_future(has_begun.wait())
    await asyncio.wait(
        {task, waiting_task}, timeout=_CANCEL_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
    )
    waiting_task.cancel()
    task.cancel()
    done_tasks, _ = await asyncio.wait({task}, timeout=_CANCEL_TIMEOUT)
    if not done_tasks:
        return f"it continued for {_CANCEL_TIMEOUT:g} s"
    if task.cancelled() or subject.server is None:
        return None if task.cancelled() else _unexpected_error(task)
    return f"it ended with {task.exception()!r} instead of CancelledError"


def _unexpected_error(task: asyncio.Task[None]) -> str | None:
    """Describe the error of a call that failed before it could be cancelled."""
    error = task.exception()
    return f"it raised {error!r}" if error else None


@rule(
    ANSWER_RULES,
    "a cancelled stream closes its connection",
    "Read the response within `async with`.",
)
async def _closed_connection(subject: EngineUnderTest) -> str | None:
    await _cancellation(subject)
    if subject.server is None:
        return None
    closed_event = subject.server.requests[-1].closed
    return None if await asyncio.to_thread(closed_event.wait, _CANCEL_TIMEOUT) else "it stayed open"
