"""The output of a call: `Reply`, `Chunk` and the values that they contain."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn

from typing_extensions import TypeVar, override

from gatewayx_nb import html, tabulation
from gatewayx_nb.messages import Message
from gatewayx_nb.text import plain, shorten
from gatewayx_nb.tool_steps import calls_html, calls_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas import DataFrame

    from gatewayx_nb.images import Image
    from gatewayx_nb.messages import Carried, ToolCall
    from gatewayx_nb.tool_steps import Step

T_co = TypeVar("T_co", covariant=True, default=Any)

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "pause", "other"]


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Rate limits from the provider's headers; ``None`` means not reported.

    Attributes:
        requests: Requests allowed in the current window.
        requests_left: Requests remaining in the window.
        requests_reset: Seconds until the request limit resets.
        tokens: Tokens allowed in the current window.
        tokens_left: Tokens remaining in the window.
        tokens_reset: Seconds until the token limit resets.
        input_tokens: Input tokens allowed, if the provider limits them separately.
        input_tokens_left: Input tokens remaining.
        input_tokens_reset: Seconds until the limit of input tokens resets.
        output_tokens: Output tokens allowed, if the provider limits them separately.
        output_tokens_left: Output tokens remaining.
        output_tokens_reset: Seconds until the limit of output tokens resets.
    """

    requests: int | None = None
    requests_left: int | None = None
    requests_reset: float | None = None
    tokens: int | None = None
    tokens_left: int | None = None
    tokens_reset: float | None = None
    input_tokens: int | None = None
    input_tokens_left: int | None = None
    input_tokens_reset: float | None = None
    output_tokens: int | None = None
    output_tokens_left: int | None = None
    output_tokens_reset: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Token usage of one call; ``None`` means not reported, which differs from 0.

    Attributes:
        input_tokens: All input tokens, including cached ones.
        output_tokens: All output tokens, including reasoning.
        cached_tokens: Input tokens read from the provider's cache.
        cache_write_tokens: Input tokens written to the provider's cache.
        reasoning_tokens: Output tokens used for reasoning.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None

    def __add__(self, other: Usage) -> Usage:
        """Return the sum; a count that is ``None`` in either usage is ``None``, not zero."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in Usage.__slots__)
        return Usage(*(None if None in pair else sum(pair) for pair in pairs))


@dataclass(frozen=True, slots=True)
class Citation:
    """A source that a reply cites.

    Attributes:
        text: The cited passage of the source, if the provider sends it, otherwise the passage of
            the reply that is based on the source.
        title: Title of the source, or the name of the file.
        url: Address of the source; empty if it has none.
        page: Number of the page, or ``None``.
        start: Position in the reply's text of the passage based on the source, or ``None``.
        end: Position after that passage.
    """

    text: str = ""
    title: str = ""
    url: str = ""
    page: int | None = None
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Logprob:
    """The log probability of a token.

    Attributes:
        token: Text of the token.
        logprob: Natural logarithm of its probability; ``None`` if it is not a finite number.
        top: The most likely tokens at this position, if requested.
    """

    token: str
    logprob: float | None = None
    top: tuple[Logprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Details:
    """Contents that most chunks do not have.

    Attributes:
        citations: Sources that the reply names.
        images: Images that the model made.
        logprobs: Log probabilities of the next tokens.
        carried: The whole answer as its provider sent it; see `Carried.data`.
    """

    citations: tuple[Citation, ...] = ()
    images: tuple[Image, ...] = ()
    logprobs: tuple[Logprob, ...] = ()
    carried: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """What is needed to continue a call that ended with tool calls without results.

    Attributes:
        messages: The conversation before the reply.
        options: The options of the call, without functions.
        tools: The names of its tools.
    """

    messages: tuple[Message, ...]
    options: Mapping[str, Any]
    tools: tuple[str, ...]


@dataclass(frozen=True)
class Chunk:
    """A piece of a reply, from one event of the provider; ``str(chunk)`` is its text.

    The last chunks have no text but contain the ``finish_reason``, the ``usage`` or both.

    Attributes:
        text: A piece of the reply.
        reasoning: A piece of the model's reasoning.
        finish_reason: Why the model stopped.
        usage: Tokens so far; a later value replaces it.
        model: Name of the model, as the provider reports it.
        request_id: The provider's ID of the request.
        tool_calls: Function calls that the model requests, each complete.
        rate_limits: Rate limits from the provider's headers.
        billed: Billed tokens, if they differ from ``usage``.
        context_limit: The length of the context, if the model stopped at its end.
        raw: The response body, or the events of a stream.
        details: Citations, images and log probabilities.
    """

    text: str = ""
    reasoning: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    model: str | None = None
    request_id: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    rate_limits: RateLimits | None = None
    billed: Usage | None = None
    context_limit: int | None = None
    raw: Mapping[str, Any] | Sequence[Any] | None = None
    # One field holds all of these, because each further field slows down every chunk.
    details: Details | None = None

    @classmethod
    def of_text(cls, text: str, reasoning: str = "") -> Chunk:
        """Return a chunk with only text and reasoning.

        It takes a fifth of the time of the constructor, which sets every field. The class has no
        slots, so that the other fields have the defaults of the class.
        """
        chunk = cls.__new__(cls)
        fields = chunk.__dict__
        fields["text"], fields["reasoning"] = text, reasoning
        return chunk

    @classmethod
    def merged(cls, chunks: Sequence[Chunk]) -> Chunk:
        """Merge chunks into one: text is joined, and later values replace earlier ones.

        Each chunk of an answer is checked separately, so one chunk is faster than several.
        """
        values: dict[str, Any] = {}
        details = []
        for chunk in chunks:
            if chunk.has_only_text:
                continue
            values.update((name, value) for name, value in chunk.__dict__.items() if value)
            if chunk.details is not None:
                details.append(chunk.details)
        values["text"] = "".join([chunk.text for chunk in chunks])
        values["reasoning"] = "".join([chunk.reasoning for chunk in chunks])
        values["tool_calls"] = tuple(call for chunk in chunks for call in chunk.tool_calls)
        if len(details) > 1:
            values["details"] = Details(
                citations=tuple(item for part in details for item in part.citations),
                images=tuple(item for part in details for item in part.images),
                logprobs=tuple(item for part in details for item in part.logprobs),
                carried=next((part.carried for part in reversed(details) if part.carried), None),
            )
        return cls(**values)

    @property
    def has_only_text(self) -> bool:
        """Whether `of_text` made the chunk; any other chunk may have values in other fields."""
        return len(self.__dict__) == 2  # noqa: PLR2004 - the fields that `of_text` sets

    @override
    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Reply(Generic[T_co]):
    """A finished reply, which can be used like its text.

    ``str(reply)``, f-strings, ``+``, ``in`` and ``len`` use the text; anything else needs
    ``reply.text``.

    Attributes:
        text: The text as the model wrote it. If the schema does not describe an object, such as
            ``list[City]``, the text may hold the value as ``{"answer": …}``, because providers can
            enforce only object schemas; ``parsed`` is the value alone.
        reasoning: The model's reasoning, separate from the text.
        engine: Name of the engine.
        model: Name of the model, as the provider reported it.
        finish_reason: Why the model stopped; ``"length"`` means truncated at ``max_tokens``, or at
            the end of the context.
        usage: Token usage.
        cost: US dollars, or ``None`` if the price is unknown.
        latency: Seconds from the call to the end of the reply.
        time_to_first: Seconds from the call to the first chunk.
        attempts: Number of times that the request was sent.
        replayed: Whether it was replayed from a cassette, with the recorded usage, cost and times.
        interrupted: Whether the caller stopped the call; the text is then a partial reply.
        fallback_from: The reference that was called first, if a fallback replied.
        parsed: The reply as data, if a schema was requested.
        tool_calls: Function calls that the model requests, and that have no result yet.
        steps: The calls of tools before this answer, in order. ``usage``, ``cost``, ``latency``
            and ``attempts`` are then sums over all requests.
        rate_limits: Rate limits from the provider's headers.
        token_cap: The ``max_tokens`` that a cost limit allowed; ``None`` if it was not lowered.
        context_limit: The length of the context, in tokens, if the reply was truncated at its end.
        dropped: Parameters that the model rejected and that ``drop_unsupported`` removed.
        request_id: The provider's ID of the request.
        citations: Sources that the reply names, in the order of the text.
        images: Images that the model made.
        logprobs: Log probabilities of the tokens, if requested.
        carried: The answer as its provider sent it; ``None`` if it is only text and tool calls.
        open_turn: What `resume` and `submit` need to continue the call; ``None`` if it has ended.
        raw: The response body or, for a streamed reply, a list of the events, whose size `EventLog`
            limits; ``None`` if it was replayed or interrupted.
    """

    text: str
    engine: str
    model: str
    reasoning: str = ""
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    cost: Decimal | None = None
    latency: float = 0.0
    time_to_first: float | None = None
    attempts: int = 1
    replayed: bool = False
    interrupted: bool = False
    fallback_from: str | None = None
    parsed: T_co = None  # type: ignore[assignment]  # without a schema, T_co is Any
    tool_calls: tuple[ToolCall, ...] = ()
    steps: tuple[Step, ...] = ()
    rate_limits: RateLimits | None = None
    token_cap: int | None = None
    context_limit: int | None = None
    dropped: tuple[str, ...] = ()
    request_id: str | None = None
    citations: tuple[Citation, ...] = ()
    images: tuple[Image, ...] = ()
    logprobs: tuple[Logprob, ...] = ()
    carried: Carried | None = None
    open_turn: OpenTurn | None = None
    # This is not compared, so that a streamed reply equals a whole one with the same content.
    raw: Mapping[str, Any] | Sequence[Any] | None = field(default=None, compare=False)

    @property
    def message(self) -> Message:
        """The reply as a message, to continue a conversation in ``messages``.

        It has the text, the tool calls and the data that its provider requires back. Images are
        left out, because few providers accept them in an answer. The engine that made them
        receives them as part of that data.
        """
        return Message("assistant", (self.text, *self.tool_calls), carried=self.carried)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can represent; a cost is a float.

        ``raw`` and ``open_turn`` are omitted, and so is the ``result`` of each step, which may be
        any object; ``sent`` is the text that the model received.
        """
        names = (item.name for item in fields(self) if item.name not in ("raw", "open_turn"))
        values = {name: getattr(self, name) for name in names}
        values["steps"] = [
            {item.name: getattr(step, item.name) for item in fields(step) if item.name != "result"}
            for step in self.steps
        ]
        return {name: _to_json_value(value) for name, value in values.items()}

    def to_frame(self) -> DataFrame:
        """Return ``parsed``, or the JSON in the text if it is ``None``, as a pandas DataFrame.

        A list of objects becomes one row for each object, and an object becomes one row. Any other
        value, or a list of them, becomes the column ``value``.

        Raises:
            UsageError: If pandas is not installed, or the text contains no JSON.
        """
        if self.parsed is None:
            return tabulation.text_to_frame(self.text, was_cut=self.finish_reason == "length")
        return tabulation.to_frame(self.parsed)

    @override
    def __str__(self) -> str:
        return self.text

    @override
    def __format__(self, spec: str) -> str:
        return format(self.text, spec)

    def __contains__(self, text: str) -> bool:
        return text in self.text

    def __len__(self) -> int:
        return len(self.text)

    def __bool__(self) -> bool:
        return True  # otherwise `__len__` would make an empty reply falsy

    def __add__(self, other: object) -> str:
        return self.text + str(other) if isinstance(other, str | Reply) else NotImplemented

    def __radd__(self, other: str) -> str:
        return other + self.text if isinstance(other, str) else NotImplemented

    def __getitem__(self, index: object) -> NoReturn:
        raise TypeError(f"a reply cannot be indexed or iterated; use `{self._value_name}`")

    def __getattr__(self, name: str) -> NoReturn:
        # Python calls this only for names that the class does not define, such as methods of str.
        advice = ""
        if not name.startswith("_") and hasattr(self.parsed, name):
            advice = f"; use `reply.parsed.{name}`"
        elif name in _SDK_TEXT_ATTRIBUTES:
            advice = "; use `reply.text`"
        elif name == "json":
            advice = "; use `reply.parsed`, with `schema=` in the call"
        elif hasattr(str, name):
            advice = f"; use `reply.text.{name}`"
        raise AttributeError(f"a reply has no attribute {name!r}{advice}", name=name, obj=self)

    @property
    def _value_name(self) -> str:
        return "reply.text" if self.parsed is None else "reply.parsed"

    def __await__(self) -> NoReturn:
        raise TypeError("this call has already waited for its reply; await `gx.aask(…)` instead")

    @override
    def __repr__(self) -> str:
        text = shorten(self.text, 60)
        return f"Reply({text!r}, engine={self.engine!r}, model={self.model!r})"

    # IPython passes `include` and `exclude`, which are hints that may be ignored.
    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Return text, safe HTML, and Markdown for programs that prefer it.

        The Markdown has neither raw HTML nor images; see `safe_markdown`.
        """
        parts = (calls_text(self.steps), self.text, details_text(self))
        text = "\n\n".join(filter(None, parts))
        return {
            "text/plain": plain(html.shown_part(text)),
            "text/html": calls_html(self.steps) + html.to_html(self.text) + details_html(self),
            "text/markdown": reply_markdown(self),
        }


_SDK_TEXT_ATTRIBUTES = frozenset({"choices", "content", "message", "output_text", "response"})
"""Attributes through which the vendors' SDKs expose the text of a response."""


