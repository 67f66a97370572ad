import asyncio
import inspect
import pydoc
import re
from typing import get_type_hints

import pytest

import gatewayx_nb as gx
from gatewayx_nb.calls import OPTIONS, AskOptions, CompareOptions
from gatewayx_nb.conversations import Chat
from gatewayx_nb.errors import EngineNotFoundError, UsageError

NAMED = ["prompt", "model", "messages", "schema"]
ASK = [gx.ask, gx.aask, gx.stream, gx.astream, gx.preview, gx.apreview]


def name_of(function):
    return function.__qualname__


METHODS = [gx.EnginePool.ask, gx.EnginePool.astream]
CHAT_METHODS = [Chat.ask, Chat.aask, Chat.stream, Chat.astream]


def parameters(function):
    names = list(inspect.signature(function).parameters)
    return names[1:] if names[0] == "self" else names


@pytest.mark.parametrize("function", [*ASK, *METHODS], ids=name_of)
def test_a_signature_shows_every_option(function):
    """Shift-Tab and completion read the signature: it has a keyword for each option."""
    assert parameters(function)[:4] == NAMED
    assert set(parameters(function)[4:]) == set(get_type_hints(AskOptions))


@pytest.mark.parametrize("function", CHAT_METHODS, ids=name_of)
def test_a_conversation_does_not_show_the_option_that_names_one(function):
    """A call in a conversation cannot join another one, so `chat` is not among its options."""
    assert set(parameters(function)[4:]) == set(get_type_hints(AskOptions)) - {"chat"}
    assert "chat" in inspect.signature(gx.EnginePool.ask).parameters


@pytest.mark.parametrize("function", [gx.compare, gx.acompare, gx.EnginePool.compare], ids=name_of)
def test_a_comparison_shows_only_its_own_options(function):
    """A comparison has no `chat` and no `fallback`."""
    assert parameters(function)[:2] == ["prompt", "models"]
    assert set(parameters(function)[4:]) == set(get_type_hints(CompareOptions))


@pytest.mark.parametrize(
    "function", [*ASK, *METHODS, *CHAT_METHODS, gx.compare, gx.compare_view], ids=name_of
)
def test_the_docstring_describes_each_parameter_in_one_line(function):
    """`help` lists each parameter of the signature once, before the results and the exceptions."""
    text = inspect.getdoc(function)
    described = text.partition("Args:\n")[2].partition("\n\n")[0].splitlines()

    assert [line.split(":")[0].strip() for line in described] == parameters(function)
    assert all(line.endswith(".") and len(line) < 110 for line in described)
    assert "Args:" in pydoc.render_doc(function)


def test_the_signature_has_the_default_of_each_option():
    """The defaults in the signature are the values of omitted options."""
    defaults = {
        name: parameter.default for name, parameter in inspect.signature(gx.ask).parameters.items()
    }
    assert defaults["images"] == ()
    assert defaults["allow_unpriced"] is False
    assert defaults["temperature"] is None
    for name in get_type_hints(AskOptions):
        assert defaults[name] == OPTIONS[name].default


def test_the_model_may_be_the_second_argument(project):
    """`ask("hi", "mock")` needs no keyword."""
    with project.pool() as pool:
        assert pool.ask("hi", "mock").engine == "mock"
        assert pool.chat().ask("hi", "mock").engine == "mock"
        assert [reply.engine for reply in pool.compare("hi", "mock")] == ["mock"]
        assert "".join(chunk.text for chunk in pool.stream("hi", "mock")) == "[mock] hi"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), {}), r"the prompt is missing\. For example, `ask\("),
        ((("hi", 5), {}), 'model must be a reference, "engine" or "engine:model", got 5'),
        ((("hi",), {"messages": []}), "`prompt` and `messages` are both set. Pass one of them"),
    ],
)
def test_an_invalid_call_is_one_line(project, arguments, message):
    """A wrong argument raises a one-line error that says what to pass."""
    positional, keywords = arguments
    with project.pool() as pool, pytest.raises(UsageError, match=message) as caught:
        pool.ask(*positional, **keywords)
    assert "\n" not in str(caught.value)


def test_an_error_shortens_a_long_value(project):
    """No error contains a whole prompt or a long value."""
    with project.pool() as pool, pytest.raises(UsageError) as caught:
        pool.ask(["x" * 10_000], "mock", stop=3)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gx.ask("Paris", dict, model="mock"), "multiple values for argument 'model'"),
        (lambda: gx.compare("hi", "mock", "mock"), "too many positional arguments"),
        (gx.cassette, "missing a required argument: 'path'"),
        (lambda: gx.embed("hi"), "missing a required argument: 'model'"),
        (lambda: asyncio.run(gx.aembed("hi")), "missing a required argument: 'model'"),
        (gx.pull, "missing a required argument: 'name'"),
        (lambda: gx.jobs(1), "too many positional arguments"),
        (lambda: gx.pool(3), "too many positional arguments"),
        (lambda: gx.embed(["hi"], modl="mock"), "argument 'modl'. Did you mean 'model'"),
        (lambda: gx.embed(["hi"], engine="mock"), "argument 'engine'. Did you mean 'model'"),
    ],
    ids=["ask", "compare", "cassette", "embed", "aembed", "pull", "jobs", "pool", "modl", "engine"],
)
def test_invalid_arguments_raise_a_one_line_error(project, call, message):
    """The error for a function of the default pool shows its parameters, without a traceback."""
    with pytest.raises(UsageError, match=f"`.*` does not accept these arguments: .*{message}") as e:
        call()

    assert "It takes (" in str(e.value)
    assert "self" not in str(e.value)
    assert "'str" not in str(e.value), "without annotations"


