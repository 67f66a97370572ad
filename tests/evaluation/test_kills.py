"""An evaluation survives `kill -9`: no finished answer is asked for again, and none is lost."""

import os
import random
import subprocess
import sys
import time

import pytest

from gatewayx_nb.evaluation import evaluate

KILLS = 100 if os.environ.get("SOAK") == "1" else 3
ROWS, IN_FLIGHT = 60, 4

ENGINE = """
    asked = 0

    async def generate(self, prompt, **kwargs):
        import asyncio
        with open({log!r}, "a") as log:
            log.write(prompt + "\\n")
        await asyncio.sleep(0.01)
        return prompt.upper()
"""

SCRIPT = """
import sys
import gatewayx_nb as gx

rows = [{{"text": f"text {{number}}"}} for number in range({rows})]
pool = gx.EnginePool(sys.argv[1], {{}})
gx.evaluate(
    rows, {{"a": "A {{{{text}}}}", "b": "B {{{{text}}}}"}}, "logged", pool=pool,
    concurrency={in_flight}, progress=False,
)
"""


def is_upper(text):
    return text.isupper()


def asked(log):
    return log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_evaluation_goes_on_where_it_was(project, tmp_path, seed):
    log = tmp_path / "asked.txt"
    project.engine("logged", body=ENGINE.format(log=str(log)))
    script = SCRIPT.format(rows=ROWS, in_flight=IN_FLIGHT)
    process = subprocess.Popen([sys.executable, "-c", script, str(project.root)])
    count = random.Random(seed).randint(1, 2 * ROWS - 10)
    while len(asked(log)) < count and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.wait()
    before = len(asked(log))

    rows = [{"text": f"text {number}"} for number in range(ROWS)]
    with project.pool() as pool:
        result = evaluate(
            rows, {"a": "A {{text}}", "b": "B {{text}}"}, "logged", is_upper, pool=pool,
            progress=False,
        )  # fmt: skip
    assert [cell.answer for cell in result.cells] == [cell.prompt.upper() for cell in result.cells]
    assert result.summary()[0].mean == 1
    # Only the calls in flight, and those whose answer was not yet on the disk, are made again: the
    # store writes what has arrived within some milliseconds in one transaction.
    again = len(asked(log)) - 2 * ROWS
    assert 0 <= again <= min(before, 4 * IN_FLIGHT)
