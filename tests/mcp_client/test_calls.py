"""Tool calls of servers that are processes: results, errors and the end of a server."""

import asyncio
import os
import time

import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import ConfigError, GatewayError, TransportError, UsageError
from gatewayx_nb.images import Image
from gatewayx_nb.mcp_client import servers
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Chunk
from gatewayx_nb.testing import ScriptedEngine
from tests.canary import KEY, leaks
from tests.mcp_client.conftest import calc, is_alive, raw, wait_for_end


def test_a_tool_is_called(call):
    """A tool needs permission and its result is from outside, whatever the server claims."""
    step = call(calc(), "calc__add", '{"a": 2, "b": 3}')
    assert (step.sent, step.error, step.outside) == ("5", "", True)
    assert (step.arguments, step.allowed_by) == ({"a": 2, "b": 3}, "approve")


@pytest.mark.parametrize("approve", ["never", lambda step: False])
def test_a_tool_needs_permission(call, approve):
    """A tool needs permission even if the server claims that it is read-only."""
    assert call(calc(), "calc__add", '{"a": 2, "b": 3}', approve=approve).error


def test_functions_and_servers_stand_side_by_side(pool):
    """After the result of a server, a function that is not read-only needs permission."""

    def save(text: str) -> str:
        """Save."""
        return "saved"

    prompt = 'call calc__add {"a": 2, "b": 3}\ncall save {"text": "5"}'
    allowed = []

    def approve(step):
        allowed.append(step.call.name)
        return step.call.name == "calc__add"

    reply = pool.ask(prompt, "mock", tools=[calc(only="add"), save], approve=approve)
    assert [step.sent for step in reply.steps] == ["5", "the call was refused"]
    assert allowed == ["calc__add", "save"]


def test_the_declarations_are_sent():
    """The model receives the declarations of the selected tools only."""
    engine = ScriptedEngine("Hi")
    with gx.EnginePool(env={}, engines=[engine]) as pool:
        pool.ask("Hi", "scripted", tools=calc(only=["add", "long"]))
        (add, long) = engine.requests[0].tools
    assert (add.name, add.description) == ("calc__add", "Add two numbers.")
    assert add.parameters["properties"]["a"]["type"] == "integer"
    assert long.name == "calc__long"


def test_an_unknown_name_in_only_is_refused(pool):
    """The error suggests the most similar tool."""
    with pytest.raises(UsageError, match=r"no tool 'ad'\. Did you mean 'add'\?"):
        pool.ask("Hi", "mock", tools=calc(only="ad"))


def test_a_failed_call_is_reported(call):
    """The model receives the server's error message in one line."""
    error = call(calc(), "calc__fail", '{"reason": "no\\nluck"}').error
    assert error.startswith("ServerToolError: ")
    assert error.endswith("no luck")


def _scripted(name, arguments="{}"):
    """Return a pool whose model calls a tool and takes images, and its engine."""
    call = Chunk(tool_calls=(ToolCall("call00001", name, arguments),))
    engine = ScriptedEngine([call, Chunk(finish_reason="tool_calls")], "Done.")
    engine.features = {*engine.features, "images"}
    return gx.EnginePool(env={}, engines=[engine]), engine


@pytest.mark.parametrize("arguments", ["[1]", "{", "[" * 100_000])
def test_arguments_that_are_no_object_are_refused(arguments):
    """Arguments that are not a JSON object are not sent to the server."""
    pool, _ = _scripted("calc__add", arguments)
    with pool:
        reply = pool.ask("Hi", "scripted", tools=calc(), approve="always")
    assert reply.steps[0].error in (
        "the arguments must be a JSON object",
        "the arguments are nested too deeply",
    )


def test_a_long_result_is_cut(call):
    """A long result of a server is truncated like that of a function."""
    sent = call(calc(), "calc__long", '{"size": 30000}').sent
    assert len(sent) < 20_100
    assert sent.endswith("[Cut: the result has 30,000 characters.]")


