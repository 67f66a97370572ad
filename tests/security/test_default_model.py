"""The default model of a cloned project is called only after a permission, whatever calls it."""

import json

import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import GatewayError, TrustError
from tests.magics.conftest import shell as project_shell

shell = project_shell


def echo(text: str) -> str:
    """Return the text."""
    return text


def submit(pool):
    """Continue a reply whose engine the author of the cassette has chosen."""
    path = pool.config.project.root / "tools.jsonl"
    call = 'call echo {"text": "Hi"}'
    pool.use("mock")
    with pool.cassette(path):
        pool.ask(call, tools=echo, max_turns=1)
    head, *lines = path.read_text("utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    for entry in entries:
        entry["figures"]["engine"] = "acme"
    path.write_text("\n".join([head, *map(json.dumps, entries), ""]), "utf-8")
    with pool.cassette(path):
        reply = pool.ask(call, tools=echo, max_turns=1)
        pool.submit(reply, "Hi")


CALLS = {
    "ask": lambda pool: pool.ask("Hi"),
    "stream": lambda pool: list(pool.stream("Hi")),
    "chat": lambda pool: pool.chat().ask("Hi"),
    "tools": lambda pool: pool.ask("Hi", tools=echo),
    "fallback": lambda pool: pool.ask("Hi", fallback="mock"),
    "map": lambda pool: pool.map(["Hi"], "{{input}}", progress=False, on_error="raise"),
    "batch": lambda pool: pool.map(["Hi"], "{{input}}", batch=True, progress=False),
    "evaluation": lambda pool: gx.evaluate(["Hi"], "{{input}}", pool=pool, progress=False),
    "judge": lambda pool: gx.evaluate(
        ["Hi"], "{{input}}", "mock", gx.judge("Good?"), pool=pool, progress=False
    ),
    "preference": lambda pool: gx.evaluate(
        ["Hi"], {"a": "{{input}}", "b": "b"}, "mock", gx.prefer(), pool=pool, progress=False
    ),
    "submit": submit,
}


@pytest.fixture
def clone(project):
    """Return a project whose default model is its own engine, which needs no key."""
    project.settings('default_model = "acme"')
    project.engine("acme", body=f"open({str(project.root / 'ran')!r}, 'w').close()")
    return project


@pytest.mark.parametrize("name", CALLS)
def test_no_call_runs_the_default_engine_of_a_project_without_a_permission(clone, name):
    """A call that names the default model on its own does not count as one that names it."""
    with clone.pool() as pool, pytest.raises(TrustError, match=r"acme_engine\.py"):
        CALLS[name](pool)
    assert not (clone.root / "ran").exists()


@pytest.mark.parametrize("cell", ["%%gatewayx --bg\nHi", "%%gatewayx\nHi", "%gatewayx explain"])
def test_no_cell_runs_the_default_engine_of_a_project_without_a_permission(clone, shell, cell):
    """Nor does it receive the cell that failed."""
    if "explain" in cell:
        shell.run_cell("1 / 0")
    with pytest.raises(GatewayError, match=r"acme_engine\.py"):
        shell.ask(cell)
    assert not (clone.root / "ran").exists()
