"""A user's own key goes where the user says; DESIGN §7."""

from dataclasses import dataclass

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import TrustError
from gatewayx_nb.secure_config import shipped

ELSEWHERE = "http://127.0.0.1:9/v1"


@dataclass(frozen=True)
class Case:
    """Who owns the key and what the project says; whether that is refused."""

    name: str
    key: str
    engine: str = "grok"
    settings: str = ""
    project_keys: str = ""
    env: str = ""
    file: str = ""
    refused: bool = True


OURS = "GATEWAYX_GROK_API_KEY"
CASES = [
    Case("environment key, project's address in its settings", OURS, settings="base_url"),
    Case("vendor's variable, the same", "XAI_API_KEY", settings="base_url"),
    Case("environment key, project's address in its key file", OURS, project_keys="base_url"),
    Case("environment key, project's proxy", OURS, settings="network"),
    Case("environment key, project's file of a shipped name", OURS, file="other"),
    Case("environment key, a true copy of the shipped file", OURS, file="copy", refused=False),
    Case(
        "environment key, user's address over the project's",
        OURS,
        settings="base_url",
        env="base_url",
        refused=False,
    ),
    Case("environment key, nothing of the project's", OURS, refused=False),
    Case("project's key, project's address", "", project_keys="both", refused=False),
    Case("project's key, project's file", "", project_keys="key", file="other", refused=False),
    Case(
        "our variable for an engine that only the project has",
        "GATEWAYX_MINE_API_KEY",
        engine="mine",
        file="other",
        refused=False,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_who_owns_the_key_and_who_says_where_it_goes(project, case):
    """Refused before the engine is loaded or anything is sent; the mend names the command."""
    if case.settings:
        steer = {"base_url": f'engines.grok.base_url = "{ELSEWHERE}"'}
        project.settings(steer.get(case.settings, 'network.proxy = "http://127.0.0.1:9"'))
    lines = {"key": f"{OURS}=k\n", "base_url": f"GATEWAYX_GROK_BASE_URL={ELSEWHERE}\n"}
    wanted = {"both": ("key", "base_url"), "": ()}.get(case.project_keys, (case.project_keys,))
    project.set_keys("".join(lines[name] for name in wanted))
    if case.file:
        path = project.engine(case.engine, body="    requires_key = True\n")
        copy = shipped("engines/grok_engine.py").read_text()
        path.write_text(copy if case.file == "copy" else path.read_text().replace("False", "True"))
    env = {case.key: "k"} if case.key else {}
    if case.env:
        env["GATEWAYX_GROK_BASE_URL"] = ELSEWHERE
    pool = EnginePool(home=project.root, env=env)

    if case.refused:
        with pytest.raises(TrustError, match=r"your own key of 'grok'.*key set grok"):
            pool.use(case.engine)
    else:
        pool.use(case.engine)