def test_an_image_is_sent_as_an_image():
    """The text of a result precedes its image."""
    pool, engine = _scripted("calc__picture")
    with pool:
        pool.ask("Hi", "scripted", tools=calc(), approve="always")
    text, image = engine.requests[-1].messages[-1].tool_results[0].parts
    assert text == "a pixel"
    assert isinstance(image, Image)
    assert image.mime == "image/png"


def test_other_content_is_named(call):
    """Audio, other files and invalid images are replaced by a note."""
    assert call(calc(), "calc__everything").sent.split("\n\n") == [
        "[audio, audio/wav: not supported]",
        "[image, image/png, 3 bytes: not supported]",
        "[resource file:///a.txt: not read]",
        "[resource memo://1]\na memo",
        "[resource memo://2, application/x: not supported]",
    ]


def test_structured_content_alone_is_sent_as_json(call):
    """A server should repeat structured content as text, but need not."""
    assert call(raw("structured"), "raw__echo").sent == '{"sum": 5}'


def test_sampling_elicitation_and_roots_are_not_offered(call):
    """A server's requests for sampling, elicitation or roots are refused at once."""
    sent = call(raw("asks"), "raw__echo").sent
    assert "Sampling not supported" in sent
    assert "List roots not supported" in sent
    assert "result" not in sent


def test_a_server_receives_no_keys(monkeypatch, call):
    """A server receives neither the user's keys nor most other environment variables."""
    for name in ("OPENAI_API_KEY", "GATEWAYX_GROK_API_KEY", "MY_SETTING", "PYTHONPATH"):
        monkeypatch.setenv(name, "a")
    names = call(calc(), "calc__variables").sent.split()
    assert "PATH" in names
    assert not {"OPENAI_API_KEY", "GATEWAYX_GROK_API_KEY", "MY_SETTING"} & set(names)


def test_a_listed_variable_comes_from_the_key_file(project):
    """The value of a variable in `env` appears neither in results nor in errors."""
    project.set_keys(f"CALC_TOKEN={KEY}\nCALC_MODE=fast-enough-to-see")
    with project.pool() as pool:

        def variable(name):
            prompt = f'call calc__variable {{"name": "{name}"}}'
            reply = pool.ask(
                prompt, "mock", tools=calc(env=["CALC_TOKEN", "CALC_MODE"]), approve="always"
            )
            return reply.steps[0].error or reply.steps[0].sent

        assert variable("CALC_TOKEN").endswith("the result contains a key and was withheld")
        assert variable("CALC_MODE").endswith("the result contains a key and was withheld")
        assert variable("CALC_OTHER") == "not set"


def test_a_missing_variable_is_named(pool):
    """If a variable is not set, the error names it, and no server is started."""
    with pytest.raises(
        ConfigError, match="the variable CALC_TOKEN, which is passed to the MCP server 'calc'"
    ):
        pool.ask("Hi", "mock", tools=calc(env="CALC_TOKEN"))


def test_a_key_in_a_description_is_not_sent(project):
    """A server whose tool description contains the user's key is not used."""
    project.set_keys(f"GATEWAYX_GROK_API_KEY={KEY}")
    with (
        project.pool() as pool,
        pytest.raises(ConfigError, match="with one of your keys") as caught,
    ):
        pool.ask("Hi", "mock", tools=raw("key", KEY))
    assert not leaks(caught.value)


