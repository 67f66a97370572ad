"""Loopback servers that play the five providers; see `StrictServer`."""

import itertools
import json

from anthropic.types.message_create_params import MessageCreateParams
from cohere.types import ChatMessages, DocumentToolContent, ToolV2
from google.genai import types as genai
from openai.types.chat.completion_create_params import CompletionCreateParams
from openai.types.responses.response_create_params import ResponseCreateParams
from pydantic import TypeAdapter

from tests.llm_engines.test_equal_streams import message_events, pieces
from tests.llm_engines.test_responses_streams import events_of
from tests.llm_engines.wire import body_script
from tests.tools.strict_server import Entry, StrictServer, literal

SIZES = (1, 2, 5)
"""Characters of the first pieces of a streamed text."""


def chat_calls(turn, number):
    """Return the calls of a turn as Chat Completions and Cohere write them."""
    return [
        {
            "id": f"call{number:02}{index:03}",
            "type": "function",
            "function": {"name": name, "arguments": literal(arguments)},
        }
        for index, (name, arguments) in enumerate(turn.calls)
    ]


class Chat(StrictServer):
    """Chat Completions."""

    engine = "grok"
    params = TypeAdapter(CompletionCreateParams)

    def entries(self, body):
        rows = [row for row in body["messages"] if row["role"] != "system"]
        while rows:
            row = rows.pop(0)
            if row["role"] == "assistant":
                calls = tuple(call["id"] for call in row.get("tool_calls", ()))
                yield Entry("assistant", calls, self.message(row))
            elif row["role"] == "tool":
                results = [row]
                while rows and rows[0]["role"] == "tool":
                    results.append(rows.pop(0))
                yield Entry("results", tuple(result["tool_call_id"] for result in results))
            else:
                yield Entry(row["role"])

    def message(self, row):
        """Return what must come back of a message."""
        return {"content": row.get("content") or "", "tool_calls": row.get("tool_calls") or []}

    def native(self, answer):
        return self.message(answer["choices"][0]["message"])

    def answer(self, turn, number):
        calls = chat_calls(turn, number)
        message = {"role": "assistant", "content": turn.text or None}
        message |= {"reasoning_content": turn.thought} if turn.thought else {}
        message |= {"tool_calls": calls} if calls else {}
        reason = "tool_calls" if calls else "stop"
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return {"object": "chat.completion", "id": "c", "model": "m", "choices": [choice]}

    def events(self, answer):
        choice = answer["choices"][0]
        message = choice["message"]

        def event(reason=None, **delta):
            return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

        yield event(role="assistant", content="")
        for field in ("reasoning_content", "content"):
            for piece in pieces(message.get(field) or "", SIZES):
                yield event(**{field: piece})
        for index, call in enumerate(message.get("tool_calls", ())):
            start = call | {"index": index, "function": call["function"] | {"arguments": ""}}
            yield event(tool_calls=[start])
            for piece in pieces(call["function"]["arguments"], SIZES):
                yield event(tool_calls=[{"index": index, "function": {"arguments": piece}}])
        yield event(choice["finish_reason"])


class LongIds(Chat):
    """Chat Completions of OpenAI, which refuses long IDs, so that the request is sent again."""

    engine = "groq"
    too_long = "Invalid 'messages[1].tool_calls[0].id': string too long."

    def __call__(self, request):
        rows = json.loads(request.body)["messages"]
        ids = [call["id"] for row in rows for call in row.get("tool_calls", ())]
        if any(len(call_id) > 40 for call_id in ids):
            return body_script({"error": {"message": self.too_long}}, 400)
        return super().__call__(request)


