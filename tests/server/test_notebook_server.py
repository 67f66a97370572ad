"""The server of a notebook: its life, its address, and what other libraries share with the pool."""

import asyncio
import contextlib
import gc
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import weakref

import openai
import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import UsageError
from gatewayx_nb.replies import Chunk
from gatewayx_nb.server import serve
from gatewayx_nb.testing import ScriptedEngine
from tests.kernels import environment
from tests.server.conftest import openai_client, serving, wait_until

MESSAGES = [{"role": "user", "content": "Hi"}]


def run_script(project, script, *flags):
    """Run a script in a project until it ends, and return the finished process."""
    return subprocess.run(
        [sys.executable, *flags, "-c", script],
        cwd=project.root,
        env=environment(project.root),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )


def test_what_is_shown_names_neither_port_nor_token():
    """The output of a cell with a server is the same in every run."""
    with serving() as server:
        port = server.url.rpartition(":")[2]
        shown = f"{server!r} {server.openai!r} {server.anthropic!r} {server.token!r}"
        assert port not in shown
        assert str(server.token) not in shown
        assert str(server.token) not in repr(vars(server))
        assert repr(server) == "NotebookServer(running)"
    assert repr(server) == "NotebookServer(stopped)"


def test_anything_but_a_pool_is_refused():
    """`serve` takes no port, and a number in its place must not be ignored."""
    with pytest.raises(UsageError, match="pool must be an EnginePool or None, got 3001"):
        serve(3001)


def test_the_address_is_for_each_sdk():
    """OpenAI's clients append their paths to `/v1`, Anthropic's to the root."""
    with serving() as server:
        assert dict(server.openai) == {"base_url": f"{server.url}/v1", "api_key": server.token}
        assert dict(server.anthropic) == {"base_url": server.url, "api_key": server.token}


def test_a_server_cannot_be_pickled():
    """A pickle may be shared, and would contain the token."""
    with serving() as server, pytest.raises((UsageError, TypeError)):
        pickle.dumps(server)


def test_a_second_call_returns_the_running_server(project):
    """`serve` starts one server for the default pool, and a new one after it was closed."""
    script = (
        "import gatewayx_nb as gx\n"
        "first = gx.serve()\n"
        "print(gx.serve() is first, gx.serve().token == first.token)\n"
        "first.close()\n"
        "second = gx.serve()\n"
        "print(second is first, second)\n"
    )
    process = run_script(project, script)
    assert process.stdout == "True True\nFalse NotebookServer(running)\n"
    assert process.stderr == ""


def test_a_process_ends_although_a_stream_is_open(project):
    """The server does not keep a script or a kernel alive."""
    script = (
        "import socket, json, gatewayx_nb as gx\n"
        "from gatewayx_nb.testing import ScriptedEngine\n"
        "pool = gx.EnginePool(env={}, engines=[ScriptedEngine(['a', 3600.0])])\n"
        "server = gx.serve(pool)\n"
        "body = json.dumps({'model': 'scripted', 'stream': True, 'messages': [{'role': 'user',"
        " 'content': 'Hi'}]})\n"
        "peer = socket.create_connection(('127.0.0.1', int(server.url.rpartition(':')[2])))\n"
        "peer.sendall(f'POST /v1/chat/completions HTTP/1.1\\r\\nhost: 127.0.0.1\\r\\nx-api-key:"
        " {server.token}\\r\\ncontent-type: application/json\\r\\ncontent-length:"
        " {len(body)}\\r\\n\\r\\n{body}'.encode())\n"
        "print(peer.recv(12))\n"
    )
    process = run_script(project, script)
    assert process.stdout == "b'HTTP/1.1 200'\n"
    assert "Traceback" not in process.stderr


def test_calls_count_as_calls_of_the_pool():
    """Another library's calls are in the usage, and end at the pool's budget."""
    engine = ScriptedEngine(["Hello."])
    with gx.EnginePool(env={}, engines=[engine]) as pool, serving(pool=pool) as server:
        with openai_client(server) as client:
            client.chat.completions.create(model="scripted", messages=MESSAGES)
        (row,) = pool.usage()
        assert row.calls == 1


def test_calls_are_recorded_and_replayed(tmp_path):
    """The pool's cassette answers another library, without the provider."""
    engine = ScriptedEngine(["Hello."])
    with (
        gx.EnginePool(env={}, engines=[engine]) as pool,
        serving(pool=pool) as server,
        openai_client(server) as client,
    ):
        for mode in ("record", "replay"):
            with pool.cassette(tmp_path / "answers.jsonl", mode):
                answer = client.chat.completions.create(
                    model="scripted", messages=MESSAGES, user=mode, metadata={"mode": mode}
                )
                assert answer.choices[0].message.content == "Hello."
    assert len(engine.requests) == 1


