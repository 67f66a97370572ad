"""A loopback server that plays the batch APIs of OpenAI and Anthropic, and their faults."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from datetime import UTC, datetime

from gatewayx_nb.testing import CloseConnection, Send, Server, redirect, reply

KEY = "sk-key-of-the-batch-tests-0123456789"


def chat_body(text, model="gpt-5"):
    """Return an answer of Chat Completions."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "c1",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def responses_body(text, model="gpt-5"):
    """Return an answer of Responses."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    item = {"type": "message", "id": "m1", "status": "completed", "role": "assistant"}
    return {
        "id": "r1",
        "object": "response",
        "status": "completed",
        "model": model,
        "output": [item | {"content": content}],
        "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
    }


def messages_body(text, model="claude-sonnet-4-5"):
    """Return an answer of Messages."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def prompt_of(body):
    """Return the last prompt of a request in any of the three dialects."""
    messages = body.get("messages") or body["input"]
    content = messages[-1]["content"] if isinstance(messages, list) else messages
    return content if isinstance(content, str) else content[-1]["text"]


class Provider:
    """Both providers on one port.

    Attributes:
        batches: The batches that were created, in order.
        live: Number of ordinary calls by prompt.
        lose: What happens to the next submissions: ``"before"`` loses the request, ``"after"`` its
            answer; ``"busy"`` answers 503 to a request that was accepted.
        ends: Whether a batch has ended when it is looked at.
        status: The final state of OpenAI's batches.
        change: Changes the lines of the results, as a function of lists of dicts or bytes.
        answer: Returns the answer to a prompt.
        results_url: The URL that Anthropic names; by default, its own.
        page: Number of batches on a page of the list.
        fail: Statuses with which the next requests for a state are answered.
        missing: Whether the server knows no batches at all.
        listing: Returns the batches of each page of a list without an end; ``None`` to list all.
    """

    def __init__(self):
        self.batches, self.files, self.live = [], {}, Counter()
        self.lose, self.fail = [], []
        self.ends, self.status, self.missing = True, "completed", False
        self.change = lambda lines: lines
        self.answer, self.page = str.upper, 100
        self.listing = None
        self.results_url, self.redirects = None, ""
        self.seen = []
        self.refused = None
        self.errors = None
        self.on_create = self.on_look = self.on_request = lambda _: None
        self.server = Server(self._answer)

    def __enter__(self):
        self.server.__enter__()
        return self

    def __exit__(self, *error):
        self.server.__exit__(*error)

    @property
    def url(self):
        """The root URL."""
        return self.server.url

    @property
    def submitted(self):
        """How many times each prompt was submitted in a batch that exists."""
        return Counter(prompt_of(row["body"]) for batch in self.batches for row in batch["rows"])

    def _answer(self, request):
        path = request.target.removeprefix("/v1/")
        self.seen.append((request.method, path))
        self.on_request(request)
        assert KEY in (
            request.headers.get("authorization", "") + request.headers.get("x-api-key", "")
        )
        if self.missing:
            return [Send(reply(b'{"error":{"message":"no route"}}', 404))]
        for pattern, method, handle in _ROUTES:
            if request.method == method and (match := re.fullmatch(pattern, path)):
                return handle(self, request, *match.groups())
        raise AssertionError(f"{request.method} {request.target}")

    def _live(self, request):
        body = json.loads(request.body)
        self.live[prompt_of(body)] += 1
        make = {"chat/completions": chat_body, "responses": responses_body}
        make["messages"] = messages_body
        return _json(make[request.target.removeprefix("/v1/")](prompt_of(body).upper()))

    def _upload(self, request):
        boundary = re.search(r"boundary=(\S+)", request.headers["content-type"])[1].encode()
        parts = request.body.split(b"--" + boundary)
        assert b'name="purpose"\r\n\r\nbatch' in parts[1]
        assert b'name="file"; filename="batch-' in parts[2]
        name = f"file-{len(self.files) + 1}"
        self.files[name] = parts[2].partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        return _json({"id": name, "object": "file"})

    def _create_openai(self, request):
        job = json.loads(request.body)
        lines = self.files[job["input_file_id"]].splitlines()
        rows = [json.loads(line) for line in lines]
        assert {row["url"] for row in rows} == {job["endpoint"]}
        assert all("stream" not in row["body"] and row["method"] == "POST" for row in rows)
        assert len({row["body"]["model"] for row in rows}) == 1
        return self._create(rows, job["metadata"], job["endpoint"])

    def _create_anthropic(self, request):
        rows = json.loads(request.body)["requests"]
        rows = [{"custom_id": row["custom_id"], "body": row["params"]} for row in rows]
        assert all("stream" not in row["body"] for row in rows)
        return self._create(rows, {}, "")

    def _create(self, rows, metadata, endpoint):
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", row["custom_id"]) for row in rows)
        assert len({row["custom_id"] for row in rows}) == len(rows)
        if self.refused:
            return [Send(reply(json.dumps({"error": {"message": "no"}}).encode(), self.refused))]
        fault = self.lose.pop(0) if self.lose else ""
        if fault == "before":
            return [CloseConnection()]
        batch = {"id": f"batch_{len(self.batches) + 1}", "rows": rows, "metadata": metadata}
        batch |= {"endpoint": endpoint, "at": time.time(), "ended": False, "cancelled": False}
        self.batches.append(batch)
        self.on_create(batch)
        if fault == "busy":
            return [Send(reply(b'{"error":{"message":"busy"}}', 503))]
        return [CloseConnection()] if fault else _json(self._state(batch))

    def _list(self, request, *_):
        if self.listing is not None:
            return _json({"data": self.listing(), "has_more": True})
        is_anthropic, after = "x-api-key" in request.headers, request.target.rpartition("=")[2]
        found = [
            self._state(each) for each in self.batches if is_anthropic != bool(each["endpoint"])
        ]
        ids = [each["id"] for each in found]
        rest = found[: ids.index(after)] if "after" in request.target else found
        rest.reverse()
        return _json({"data": rest[: self.page], "has_more": len(rest) > self.page})

    def _batch(self, batch_id):
        return next(batch for batch in self.batches if batch["id"] == batch_id)

    def _look(self, request, batch_id):
        if self.fail:
            return [Send(reply(b'{"error":{"message":"later"}}', self.fail.pop(0)))]
        batch = self._batch(batch_id)
        self.on_look(batch)
        batch["ended"] = batch["ended"] or self.ends
        return _json(self._state(batch))

    def _cancel(self, request, batch_id):
        batch = self._batch(batch_id)
        batch["cancelled"] = True
        return _json(self._state(batch))

    def _state(self, batch):
        ended, rows = batch["ended"], len(batch["rows"])
        if not batch["endpoint"]:
            counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
            counts["succeeded" if ended else "processing"] = rows
            url = self.results_url or f"{self.url}/v1/messages/batches/{batch['id']}/results"
            at = datetime.fromtimestamp(batch["at"], UTC).isoformat()
            return {
                "id": batch["id"],
                "type": "message_batch",
                "processing_status": "ended" if ended else "in_progress",
                "request_counts": counts,
                "created_at": at,
                "ended_at": at if ended else None,
                "cancel_initiated_at": at if batch["cancelled"] else None,
                "results_url": url if ended else None,
            }
        status = "cancelled" if batch["cancelled"] else self.status
        has_files = ended and status != "failed"
        return {
            "id": batch["id"],
            "object": "batch",
            "endpoint": batch["endpoint"],
            "status": status if ended else "in_progress",
            "created_at": int(batch["at"]),
            "request_counts": {"total": rows, "completed": rows if ended else 0, "failed": 0},
            "metadata": batch["metadata"],
            "output_file_id": f"out-{batch['id']}" if has_files else None,
            "error_file_id": f"err-{batch['id']}" if has_files else None,
            "errors": {"data": self.errors} if self.errors and ended else None,
        }

    def _results_anthropic(self, request, batch_id):
        if self.redirects:
            return [Send(redirect(self.redirects))]
        lines = [
            {
                "custom_id": row["custom_id"],
                "result": {
                    "type": "succeeded",
                    "message": messages_body(self.answer(prompt_of(row["body"]))),
                },
            }
            for row in self._batch(batch_id)["rows"]
        ]
        return self._lines(lines)

    def _results_openai(self, request, kind, batch_id):
        if kind == "err":
            return [Send(reply(b"", content_type="application/binary"))]
        batch = self._batch(batch_id)
        make = responses_body if batch["endpoint"].endswith("responses") else chat_body
        lines = [
            {
                "id": f"batch_req_{number}",
                "custom_id": row["custom_id"],
                "response": {"status_code": 200, "body": make(self.answer(prompt_of(row["body"])))},
                "error": None,
            }
            for number, row in enumerate(batch["rows"])
        ]
        return self._lines(lines)

    def _lines(self, lines):
        encoded = [
            line if isinstance(line, bytes) else json.dumps(line).encode()
            for line in self.change(lines)
        ]
        body = b"\n".join(encoded) + b"\n"
        return [Send(reply(body, content_type="application/binary"))]


def _json(body):
    return [Send(reply(json.dumps(body).encode()))]


_ROUTES = (
    (r"chat/completions|responses|messages", "POST", Provider._live),
    (r"files", "POST", Provider._upload),
    (r"files/(out|err)-(\w+)/content", "GET", Provider._results_openai),
    (r"messages/batches", "POST", Provider._create_anthropic),
    (r"batches", "POST", Provider._create_openai),
    (r"batches\?limit=100(?:&after=\w+)?", "GET", Provider._list),
    (r"messages/batches\?limit=100(?:&after_id=\w+)?", "GET", Provider._list),
    (r"messages/batches/(\w+)/results", "GET", Provider._results_anthropic),
    (r"(?:messages/)?batches/(\w+)/cancel", "POST", Provider._cancel),
    (r"(?:messages/)?batches/(\w+)", "GET", Provider._look),
)