LONG = ["x" * 10_000]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("gx.health(LONG)", "the name of an engine must be a str, got"),
        ("asyncio.run(gx.ahealth(LONG))", "the name of an engine must be a str, got"),
        ("gx.models(LONG)", "the name of an engine must be a str, got"),
        ("gx.use(LONG)", "model must be a str, got"),
        ("gx.history(LONG)", "count must be an int >= 0, got"),
        ("gx.history(-1)", "count must be an int >= 0, got -1"),
        ("gx.history(10**30)", "count must be an int >= 0 and at most 2**63 - 1, got 1000"),
        ("gx.Job('x', 'y')", "run must be a comparison that has not been started, got 'y'"),
        ("gx.ask(promt='hi')", "'promt' is not an option of a call. Did you mean 'prompt'?"),
        ("gx.ask('hi', engine='mock')", "not an option of a call. Did you mean 'model'?"),
        ("gx.ask(stream=True)", "'stream' is not an option of a call. Call `stream` instead"),
        ("gx.ask('hi', n=2)", "'n' is not an option of a call. Repeat the call"),
        ("gx.ask('hi', api_key='x')", "'api_key' is not an option of a call. Set GATEWAYX_NAME"),
        ("gx.preview(promt='hi')", "'promt' is not an option of a call. Did you mean 'prompt'?"),
        ("gx.compare('hi', model=['local'])", "does not take `model`. Did you mean `models`?"),
        (
            "gx.compare('hi', 'mock', model='local')",
            "does not take `model`. Did you mean `models`?",
        ),
        ("asyncio.run(gx.acompare('hi', engine='mock'))", "Did you mean 'models'?"),
        ("gx.cassette(LONG)", "path must be a str or a Path, got"),
        ("gx.cassette('off')", "got the mode 'off'. Open a cassette with"),
        ("gx.cassette('replay')", 'cassette("cassettes/NAME.jsonl", mode="replay")'),
        ("gx.chat(LONG)", "model must be one reference"),
        ("gx.chat(system=3)", "system must be a str, got 3"),
        ("gx.chat(name=3)", "a chat's name must consist of 1 to 64 letters, digits"),
        ('gx.compare("hi", 3)', "models must be one or more references, got 3"),
        ('gx.compare("hi", [LONG])', "models must be one or more references, got"),
        ("gx.compare_view(LONG)", "prompt must be a str, got"),
        ('gx.compare_view("hi", 3)', "value must contain only references, got 3"),
        ("gx.picker(3)", "value must contain only references, got 3"),
    ],
)
@pytest.mark.usefixtures("project")
def test_an_argument_of_a_wrong_type_is_one_line(call, message):
    """An argument of a wrong type raises an error that names it and shortens its value."""
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        eval(call, {"gx": gx, "asyncio": asyncio, "LONG": LONG})

    assert len(str(error.value)) < 400


def test_help_explains_each_parameter():
    """`help` of each public function has a line for each parameter."""
    names = [name for name in gx.__all__ if inspect.isroutine(getattr(gx, name))]
    assert len(names) > 20

    for name in names:
        if name.endswith("_ipython_extension"):  # IPython calls these two
            continue
        function = getattr(gx, name)
        for parameter in inspect.signature(function).parameters:
            assert re.search(rf"^ +\*?{parameter}: \S", inspect.getdoc(function), re.MULTILINE), (
                name
            )


@pytest.mark.usefixtures("project")
def test_an_unknown_engine_of_a_chat_is_reported_at_once():
    """A conversation with an unknown engine raises the same error as a call to it."""
    with pytest.raises(EngineNotFoundError) as of_chat:
        gx.chat("gork")
    with pytest.raises(EngineNotFoundError) as of_call:
        gx.ask("hi", model="gork")

    assert str(of_chat.value) == str(of_call.value)


def test_the_repr_of_a_stream_has_its_model_and_state(project):
    """The repr of a stream has its class, the model and the state."""
    with project.pool() as pool:
        stream = pool.stream("hi", model="mock")
        states = [repr(stream)]
        list(stream)
        states.append(repr(stream))
        stopped = pool.stream("hi", model="mock")
        stopped.close()

    names = [state.partition(", ")[2] for state in (*states, repr(stopped))]
    assert names == ["not started)", "done)", "stopped)"]
    assert states[0].startswith("ReplyStream('mock")


def test_the_repr_of_a_conversation_counts_its_turns(project):
    """The repr of a conversation uses the singular for one turn."""
    with project.pool() as pool:
        chat = pool.chat("mock", name="story")
        chat.ask("hi")
        assert repr(chat) == "Chat('story', 1 turn)"
        chat.ask("hi")
        assert repr(chat) == "Chat('story', 2 turns)"


def test_the_repr_of_a_cassette_counts_its_entries(project, tmp_path):
    """The repr of a cassette uses the singular for one entry."""
    with project.pool() as pool, pool.cassette(tmp_path / "story.jsonl") as cassette:
        pool.ask("hi", "mock")
        assert repr(cassette) == "Cassette('story.jsonl', 'auto', 1 entry)"
        pool.ask("hello", "mock")
        assert repr(cassette) == "Cassette('story.jsonl', 'auto', 2 entries)"