class OpenRouter(Chat):
    """Chat Completions of OpenRouter, which signs the reasoning of other providers' models."""

    engine = "openrouter"

    def check_types(self, body):
        names = ("reasoning_details",)
        rows = [
            {name: value for name, value in row.items() if name not in names}
            for row in body["messages"]
        ]
        super().check_types(body | {"messages": rows})

    def message(self, row):
        return super().message(row) | {"details": row.get("reasoning_details", [])}

    def answer(self, turn, number):
        answer = super().answer(turn, number)
        message = answer["choices"][0]["message"]
        if thought := message.pop("reasoning_content", ""):
            signed = {"text": thought, "signature": f"signature {number}", "index": 0}
            hidden = {"type": "reasoning.encrypted", "data": f"hidden {number}", "index": 1}
            message["reasoning_details"] = [{"type": "reasoning.text", **signed}, hidden]
        return answer

    def events(self, answer):
        choice = answer["choices"][0]
        for detail in choice["message"].get("reasoning_details", ()):
            name = "text" if "text" in detail else "data"
            fixed = {key: detail[key] for key in ("type", "index")}
            rows = [fixed | {name: piece} for piece in pieces(detail[name], SIZES)]
            rows[-1] |= {key: value for key, value in detail.items() if key == "signature"}
            for row in rows:
                delta = {"reasoning_details": [row]}
                yield {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        yield from super().events(answer)


class DeepSeek(Chat):
    """Chat Completions of DeepSeek, which requires its reasoning back if there are tools."""

    engine = "deepseek"

    def check_types(self, body):
        rows = [
            {name: value for name, value in row.items() if name != "reasoning_content"}
            for row in body["messages"]
        ]
        super().check_types(body | {"messages": rows})

    def check(self, body):
        for row in body["messages"]:
            if row["role"] == "assistant":
                assert "reasoning_content" in row
            for call in row.get("tool_calls", ()):
                if call["id"].startswith("call"):  # one of its own
                    turn = self.turns[int(call["id"][4:6])]
                    assert row["reasoning_content"] == turn.thought

    def message(self, row):
        return super().message(row) | {"reasoning": row.get("reasoning_content", "")}


class Moonshot(DeepSeek):
    """Chat Completions of Moonshot, whose thinking models need their reasoning back.

    https://platform.moonshot.ai/docs/guide/use-kimi-k2-thinking-model
    """

    engine = "moonshot"


class Mistral(Chat):
    """Chat Completions of Mistral, whose IDs have nine characters."""

    engine = "mistral"

    def _check_history(self, entries):
        super()._check_history(entries)
        for entry, following in itertools.pairwise(entries):
            assert (entry.kind, following.kind) != ("results", "user")
            assert all(len(call_id) == 9 and call_id.isalnum() for call_id in entry.ids)


class Responses(StrictServer):
    """OpenAI's Responses."""

    engine = "openai"
    path = "/v1"
    settings = '[engines.openai]\napi = "responses"'
    params = TypeAdapter(ResponseCreateParams)

    def check(self, body):
        assert body["store"] is False
        assert "reasoning.encrypted_content" in body["include"]

    def entries(self, body):
        group, kind = [], ""
        for item in [*body["input"], {"role": "end"}]:
            kinds = {"function_call_output": "results", "reasoning": "assistant"}
            kinds |= {"function_call": "assistant"}
            own = kinds.get(item.get("type")) or item["role"]
            if own != kind and group:
                yield self._entry(kind, group)
                group = []
            group, kind = [*group, item], own

    def _entry(self, kind, items):
        types = ("function_call_output",) if kind == "results" else ("function_call",)
        ids = tuple(item["call_id"] for item in items if item.get("type") in types)
        return Entry(kind, ids, self.message(items) if kind == "assistant" else None)

    def message(self, items):
        """Return what must come back: everything, if the turn has reasoning."""
        if any(item.get("type") == "reasoning" for item in items):
            return items
        contents = [item["content"] for item in items if "content" in item]
        texts = [text if isinstance(text, str) else text[0]["text"] for text in contents]
        calls = [item for item in items if item.get("type") == "function_call"]
        names = ("call_id", "name", "arguments")
        return ["".join(texts), [[call[name] for name in names] for call in calls]]

    def native(self, answer):
        return self.message(answer["output"])

    def check_foreign(self, native):
        assert "encrypted_content" not in json.dumps(native)

    def answer(self, turn, number):
        output = []
        if turn.thought:
            summary = [{"type": "summary_text", "text": turn.thought}]
            secret = {"encrypted_content": f"secret {number}"}
            output.append({"type": "reasoning", "id": f"rs_{number}", "summary": summary, **secret})
        if turn.text:
            content = [{"type": "output_text", "text": turn.text, "annotations": []}]
            fixed = {"type": "message", "id": f"msg_{number}", "role": "assistant"}
            phase = {"phase": "commentary" if turn.calls else "final_answer"}
            fixed |= {"status": "completed"} | (phase if turn.thought else {})
            output.append(fixed | {"content": content})
        for index, (name, arguments) in enumerate(turn.calls):
            ids = {"id": f"fc_{number}_{index}", "call_id": f"call_{number}_{index}"}
            call = {"name": name, "arguments": literal(arguments), "status": "completed"}
            output.append({"type": "function_call", **ids, **call})
        fixed = {"id": "r", "object": "response", "model": "m", "status": "completed"}
        return fixed | {"output": output}

    def events(self, answer):
        return events_of(answer, SIZES)

    def results(self, body):
        items = [item for item in body["input"] if "output" in item]
        return [item["output"] for item in items]

    def tool_names(self, body):
        return [tool["name"] for tool in body.get("tools", ())]


class Anthropic(StrictServer):
    """Anthropic's Messages."""

    engine = "anthropic"
    params = TypeAdapter(MessageCreateParams)

    def entries(self, body):
        roles = [row["role"] for row in body["messages"]]
        assert all(one != other for one, other in itertools.pairwise(roles))
        for row in body["messages"]:
            content = row["content"]
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            assert blocks, "empty content"
            assert all(block.get("text", "x").strip() for block in blocks), "blank text"
            kinds = [block["type"] for block in blocks]
            if row["role"] == "assistant":
                assert kinds[-1] not in ("thinking", "redacted_thinking")
                ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
                yield Entry("assistant", tuple(ids), blocks)
            elif "tool_result" in kinds:
                count = kinds.count("tool_result")
                assert set(kinds[:count]) == {"tool_result"}, "results must come first"
                yield Entry("results", tuple(block["tool_use_id"] for block in blocks[:count]))
                yield from [Entry("user")] * (len(kinds) > count)
            else:
                yield Entry("user")

    def native(self, answer):
        return answer["content"]

    def check_foreign(self, native):
        assert not any("thinking" in block["type"] for block in native)

    def answer(self, turn, number):
        content = []
        if turn.thought:
            signature = f"signature {number}"
            content.append({"type": "thinking", "thinking": turn.thought, "signature": signature})
            content.append({"type": "redacted_thinking", "data": f"hidden {number}"})
        if turn.text:
            content.append({"type": "text", "text": turn.text})
        for index, (name, arguments) in enumerate(turn.calls):
            call = {"id": f"toolu_{number}_{index}", "name": name, "input": arguments}
            content.append({"type": "tool_use", **call})
        reason = "tool_use" if turn.calls else "end_turn"
        fixed = {"type": "message", "role": "assistant", "model": "m", "id": "msg_1"}
        usage = {"input_tokens": 3, "output_tokens": 5}
        return fixed | {"content": content, "stop_reason": reason, "usage": usage}

    def events(self, answer):
        return message_events(answer, SIZES)

    def results(self, body):
        contents = [row["content"] for row in body["messages"] if row["role"] == "user"]
        blocks = [block for content in contents if isinstance(content, list) for block in content]
        return [block["content"] for block in blocks if block["type"] == "tool_result"]

    def tool_names(self, body):
        return [tool["name"] for tool in body.get("tools", ())]


class Gemini(StrictServer):
    """Gemini's generateContent, whose calls have no IDs."""

    engine = "google"
    has_ids = False
    stand_in = "skip_thought_signature_validator"

    def check_types(self, body):
        for content in body["contents"]:
            genai.Content.model_validate(content)
        for tool in body.get("tools", ()):
            genai.Tool.model_validate(tool)
        genai.ToolConfig.model_validate(body.get("toolConfig", {}))
        genai.GenerationConfig.model_validate(body.get("generationConfig", {}))
        known = {"contents", "tools", "toolConfig", "generationConfig", "systemInstruction"}
        assert body.keys() <= known

    def entries(self, body):
        for content in body["contents"]:
            parts = content["parts"]
            assert parts
            results = [part["functionResponse"] for part in parts if "functionResponse" in part]
            if content["role"] == "model":
                calls = [part["functionCall"] for part in parts if "functionCall" in part]
                yield Entry("assistant", tuple(map(_call_key, calls)), parts)
            elif results:
                assert len(results) == len(parts), "text beside a result"
                assert '"$ref"' not in json.dumps([each["response"] for each in results])
                yield Entry("results", tuple(map(_call_key, results)))
            else:
                yield Entry("user")

    def native(self, answer):
        return answer["candidates"][0]["content"]["parts"]

    def check_foreign(self, native):
        calls = [part for part in native if "functionCall" in part]
        for part in native:
            expected = self.stand_in if calls and part is calls[0] else None
            assert part.get("thoughtSignature") == expected

    def answer(self, turn, number):
        signature = {"thoughtSignature": f"c2ln{number:04}"} if turn.thought else {}
        parts = [{"text": turn.thought, "thought": True}] if turn.thought else []
        if turn.text:
            parts.append({"text": turn.text} | ({} if turn.calls else signature))
        for index, (name, arguments) in enumerate(turn.calls):
            ids = {"id": f"g{number}.{index}"} if self.has_ids else {}
            call = {"functionCall": {**ids, "name": name, "args": arguments}}
            parts.append(call | ({} if index else signature))
        content = {"role": "model", "parts": parts}
        candidate = {"index": 0, "content": content, "finishReason": "STOP"}
        return {"candidates": [candidate], "modelVersion": "m"}

    def events(self, answer):
        candidate = answer["candidates"][0]
        for part in self.native(answer):
            is_plain = part.keys() <= {"text", "thought"}
            for piece in pieces(part["text"], SIZES) if is_plain else [None]:
                cut = part if piece is None else part | {"text": piece}
                yield {"candidates": [{"content": {"role": "model", "parts": [cut]}}]}
        yield {"candidates": [{"finishReason": candidate["finishReason"]}]}

    def results(self, body):
        parts = [part for content in body["contents"] for part in content["parts"]]
        results = [part["functionResponse"] for part in parts if "functionResponse" in part]
        return [text for result in results for text in result["response"].values()]

    def tool_names(self, body):
        tools = body.get("tools", [{"functionDeclarations": []}])
        return [tool["name"] for tool in tools[0]["functionDeclarations"]]


class GeminiWithIds(Gemini):
    """Gemini's generateContent, whose calls have IDs."""

    has_ids = True


def _call_key(call):
    return call.get("id") or call["name"]


class Cohere(Chat):
    """Cohere's Chat API."""

    engine = "cohere"
    messages = TypeAdapter(ChatMessages)

    def check_types(self, body):
        self.messages.validate_python(body["messages"])
        for tool in body.get("tools", ()):
            TypeAdapter(ToolV2).validate_python(tool)
        assert body.get("tool_choice") in (None, "REQUIRED", "NONE")
        for row in body["messages"]:
            content = row.get("content")
            if row["role"] == "tool":
                for part in content:
                    DocumentToolContent.model_validate(part)
            if row["role"] == "assistant" and isinstance(content, list):
                assert all(part["type"] != "image_url" for part in content)

    def check(self, body):
        assert not (body.get("tools") and "response_format" in body)

    def results(self, body):
        contents = super().results(body)
        assert all(len(documents) == 1 for documents in contents)
        return [text for (part,) in contents for text in part["document"]["data"].values()]

    def message(self, row):
        """Return what must come back: the thoughts only of a turn with calls."""
        content = row.get("content") or []
        if not row.get("tool_calls"):
            return content if isinstance(content, str) else content[-1]["text"]
        return [content, row.get("tool_plan", ""), row["tool_calls"]]

    def native(self, answer):
        return self.message(answer["message"])

    def answer(self, turn, number):
        calls = chat_calls(turn, number)
        content = [{"type": "thinking", "thinking": turn.thought}] if turn.thought else []
        message = {"role": "assistant"}
        if calls:
            message |= {"tool_calls": calls}
            message |= {"tool_plan": turn.text} if turn.text else {}
        else:
            content.append({"type": "text", "text": turn.text})
        message |= {"content": content} if content else {}
        reason = "TOOL_CALL" if calls else "COMPLETE"
        return {"id": "r", "finish_reason": reason, "message": message}

    def events(self, answer):
        message = answer["message"]

        def event(kind, index, **fields):
            return {"type": kind, "index": index, "delta": {"message": fields}}

        yield {"type": "message-start", "id": "r"}
        for index, content in enumerate(message.get("content", ())):
            kind = content["type"]
            yield event("content-start", index, content=content | {kind: ""})
            for piece in pieces(content[kind], SIZES):
                yield event("content-delta", index, content={kind: piece})
            yield {"type": "content-end", "index": index}
        for piece in pieces(message.get("tool_plan", ""), SIZES):
            yield event("tool-plan-delta", None, tool_plan=piece)
        for index, call in enumerate(message.get("tool_calls", ())):
            start = call | {"function": call["function"] | {"arguments": ""}}
            yield event("tool-call-start", index, tool_calls=start)
            for piece in pieces(call["function"]["arguments"], SIZES):
                part = {"function": {"arguments": piece}}
                yield event("tool-call-delta", index, tool_calls=part)
            yield {"type": "tool-call-end", "index": index}
        yield {"type": "message-end", "delta": {"finish_reason": answer["finish_reason"]}}


PROVIDERS = (Chat, Responses, Anthropic, Gemini, Cohere)
"""A server of each dialect."""

VARIANTS = (*PROVIDERS, DeepSeek, Moonshot, Mistral, OpenRouter, GeminiWithIds)
"""The servers of all dialects and of endpoints with rules of their own."""
