"""Pulls from a hub on loopback; each failure is one line with a hint and leaves no bad files."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gatewayx_nb import weights
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import (
    AuthenticationError,
    ConfigError,
    GatewayError,
    ModelNotFoundError,
    TransportError,
    TrustError,
    UsageError,
)
from gatewayx_nb.hints import Hint
from gatewayx_nb.secure_config import Config
from tests.weights.fake_hub import COMMIT, TOKEN, FakeHub, gguf, run_hub, sha256
from tests.weights.fake_wheel import REPOSITORY, closed_port

SIZE = 300_000
TINY = "me/Tiny-GGUF"
FILE = "Tiny-Q4_K_M.gguf"
CHUNK = 65_536  # bytes that the client writes at once
STALLED = SIZE // 2 // CHUNK * CHUNK
NAME = "tiny-q4_k_m"


@pytest.fixture
def hub(tmp_path, clean_environment):
    """Yield a hub with one small model; the user's settings trust its second host."""
    with run_hub(tmp_path) as hub:
        hub.repos[TINY] = {FILE: gguf(SIZE)}
        set_network(clean_environment, f'ca_bundle = "{hub.ca_file}"')
        yield hub


def set_network(home: Path, *lines: str) -> None:
    """Write the user's network settings."""
    folder = home / "config" / "gatewayx" / "config"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gatewayx.toml").write_text("\n".join(["[network]", *lines]))


def pull(hub: FakeHub, reference: str = f"hf:{TINY}", **env: str) -> weights.LocalModel:
    """Pull a model silently."""
    return weights.pull_model(reference, progress=False, env={**hub.env, **env})


def left_over() -> list[str]:
    """Return the files in the pulled models' folder, except for the lock file."""
    folder = weights.catalogue()["smollm2"].path.parent
    names = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != ".lock")


# Successful pulls


def test_a_model_is_pulled_checked_and_recorded(hub):
    """A pulled file has the listed digest, which is recorded with the commit and the source."""
    model = pull(hub)
    assert model == weights.LocalModel(NAME, model.path, SIZE, f"hf:{TINY}:Q4_K_M")
    assert model.path.read_bytes() == gguf(SIZE)
    record = json.loads((model.path.parents[1] / "model.json").read_text())
    digest = sha256(gguf(SIZE))
    assert record == {
        "source": f"hf:{TINY}:Q4_K_M",
        "commit": COMMIT,
        "files": [{"path": f"{digest[:12]}/{FILE}", "size": SIZE, "sha256": digest}],
    }
    assert len(left_over()) == 2


def test_the_public_function_returns_the_path(hub, monkeypatch):
    """`pull` reads the hub's address from the environment and returns the file."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    assert weights.pull(f"hf:{TINY}", progress=False).name == FILE


def test_a_second_pull_downloads_nothing(hub):
    """A second pull checks the complete file and keeps it."""
    assert pull(hub) == pull(hub)
    assert hub.downloads() == [""]


@pytest.mark.parametrize("reference", [f"hf:{TINY}", f"hf:{TINY}:q4_k_m"])
def test_a_pulled_model_needs_no_hub(hub, capsys, reference):
    """A notebook that pulls its model runs again without network, and reports the skipped check."""
    model = pull(hub)
    hub.status = 503
    assert weights.pull_model(reference, env=hub.env) == model
    assert f"{NAME}: not checked for a newer version: the hub" in capsys.readouterr().err
    with pytest.raises(TransportError):
        pull(hub, f"hf:{TINY}:Q8_0")


def test_a_damaged_file_is_fetched_again(hub):
    """A file with the right size but different content is downloaded again."""
    path = pull(hub).path
    path.write_bytes(bytes(SIZE))
    assert pull(hub).path.read_bytes() == gguf(SIZE)


def test_all_parts_of_a_split_model_are_pulled(hub):
    """All parts of a split model are pulled under the names by which llama.cpp finds them."""
    names = [f"Big-Q8_0-0000{number}-of-00002.gguf" for number in (1, 2)]
    hub.repos["me/Big-GGUF"] = {f"Q8_0/{name}": gguf(SIZE, name) for name in names}
    model = pull(hub, "hf:me/Big-GGUF")
    assert (model.path.name, model.size) == (names[0], 2 * SIZE)
    assert [(model.path.parent / name).read_bytes() for name in names] == [
        gguf(SIZE, name) for name in names
    ]


def test_another_repository_with_the_same_name_does_not_replace_the_first(hub):
    """If two repositories have the same name, the second model's name begins with its owner."""
    hub.repos["you/Tiny-GGUF"] = {FILE: gguf(SIZE, "you")}
    assert [pull(hub).name, pull(hub, "hf:you/Tiny-GGUF").name] == [NAME, f"you-{NAME}"]
    assert pull(hub, "hf:you/Tiny-GGUF").name == f"you-{NAME}"


