"""The base of loopback servers that play a provider and refuse what the real one refuses.

A server answers each request with its next turn. It checks that a request fits the types of the
vendor's SDK, that each call is answered in the next message, and that its own earlier turns come
back unchanged. What it finds is in ``faults``; the answer is then a 400.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel

from gatewayx_nb.testing import Send, reply
from tests.llm_engines.wire import body_script, make_event, stream_script


@dataclass(frozen=True)
class Turn:
    """An answer of a model.

    Attributes:
        text: The text.
        thought: What the model thinks first, which it signs or encrypts.
        calls: Names and arguments of calls; arguments that are not a dict are sent literally.
    """

    text: str = ""
    thought: str = ""
    calls: tuple = ()

    @property
    def is_valid(self):
        """Whether all arguments are objects, without which no provider gets its turn back."""
        return all(isinstance(arguments, dict) for _, arguments in self.calls)


@dataclass(frozen=True)
class Entry:
    """A message of a request as a server sees it.

    Attributes:
        kind: ``"user"``, ``"assistant"`` or ``"results"``.
        ids: The IDs of the calls, or of the results.
        native: An assistant's message as JSON in a form that is equal for equal messages.
    """

    kind: str
    ids: tuple = ()
    native: object = None


class StrictServer:
    """Plays one provider.

    Args:
        *turns: The answers, in order; the last one is repeated.
        is_cut: Whether streams arrive in single bytes.

    Attributes:
        bodies: The bodies of the requests.
        faults: Why requests were refused.
        count: The number of answers.
        issued: The answers as the provider expects them back.
    """

    engine = ""
    path = ""
    settings = ""
    params = None
    """The SDK's type for a whole request, if it has one."""

    def __init__(self, *turns, is_cut=False):
        self.turns, self.is_cut = turns, is_cut
        self.count, self.bodies, self.faults, self.issued = 0, [], [], []

    def __call__(self, request):
        """Return the script for a request."""
        body = json.loads(request.body)
        self.bodies.append(body)
        try:
            self.check_types(body)
            self.check(body)
            self._check_history(list(self.entries(body)))
        except Exception as error:  # noqa: BLE001 - any failure is a fault of the request
            self.faults.append(f"{type(error).__name__}: {error}")
            return [Send(reply(json.dumps({"error": {"message": "refused"}}).encode(), 400))]
        turn = self.turns[min(self.count, len(self.turns) - 1)]
        answer = self.answer(turn, self.count)
        self.count += 1
        if turn.is_valid:
            self.issued.append(self.native(answer))
        if not (body.get("stream") or "streamGenerateContent" in request.target):
            return body_script(answer)
        blocks = [make_event(event) for event in self.events(answer)]
        data = b"".join(blocks)
        return stream_script(
            [data[at : at + 1] for at in range(len(data))] if self.is_cut else blocks
        )

    def check_types(self, body):
        """Check a request with the SDK's type; an unknown field is a fault, too."""
        typed = _plain(self.params.validate_python(body))
        assert typed == body, f"{typed} is not {body}"

    def check(self, body):
        """Check what the SDK's types do not say."""

    def _check_history(self, entries):
        for number, entry in enumerate(entries):
            before = entries[number - 1] if number else Entry("user")
            if before.kind == "assistant" and before.ids:
                assert entry.kind == "results", f"{before.ids} must be answered at once"
            if entry.kind == "results":
                assert sorted(entry.ids) == sorted(before.ids), f"{entry.ids} for {before.ids}"
        assert entries[-1].kind != "assistant"
        answers = [entry.native for entry in entries if entry.kind == "assistant"]
        own = [native for native in answers if native in self.issued]
        assert own == self.issued, f"sent {answers}, not {self.issued}"
        for native in answers:
            if native not in self.issued:
                self.check_foreign(native)

    def check_foreign(self, native):
        """Check a message of another provider."""

    def tool_names(self, body):
        """Return the names of the tools of a request."""
        return [tool["function"]["name"] for tool in body.get("tools", ())]

    def results(self, body):
        """Return the contents of the results in a request."""
        return [row["content"] for row in body["messages"] if row["role"] == "tool"]


def _plain(value):
    """Return a validated value as JSON; pydantic validates the items of an iterable only here."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    is_plain = isinstance(value, str) or not isinstance(value, Iterable)
    return value if is_plain else [_plain(item) for item in value]


def literal(arguments):
    """Return the arguments of a call as JSON."""
    return json.dumps(arguments) if isinstance(arguments, dict) else arguments
