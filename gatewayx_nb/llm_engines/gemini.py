"""The Gemini dialect: generateContent and streamGenerateContent.

Source of the shapes: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from typing_extensions import override

from gatewayx_nb.llm_engines import body, embedding
from gatewayx_nb.llm_engines.http import HTTPEngine
from gatewayx_nb.messages import Chunk, FinishReason, Image, Message, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gatewayx_nb.llm_engines.faults import Faults
    from gatewayx_nb.llm_engines.http import Parser
    from gatewayx_nb.messages import Request

_FINISH_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
_NO_REASON = frozenset({"", "FINISH_REASON_UNSPECIFIED"})


class GeminiEngine(HTTPEngine):
    """An endpoint that speaks Gemini's generateContent.

    Args:
        api_key: The engine's key.
        version: The API's version, which is part of every path. ``v1beta`` takes all that ``v1``
            does, and more.
        **kwargs: As for every engine.
    """

    key_header: ClassVar[str] = "x-goog-api-key"
    key_prefix: ClassVar[str] = ""
    features = frozenset({"system", "history", "images", "schema", "embed"})
    keywords: ClassVar[frozenset[str] | None] = frozenset()

    def __init__(self, api_key: str = "", *, version: str = "v1beta", **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(api_key, **kwargs)
        self.version = version
        self.models_path = f"{version}/models?pageSize=1000"

    @override
    def route(self, request: Request) -> str:
        # Without `alt=sse` a stream comes as one JSON array.
        action = "streamGenerateContent?alt=sse" if request.streamed else "generateContent"
        return f"{self.version}/{_resource(request.model)}:{action}"

    @override
    def payload(self, request: Request) -> dict[str, Any]:
        spoken = [turn for turn in request.messages if turn.role != "system"]
        ruled = [turn.content for turn in request.messages if turn.role == "system"]
        system = [request.system, *ruled] if request.system else ruled
        settings = {name: value for name, value in _settings(request).items() if value is not None}
        payload: dict[str, Any] = {"contents": [_content(turn) for turn in spoken]}
        if system:
            payload["systemInstruction"] = _said("user", "\n\n".join(system))
        if settings:
            payload["generationConfig"] = settings
        return body.merged(payload, request.params)

    @override
    def parser(self, faults: Faults) -> Parser:
        return GeminiParser(faults)

    @override
    def listed(self, listing: dict[str, Any]) -> Iterable[str]:
        names = (body.text(body.table(row).get("name")) for row in body.rows(listing.get("models")))
        return (name.removeprefix("models/") for name in names)

    @override
    async def embed(self, texts: Sequence[str], model: str) -> list[list[float]]:
        resource = _resource(model)
        asked = [{"model": resource, "content": _said("user", text)} for text in texts]
        path = f"{self.version}/{resource}:batchEmbedContents"
        answer = await embedding.ask(self, path, {"requests": asked}, model)
        rows = body.rows(answer.get("embeddings"))
        return embedding.vectors([body.table(row).get("values") for row in rows], texts, self.name)


class GeminiParser:
    """Reads one answer: a whole body is an event that also brings the end."""

    def __init__(self, faults: Faults) -> None:
        self.finished = False
        self._faults = faults
        self._names = ("", "")
        self._begun = False
        self._called = False

    def feed(self, data: str) -> Iterator[Chunk]:
        """Yield the chunks of one event's data, or of a whole body.

        Errors come within a list too, and so does a stream whose ``alt=sse`` a proxy dropped.
        """
        if data.startswith("[DONE]"):  # which proxies add
            return
        if data.lstrip().startswith("["):
            answers = body.rows(body.parse(f'{{"all":{data}}}').get("all"))
        else:
            answers = [body.parse(data)]
        for answer in answers:
            yield from self._answer(body.table(answer))

    def _answer(self, answer: dict[str, Any]) -> Iterator[Chunk]:
        if answer.get("error"):
            raise self._faults.within(answer)
        names = (body.text(answer.get("modelVersion")), body.text(answer.get("responseId")))
        if names != self._names:
            self._names = names
            yield Chunk(model=names[0] or None, request_id=names[1] or None)
        is_first, self._begun = not self._begun, True
        for row in body.rows(answer.get("candidates")):
            candidate = body.table(row)
            if not candidate.get("index"):  # of several (`candidateCount`) the first is given
                yield from self._candidate(candidate)
        usage = body.table(answer.get("usageMetadata"))
        if usage or (is_first and self.finished):
            yield Chunk(
                usage=usage_of(usage) if usage else None,
                raw=answer if is_first and self.finished else None,
            )
        if not answer.get("candidates"):
            self._check_prompt(body.table(answer.get("promptFeedback")))

    def _candidate(self, candidate: dict[str, Any]) -> Iterator[Chunk]:
        for row in body.rows(body.table(candidate.get("content")).get("parts")):
            yield from self._part(body.table(row))
        reason = body.text(candidate.get("finishReason"))
        if reason.startswith("MALFORMED"):
            said = body.text(candidate.get("finishMessage")) or "the answer is malformed"
            raise self._faults.within({"error": {"status": reason, "message": said}})
        if reason not in _NO_REASON:
            self.finished = True
            finish = _FINISH_REASONS.get(reason, "other")
            # A tool call ends with STOP as well.
            called = self._called and finish == "stop"
            yield Chunk(finish_reason="tool_calls" if called else finish)

    def _part(self, part: dict[str, Any]) -> Iterator[Chunk]:
        if text := body.text(part.get("text")):
            yield Chunk(reasoning=text) if part.get("thought") else Chunk(text=text)
        if call := body.table(part.get("functionCall")):
            self._called = True
            arguments = json.dumps(body.table(call.get("args")), ensure_ascii=False)
            names = body.text(call.get("id")), body.text(call.get("name"))
            yield Chunk(tool_calls=(ToolCall(*names, arguments),))

    def _check_prompt(self, feedback: dict[str, Any]) -> None:
        """Raise where the prompt was blocked, so that there is no answer.

        Raises:
            ContentFilterError: It was; the message holds the reason.
        """
        if reason := body.text(feedback.get("blockReason")):
            more = body.text(feedback.get("blockReasonMessage"))
            said = f"the prompt was blocked: {more or reason}"
            raise self._faults.within({"error": {"type": "content_filter", "message": said}})


def usage_of(usage: dict[str, Any]) -> Usage:
    """Read the tokens: prompts of tools count as input, thoughts as output.

    https://ai.google.dev/api/generate-content#UsageMetadata
    """
    names = ("promptTokenCount", "toolUsePromptTokenCount")
    thoughts = body.count(usage.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=_sum(*(body.count(usage.get(name)) for name in names)),
        output_tokens=_sum(body.count(usage.get("candidatesTokenCount")), thoughts),
        cached_tokens=body.count(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
    )


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _resource(model: str) -> str:
    """Give the name under which the API knows a model, as a part of a path."""
    named = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
    return quote(named, safe="/-._~")


def _settings(request: Request) -> dict[str, Any]:
    schema = None if request.schema is None else dict(request.schema)
    return {
        "temperature": request.temperature,
        "topP": request.top_p,
        "maxOutputTokens": request.max_tokens,
        "stopSequences": list(request.stop) or None,
        "seed": request.seed,
        "responseMimeType": None if schema is None else "application/json",
        "responseJsonSchema": schema,
    }


def _content(turn: Message) -> dict[str, Any]:
    said = _said("model" if turn.role == "assistant" else "user", turn.content)
    said["parts"] += [_of_image(image) for image in turn.images]
    return said


def _said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}] if text else []}


def _of_image(image: Image) -> dict[str, Any]:
    if image.url:
        return {"fileData": {"fileUri": image.url, "mimeType": image.mime}}
    return {"inlineData": {"mimeType": image.mime, "data": image.base64}}
