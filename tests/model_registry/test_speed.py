"""A thousand engine files, and keys for five of them."""

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


def test_of_a_thousand_files_five_are_imported(project, tmp_path):
    """Only the called engines are imported; ``benchmarks/offline.py`` measures the time."""
    log = tmp_path / "log"
    for number in range(1000):
        path = project.engines / f"e{number}_engine.py"
        path.write_text(ENGINE.format(log=str(log)))
    env = {f"GATEWAYX_E{number}_API_KEY": "k" for number in range(5)}
    with EnginePool(project.root, env) as pool:
        named = {model.engine for model in pool.models()}
        pool.status()
        assert {f"e{number}" for number in range(5)} <= named
        assert "e5" not in named
        assert not log.exists()
        for number in range(5):
            pool.ask("x", model=f"e{number}")
        pool.status()
        assert log.read_text() == "....."


def test_the_check_does_not_look_at_each_file(project):
    """The check does not stat each file, so it takes as long for ten thousand as for ten."""
    for number in range(3):
        project.engine(f"e{number}", "x")
    with project.pool() as pool:
        pool.ask("x", model="e0")
        watched = {
            watch.path for folder in pool._registry._sources._folders for watch in folder._stamps
        }
    assert project.engines in watched
    assert not [path for path in watched if path.suffix == ".py"]
