"""The wheel that users install, built and unpacked by these tests."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site_folder(tmp_path_factory):
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


def test_the_wheel_contains_the_engines_and_data_files(site_folder):
    """The wheel contains the package with its engines and data files, and its metadata."""
    package = site_folder / "gatewayx_nb"

    assert {path.name for path in (package / "config").iterdir()} == {"engines.toml", "models.toml"}
    assert (package / "engines" / "grok_engine.py").is_file()
    assert (package / "py.typed").is_file()
    assert (package / "widgets" / "keyboard.js").is_file()
    for name in ("engines_status", "security_status"):
        assert (package / "server" / f"{name}.schema.json").is_file()
    assert sorted(path.name.partition("-")[0] for path in site_folder.iterdir()) == [
        "gatewayx_nb",
        "gatewayx_nb",
    ]


def test_an_installed_package_answers(site_folder, tmp_path):
    """The package in the wheel answers a call outside of a project."""
    script = "import gatewayx_nb as gx; print(gx.ask('hi', model='mock'), len(gx.status()))"
    process = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site_folder)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert process.stdout == "[mock] hi 23\n"


def test_the_command_line_is_installed(site_folder, tmp_path):
    """The wheel has the command, its help and its completion scripts."""
    entry_points = next(site_folder.glob("*.dist-info")) / "entry_points.txt"
    assert "gatewayx = gatewayx_nb.cli:main\n" in entry_points.read_text()
    for words in (["ask", "mock", "hi"], ["--help"], ["completion", "bash"], ["help", "many-rows"]):
        process = subprocess.run(
            [sys.executable, "-m", "gatewayx_nb", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site_folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        assert process.stdout
        assert not process.stderr


def test_the_users_script_passes_with_the_wheel(site_folder):
    """`python tests/test_dynamic_models.py` passes with the package in the wheel."""
    process = subprocess.run(
        [sys.executable, "tests/test_dynamic_models.py"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(site_folder)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == 0, process.stdout
    assert " passed" in process.stdout
