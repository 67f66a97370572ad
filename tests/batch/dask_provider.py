"""A loopback provider that counts: calls by prompt, calls in flight, and calls that it refuses."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter

from aiohttp import web

KEY = "sk-key-of-the-dask-tests-0123456789"


class CountingProvider:
    """Answers each prompt in capital letters, as OpenAI's Chat Completions.

    Attributes:
        asked: Number of calls by prompt.
        most_at_once: Maximum number of calls in flight.
        refused: Number of calls beyond the limit.
        latency: Seconds that a call takes.
        limit: Requests per minute, of which a second's share may come at once; 0 for no limit.
        statuses: Statuses of error answers, by prompt.
        status: Status of all answers, if it is not 0.
    """

    def __init__(self):
        self.port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.reset()

    def reset(self):
        """Forget what was counted, and answer at once."""
        self.asked, self.keys = Counter(), set()
        self.at_once = self.most_at_once = self.refused = self.limit = self.status = 0
        self.latency, self.statuses = 0.0, {}
        self._level, self._filled_at = 1.0, time.monotonic()

    @property
    def environment(self):
        """The variables with which a process finds the server."""
        url = f"http://127.0.0.1:{self.port}/v1"
        return {"GATEWAYX_OPENAI_API_KEY": KEY, "GATEWAYX_OPENAI_BASE_URL": url}

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *error):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _answer(self, request):
        body = await request.json()
        prompt = body["messages"][-1]["content"]
        self.keys.add(request.headers["Authorization"])
        if not self._take():
            self.refused += 1
            return _error(429)
        self.asked[prompt] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.latency)
        finally:
            self.at_once -= 1
        if status := self.status or self.statuses.get(prompt, 0):
            return _error(status)
        text = '{"word": "%s", "size": 3}' if "response_format" in body else "%s"
        return await _send(request, body, text % prompt.upper())

    def _take(self):
        rate, now = self.limit / 60, time.monotonic()
        self._level = min(rate, self._level + (now - self._filled_at) * rate)
        self._filled_at = now
        if self.limit and self._level < 1:
            return False
        self._level -= 1
        return True


def _error(status):
    return web.json_response({"error": {"message": f"no: {status}"}}, status=status)


async def _send(request, body, text):
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    choice = {"index": 0, "finish_reason": "stop"}
    answer = {"id": "c1", "model": "m", "usage": usage}
    if not body.get("stream"):
        answer |= {"object": "chat.completion", "choices": [choice | {"message": message}]}
        return web.json_response(answer)
    answer |= {"object": "chat.completion.chunk", "choices": [choice | {"delta": message}]}
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(f"data: {json.dumps(answer)}\n\ndata: [DONE]\n\n".encode())
    return response
