"""A cell on an event loop, as awaited by a kernel."""

import asyncio

import pytest

from gatewayx_nb import display
from gatewayx_nb.errors import GatewayError, ProviderError
from gatewayx_nb.magics import cell
from gatewayx_nb.magics.cell_run import AnswerRun


class Recorder:
    """View that records its calls."""

    shows_status = False

    def __init__(self):
        self.texts = []
        self.finished = []

    def update(self, partial):
        self.texts.append("".join(partial.text))

    def finish(self, reply, mark=""):
        self.finished.append((reply.text, mark))


@pytest.fixture
def run_cell(project):
    """Yield a function that runs a cell as a kernel does, the view's calls and the bound names."""
    pool, view, bound = project.pool(), Recorder(), []

    async def ask(line, body):
        pool.refresh()
        await AnswerRun(pool, cell.read(line, body, {}), view, bound.append).arun()

    yield ask, view, bound
    pool.close()


def test_an_answer_is_shown_while_it_streams_and_bound(run_cell):
    """The view receives the growing text, then the end once; the reply is bound."""
    ask, view, bound = run_cell

    asyncio.run(ask("mock -p rate=50", "one two"))

    assert view.finished == [("[mock] one two", "")]
    assert view.texts == sorted(view.texts, key=len)
    assert [str(reply) for reply in bound] == ["[mock] one two"]


def test_a_stopped_cell_is_one_line_and_keeps_the_partial_answer(run_cell):
    """A cell that the kernel cancels raises KeyboardInterrupt, which stops Run All.

    The partial answer is kept.
    """
    ask, view, bound = run_cell

    # A KeyboardInterrupt that leaves a task ends its event loop; IPython catches it in the task.
    async def inside():
        task = asyncio.ensure_future(_caught(ask("mock -p rate=20", "word " * 100)))
        while not any(view.texts):
            await asyncio.sleep(0.01)
        task.cancel()
        return await task

    lines = asyncio.run(inside())

    assert lines == ["KeyboardInterrupt: stopped"]
    ((text, mark),) = view.finished
    assert text.startswith("[mock]")
    assert mark == "interrupted"
    assert (bound[0].text, bound[0].interrupted) == (text, True)


async def _caught(work):
    try:
        await work
    except KeyboardInterrupt as stopped:
        return stopped._render_traceback_()
    return None


def test_a_failed_cell_keeps_the_partial_answer(run_cell, project):
    """A failed cell raises, and shows and binds the partial answer."""
    project.engine(
        "half",
        body="    async def stream(self, request):\n"
        "        from gatewayx_nb.llm_engines import Chunk\n"
        "        yield Chunk(text='half')\n"
        "        raise ValueError('oh')\n",
    )
    ask, view, bound = run_cell

    with pytest.raises(ProviderError, match="oh"):
        asyncio.run(ask("half", "x"))

    assert view.finished == [("half", "incomplete")]
    assert bound[0].interrupted


def test_a_call_that_fails_at_once_binds_nothing(run_cell):
    """A call that fails before its first chunk shows and binds nothing."""
    ask, view, bound = run_cell

    with pytest.raises(GatewayError, match="418"):
        asyncio.run(ask("mock -p fail=418", "x"))

    assert (view.finished, bound) == ([], [])


def test_a_quiet_cell_shows_nothing(project, capsys):
    """A quiet cell shows nothing, but binds the reply."""
    bound = []
    with project.pool() as pool:
        parsed = cell.read("mock -q", "x", {})
        AnswerRun(pool, parsed, display.QuietView(), bound.append).run()

    assert capsys.readouterr().out == ""
    assert str(bound[0]) == "[mock] x"


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("mock -t 0", {"temperature": 0.0}),
        ("mock --max-cost 0", {"max_cost": 0.0}),
        ("mock --fallback a --fallback b", {"fallback": ["a", "b"]}),
        ("mock -p top_k=3 -p name=x", {"params": {"top_k": 3, "name": "x"}}),
        ("mock --fresh --allow-unpriced", {"fresh": True, "allow_unpriced": True}),
        ("mock", {}),
    ],
)
def test_the_flags_of_a_line_become_options_of_the_call(line, options):
    """Every flag in the options table is passed to the call, even 0; omitted ones are not."""
    assert cell.read(line, "Hello", {}).options == {"model": "mock", **options}