REFUSED = {
    "many": (UsageError, "has 1,000 tools, but a call can use at most 128"),
    "twice": (ConfigError, "'echo' of the MCP server 'raw' is listed twice"),
    "array": (TransportError, "sent an invalid answer"),
    "no schema": (TransportError, "sent an invalid answer"),
    "huge": (ConfigError, "has a description of 200,068 characters"),
    "deep": (TransportError, "sent a message that cannot be read"),
    "endless": (TransportError, "lists more than 10,000 tools, 16 MiB or 100 pages"),
    "large pages": (TransportError, "lists more than 10,000 tools, 16 MiB or 100 pages"),
    "values": (TransportError, "sent a message of more than 100,000 JSON values"),
    "ends": (TransportError, "ended with status 4: ImportError: no module named tools"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_server_that_misbehaves_is_one_line(pool, kind):
    """A faulty server raises an error of one line, and the next server works."""
    error, message = REFUSED[kind]
    with pytest.raises(error) as caught:
        pool.ask("Hi", "mock", tools=raw(kind))
    assert message in str(caught.value)
    assert "\n" not in caught.value.message
    assert caught.value.help in ("mcp-server", "mcp-tools")


def test_one_tool_of_many_can_be_selected(call):
    """Only the tools that a call uses must be valid."""
    assert call(raw("many", only="tool7"), "raw__tool7", '{"text": "hi"}').sent == "hi"


def test_a_recursive_schema_is_sent(call):
    """A schema with references is sent unchanged."""
    assert call(raw("recursive"), "raw__echo", '{"text": "hi"}').sent == "hi"


def test_odd_names_do_not_collide(pool):
    """Tools whose names have invalid characters can all be called."""
    (state,) = pool.mcp_servers(raw("odd"))
    assert [tool.name for tool in state.tools][:2] == ["read file", "read.file"]
    reply = pool.ask(
        'call raw__read_file {"text": "hi"}', "mock", tools=raw("odd"), approve="always"
    )
    assert reply.steps[0].sent == "hi"


def test_a_huge_message_ends_the_server_only(call):
    """The model receives an error, and the next call starts the server again."""
    assert "sent a message of more than 16 MiB" in call(raw("large"), "raw__echo").error
    assert "sent a message of more than 16 MiB" in call(raw("large"), "raw__echo").error


def test_an_invalid_result_is_reported(call):
    """The model receives the error without the hint, which is for the user."""
    error = call(raw("wrong"), "raw__echo").error
    assert error == "ServerToolError: the MCP server 'raw' sent an invalid answer."


def test_a_server_that_ends_is_started_again(call):
    """The error quotes the last line of the server's standard error."""
    error = call(calc(), "calc__leave").error
    assert "the MCP server 'calc' ended with status 3: fatal: the disk is on fire" in error
    assert call(calc(), "calc__add", '{"a": 1, "b": 1}').sent == "2"


def test_a_server_stays_for_the_next_call(call):
    """A server is started once, even for calls that select different tools."""
    first = call(calc(), "calc__process").sent
    assert call(calc(only="process"), "calc__process").sent == first


def test_servers_end_with_their_pool(pool, call):
    """Closing the pool ends its servers, and the next call starts them again."""
    process = int(call(calc(), "calc__process").sent)
    pool.close()
    assert wait_for_end(process)
    assert int(call(calc(), "calc__process").sent) != process


def test_what_a_server_has_started_ends_with_it(pool, call, tmp_path):
    """A process that a server started ends even if it ignores SIGTERM."""
    state = tmp_path / "child"
    call(raw("child", str(state)), "raw__echo", '{"text": "hi"}')
    child = int(state.read_text())
    assert is_alive(child)
    pool.close()
    assert wait_for_end(child)


def test_a_stubborn_server_is_killed(pool, call):
    """Closing the pool does not wait for a server that does not end."""
    call(raw("stubborn"), "raw__echo", '{"text": "hi"}')
    (server,) = pool._servers._connections.values()
    guard = server._process._process.pid
    pool.close()
    assert wait_for_end(guard)


def test_a_server_that_ends_after_the_pool_has_closed_is_awaited(pool, call, monkeypatch):
    """On a busy machine, a server ends later, and asyncio still notes its exit status."""
    call(raw("stubborn"), "raw__echo", '{"text": "hi"}')
    (server,) = pool._servers._connections.values()
    process, portal = server._process._process, pool._servers._portal
    monkeypatch.setattr(servers, "_CLOSE_TIMEOUT", 0.0)
    pool.close()
    assert wait_for_end(process.pid)
    portal._thread.join(30)
    assert process.returncode is not None


def test_a_command_that_does_not_exist_is_named(pool):
    """The error says that a command was not found, or is not executable."""
    with pytest.raises(TransportError, match="cannot start: its command was not found"):
        pool.ask("Hi", "mock", tools=gx.mcp(["no-such-command-here"]))
    with pytest.raises(TransportError, match="cannot start: its command is not executable"):
        pool.ask("Hi", "mock", tools=gx.mcp([os.devnull]))


def test_a_server_that_hangs_is_given_up(project, user_settings):
    """A server that does not answer fails after the timeout in its settings."""
    server = raw("hang")
    user_settings(f"[mcp.hang]\ncommand = {list(server.command)}\ntimeout = 0.5")
    started = time.monotonic()
    with (
        project.pool() as pool,
        pytest.raises(TransportError, match=r"did not start within 0\.5 s"),
    ):
        pool.ask("Hi", "mock", tools=gx.mcp("hang"))
    assert time.monotonic() - started < 60


def test_a_slow_tool_is_cancelled(project, user_settings):
    """A call is cancelled after `[tools] timeout`, and the server still works."""
    user_settings("[tools]\ntimeout = 0.5")
    with project.pool() as pool:
        slow = 'call calc__slow {"seconds": 2}'
        reply = pool.ask(slow, "mock", tools=calc(), approve="always")
        assert reply.steps[0].error == "TimeoutError: the function took longer than 0.5 s"
        assert pool.mcp_servers()[0].state == "running"


def test_a_server_that_is_busy_with_a_stopped_call_is_started_again(project, user_settings):
    """A call after a stopped one restarts a server that is still busy."""
    user_settings("[tools]\ntimeout = 3")
    with project.pool() as pool:

        def echo(text):
            prompt = f'call raw__echo {{"text": "{text}"}}'
            return pool.ask(prompt, "mock", tools=raw("plain"), approve="always").steps[0]

        assert "took longer than 3 s" in echo("sleep").error
        assert echo("hi").sent == "hi"


def test_a_call_right_after_a_stopped_one_restarts_a_busy_server(pool, call):
    """The next call does not wait for a busy server, even if it follows at once."""
    call(raw("plain"), "raw__echo", '{"text": "hi"}')
    (connection,) = pool._servers._connections.values()

    async def stop_and_call():
        stopped = asyncio.create_task(connection.call("echo", {"text": "sleep"}, str))
        await asyncio.sleep(0.5)  # the server has received the call
        stopped.cancel()
        await asyncio.sleep(0)
        await connection.list_tools(str)  # every call of a model begins with the list
        return await connection.call("echo", {"text": "again"}, str)

    result = asyncio.run(pool._servers._run_on_loop(stop_and_call()))
    assert result.content[0].text == "again"


def test_a_list_that_overtakes_a_stop_does_not_wait_for_the_busy_server(pool, call):
    """The note about a stopped call crosses event loops, and may come after the next request."""
    call(raw("plain"), "raw__echo", '{"text": "hi"}')
    (connection,) = pool._servers._connections.values()

    async def list_and_stop():
        stopped = asyncio.create_task(connection.call("echo", {"text": "sleep"}, str))
        await asyncio.sleep(0.5)  # the server has received the call
        listing = asyncio.create_task(connection.list_tools(str))
        await asyncio.sleep(0.1)  # and the request for the list
        stopped.cancel()
        await listing
        return await connection.call("echo", {"text": "again"}, str)

    result = asyncio.run(pool._servers._run_on_loop(list_and_stop()))
    assert result.content[0].text == "again"


def test_a_model_without_tools_is_refused_before_a_server_starts(pool):
    """A model without tools, or without a key, raises an error before a server starts."""
    with pytest.raises(GatewayError):
        pool.ask("Hi", "grok", tools=calc())
    assert pool.mcp_servers() == []


def test_a_preview_starts_nothing(pool, call):
    """A preview knows the tools of a server only after a call has listed them."""
    with pytest.raises(UsageError, match="are not known before its first use"):
        pool.preview("Hi", "mock", tools=calc(only="add"))
    call(calc(only="add"), "calc__add", '{"a": 1, "b": 1}')
    assert "calc__add" in str(pool.preview("Hi", "mock", tools=calc(only="add")))


def test_concurrent_calls_share_a_process(pool):
    """Concurrent first calls start one process."""
    prompt = "call calc__process {}"
    comparison = pool.compare(prompt, ["mock"] * 3, tools=calc(), approve="always")
    assert len({reply.steps[0].sent for reply in comparison}) == 1
