"""A thousand engine files, keys for five."""

import time
from statistics import median

from gatewayx_nb.engine_pool import EnginePool

ENGINE = """\
from ..llm_engines import LLMEngine
with open({log!r}, "a") as log:
    log.write(".")
class Engine(LLMEngine):
    model_name = "one"
    async def generate(self, prompt, **kwargs):
        return prompt
"""


def _milliseconds(work, rounds):
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append((time.process_time() - started) * 1000)
    return median(times)


def test_a_thousand_files_are_found_at_once_and_five_are_imported(project, tmp_path):
    """CPU time, which a busy machine does not change; the bounds are those that users are told."""
    log = tmp_path / "log"
    for number in range(1000):
        path = project.engines / f"e{number}_engine.py"
        path.write_text(ENGINE.format(log=str(log)))
    env = {f"GATEWAYX_E{number}_API_KEY": "k" for number in range(5)}

    def discover():
        return EnginePool(project.root, env).models()

    named = {model.engine for model in discover()}
    assert {f"e{number}" for number in range(5)} <= named
    assert "e5" not in named
    assert _milliseconds(discover, 5) < 50

    with EnginePool(project.root, env) as pool:
        pool.status()
        assert not log.exists()
        for number in range(5):
            pool.ask("x", model=f"e{number}")
        pool.status()
        assert log.read_text() == "....."
        while _milliseconds(pool.check, 5) > 1:  # until the files are older than a clock's tick
            assert time.time() - log.stat().st_mtime < 5
        assert _milliseconds(pool.check, 50) < 1


def test_the_check_does_not_look_at_each_file(project):
    """So that it takes as long for ten thousand as for ten."""
    for number in range(3):
        project.engine(f"e{number}", "x")
    with project.pool() as pool:
        pool.ask("x", model="e0")
        watched = {
            watch.path for folder in pool._registry._sources._folders for watch in folder._watches
        }
    assert project.engines in watched
    assert not [path for path in watched if path.suffix == ".py"]