def test_progress_names_the_choice_and_the_phases(hub, capsys):
    """Without a terminal, progress is a few lines on stderr; the first names the chosen model."""
    hub.repos[TINY]["Tiny-F16.gguf"] = gguf(2 * SIZE)
    weights.pull_model(f"hf:{TINY}", env=hub.env)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{TINY}: Q4_K_M, 300 kB\n")
    assert f"{NAME}: download: 100 % of" in err
    assert f"{NAME}: check: 100 % of" in err


# Interruptions, and changes between two attempts


@pytest.mark.parametrize("cuts", [[0], [1], [100_000], [100_000, 150_000, 1], [SIZE - 1]])
def test_an_interrupted_download_is_continued(hub, cuts):
    """After an interruption, the next pull requests only the rest of the file."""
    hub.cuts = list(cuts)
    assert pull(hub).path.read_bytes() == gguf(SIZE)
    ends = itertools.accumulate(cut // CHUNK * CHUNK for cut in cuts)
    assert hub.downloads() == ["", *(f"bytes={end}-" if end else "" for end in ends)]


def test_a_stopped_pull_is_continued_by_the_next(hub):
    """Data that a killed process has downloaded is not downloaded again."""
    hub.stall = True
    stop(start_pull(hub), signal.SIGKILL)
    assert hub.disconnected.wait(20)
    (part,) = left_over()
    assert part.endswith(".part")
    hub.stall = False
    assert pull(hub).path.read_bytes() == gguf(SIZE)
    assert hub.downloads() == ["", f"bytes={STALLED}-"]
    assert not [name for name in left_over() if name.endswith(".part")]


def test_a_file_that_changes_between_attempts_is_fetched_again(hub, capsys):
    """If a file changes between two attempts, it is downloaded from its beginning."""
    hub.stall = True
    stop(start_pull(hub), signal.SIGKILL)
    hub.stall = False
    hub.repos[TINY][FILE] = gguf(SIZE, "changed")
    model = weights.pull_model(f"hf:{TINY}", env=hub.env)
    assert model.path.read_bytes() == gguf(SIZE, "changed")
    assert "the file changed on the hub after the last pull was stopped" in capsys.readouterr().err
    assert hub.downloads() == ["", ""]


def test_an_update_replaces_the_old_file(hub):
    """After a change on the hub, a pull fetches the new file and removes the old one."""
    old = pull(hub).path
    hub.repos[TINY][FILE] = gguf(SIZE, "new")
    new = pull(hub).path
    assert new.read_bytes() == gguf(SIZE, "new")
    assert not old.exists()


def test_a_file_with_a_different_digest_is_not_kept(hub):
    """A file that differs from the one that the hub lists is not kept."""
    hub.served[FILE] = gguf(SIZE, "other")
    with refused(ConfigError, rf"'{FILE}' has SHA-256 .* as the hub lists; it was not kept"):
        pull(hub)


def test_a_file_that_is_not_gguf_is_not_kept(hub):
    """A file with the right digest but a different format is refused."""
    hub.repos[TINY][FILE] = b"PK\x03\x04" + bytes(SIZE)
    with refused(ConfigError, f"'{FILE}' on the hub is not a GGUF file"):
        pull(hub)


def test_a_file_that_always_ends_early_is_refused(hub):
    """A download that always ends early raises an error instead of starting again forever."""
    hub.served[FILE] = gguf(SIZE)[: SIZE // 2]
    with pytest.raises(GatewayError) as caught:
        pull(hub)
    assert "\n" not in str(caught.value)
    assert weights.pulled_models() == []


def refused(error: type[GatewayError], match: str):
    """Expect a one-line error with a hint, after which no files are left."""
    return _Refused(error, match)


class _Refused:
    def __init__(self, error, match):
        self._raises = pytest.raises(error, match=match)

    def __enter__(self):
        self.caught = self._raises.__enter__()
        return self.caught

    def __exit__(self, *info):
        result = self._raises.__exit__(*info)
        assert "\n" not in str(self.caught.value)
        assert self.caught.value.hint is not None
        assert TOKEN not in str(self.caught.value)
        assert "secret-signature" not in str(self.caught.value)
        assert left_over() == []
        return result


# Faults of a hub, its network or a user


@dataclass(frozen=True)
class Fault:
    """A fault of the hub, and the expected error."""

    name: str
    change: object  # changes the hub
    error: type[GatewayError]
    match: str
    env: dict[str, str] = field(default_factory=dict)
    reference: str = f"hf:{TINY}"


FAULTS = [
    Fault(
        "list is HTML",
        lambda hub: hub.html.add("api"),
        TransportError,
        r"^the hub http://127.0.0.1:\d+ sent an invalid response: it is an HTML page\.",
    ),
    Fault("head is HTML", lambda hub: hub.html.add("head"), TransportError, "an HTML page"),
    Fault("file is HTML", lambda hub: hub.html.add("cdn"), TransportError, "an HTML page"),
    Fault(
        "server error",
        lambda hub: setattr(hub, "status", 503),
        TransportError,
        "returned status 503 for 'me/Tiny-GGUF'",
    ),
    Fault(
        "redirect without TLS",
        lambda hub: setattr(hub, "redirect", f"http://localhost:{hub.cdn_url.rpartition(':')[2]}"),
        TransportError,
        "redirects to http://localhost, which does not use HTTPS",
    ),
    Fault(
        "redirect to a metadata service",
        lambda hub: setattr(hub, "redirect", "https://169.254.169.254"),
        TransportError,
        "redirects to https://169.254.169.254",
    ),
    Fault(
        "redirect to a metadata service over IPv6",
        lambda hub: setattr(hub, "redirect", "https://[fd00:ec2::254]"),
        TransportError,
        "redirects to https://fd00:ec2::254",
    ),
    Fault(
        "unknown repository",
        None,
        ModelNotFoundError,
        r"no repository 'me/Tinny-GGUF', or it is private\. .*set HF_TOKEN",
        reference="hf:me/Tinny-GGUF",
    ),
    Fault(
        "misspelt owner",
        None,
        ModelNotFoundError,
        r"Did you mean 'me/Tiny-GGUF'\?",
        reference="hf:mee/Tiny-GGUF",
    ),
    Fault(
        "misspelt name",
        None,
        ModelNotFoundError,
        r"Did you mean 'me/Tiny-GGUF'\?",
        reference="hf:me/Tiny-GUF",
    ),
    Fault(
        "private without a token",
        lambda hub: hub.private.add(TINY),
        ModelNotFoundError,
        "or it is private.*set HF_TOKEN",
    ),
    Fault(
        "invalid token",
        None,
        AuthenticationError,
        "your HF_TOKEN is not accepted",
        env={"HF_TOKEN": "hf_wrong"},
    ),
    Fault(
        "token without permission",
        lambda hub: setattr(hub, "status", 403),
        AuthenticationError,
        "your HF_TOKEN lacks permission to read it",
        env={"HF_TOKEN": TOKEN},
    ),
    Fault(
        "gated without a token",
        lambda hub: hub.gated.add(TINY),
        AuthenticationError,
        r"its authors ask you to accept their terms\. Accept them at .*, then set HF_TOKEN",
    ),
    Fault(
        "offline",
        None,
        TransportError,
        "was not contacted, because HF_HUB_OFFLINE is set",
        env={"HF_HUB_OFFLINE": "1"},
    ),
    Fault(
        "unreachable",
        lambda hub: setattr(hub, "url", f"http://127.0.0.1:{closed_port()}"),
        TransportError,
        "cannot be reached: .*Connection refused",
    ),
    Fault(
        "unreachable proxy",
        None,
        TransportError,
        "cannot be reached",
        env={
            "HF_ENDPOINT": "https://hub.invalid",
            "HTTPS_PROXY": "http://user:canary-password@127.0.0.1:9",
        },
    ),
    Fault(
        "plain HTTP to another machine",
        None,
        ConfigError,
        "HF_ENDPOINT must be https://HOST, or http:// on this machine",
        env={"HF_ENDPOINT": "http://hub.example"},
    ),
    Fault(
        "user name in the address",
        None,
        ConfigError,
        "HF_ENDPOINT must be https://HOST",
        env={"HF_ENDPOINT": "https://me:canary-password@hub.example"},
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_raises_one_line_and_leaves_no_files(hub, fault):
    """A fault raises a typed error with a hint; it contains no password, token or signature."""
    if fault.change:
        fault.change(hub)
    with refused(fault.error, fault.match) as caught:
        pull(hub, fault.reference, **fault.env)
    assert "canary" not in str(caught.value)


def test_a_changed_file_during_a_pull_is_refused(hub):
    """A file whose digest in the redirect differs from the listed one is refused."""
    # The list contains the digest of a file to which the redirect no longer leads.
    hub.digests[FILE] = "0" * 64
    original = hub.repos[TINY]

    class Changing(dict):
        def items(self):
            hub.digests.clear()
            yield FILE, gguf(SIZE, "before")

    hub.repos[TINY] = Changing(original)
    with refused(
        TransportError, "'me/Tiny-GGUF' changed on the hub .* after its files were listed"
    ):
        pull(hub)


def test_a_missing_package_is_reported_with_its_command(hub, monkeypatch):
    """Without huggingface_hub, the error's hint is the command that installs the extra."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match="requires huggingface_hub") as caught:
        pull(hub)
    assert caught.value.hint == Hint("install", extra="hub")
    assert hub.seen == []


def test_a_source_is_refused(hub, tmp_path):
    """`source` is refused, because a wheel does not contain hub models."""
    with pytest.raises(UsageError, match="`source` must be omitted"):
        weights.pull(f"hf:{TINY}", source=tmp_path / "x.whl", env=hub.env)


def test_too_little_disk_space_is_reported_before_the_download(hub, monkeypatch):
    """Nothing is fetched if the disk does not have enough space."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Full)
    with refused(ConfigError, r"not enough disk space for 'tiny-q4_k_m' in .*: 300 kB are needed"):
        pull(hub)
    assert hub.downloads() == []


class _Full:
    free = 1000


def test_a_folder_that_cannot_be_written_to_raises_a_config_error(hub, clean_environment):
    """If the models folder cannot be written to, the error names it."""
    (clean_environment / "cache").mkdir()
    (clean_environment / "cache" / "gatewayx").touch()
    with pytest.raises(ConfigError, match=f"cannot write '{NAME}' to '.*/gatewayx/models'"):
        pull(hub)


# Tokens


def test_the_token_is_sent_only_to_the_first_host(hub):
    """The token is sent to the hub, but not to the second host."""
    hub.gated.add(TINY)
    pull(hub, HF_TOKEN=TOKEN)
    assert {(seen.server, seen.token) for seen in hub.seen} == {("hub", TOKEN), ("cdn", "")}


def test_a_saved_login_token_is_used(hub, clean_environment):
    """If HF_TOKEN is not set, the token that `hf auth login` has saved is used."""
    hub.private.add(TINY)
    folder = clean_environment / "cache" / "huggingface"
    folder.mkdir(parents=True)
    (folder / "token").write_text(TOKEN)
    assert pull(hub).name == NAME


def test_a_projects_network_is_not_used_without_trust(hub, project, clean_environment):
    """A project's proxy could record the token and learn what is pulled, so it must be trusted."""
    project.settings(f'[network]\nca_bundle = "{hub.ca_file}"')
    folder = clean_environment / "cache" / "huggingface"
    folder.mkdir(parents=True)
    (folder / "token").write_text(TOKEN)
    config = Config(project.root)

    def pull_in_project(**env):
        return weights.pull_model(
            f"hf:{TINY}", progress=False, env={**hub.env, **env}, config=config
        )

    (permission,) = EnginePool(home=project.root).untrusted_engines()["huggingface"]
    for action, env in (("send your HF_TOKEN", {"HF_TOKEN": TOKEN}), ("pull models", {})):
        with pytest.raises(TrustError, match=f"would {action} through network ca_bundle") as caught:
            pull_in_project(**env)
        assert caught.value.hint == Hint("trust", ids=permission.id)
    assert hub.seen == []
    config.trusted.add(project.root, [permission])
    pull_in_project(HF_TOKEN=TOKEN)
    assert TOKEN in {seen.token for seen in hub.seen}


def test_a_certificate_that_is_not_trusted_is_refused(hub, clean_environment):
    """Without `ca_bundle`, the second host's certificate is not accepted."""
    set_network(clean_environment)
    with pytest.raises(TransportError, match=r"cannot be reached: .*certificate verify failed"):
        pull(hub)


@pytest.mark.parametrize("name", ["none.pem", "pipe.pem"])
def test_an_unreadable_certificate_file_is_reported(hub, clean_environment, tmp_path, name):
    """The error for an unreadable certificate file names the setting."""
    os.mkfifo(tmp_path / "pipe.pem")
    set_network(clean_environment, f'ca_bundle = "{tmp_path / name}"')
    with refused(ConfigError, r"network\.ca_bundle must be a readable PEM file"):
        pull(hub)


def test_the_client_receives_no_api_keys(hub, monkeypatch, tmp_path):
    """The client's environment contains the proxy from the settings, but no model keys."""
    from gatewayx_nb.weights import hub_process

    for name in ("OPENAI_API_KEY", "GITHUB_TOKEN"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    set_network(tmp_path, 'proxy = "proxy.example:3128"')
    env = {**os.environ, **hub.env, "GATEWAYX_GROK_API_KEY": "canary", "NO_PROXY": "*"}
    set_network(Path(os.environ["HOME"]), 'proxy = "proxy.example:3128"')
    client = hub_process.connect(env, Config()).env
    assert "canary" not in client.values()
    assert client["HF_TOKEN"] == TOKEN
    assert client["https_proxy"] == client["HTTP_PROXY"] == "http://proxy.example:3128"
    assert client["NO_PROXY"] == "localhost,127.0.0.1,::1"
    assert client["HF_HUB_DISABLE_XET"] == "1"


# Stop, and the end of the kernel

PULL_SCRIPT = f"""if True:
    import sys
    from gatewayx_nb import weights
    try:
        weights.pull_model("hf:{TINY}")
    except KeyboardInterrupt as stop:
        sys.exit(f"a notebook shows {{stop._render_traceback_()}}")
"""


def start_pull(hub: FakeHub) -> subprocess.Popen[str]:
    """Start a pull in its own process group, and wait until it stalls."""
    process = subprocess.Popen(
        [sys.executable, "-c", PULL_SCRIPT],
        # Long, because the timeout must not be the reason that the client ends.
        env={
            **os.environ,
            **hub.env,
            "PYTHONPATH": str(REPOSITORY),
            "HF_HUB_DOWNLOAD_TIMEOUT": "600",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert hub.stalled.wait(60)
    deadline = time.monotonic() + 60
    while part_size() < STALLED and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    return process


def part_size() -> int:
    """Return the size of a partial file, or 0 if there is none."""
    folder = weights.catalogue()["smollm2"].path.parent
    return sum(path.stat().st_size for path in folder.rglob("*.part"))


def stop(process: subprocess.Popen[str], number: int) -> str:
    """Send a signal to only one process, and return its output on stderr."""
    process.send_signal(number)
    return process.communicate(timeout=20)[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_client_ends_with_its_parent(hub, number):
    """The client's connection is closed after Ctrl-C, and after the kernel is killed."""
    hub.stall = True
    err = stop(start_pull(hub), number)
    assert hub.disconnected.wait(20)
    if number == signal.SIGINT:
        assert "a notebook shows ['KeyboardInterrupt: stopped']" in err
        assert f"{NAME}: stopped at 131 kB of 300 kB; pull again to resume" in err


def test_a_notebooks_interrupt_is_not_seen_by_the_client(hub):
    """A kernel's interrupt is sent to all its processes; only the parent reports it."""
    hub.stall = True
    process = start_pull(hub)
    os.killpg(process.pid, signal.SIGINT)
    err = process.communicate(timeout=20)[1]
    assert err.endswith("a notebook shows ['KeyboardInterrupt: stopped']\n")
    assert "Traceback" not in err
    assert hub.disconnected.wait(20)


def test_two_pulls_at_once_download_once(hub):
    """If two processes pull the same model, the second one waits and uses the first one's file."""
    hub.stall = True
    first = start_pull(hub)
    second = threading.Thread(target=pull, args=(hub,))
    second.start()
    hub.stall = False
    stop(first, signal.SIGKILL)
    second.join(30)
    assert hub.downloads() == ["", f"bytes={STALLED}-"]
    assert [model.name for model in weights.pulled_models()] == [NAME]
