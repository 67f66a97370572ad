"""Engines that break rules; each rule is broken by at least one."""

from dataclasses import dataclass

PRELUDE = """
import asyncio
import time

from ..errors import GatewayError, ProviderError
from ..llm_engines import Chunk, LLMEngine, OpenAICompatibleEngine, Request

END = Chunk(finish_reason="stop")

"""

PLAIN = "class Engine(LLMEngine):\n    requires_key = False\n    model_name = 'm'\n"
SAYS = "    async def generate(self, prompt, **kwargs):\n        return prompt\n"
STREAM = "    async def stream(self, request):\n"
CHATTY = "class Engine(OpenAICompatibleEngine):\n    base_url = 'https://x.test/v1'\n"

BY_HAND = (
    CHATTY
    + """
    async def stream(self, request):
        import httpx
        async with httpx.AsyncClient(follow_redirects=True, trust_env=False) as http:
            url = f"{self.base_url}/chat?key={self.api_key}"
            answer = await http.post(url, json=self.payload(request))
        yield Chunk(text=answer.text)
        yield END
"""
)

OWN_DECODER = (
    CHATTY
    + """
    async def stream(self, request):
        parser = self.parser(None)
        async with self.http.post(self.path, self.payload(request)) as response:
            async for block in response.blocks():
                for line in block.decode().splitlines():
                    if line.startswith("data: "):
                        for chunk in parser.feed(line[6:]):
                            yield chunk
"""
)

FORGETFUL = (
    CHATTY
    + """
    async def stream(self, request):
        try:
            async for chunk in super().stream(request):
                yield chunk
        except GatewayError as error:
            raise ProviderError(f"failed with {self.api_key}: {error}")
"""
)

BACKGROUND = (
    CHATTY
    + """
    async def stream(self, request):
        queue = asyncio.Queue()

        async def read():
            try:
                async for chunk in OpenAICompatibleEngine.stream(self, request):
                    queue.put_nowait(chunk)
            finally:
                queue.put_nowait(None)

        self.task = asyncio.create_task(read())
        while chunk := await queue.get():
            yield chunk
        await self.task
"""
)

SEEN_CHOICES = (
    CHATTY
    + """
    def parser(self, faults):
        parser = super().parser(faults)
        feed = parser.feed

        def strict(data):
            if data != "[DONE]" and '"choices": []' in data and '"usage": null' in data:
                raise IndexError("list index out of range")
            return feed(data)

        parser.feed = strict
        return parser
"""
)

STUBBORN = """
    async def stream(self, request):
        yield Chunk(text="a")
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            await asyncio.sleep(5)
        yield END
"""

MIXING = """
    async def stream(self, request):
        self.prompt = request.prompt
        for place in range(5):
            await asyncio.sleep(0)
            yield Chunk(text=self.prompt[place])
        yield END
"""

LOADS = "an engine file loads and defines one engine"


@dataclass(frozen=True)
class Case:
    """An engine that breaks a rule."""

    rule: str
    source: str
    ask: bool = False


CASES = [
    Case(LOADS, "class Engine("),
    Case(LOADS, PLAIN + SAYS + "\n\nclass Other(Engine):\n    pass\n"),
    Case(LOADS, PLAIN),
    Case(
        "an engine can be created from its key",
        PLAIN + "    def __init__(self, api_key, region):\n        pass\n" + SAYS,
    ),
    Case(
        "`requires_key` in the source equals the class attribute",
        PLAIN.replace("= False", "= not True") + SAYS,
    ),
    Case(
        "`features` is a frozenset of known names",
        PLAIN + "    features = frozenset({'vision'})\n" + SAYS,
    ),
    Case("`features` is a frozenset of known names", PLAIN + "    features = 'images'\n" + SAYS),
    Case("`model_name` is a str", PLAIN + "    model_name = None\n" + SAYS),
    Case("`generate` accepts any keyword argument", PLAIN + SAYS.replace(", **kwargs", "")),
    Case("the methods that a pool awaits are `async def`", PLAIN + SAYS.replace("async ", "")),
    Case(
        "`get_cost_per_token` returns dollars or None",
        PLAIN + SAYS + "    def get_cost_per_token(self):\n        return '0.1'\n",
    ),
    Case(
        "the engine does not expose its key",
        PLAIN
        + "    def __init__(self, api_key):\n        super().__init__(api_key)\n"
        + "        self.headers = {'Authorization': f'Bearer {api_key}'}\n"
        + SAYS,
    ),
    Case(
        "`cleanup` can run twice, and before any call",
        PLAIN + SAYS + "    async def cleanup(self):\n        del self.options\n",
    ),
    Case(
        "`stream` yields Chunks with text",
        PLAIN + STREAM + "        yield 'a'\n",
        ask=True,
    ),
    Case(
        "`stream` yields Chunks with text",
        PLAIN + SAYS.replace("return prompt", "return 'Error generating response: no'"),
        ask=True,
    ),
    Case(
        "a reply ends with a finish reason",
        PLAIN + STREAM + "        yield Chunk(text='a')\n",
        ask=True,
    ),
    Case(
        "a reply ends with a finish reason",
        PLAIN + STREAM + "        yield Chunk('a', finish_reason='end')\n",
        ask=True,
    ),
    Case(
        "a reply ends with a finish reason",
        PLAIN
        + "    async def stream(self, r):\n        yield END\n        yield Chunk(text='a')\n",
        ask=True,
    ),
    Case("`generate` returns a str or a Reply", PLAIN + SAYS.replace("prompt\n", "1\n"), ask=True),
    Case("concurrent streams do not mix", PLAIN + MIXING, ask=True),
    Case("a cancelled stream ends", PLAIN + STUBBORN, ask=True),
    Case("a cancelled stream closes its connection", BACKGROUND),
    Case("401, 403, 404, 429 and 500 raise the error class for that status", FORGETFUL),
    Case("a rate limit error has `retry_after`", FORGETFUL),
    Case("no error contains the key", FORGETFUL),
    Case("an HTML page raises an error", BY_HAND),
    Case("a redirect is not followed", BY_HAND),
    Case("a compressed reply raises an error", BY_HAND),
    Case("a broken connection raises a GatewayError", BY_HAND),
    Case("no URL contains the key", BY_HAND),
    Case("a whole reply and its stream have the same content", BY_HAND),
    Case("a truncated stream raises an error", OWN_DECODER),
    Case("a stream may be split at every byte", OWN_DECODER),
    Case("lines end in LF, CRLF or CR, and data may span lines", BY_HAND),
    Case("a byte order mark is skipped", BY_HAND),
    Case("comments are skipped", BY_HAND),
    Case("empty and unknown events are skipped", SEEN_CHOICES),
    Case("invalid UTF-8 raises no raw exception", OWN_DECODER),
    Case("an endless line raises an error", BY_HAND),
    Case("an error in a reply with status 200 is raised", BY_HAND),
    Case(
        "the models are listed", CHATTY + "    def model_names(self, listing):\n        return []\n"
    ),
]

IDS = [f"{place}: {case.rule}" for place, case in enumerate(CASES)]
