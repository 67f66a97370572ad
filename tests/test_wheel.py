"""The wheel that users install: built here, unpacked and called."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the folder of the unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", build, str(folder)], cwd=REPOSITORY, check=True, capture_output=True
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_it_ships_the_engines_and_their_rows(installed):
    """The wheel contains the engines and rows in the package, and no files but its metadata."""
    package = installed / "gatewayx_nb"

    assert {path.name for path in (package / "config").iterdir()} == {"engines.toml", "models.toml"}
    assert (package / "engines" / "grok_engine.py").is_file()
    assert (package / "py.typed").is_file()
    assert (package / "widgets" / "keyboard.js").is_file()
    for name in ("engines_status", "security_status"):
        assert (package / "server" / f"{name}.schema.json").is_file()
    assert sorted(path.name.partition("-")[0] for path in installed.iterdir()) == [
        "gatewayx_nb",
        "gatewayx_nb",
    ]


def test_an_installed_package_answers(installed, tmp_path):
    """The installed package answers outside of a project with only the wheel's contents."""
    script = "import gatewayx_nb as gx; print(gx.ask('hi', model='mock'), len(gx.status()))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "[mock] hi 23\n"


def test_the_test_script_passes_with_an_installed_package(installed):
    """`python tests/test_dynamic_models.py` passes whether the package is editable or installed."""
    done = subprocess.run(
        [sys.executable, "tests/test_dynamic_models.py"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
