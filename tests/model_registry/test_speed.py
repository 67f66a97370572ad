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


def test_only_called_engines_are_imported(project, tmp_path):
    """Of a thousand engine files, only the five that are called are imported."""
    log = tmp_path / "log"
    for number in range(1000):
        path = project.engines / f"e{number}_engine.py"
        path.write_text(ENGINE.format(log=str(log)))
    env = {f"GATEWAYX_E{number}_API_KEY": "k" for number in range(5)}
    with EnginePool(project.root, env) as pool:
        engine_names = {model.engine for model in pool.models()}
        pool.status()
        assert {f"e{number}" for number in range(5)} <= engine_names
        assert "e5" not in engine_names
        assert not log.exists()
        for number in range(5):
            pool.ask("x", model=f"e{number}")
        pool.status()
        assert log.read_text() == "....."


def test_the_check_for_changes_does_not_stat_each_file(project):
    """The check for changes stats folders, not each engine file, so its duration does not grow."""
    for number in range(3):
        project.engine(f"e{number}", "x")
    with project.pool() as pool:
        pool.ask("x", model="e0")
        watched_paths = {
            stamp.path for folder in pool._registry._sources._folders for stamp in folder._stamps
        }
    assert project.engines in watched_paths
    assert not [path for path in watched_paths if path.suffix == ".py"]
