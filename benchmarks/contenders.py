"""The contenders: this package, its transport, and the alternatives.

A contender requests a whole answer from a server, or reads a stream to its end. It imports its
package when it is created, so that a process loads only the packages that it measures.
"""

from __future__ import annotations

import json
import tempfile
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

MODEL = "gpt-4o-mini"
KEY = "sk-benchmark-0123456789"
TIMEOUT = 600.0


class Contender(Protocol):
    """Sends calls to the server at a base URL.

    A blocking contender has methods with the same names that are not coroutines.
    """

    def __init__(self, url: str) -> None: ...

    async def ask(self, prompt: str) -> str:
        """Return the text of the answer."""
        ...

    async def count(self, prompt: str) -> int:
        """Read a stream to its end; return the number of text chunks."""
        ...


class Httpx:
    """Handwritten code on httpx that opens as many connections as there are calls.

    It keeps 20 of them alive, the default of httpx. With all of them alive, it is ten times slower,
    because each request checks every idle connection. Over TLS, new connections would cost more.
    """

    def __init__(self, url: str) -> None:
        self._url = f"{url}/chat/completions"
        self._http = self._client()

    async def ask(self, prompt: str) -> str:
        """Send the prompt, and parse the response as JSON."""
        answer = await self._http.post(self._url, json=_payload(prompt))
        text: str = answer.raise_for_status().json()["choices"][0]["message"]["content"]
        return text

    async def count(self, prompt: str) -> int:
        """Send the prompt, and parse the lines that contain text as JSON."""
        payload = _payload(prompt) | {"stream": True}
        count = 0
        async with self._http.stream("POST", self._url, json=payload) as answer:
            async for line in answer.raise_for_status().aiter_lines():
                if line.startswith("data: {"):
                    choices = json.loads(line.removeprefix("data: "))["choices"]
                    count += bool(choices and choices[0]["delta"].get("content"))
        return count

    def _client(self) -> httpx.AsyncClient:
        import httpx

        return httpx.AsyncClient(
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=TIMEOUT,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            trust_env=False,
        )


class HttpxOnAiohttp(Httpx):
    """The same code on connections of aiohttp, which this package uses without httpx."""

    def _client(self) -> httpx.AsyncClient:
        import aiohttp
        from httpx_aiohttp import AiohttpTransport, HttpxAiohttpClient

        def session() -> aiohttp.ClientSession:
            return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

        return HttpxAiohttpClient(
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=TIMEOUT,
            transport=AiohttpTransport(verify=False, client=session),
            trust_env=False,
        )


class Ours:
    """This package, called with ``await``."""

    def __init__(self, url: str) -> None:
        from gatewayx_nb import EnginePool

        self._folder = tempfile.TemporaryDirectory(prefix="gatewayx-bench-")
        home = self._folder.name
        env = {"GATEWAYX_GROK_API_KEY": KEY, "GATEWAYX_GROK_BASE_URL": url, "XDG_CONFIG_HOME": home}
        self._pool = EnginePool(home=home, env=env)
        self._model = f"grok:{MODEL}"

    async def ask(self, prompt: str) -> str:
        """Await the reply."""
        return (await self._pool.aask(prompt, model=self._model)).text

    async def count(self, prompt: str) -> int:
        """Count the chunks that contain text."""
        return sum(
            [1 async for chunk in self._pool.astream(prompt, model=self._model) if chunk.text]
        )


class OursInThread(Ours):
    """This package, called from a blocking thread, as in a cell or a script."""

    def ask(self, prompt: str) -> str:  # type: ignore[override]
        """Wait for the reply."""
        return self._pool.ask(prompt, model=self._model).text

    def count(self, prompt: str) -> int:  # type: ignore[override]
        """Count the chunks that contain text."""
        return sum(1 for chunk in self._pool.stream(prompt, model=self._model) if chunk.text)


class OpenAI:
    """The openai SDK."""

    def __init__(self, url: str) -> None:
        from openai import AsyncOpenAI

        self._client = AsyncOpenAI(base_url=url, api_key=KEY, timeout=TIMEOUT, max_retries=0)

    async def ask(self, prompt: str) -> str:
        """Await the completion."""
        return _text(await self._client.chat.completions.create(**_payload(prompt)))

    async def count(self, prompt: str) -> int:
        """Count the chunks that contain text."""
        stream = await self._client.chat.completions.create(**_payload(prompt), stream=True)
        return await _count_texts(stream)


class AISuite:
    """aisuite, which uses the openai SDK."""

    def __init__(self, url: str) -> None:
        import aisuite

        settings = {"api_key": KEY, "base_url": url, "timeout": TIMEOUT, "max_retries": 0}
        self._chat = aisuite.Client({"openai": settings}).chat
        self._model = {"model": f"openai:{MODEL}"}

    async def ask(self, prompt: str) -> str:
        """Await the completion."""
        return _text(await self._chat.completions.acreate(**_payload(prompt) | self._model))

    async def count(self, prompt: str) -> int:
        """Count the chunks that contain text."""
        payload = _payload(prompt) | self._model
        return await _count_texts(await self._chat.completions.acreate(**payload, stream=True))


class LiteLLM:
    """litellm."""

    def __init__(self, url: str) -> None:
        import litellm

        self._complete = litellm.acompletion
        self._options = {
            "model": f"openai/{MODEL}",
            "api_base": url,
            "api_key": KEY,
            "timeout": TIMEOUT,
            "max_retries": 0,
        }

    async def ask(self, prompt: str) -> str:
        """Await the completion."""
        return _text(await self._complete(**_payload(prompt) | self._options))

    async def count(self, prompt: str) -> int:
        """Count the chunks that contain text."""
        return await _count_texts(
            await self._complete(**_payload(prompt) | self._options, stream=True)
        )


BARE = "httpx on aiohttp"
PLAIN = "httpx"
OURS = "gatewayx_nb"

CONTENDERS: Mapping[str, tuple[str, type[Any]]] = {
    BARE: ("httpx_aiohttp", HttpxOnAiohttp),
    PLAIN: ("httpx", Httpx),
    OURS: ("gatewayx_nb", Ours),
    f"{OURS}, sync": ("gatewayx_nb", OursInThread),
    "openai": ("openai", OpenAI),
    "aisuite": ("aisuite", AISuite),
    "litellm": ("litellm", LiteLLM),
}
"""The required package and the class, by the name in the tables."""


def _payload(prompt: str) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}


def _text(completion: Any) -> str:  # noqa: ANN401 - each package has its own class
    text: str = completion.choices[0].message.content
    return text


async def _count_texts(stream: Any) -> int:  # noqa: ANN401 - as above
    return sum([1 async for part in stream if part.choices and part.choices[0].delta.content])