def details_text(reply: Reply) -> str:
    """Return the notes and the images of a reply as lines of text; empty if it has none."""
    parts = (html.notes_text(_notes(reply)), html.pictures_text(_pictures(reply)))
    return "\n".join(filter(None, parts))


def reply_markdown(reply: Reply) -> str:
    """Return the tool calls, the text and the notes of a reply as safe Markdown."""
    calls_block, notes_block = (
        text.replace("\n", "\n\n") for text in (calls_text(reply.steps), details_text(reply))
    )
    return "\n\n".join(
        filter(None, map(html.safe_markdown, (calls_block, reply.text, notes_block)))
    )


def details_html(reply: Reply) -> str:
    """Return the images and the notes of a reply as safe HTML; empty if it has none."""
    return html.pictures_html(_pictures(reply)) + html.notes_html(_notes(reply))


def _notes(reply: Reply) -> list[html.SourceNote]:
    """Return a note for each source; a source that is cited again keeps its first passage."""
    note_by_source: dict[tuple[str, str, int | None], html.SourceNote] = {}
    for citation in reply.citations:
        key = (citation.title, citation.url, citation.page)
        page = "" if citation.page is None else f"p. {citation.page}"
        name = ", ".join(filter(None, (citation.title, page)))
        note_by_source.setdefault(key, html.SourceNote(name, citation.url, citation.text))
    return list(note_by_source.values())


def _pictures(reply: Reply) -> list[html.Picture]:
    return [html.Picture(image.mime, image.data, image.url) for image in reply.images]


def _to_json_value(value: object) -> object:
    """Return a value as one that JSON can represent."""
    if isinstance(value, Decimal):
        return float(value)
    import msgspec  # already loaded if `reply.parsed` is an instance of a class

    def represent(item: object) -> object:
        dump = getattr(item, "model_dump", None)  # of a pydantic model
        return dump(mode="json") if callable(dump) else str(item)

    return msgspec.to_builtins(value, enc_hook=represent, str_keys=True)
