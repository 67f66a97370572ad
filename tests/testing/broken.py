"""Engines that break rules of the conformance kit, at least one for each rule."""

from dataclasses import dataclass

PRELUDE = """
import asyncio
import time

from ..errors import GatewayError, ProviderError
from ..llm_engines import Chunk, LLMEngine, OpenAICompatibleEngine, Request

END = Chunk(finish_reason="stop")

"""

PLAIN_ENGINE = "class Engine(LLMEngine):\n    requires_key = False\n    model_name = 'm'\n"
GENERATE = "    async def generate(self, prompt, **kwargs):\n        return prompt\n"
STREAM_HEADER = "    async def stream(self, request):\n"
CHAT_ENGINE = "class Engine(OpenAICompatibleEngine):\n    base_url = 'https://x.test/v1'\n"

HTTPX_ENGINE = (
    CHAT_ENGINE
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

OWN_DECODER_ENGINE = (
    CHAT_ENGINE
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

PLAIN_ERROR_ENGINE = (
    CHAT_ENGINE
    + """
    async def stream(self, request):
        try:
            async for chunk in super().stream(request):
                yield chunk
        except GatewayError as error:
            raise ProviderError(f"failed with {self.api_key}: {error}")
"""
)

BACKGROUND_TASK_ENGINE = (
    CHAT_ENGINE
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

REQUIRED_CHOICES_ENGINE = (
    CHAT_ENGINE
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

WITHOUT_TOOLS_ENGINE = (
    CHAT_ENGINE
    + """
    def payload(self, request):
        payload = super().payload(request)
        payload["messages"] = [row for row in payload["messages"] if row["role"] == "user"]
        return {name: value for name, value in payload.items() if name != "tools"}

    async def stream(self, request):
        import dataclasses
        async for chunk in super().stream(request):
            yield dataclasses.replace(chunk, tool_calls=()) if request.streamed else chunk
"""
)

UNCANCELLABLE_STREAM = """
    async def stream(self, request):
        yield Chunk(text="a")
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            await asyncio.sleep(5)
        yield END
"""

SHARED_PROMPT_STREAM = """
    async def stream(self, request):
        self.prompt = request.prompt
        for index in range(5):
            await asyncio.sleep(0)
            yield Chunk(text=self.prompt[index])
        yield END
"""

LOADING_RULE = "an engine file loads and defines one engine"


@dataclass(frozen=True)
class Case:
    """An engine that breaks a rule."""

    rule: str
    source: str
    ask: bool = False


CASES = [
    Case(LOADING_RULE, "class Engine("),
    Case(LOADING_RULE, PLAIN_ENGINE + GENERATE + "\n\nclass Other(Engine):\n    pass\n"),
    Case(LOADING_RULE, PLAIN_ENGINE),
    Case(LOADING_RULE, f"{PLAIN_ENGINE}    features = 'images'\n{GENERATE}"),
    Case(
        "an engine can be created from its key",
        PLAIN_ENGINE + "    def __init__(self, api_key, region):\n        pass\n" + GENERATE,
    ),
    Case(
        "`requires_key` in the source equals the class attribute",
        PLAIN_ENGINE.replace("= False", "= not True") + GENERATE,
    ),
    Case(
        "`features` is a frozenset of known names",
        PLAIN_ENGINE + "    features = frozenset({'vision'})\n" + GENERATE,
    ),
    Case(
        "`features` is a frozenset of known names",
        PLAIN_ENGINE + "    features = ['images']\n" + GENERATE,
    ),
    Case("`model_name` is a str", PLAIN_ENGINE + "    model_name = None\n" + GENERATE),
    Case(
        "`generate` accepts any keyword argument", PLAIN_ENGINE + GENERATE.replace(", **kwargs", "")
    ),
    Case(
        "the methods that a pool awaits are `async def`",
        PLAIN_ENGINE + GENERATE + "    def embed(self, texts, model):\n        return []\n",
    ),
    Case(
        "`get_cost_per_token` returns dollars or None",
        PLAIN_ENGINE + GENERATE + "    def get_cost_per_token(self):\n        return '0.1'\n",
    ),
    Case(
        "the engine does not expose its key",
        PLAIN_ENGINE
        + "    def __init__(self, api_key):\n        super().__init__(api_key)\n"
        + "        self.headers = {'Authorization': f'Bearer {api_key}'}\n"
        + GENERATE,
    ),
    Case(
        "`cleanup` can run twice, and before any call",
        PLAIN_ENGINE + GENERATE + "    async def cleanup(self):\n        del self.options\n",
    ),
    Case(
        "`stream` yields Chunks with text",
        PLAIN_ENGINE + STREAM_HEADER + "        yield 'a'\n",
        ask=True,
    ),
    Case(
        "`stream` yields Chunks with text",
        PLAIN_ENGINE + GENERATE.replace("return prompt", "return 'Error generating response: no'"),
        ask=True,
    ),
    Case(
        "a reply ends with a finish reason",
        PLAIN_ENGINE + STREAM_HEADER + "        yield Chunk(text='a')\n",
        ask=True,
    ),
    Case(
        "a reply ends with a finish reason",
        PLAIN_ENGINE + STREAM_HEADER + "        yield Chunk('a', finish_reason='end')\n",
        ask=True,
    ),
    Case(
        "a reply ends with a finish reason",
        PLAIN_ENGINE
        + "    async def stream(self, r):\n        yield END\n        yield Chunk(text='a')\n",
        ask=True,
    ),
    Case(
        "`generate` returns a str or a Reply",
        PLAIN_ENGINE + GENERATE.replace("prompt\n", "1\n"),
        ask=True,
    ),
    Case("concurrent streams do not mix", PLAIN_ENGINE + SHARED_PROMPT_STREAM, ask=True),
    Case("a cancelled stream ends", PLAIN_ENGINE + UNCANCELLABLE_STREAM, ask=True),
    Case("a cancelled stream closes its connection", BACKGROUND_TASK_ENGINE),
    Case("401, 403, 404, 429 and 500 raise the error class for that status", PLAIN_ERROR_ENGINE),
    Case("a rate limit error has `retry_after`", PLAIN_ERROR_ENGINE),
    Case("no error contains the key", PLAIN_ERROR_ENGINE),
    Case("an HTML page raises an error", HTTPX_ENGINE),
    Case("a redirect is not followed", HTTPX_ENGINE),
    Case("a compressed reply raises an error", HTTPX_ENGINE),
    Case("a broken connection raises a GatewayError", HTTPX_ENGINE),
    Case("no URL contains the key", HTTPX_ENGINE),
    Case("a reply has the same content whether or not it is streamed", HTTPX_ENGINE),
    Case("a request declares its tools", WITHOUT_TOOLS_ENGINE),
    Case("a tool call is the same whether or not it is streamed", WITHOUT_TOOLS_ENGINE),
    Case("the result of a tool is sent after its call", WITHOUT_TOOLS_ENGINE),
    Case("a truncated stream raises an error", OWN_DECODER_ENGINE),
    Case("a stream may be split at any byte", OWN_DECODER_ENGINE),
    Case("lines end in LF, CRLF or CR, and data may span lines", HTTPX_ENGINE),
    Case("a byte order mark is skipped", HTTPX_ENGINE),
    Case("comments are skipped", HTTPX_ENGINE),
    Case("empty and unknown events are skipped", REQUIRED_CHOICES_ENGINE),
    Case("invalid UTF-8 does not raise a raw exception", OWN_DECODER_ENGINE),
    Case("an endless line raises an error", HTTPX_ENGINE),
    Case("an error in a reply with status 200 is raised", HTTPX_ENGINE),
    Case(
        "the models are listed",
        CHAT_ENGINE + "    def model_names(self, listing):\n        return []\n",
    ),
]

IDS = [f"{index}: {case.rule}" for index, case in enumerate(CASES)]