def test_engines_come_and_go_without_a_restart(project):
    """An engine file that is added can be called, and is unknown after it was removed."""
    with project.pool() as pool, serving(pool=pool) as server, openai_client(server) as client:
        path = project.engine("fresh", says="I am new.")
        pool.refresh()
        answer = client.chat.completions.create(model="fresh", messages=MESSAGES)
        assert answer.choices[0].message.content == "I am new."
        assert "fresh" in {model.id for model in client.models.list()}
        path.unlink()
        assert "fresh" not in {model.id for model in client.models.list()}


def test_many_streams_lose_no_chunk():
    """A hundred streams at once are complete."""
    engine = ScriptedEngine([f"{number} " for number in range(64)])
    texts = []

    def read(client):
        stream = client.chat.completions.create(model="scripted", messages=MESSAGES, stream=True)
        texts.append("".join(chunk.choices[0].delta.content or "" for chunk in stream))

    with serving(engine) as server, openai_client(server) as client:
        threads = [threading.Thread(target=read, args=[client]) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert texts == ["".join(f"{number} " for number in range(64))] * 100


def test_the_notebook_keeps_its_log(tmp_path):
    """A server leaves the handlers and levels of other loggers as they are."""
    handler = logging.FileHandler(tmp_path / "log.txt")
    own = logging.getLogger("a notebook")
    own.addHandler(handler)
    level = logging.getLogger("uvicorn.error").level
    try:
        with serving():
            own.warning("still here")
        assert logging.getLogger("uvicorn.error").level == level
    finally:
        own.removeHandler(handler)
        handler.close()
    assert (tmp_path / "log.txt").read_text() == "still here\n"


def test_a_closed_server_and_its_pool_are_freed():
    """A server that was closed keeps nothing alive."""
    pool = gx.EnginePool(env={}, engines=[ScriptedEngine(["Hello."])])
    server = serve(pool)
    server.close()
    pool.close()
    references = [weakref.ref(server), weakref.ref(pool)]
    del server, pool
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_a_server_that_is_closing_does_not_run():
    """While open calls end, `serve` would not return the server."""
    engine = ScriptedEngine([60.0])
    with serving(engine) as server, openai_client(server) as client:
        calls = [
            threading.Thread(target=_ask_quietly, args=[client]),
            threading.Thread(target=server.close),
        ]
        calls[0].start()
        wait_until(lambda: engine.requests)
        calls[1].start()
        wait_until(lambda: not server.is_running)
        assert calls[1].is_alive()
        server.stop_at_exit()
        for call in calls:
            call.join()


def _ask_quietly(client):
    with contextlib.suppress(openai.OpenAIError):
        client.chat.completions.create(model="scripted", messages=MESSAGES)


class LeakingEngine(ScriptedEngine):
    """An engine whose cleanup fails with the prompt in its message."""

    name = "leaking"

    async def stream(self, request):
        """Yield a chunk, and fail when the call is cancelled."""
        try:
            yield Chunk(text="Hel")
            self.requests.append(request)
            await asyncio.sleep(60)
        finally:
            self.ended.set()
            raise ValueError(request.messages[-1].content)


def test_an_error_of_a_stopped_call_is_not_logged(caplog):
    """Asyncio would log it with its text when the call is freed."""
    engine = LeakingEngine(["unused"])
    with serving(engine) as server, openai_client(server) as client:
        messages = [{"role": "user", "content": "a secret prompt"}]
        stream = client.chat.completions.create(model="leaking", messages=messages, stream=True)
        next(iter(stream))
        stream.close()
        assert engine.ended.wait(30)
    gc.collect()
    assert "secret" not in caplog.text


def test_answers_are_sent_at_once():
    """Nagle's algorithm would delay each answer by 40 ms."""
    with serving() as server:
        assert server._socket.proto == socket.IPPROTO_TCP


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_has_no_server(project):
    """A child that was forked starts a server of its own."""
    script = (
        "import os, gatewayx_nb as gx\n"
        "parent = gx.serve()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    print(parent, gx.serve() is parent, gx.serve().token == parent.token, flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
    )
    process = run_script(project, script, "-W", "ignore::DeprecationWarning")
    assert process.stdout == "NotebookServer(stopped) False False\n"
