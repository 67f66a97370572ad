"""Support for authors of engine files: plain methods, and errors that show their location."""

import asyncio
import threading

import pytest

from gatewayx_nb.errors import EngineLoadError, GatewayError, ProviderError
from gatewayx_nb.llm_engines import LLMEngine
from gatewayx_nb.model_registry import suggested_name
from gatewayx_nb.testing import check

SYNC = """\
    def generate(self, prompt, **kwargs):
        import threading
        return f"{prompt} on {threading.current_thread().daemon}"
"""


class Waiting(LLMEngine):
    """Engine whose plain `generate` waits until a second call has begun."""

    name = "waiting"
    requires_key = False

    def __init__(self):
        super().__init__()
        self.barrier = threading.Barrier(2, timeout=30)

    def generate(self, prompt, **kwargs):
        self.barrier.wait()
        return prompt


def test_a_plain_generate_answers(project):
    """`def generate` works like `async def generate`, with all its options."""
    project.engine("plain", body=SYNC)
    with project.pool() as pool:
        assert pool.ask("hi", "plain").text == "hi on True"
        assert "".join(chunk.text for chunk in pool.stream("hi", "plain")) == "hi on True"


def test_a_plain_generate_conforms(project):
    """The conformance kit accepts a plain `generate` and a plain `health_check`."""
    body = f"{SYNC}\n    def health_check(self):\n        return True\n"
    assert "passes" in repr(check(project.engine("plain", body=body), ask=True))


def test_a_plain_generate_does_not_block_other_calls(project):
    """Two calls of a plain `generate` run at the same time, each in its own thread."""
    with project.pool(engines=[Waiting()]) as pool:

        async def call_twice():
            return await asyncio.gather(*(pool.aask(text, "waiting") for text in "ab"))

        assert [reply.text for reply in asyncio.run(call_twice())] == ["a", "b"]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise StopIteration", "RuntimeError: the function raised StopIteration"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("yield 'hi'", "must return a str or a Reply, got generator"),
        ("return 5", "must return a str or a Reply, got int"),
    ],
)
def test_anything_that_a_plain_generate_raises_is_an_error(project, statement, message):
    """An exception or an invalid value from a plain `generate` is an error of the call."""
    project.engine(
        "plain", body=f"    def generate(self, prompt, **kwargs):\n        {statement}\n"
    )
    with project.pool() as pool, pytest.raises(ProviderError, match=message):
        pool.ask("hi", "plain", timeout=30)


def test_an_awaitable_from_a_plain_generate_is_awaited(project):
    """A plain `generate` may return the coroutine of another function."""
    body = (
        "    def generate(self, prompt, **kwargs):\n        return self.answer(prompt)\n\n"
        "    async def answer(self, prompt):\n        return prompt.upper()\n"
    )
    project.engine("plain", body=body)
    with project.pool() as pool:
        assert pool.ask("hi", "plain").text == "HI"


def test_an_error_shows_file_line_and_source(project):
    """An engine's own exception shows the innermost line of its own files."""
    (project.engines / "_helper.py").write_text("def compute():\n    return 1 // 0\n")
    path = project.engine(
        "faulty",
        body="    def generate(self, prompt, **kwargs):\n"
        "        from ._helper import compute\n        return compute()\n",
    )
    with project.pool() as pool, pytest.raises(ProviderError) as error:
        pool.ask("hi", "faulty")

    assert error.value.message == (
        "engine 'faulty' raised ZeroDivisionError: integer division or modulo by zero in"
        " _helper.py, line 2: `return 1 // 0`."
    )
    assert str(path) in str(error.value.hint)


def test_an_error_quotes_neither_the_key_nor_a_whole_prompt(project):
    """The message of an engine's exception is shortened, and the key in its source is masked."""
    key = "made-up-key-0123456789"
    body = (
        "    requires_key = True\n"
        "    async def generate(self, prompt, **kwargs):\n"
        f"        raise ValueError(prompt, {key!r})\n"
    )
    path = project.engine("faulty", body=body)
    path.write_text(path.read_text().replace("    requires_key = False\n", ""))
    project.set_keys(f"GATEWAYX_FAULTY_API_KEY={key}\n")
    with project.pool() as pool, pytest.raises(ProviderError) as error:
        pool.ask("word " * 3000, "faulty")

    assert len(str(error.value)) < 1000
    assert key not in str(error.value)
    assert "raise ValueError(prompt, '<key>')" in error.value.message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1\n", "it must define one subclass of LLMEngine, got none"),
        (
            "from ..llm_engines import LLMEngine\nclass A(LLMEngine): ...\nclass B(LLMEngine): ...",
            "it must define one subclass of LLMEngine, got A, B",
        ),
        ("class A(:\nclass B", "SyntaxError in line 1"),
    ],
)
def test_a_file_must_define_one_engine(project, text, problem):
    """If a file has no engine class or two, its status and error do not ask for a key."""
    (project.engines / "odd_engine.py").write_text(text)
    with project.pool() as pool:
        (row,) = [row for row in pool.status() if row.name == "odd"]
        assert (row.state, problem in row.error) == ("failed", True)
        with pytest.raises(EngineLoadError, match=problem):
            pool.ask("hi", "odd")


def test_a_class_in_a_docstring_is_not_counted(project):
    """An example in a docstring does not count as a second engine."""
    path = project.engine("documented", "hi")
    path.write_text(f'"""Example:\n\nclass Other(LLMEngine):\n    ...\n"""\n{path.read_text()}')
    with project.pool() as pool:
        assert pool.ask("hi", "documented").text == "hi"


def test_health_reports_the_last_failure(project):
    """An engine whose last call failed is not healthy, even if its own check passes."""
    with project.pool() as pool:
        assert pool.health("mock")[0].ok
        with pytest.raises(GatewayError):
            pool.ask("hi", "mock", params={"fail": 418})
        (row,) = pool.health("mock")
        assert (row.ok, row.error) == (
            False,
            (
                "its check passes, but its last call failed: the mock engine failed with status"
                " 418, as requested by `fail`."
            ),
        )
        with pytest.raises(GatewayError):
            pool.ask("hi", "mock", params={"nope": 1})
        assert not pool.health("mock")[0].ok
        pool.ask("hi", "mock")
        assert pool.health("mock")[0].ok
        with pytest.raises(GatewayError):
            pool.ask("hi", "mock", params={"nope": 1})
        assert pool.health("mock")[0].ok


def test_a_plain_health_check_works(project):
    """`def health_check` works like `async def health_check`."""
    project.engine("plain", body=f"{SYNC}\n    def health_check(self):\n        return False\n")
    with project.pool() as pool:
        assert [row.ok for row in pool.health("plain")] == [False]


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("My-Model_engine.py", "my_model_engine.py"),
        ("ask_engine.py", "my_ask_engine.py"),
        ("Ünïcode_engine.py", "n_code_engine.py"),
    ],
)
def test_a_bad_file_name_is_corrected(project, name, suggestion):
    """The row of a file with an invalid name says how to rename it."""
    path = project.engines / name
    path.write_text("x = 1\n")
    assert suggested_name(path) == suggestion
    with project.pool() as pool:
        rows = [row for row in pool.status() if row.state == "refused"]
    assert f"rename it to {suggestion}" in rows[0].error
