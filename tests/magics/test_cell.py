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
        self.endings = []

    def update(self, partial):
        self.texts.append("".join(partial.text))

    def finish(self, reply, mark=""):
        self.endings.append((reply.text, mark))


@pytest.fixture
def run_cell(project):
    """Yield a function that runs a cell as a kernel does, its view, and the bound replies."""
    pool, view, bound_replies = project.pool(), Recorder(), []

    async def run_in_kernel(line, body):
        pool.refresh()
        await AnswerRun(pool, cell.read(line, body, {}), view, bound_replies.append).arun()

    yield run_in_kernel, view, bound_replies
    pool.close()


def test_an_answer_is_shown_while_it_streams_and_bound(run_cell):
    """The view is updated with the growing text and finished once; the reply is bound."""
    run_in_kernel, view, bound_replies = run_cell

    asyncio.run(run_in_kernel("mock -p rate=50", "one two"))

    assert view.endings == [("[mock] one two", "")]
    assert view.texts == sorted(view.texts, key=len)
    assert [str(reply) for reply in bound_replies] == ["[mock] one two"]


def test_a_cancelled_cell_raises_and_keeps_the_partial_answer(run_cell):
    """A cell that the kernel cancels raises a one-line KeyboardInterrupt.

    The partial answer is kept, and the exception ends the front end's Run All.
    """
    run_in_kernel, view, bound_replies = run_cell

    # A KeyboardInterrupt that leaves a task ends its event loop; as IPython does, catch it there.
    async def cancel_cell():
        task = asyncio.ensure_future(_traceback_of(run_in_kernel("mock -p rate=20", "word " * 100)))
        while not any(view.texts):
            await asyncio.sleep(0.01)
        task.cancel()
        return await task

    traceback = asyncio.run(cancel_cell())

    assert traceback == ["KeyboardInterrupt: stopped"]
    ((text, mark),) = view.endings
    assert text.startswith("[mock]")
    assert mark == "interrupted"
    assert (bound_replies[0].text, bound_replies[0].interrupted) == (text, True)


async def _traceback_of(cell_run):
    try:
        await cell_run
    except KeyboardInterrupt as error:
        return error._render_traceback_()
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
    run_in_kernel, view, bound_replies = run_cell

    with pytest.raises(ProviderError, match="oh"):
        asyncio.run(run_in_kernel("half", "x"))

    assert view.endings == [("half", "incomplete")]
    assert bound_replies[0].interrupted


def test_a_call_that_fails_before_its_first_chunk_binds_nothing(run_cell):
    """A call that fails before its first chunk shows and binds nothing."""
    run_in_kernel, view, bound_replies = run_cell

    with pytest.raises(GatewayError, match="418"):
        asyncio.run(run_in_kernel("mock -p fail=418", "x"))

    assert (view.endings, bound_replies) == ([], [])


def test_a_quiet_cell_shows_nothing(project, capsys):
    """A quiet cell shows nothing, but binds the reply."""
    bound_replies = []
    with project.pool() as pool:
        parsed_cell = cell.read("mock -q", "x", {})
        AnswerRun(pool, parsed_cell, display.QuietView(), bound_replies.append).run()

    assert capsys.readouterr().out == ""
    assert str(bound_replies[0]) == "[mock] x"


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("mock -t 0", {"temperature": 0.0}),
        ("mock --max-cost 0", {"max_cost": 0.0}),
        ("mock --fallback a --fallback b", {"fallback": ["a", "b"]}),
        ("mock -p top_k=3 -p name=x", {"params": {"top_k": 3, "name": "x"}}),
        (
            "mock -p seed=3 -p stop=END -p top_p=0.5 -p cache=auto -p top_k=3",
            {"seed": 3, "stop": "END", "top_p": 0.5, "cache": "auto", "params": {"top_k": 3}},
        ),
        ("mock -p mock.seed=3", {"params": {"mock": {"seed": 3}}}),
        ("mock --fresh --allow-unpriced", {"fresh": True, "allow_unpriced": True}),
        ("mock", {}),
    ],
)
def test_flags_become_options_of_the_call(line, options):
    """Flags on the line are passed to the call, even if their value is 0; omitted flags are not."""
    assert cell.read(line, "Hello", {}).options == {"model": "mock", **options}
