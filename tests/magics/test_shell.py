"""The magics in an in-process shell, which re-raises the exceptions of cells."""

import ast
import re
from pathlib import Path

import pytest
from IPython.core.error import StdinNotImplementedError
from IPython.utils.capture import capture_output

import gatewayx_nb
from gatewayx_nb.errors import (
    ConfigError,
    EngineNotFoundError,
    GatewayError,
    MissingKeyError,
    ProviderError,
    TrustError,
    UsageError,
)
from tests.users import as_nobody


def test_a_cell_shows_its_answer_and_metrics(shell, capsys):
    """In a terminal, the answer and its metrics are plain text; `_reply` is the reply."""
    shell.ask("%%gatewayx mock\nSay this.")

    output = capsys.readouterr().out
    assert output.startswith("[mock] Say this.\n[mock:mock · ")
    assert "2 in, 3 out · $0]" in output
    assert shell.user_ns["_reply"].text == "[mock] Say this."


def test_options_reach_the_engine(shell, project):
    """Quoted values keep their spaces, and JSON values keep their braces.

    `-o` binds the reply and `-q` shows nothing.
    """
    body = "    async def generate(self, prompt, **options):\n        return repr(options)\n"
    project.engine("echo", body=body)
    with capture_output() as captured:
        shell.ask("%%gx echo -s 'a b' -n 3 -p 'x={\"y\": [1, 2]}' -o answer -q\none two")

    assert captured.stdout == ""
    answer = shell.user_ns["answer"]
    assert answer is shell.user_ns["_reply"]
    assert ast.literal_eval(answer.text) == {
        "system": "a b",
        "max_tokens": 3,
        "x": {"y": [1, 2]},
    }


def test_ipython_does_not_expand_the_line(shell):
    """IPython does not expand `{…}` and `$…` in a cell; `{{…}}` is replaced, but only once."""
    shell.user_ns.update(secret="SECRET", name="{{secret}} {secret}", x=1.25)

    shell.ask("%%gatewayx mock -q -s 'for {secret} $secret {{name}}'\n{x} $x {{x:.1f}} {{ {} }}")

    system = "for {secret} $secret {{secret}} {secret}"
    assert shell.user_ns["_reply"].text == f"[mock (system: {system})] {{x}} $x 1.2 {{{{ {{}} }}}}"


def test_no_vars_leaves_placeholders_unchanged(shell):
    """`--no-vars` leaves placeholders in the prompt and the system prompt unchanged."""
    shell.ask("%%gx mock -q --no-vars -s {{nope}}\n{{nope}} {{x}}")

    assert str(shell.user_ns["_reply"]) == "[mock (system: {{nope}})] {{nope}} {{x}}"


@pytest.mark.parametrize(
    "cell",
    [
        "%%time\n%%gx mock -q\n{{name}}",
        "%%capture\n%%gx mock -q\n{{name}}",
        "def f(name):\n    get_ipython().run_cell_magic('gx', 'mock -q', '{{name}}')\nf('mine')",
    ],
)
def test_placeholders_are_notebook_variables(shell, cell):
    """Placeholders refer to notebook variables, not locals, even in other magics and functions."""
    shell.user_ns["name"] = "notebook"

    with capture_output():
        shell.ask(cell)
    assert str(shell.user_ns["_reply"]) == "[mock] notebook"


def test_the_settings_limit_the_rows_of_a_table(shell, project):
    """The settings limit the rows of a table in a prompt; a change applies to the next cell."""
    import pandas as pd

    shell.user_ns["df"] = pd.DataFrame({"a": range(100, 200)})
    shell.ask("%%gx mock -q\n{{df}}")
    assert "the first 20 rows" in shell.user_ns["_reply"].text
    project.settings("[limits]\ntable_rows = 3\n")
    shell.ask("%%gx mock -q\n{{df}}")

    assert "the first 3 rows" in shell.user_ns["_reply"].text
    assert "103" not in shell.user_ns["_reply"].text


ECHO_BODY = """\
    features = frozenset({"system", "history", "images", "schema"})

    async def generate(self, prompt, messages=(), **kwargs):
        pictures = [image for message in messages for image in message.images]
        return f"{prompt}{pictures or ''}"
"""

CODE_CELL = "%%gx echo {}\nHere:\n```python\nx = 1\n```"


def test_code_is_bound_and_inserted_into_the_next_cell(shell, project, capsys):
    """`--as code` binds the code without its fence; `--insert` puts it into the next cell."""
    project.engine("echo", body=ECHO_BODY)
    shell.ask(CODE_CELL.format("--as code -o code"))
    assert capsys.readouterr().out.startswith("x = 1\n[echo:echo · ")
    assert shell.user_ns["code"].parsed == "x = 1"
    assert shell.user_ns["code"].text.startswith("Here:")
    assert not getattr(shell, "rl_next_input", None)

    shell.ask(CODE_CELL.format("--insert -q"))

    assert shell.rl_next_input == "x = 1"
    assert "x" not in shell.user_ns


def test_replayed_code_is_not_inserted(shell, project):
    """Replayed code is parsed but not inserted, because a rerun notebook must not grow."""
    project.engine("echo", body=ECHO_BODY)
    shell.ask("%gatewayx cassette code.jsonl")
    for mode in ("record", "replay"):
        shell.ask(f"%gatewayx cassette code.jsonl --mode {mode}")
        shell.rl_next_input = None
        shell.ask(CODE_CELL.format("--insert -q"))
        reply = shell.user_ns["_reply"]
        assert (reply.parsed, reply.replayed) == ("x = 1", mode == "replay")
        assert shell.rl_next_input == (None if mode == "replay" else "x = 1")


def test_answers_are_parsed_in_their_format(shell, project, capsys):
    """`parsed` is a JSON value, a DataFrame or an instance of the schema's class."""
    project.engine("echo", body=ECHO_BODY)
    shell.ask('%%gx echo -f json\nIt is {"a": 1}.')
    assert shell.user_ns["_reply"].parsed == {"a": 1}
    shell.ask('%%gx echo --as frame\n[{"a": 1}, {"a": 2}]')
    assert shell.user_ns["_reply"].parsed["a"].tolist() == [1, 2]
    shell.ask("import dataclasses\n@dataclasses.dataclass\nclass City:\n    name: str")
    shell.ask('%%gx echo --schema City\n{"name": "Rome"}')

    assert shell.user_ns["_reply"].parsed == shell.user_ns["City"]("Rome")
    shell.user_ns["box"] = {"schema": {"type": "object"}}
    shell.ask("""%%gx echo --schema 'box["schema"]'\n{"name": 1}""")
    assert shell.user_ns["_reply"].parsed == {"name": 1}
    assert '{\n  "a": 1\n}' in capsys.readouterr().out


def test_a_list_is_shown_without_the_object_around_it(shell, project, capsys):
    """A list that a provider has wrapped in an object is shown alone; `text` is unchanged."""
    project.engine("echo", body=ECHO_BODY)

    shell.ask("%%gx echo --schema 'list[int]'\n{\"answer\": [1, 2]}")

    assert capsys.readouterr().out.startswith("[\n  1,\n  2\n]\n")
    assert shell.user_ns["_reply"].parsed == [1, 2]
    assert shell.user_ns["_reply"].text == '{"answer": [1, 2]}'


def test_images_come_from_variables_files_and_the_prompt(shell, project):
    """Images come from variables, files and the prompt; those in the prompt come first."""
    import matplotlib.figure

    project.engine("echo", body=ECHO_BODY)
    figure = matplotlib.figure.Figure()
    figure.savefig("plot.png")
    shell.user_ns.update(figure=figure, plots=["plot.png"])
    shell.ask(
        "%%gx echo -q --image plot.png --image 'plots[0]' --image https://x.example/y.png\n{{figure}}"
    )

    text = shell.user_ns["_reply"].text
    assert text.startswith("[image 1][Image('image/png'")
    assert text.count("bytes)") == 3
    assert text.endswith("Image('', https://x.example/y.png)]")


def test_images_come_from_a_list(shell, project):
    """A variable that is a list of images, paths or figures attaches each of them."""
    import matplotlib.figure

    project.engine("echo", body=ECHO_BODY)
    figure = matplotlib.figure.Figure()
    figure.savefig("plot.png")
    shell.user_ns.update(plots=["plot.png", Path("plot.png"), figure], none=[], mixed=[figure, 3])

    shell.ask("%gx echo -q --image plots hi")

    assert shell.user_ns["_reply"].text.count("bytes)") == 3
    with pytest.raises(UsageError, match="`--image none`: the list is empty"):
        shell.ask("%gx echo --image none hi")
    with pytest.raises(UsageError, match=r"`--image mixed\[1\]`: an image must be .*, got int"):
        shell.ask("%gx echo --image mixed hi")


def test_an_answer_in_an_invalid_format_is_kept(shell):
    """An answer that does not match its format is bound; it is not marked as interrupted."""
    with capture_output(), pytest.raises(ProviderError):
        shell.ask("%%gx mock --as json\nprose")

    assert not shell.user_ns["_reply"].interrupted
    assert "That is not the JSON" in shell.user_ns["_reply"].text


NOTE = "`{{f(1)}}` was sent as typed: only names, attributes and items are filled in."


@pytest.mark.parametrize(
    ("typed", "count"),
    [
        ("%%gx mock\n{{f(1)}} of {{x}}", 1),
        ("%%gx mock -s 'As {{f(1)}}'\nhi", 1),
        ("%%gx mock mock:b\n{{f(1)}}", 1),
        ("%gx mock {{f(1)}}", 1),
        ("reply = %gx mock {{f(1)}}", 1),
        ("%gx mock --bg {{f(1)}}", 1),
        ("%%gx mock --no-vars\n{{f(1)}}", 0),
        ("%%gx mock -q\n{{f(1)}}", 0),
        ("%%gx mock\n{{x}} {{}}", 0),
    ],
)
def test_an_expression_that_is_sent_as_typed_is_noted(shell, typed, count):
    """An expression in double braces is sent as typed, and one line below the answer says so."""
    shell.user_ns.update(x=1, f=lambda _: "CALLED")
    with capture_output() as captured:
        shell.ask(typed)

    displays = [output.data["text/plain"] for output in captured.outputs]
    assert displays.count(NOTE) == count
    assert not any("CALLED" in text for text in (captured.stdout, *displays))


BYPASS = "`--fresh` bypassed the cassette a.jsonl; any entry for this call is unchanged."


@pytest.mark.parametrize(
    ("mode", "typed", "note"),
    [
        ("auto", "%%gx mock --fresh\nhi", f"{BYPASS} `--renew` replaces it."),
        ("auto", "%gx mock --fresh hi", f"{BYPASS} `--renew` replaces it."),
        ("auto", "%%gx mock mock:b --fresh\nhi", f"{BYPASS} `--renew` replaces it."),
        ("replay", "%%gx mock --fresh\nhi", BYPASS),
        ("auto", "%%gx mock\nhi", None),
        ("auto", "%%gx mock --renew\nhi", None),
        ("auto", "%%gx mock --fresh -q\nhi", None),
        ("off", "%%gx mock --fresh\nhi", None),
        (None, "%%gx mock --fresh\nhi", None),
    ],
)
def test_a_bypassed_cassette_is_noted_once(shell, mode, typed, note):
    """The first answer for which an open cassette is bypassed says that its entry stays."""
    if mode:
        shell.ask("%gx cassette a.jsonl\n%gx mock hi")
        shell.ask(f"%gx cassette --mode {mode}")
    counts = []
    for _ in range(2):
        with capture_output() as captured:
            shell.ask(typed)
        counts.append([output.data["text/plain"] for output in captured.outputs].count(note))
    if mode:  # opened again, as when the notebook is run again
        shell.ask(f"%gx cassette a.jsonl --mode {mode}")
        with capture_output() as captured:
            shell.ask(typed)
        counts.append([output.data["text/plain"] for output in captured.outputs].count(note))

    assert counts == ([1, 0, 1] if note else [0, 0, 0] if mode else [0, 0])


def test_a_note_is_muted_in_a_notebook(shell):
    """In a notebook, a note is as muted as the metrics, and the quoted input is code."""
    with capture_output() as captured:
        shell.ask("%gx mock hi --temperature 0 {{f('<b>')}}")

    (page,) = [output.data["text/html"] for output in captured.outputs]
    assert "opacity" in page
    assert "<code>--temperature</code> is part of the prompt: options come before it." in page
    assert "<code>{{f(&#x27;&lt;b&gt;&#x27;)}}</code> was sent as typed" in page


def test_a_key_in_a_placeholder_is_refused(shell):
    """A placeholder whose value is a key raises an error that does not contain the key."""
    shell.user_ns["key"] = gatewayx_nb.llm_engines.Secret("sk-canary-123456")

    with pytest.raises(UsageError) as error:
        shell.ask("%%gatewayx mock\n{{key}}")
    assert "canary" not in str(error.value)


@pytest.mark.parametrize(
    "line",
    [
        "%gatewayx ask mock what is this?",
        "%gatewayx mock what is this?",
        "%gx mock what is this?",
        "answer = %gx mock what is this?\nanswer",
        "if True:\n    answer = %gatewayx mock what is this?\nanswer",
    ],
)
def test_a_question_mark_does_not_request_help(shell, line):
    """A line that ends with a question mark is a prompt; its value is the reply."""
    assert str(shell.ask(line)) == "[mock] what is this?"
    assert str(shell.user_ns["_reply"]) == "[mock] what is this?"


def test_an_apostrophe_in_a_line_is_part_of_the_prompt(shell):
    """An apostrophe belongs to the prompt, which is the rest of the line as typed."""
    assert str(shell.ask("%gx mock what's 'this")) == "[mock] what's 'this"


def test_a_question_mark_after_the_magic_shows_its_help(shell, capsys):
    """`%gatewayx?` shows the magic's help; a similar line in a Python string is unchanged."""
    shell.ask("%gatewayx?")
    assert "gatewayx help" in capsys.readouterr().out
    assert shell.ask('text = """\n%gx mock what?\n"""\ntext') == "\n%gx mock what?\n"


@pytest.mark.parametrize(
    ("cell", "error_class", "message"),
    [
        ("%%gatewayx mock", UsageError, "no prompt"),
        ("%%gatewayx mock\n  \n", UsageError, "no prompt"),
        ("%%gatewayx -t\nx", UsageError, "`-t` needs a value, X"),
        ("%%gatewayx mock --temprature 1\nx", UsageError, "Did you mean '--temperature'"),
        ("%%gatewayx mock -t hot\nx", UsageError, "`-t` must be a number >= 0, got 'hot'"),
        ("%%gatewayx mock -t -1\nx", UsageError, r"`-t` must be a number >= 0, got -1\.0"),
        ("%%gatewayx mock -s 'open\nx", UsageError, "No closing quotation"),
        ("%%gatewayx mock what is\nx", UsageError, "the prompt on the lines below"),
        (
            "%%gatewayx mock --as jsn\nx",
            UsageError,
            "`--as` must be one of .*, got 'jsn'. Did you mean 'json'",
        ),
        ("%%gatewayx mock --as json\nx", ProviderError, "correction .*: it contains no JSON"),
        ("%%gatewayx mock --as frame\nx", ProviderError, "correction .*: it contains no JSON"),
        ("%%gatewayx mock --insert --as json\nx", UsageError, "`--as json` cannot be used"),
        (
            "%%gatewayx mock --schema int --as code\nx",
            UsageError,
            "`--as code` cannot be used",
        ),
        ("%%gatewayx mock --schema City\nx", UsageError, "'City', which is not defined"),
        (
            "%%gatewayx mock --schema _dh\nx",
            UsageError,
            "`--schema _dh`: schema must be a JSON Schema",
        ),
        ("%%gatewayx mock --schema 1+1\nx", UsageError, "'1\\+1' must consist of names"),
        (
            "%%gatewayx mock --image plto.png\nx",
            UsageError,
            "refers to 'plto.png', but there is no such variable in this notebook",
        ),
        (
            "%%gatewayx mock --image http://x/y.png\nx",
            UsageError,
            "image URL must begin with https://",
        ),
        (
            "%%gatewayx mock --image _oh\nx",
            UsageError,
            "`--image _oh`: an image must be .*, got dict",
        ),
        ("%%gatewayx mock --image _\nx", UsageError, "cannot be read"),
        ("%%gatewayx mock -o 1x\nx", UsageError, "'1x' is not a valid variable name"),
        ("%%gatewayx mock -o class\nx", UsageError, "'class' is not a valid"),
        ("%%gatewayx mock -o get_ipython\nx", UsageError, "'get_ipython' is not a valid"),
        ("%%gatewayx mock -o print\nx", UsageError, "'print' is not a valid"),
        ("%gatewayx models nope", EngineNotFoundError, "no engine 'nope'"),
        ("%%gatewayx mock -p x\nx", UsageError, "must be K=V, got 'x'"),
        ("%%gatewayx mock -p latency=-1\nx", UsageError, "latency"),
        ("%%gatewayx mock -p fail=418\nx", ProviderError, "418"),
        ("%%gatewayx mock\n{{nope}}", UsageError, "'nope', which is not defined"),
        ("%%gatewayx gork\nx", EngineNotFoundError, "Did you mean 'grok'"),
        ("%%gatewayx grok\nx", MissingKeyError, "key set grok"),
        ("%%gatewayx\nx", MissingKeyError, "pull smollm2"),
        ("%gatewayx stauts", UsageError, "Did you mean 'status'"),
        ("%gatewayx ask", UsageError, "the reference and the prompt are missing"),
        ("%gatewayx mock", UsageError, "the prompt is missing"),
        ("%gatewayx key set Grok!", UsageError, "'Grok!' has a name that does not"),
        ("%gatewayx key get grok", UsageError, "got 'get'. Did you mean 'set'"),
        ("%gatewayx key import nowhere.env", ConfigError, "nowhere.env' cannot be read"),
        ("%gatewayx status gork", EngineNotFoundError, "Did you mean 'grok'"),
        ("%gatewayx help stauts", UsageError, "Did you mean 'status'"),
        ("%gatewayx pull smolm2", GatewayError, "smollm2"),
        ("%gatewayx use", UsageError, "REF"),
    ],
)
def test_an_error_is_three_lines(shell, cell, error_class, message):
    """An error is displayed as its message, a hint and a line of help, and contains no key."""
    with pytest.raises(error_class) as error:
        shell.ask(cell)

    lines = error.value._render_traceback_()
    assert re.search(message, " ".join(lines))
    assert len(lines) == 3
    assert lines[1]
    assert re.fullmatch(r"More: `%gatewayx help [a-z-]+`", lines[2])
    assert "canary" not in "".join(lines)
    assert not any("\n" in line for line in lines)


def test_a_failed_call_keeps_its_partial_answer(shell, project):
    """The partial answer of a failed call is shown, and bound as an interrupted reply."""
    project.engine(
        "half",
        body="    async def stream(self, request):\n"
        "        from gatewayx_nb.llm_engines import Chunk\n"
        "        yield Chunk(text='half an ')\n"
        "        raise ValueError('oh')\n",
    )
    with capture_output() as captured, pytest.raises(ProviderError):
        shell.ask("%%gatewayx half\nx")

    assert captured.stdout.startswith("half an \n[half:half")
    assert "incomplete" in captured.stdout
    assert (shell.user_ns["_reply"].text, shell.user_ns["_reply"].interrupted) == ("half an ", True)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "    async def generate(self, prompt, **kwargs):\n        return prompt.shout()\n",
            "raised",
        ),
        ("    x = y\n", "cannot be loaded"),
    ],
)
def test_an_error_shows_the_relative_path_of_an_engine_file(shell, project, body, message):
    """The error of a faulty engine file shows its path relative to the current folder.

    A saved notebook therefore does not reveal the machine's folders.
    """
    project.engine("shout", body=body)

    with pytest.raises(GatewayError, match=message) as error:
        shell.ask("%gatewayx shout hello")

    assert "engines/shout_engine.py; it is reloaded on the next call." in str(error.value)


def test_a_key_set_by_getpass_applies_to_the_next_cell(shell, project, monkeypatch):
    """A key set by getpass is used by the next cell and can be removed.

    Its file has mode 0600, and its value is never shown.
    """
    monkeypatch.setattr("getpass.getpass", lambda _: "sk-canary-123456")

    output = repr(shell.ask("%gatewayx key set grok"))

    assert output.splitlines()[0] == "The key for grok is set in config/secrets/.env.local."
    assert project.keys.stat().st_mode & 0o777 == 0o600
    keys_table = repr(shell.ask("%gatewayx keys"))
    assert "config/secrets/.env.local" in keys_table
    assert "canary" not in output + keys_table
    assert "✓ ready, key set" in repr(shell.ask("%gatewayx status grok"))
    assert "removed" in repr(shell.ask("%gatewayx key remove grok"))
    assert "needs a key" in repr(shell.ask("%gatewayx status grok"))


@pytest.mark.parametrize("typed_key", ["", "your_grok_key_here", "two words"])
def test_an_invalid_key_is_not_written(shell, project, monkeypatch, typed_key):
    """An empty key, a placeholder or a key with a space is refused and not written."""
    monkeypatch.setattr("getpass.getpass", lambda _: typed_key)

    with pytest.raises(UsageError, match="nothing was written"):
        shell.ask("%gatewayx key set grok")
    assert not project.keys.exists()


@pytest.mark.parametrize("line", ["%gx mine hi", "%gx ask mine hi", "%%gx mine -q\nhi"])
def test_a_changed_engine_applies_to_the_next_cell(shell, project, line):
    """An added, changed or removed engine applies to the next cell, with every kind of call."""

    def ask_engine():
        shell.ask(line)
        return shell.user_ns["_reply"].text

    project.engine("mine", "one")
    assert ask_engine() == "one"
    project.engine("mine", "two")
    assert ask_engine() == "two"
    (project.engines / "mine_engine.py").unlink()
    with pytest.raises((UsageError, EngineNotFoundError), match="'mine'"):
        ask_engine()


def test_init_creates_a_project_and_overwrites_nothing(shell, tmp_path, monkeypatch):
    """`init` creates a project at the repository's root and overwrites no file.

    The default pool uses the project at once.
    """
    monkeypatch.delenv("GATEWAYX_HOME")
    root = tmp_path / "repository"
    (root / ".git").mkdir(parents=True)
    (root / "sub").mkdir()
    monkeypatch.chdir(root / "sub")

    output = repr(shell.ask("%gatewayx init"))
    (root / "config" / "gatewayx.toml").write_text("# mine\n")
    monkeypatch.chdir(root)
    second_output = repr(shell.ask("%gatewayx init"))

    assert output.startswith(f"{root} is now a project. Created config/gatewayx.toml")
    assert second_output.startswith("This folder is already a project.")
    assert (root / "config" / "gatewayx.toml").read_text() == "# mine\n"
    assert (root / "config" / "secrets" / ".gitignore").read_text().endswith("*\n")
    assert (root / "engines" / ".gitignore").is_file()
    assert gatewayx_nb.pool().config.project.root == root


def test_init_keeps_the_choices_of_the_notebook(shell, tmp_path, monkeypatch):
    """A new pool keeps the default model, the cassette and the conversations of the old one."""
    monkeypatch.delenv("GATEWAYX_HOME")
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repository")
    from_import = gatewayx_nb.ask
    private = gatewayx_nb.chat("mock")
    private.ask("first")
    shell.ask("%gatewayx use mock:other")
    shell.ask("%gatewayx cassette a.jsonl")
    shell.ask("%%gatewayx --chat story -q\nOnce")
    old = gatewayx_nb.pool()

    shell.ask("%gatewayx init")

    new = gatewayx_nb.pool()
    assert new is not old
    assert from_import("hi").model == "other"
    assert new.active_cassette.path.name == "a.jsonl"
    assert [chat.name for chat in new.chats] == ["story"]
    private.ask("second")
    assert [turn.reply.text for turn in private.turns] == ["[mock] first", "[mock] second"]
    assert [row.calls for row in new.usage()] == [2, 2]


def test_init_keeps_an_open_cassette_closable_and_the_budget(shell, tmp_path, monkeypatch):
    """The notebook's cassette object and the kernel's totals and session limit are kept."""
    monkeypatch.delenv("GATEWAYX_HOME")
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repository")
    gatewayx_nb.ask("before", "mock")

    with gatewayx_nb.cassette("a.jsonl") as cassette:
        shell.ask("%gatewayx init")
        gatewayx_nb.ask("recorded", "mock")
    gatewayx_nb.ask("private", "mock")

    assert gatewayx_nb.pool().active_cassette is None
    assert len(cassette) == 1
    assert "private" not in (tmp_path / "repository" / "a.jsonl").read_text()
    assert gatewayx_nb.usage()[0].calls == 3


def test_init_lets_a_running_call_end(shell, project, tmp_path, monkeypatch):
    """A call that runs while `init` builds a new pool still returns its reply."""
    release = project.blocking_engine("slow")
    job = shell.ask("%%gatewayx slow --bg -q -o answer\nhi") or shell.user_ns["answer"]

    shell.ask("%gatewayx init")
    release.touch()

    assert job.result(60).text == "late"


def test_the_bare_magic_shows_the_state(shell, project):
    """The bare magic shows the engines, the default model and the project folder.

    `models` lists an engine's models, and `use` changes the default.
    """
    project.engine("mine", "x")
    output = repr(shell.ask("%gatewayx"))

    for word in (
        "grok",
        "local",
        "mine",
        "mock",
        "No model is available: no key is set",
        str(project.root),
        "%%gatewayx",
    ):
        assert word in output
    assert "mine" in repr(shell.ask("%gatewayx models"))
    assert "mine" not in repr(shell.ask("%gatewayx models grok"))
    assert "The default model is mine, saved" in repr(shell.ask("%gatewayx use mine --save"))
    assert "Default model: mine" in repr(shell.ask("%gatewayx status"))


def test_health_is_a_table_of_engines(shell, project):
    """`health` checks all configured engines, and `health NAME` only the named engine."""
    project.engine("broken", body="    oops\n")
    shell.run_cell("%gx broken hi")

    table, row_table = (repr(shell.ask(f"%gatewayx health{name}")) for name in ("", " mock"))

    rows = {line.split()[0]: line for line in table.splitlines() if line}
    assert rows["mock"].split()[1:] == ["yes", "0.00", "s"]
    assert rows["broken"].split()[1] == "no"
    assert "NameError" in rows["broken"]
    assert "`%gatewayx status`" in table
    assert [line.split()[0] for line in row_table.splitlines()] == ["engine", "------", "mock"]


def test_a_dash_within_a_quoted_value_is_not_an_option(shell):
    """An option inside a quoted value is not parsed: `-h` in a system prompt shows no help."""
    shell.ask('%%gx mock -q -s "explain the -h option"\nhi')

    assert str(shell.user_ns["_reply"]) == "[mock (system: explain the -h option)] hi"


def test_words_are_separated_by_any_whitespace(shell):
    """A tab separates a reference from its prompt, as a space does."""
    assert str(shell.ask("%gx mock\thi  there")) == "[mock] hi  there"


def test_help_lists_every_command(shell):
    """`help` lists every command, and `help COMMAND` shows the options of one command."""
    output = repr(shell.ask("%gatewayx help"))
    for command in (
        "init",
        "status",
        "models",
        "use",
        "key",
        "keys",
        "reload",
        "pull",
        "ask",
        "health",
    ):
        assert f"%gatewayx {command}" in output
    assert "--save" in repr(shell.ask("%gatewayx help use"))
    assert "--temperature" in repr(shell.ask("%%gatewayx -h"))


def test_loading_twice_has_no_effect_and_unloading_restores_the_shell(shell):
    """Loading again adds no transformer, and unloading removes the magics and the transformer."""
    transformer_count = len(shell.input_transformers_post)
    shell.run_line_magic("load_ext", "gatewayx_nb")
    gatewayx_nb.load_ipython_extension(shell)
    assert len(shell.input_transformers_post) == transformer_count

    gatewayx_nb.unload_ipython_extension(shell)

    assert shell.find_line_magic("gx") is None
    assert shell.find_cell_magic("gatewayx") is None
    assert len(shell.input_transformers_post) == transformer_count - 2
    gatewayx_nb.load_ipython_extension(shell)


@pytest.fixture
def redirected_shell(project, monkeypatch, shell):
    """Return a shell in a project that redirects a key from the environment."""
    monkeypatch.setenv("GATEWAYX_GROK_API_KEY", "canary-key")
    project.settings('engines.grok.base_url = "https://gateway.example/v1"')
    return shell


def test_trust_shows_the_destination_of_a_key_and_saves_the_permission(
    redirected_shell, monkeypatch, capsys
):
    """`trust` shows the host and the setting, then asks; after a yes, the engine can be used."""
    questions = []
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or "y")
    with pytest.raises(TrustError) as error:
        redirected_shell.ask("%gatewayx use grok")
    assert "`%gatewayx trust`" in error.value.describe()

    result = redirected_shell.ask("%gatewayx trust")

    output = capsys.readouterr().out
    assert "https://gateway.example" in output
    assert "[engines.grok] base_url in its settings" in output
    assert "canary" not in output + repr(result)
    assert len(questions) == 1
    redirected_shell.ask("%gatewayx use grok")
    assert "Nothing to trust" in repr(redirected_shell.ask("%gatewayx trust"))


def test_trust_lists_and_revokes_permissions(redirected_shell, monkeypatch):
    """`trust --show` lists the permissions, and `--revoke` removes them."""
    assert "has no permissions" in repr(redirected_shell.ask("%gatewayx trust --show"))
    monkeypatch.setattr("builtins.input", lambda _: "y")
    redirected_shell.ask("%gatewayx trust")

    shown = repr(redirected_shell.ask("%gatewayx trust --show"))
    assert "https://gateway.example" in shown
    assert "no longer has any permissions" in repr(redirected_shell.ask("%gatewayx trust --revoke"))

    assert "has no permissions" in repr(redirected_shell.ask("%gatewayx trust --show"))
    with pytest.raises(TrustError):
        redirected_shell.ask("%gatewayx use grok")


@pytest.mark.parametrize("answer", ["", "n", "no", "yess"])
def test_only_yes_grants_trust(redirected_shell, monkeypatch, answer):
    """Any answer other than yes grants no trust; the error suggests a key for the project."""
    monkeypatch.setattr("builtins.input", lambda _: answer)

    with pytest.raises(TrustError, match="your keys are not sent") as error:
        redirected_shell.ask("%gatewayx trust")
    assert "%gatewayx key set grok" in error.value.describe()
    with pytest.raises(TrustError):
        redirected_shell.ask("%gatewayx use grok")


def test_trust_without_input_is_refused(redirected_shell, monkeypatch):
    """`trust` raises an error in a front end that cannot ask for input, such as nbval."""

    def raise_not_implemented(_):
        raise StdinNotImplementedError

    monkeypatch.setattr("builtins.input", raise_not_implemented)

    with pytest.raises(TrustError, match="cannot ask for confirmation"):
        redirected_shell.ask("%gatewayx trust")


def test_a_key_import_lists_names_without_values(shell, project, tmp_path):
    """A key import lists imported and skipped names, with reasons and without values.

    The next cell can use the keys.
    """
    source = tmp_path / "my keys.env"
    source.write_text(
        "XAI_API_KEY=sk-canary-1\nOTHER=canary\nsk-canary-2\nCO_API_KEY=sk-canary-3\n"
    )
    project.set_keys("GATEWAYX_COHERE_API_KEY=sk-canary-4\n")

    output = repr(shell.ask(f'%gatewayx key import "{source}"'))

    assert re.search(r"XAI_API_KEY +GATEWAYX_GROK_API_KEY +imported", output)
    assert re.search(r"CO_API_KEY +GATEWAYX_COHERE_API_KEY +skipped: another key is set", output)
    assert "1 skipped, as no engine uses them: OTHER." in output
    assert "Lines that are not NAME=VALUE: 1." in output
    assert "run `%gatewayx key remove NAME` before importing" in output
    assert "canary" not in output
    assert re.search(r"grok +GATEWAYX_GROK_API_KEY +set", repr(shell.ask("%gatewayx keys")))


PARROT_ENGINE = """\
from ..llm_engines import LLMEngine

class Parrot(LLMEngine):
    requires_key = False

    async def generate(self, prompt, **kwargs):
        return prompt
"""


@pytest.mark.parametrize(
    "line",
    ["use parrot --save", "init", "key set grok", "key set grok --user", "key import {0}/.env"],
)
def test_a_read_only_folder_raises_a_three_line_error(shell, unprivileged, monkeypatch, line):
    """A command that writes into a read-only project or user folder raises a three-line error."""
    (unprivileged / ".env").write_text("XAI_API_KEY=k\n")
    # A shipped engine cannot be used if the repository is in a folder that only root can enter.
    (unprivileged / "engines").mkdir()
    (unprivileged / "engines" / "parrot_engine.py").write_text(PARROT_ENGINE)
    unprivileged.chmod(0o555)
    monkeypatch.setattr("getpass.getpass", lambda _: "sk-1234")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(unprivileged))
    monkeypatch.setenv("GATEWAYX_HOME", str(unprivileged))
    gatewayx_nb.engine_pool.reset()
    gatewayx_nb.ask("x", model="parrot")

    with as_nobody(), pytest.raises(ConfigError, match="cannot be written: Permission") as error:
        shell.run_line_magic("gatewayx", line.format(unprivileged))

    assert len(error.value._render_traceback_()) == 3
    unprivileged.chmod(0o755)


def test_the_help_of_a_cell_has_examples_and_four_groups(shell):
    """`%%gatewayx -h` shows two examples, and every option in one of four groups."""
    table = shell.ask("%%gatewayx -h\n")

    assert [line.partition("`")[2].partition(" ")[0] for line in table.lead] == ["%%gatewayx"] * 2
    titles = [row[0] for row in table]
    assert list(filter(None, titles)) == ["Sampling", "Shape", "Context", "Run"]
    first = titles.index("Sampling")
    assert [row[1] for row in table[:first]] == ["REF"], "all options are in a group"
    assert "`--" not in repr(table)


def test_both_magics_show_the_examples_of_the_overview(shell):
    """`%gatewayx?` and `%%gatewayx?` show the same five examples, those of `%gatewayx`."""
    magics = [shell.magics_manager.magics[kind]["gatewayx"] for kind in ("line", "cell")]
    first, second = [magic.__doc__.partition("Examples:")[2] for magic in magics]
    commands = re.findall(r"^ +(%+gatewayx[^#\n]*)", first, re.MULTILINE)
    overview = re.findall(r"^`(%+gatewayx[^`]*)`", repr(shell.ask("%gatewayx")), re.MULTILINE)

    assert first == second
    assert [_shape(command) for command in commands] == [_shape(command) for command in overview]
    assert len(commands) == 5


def _shape(command):
    """Return a command with the names of engines replaced."""
    return re.sub(r"\b(grok|anthropic|local|mock)\b", "ENGINE", command).strip()


def test_a_call_in_the_next_cell_uses_the_edited_file(shell, project):
    """Each cell checks the files, even if it runs within a second of the cell before."""
    project.engine("shout", "old")
    shell.ask("import gatewayx_nb as gx\ngx.ask('hi', 'mock')")
    assert shell.ask("gx.ask('hi', 'shout').text") == "old"
    project.engine("shout", "the new one")
    assert shell.ask("gx.ask('hi', 'shout').text") == "the new one"
    (project.engines / "shout_engine.py").unlink()
    with pytest.raises(EngineNotFoundError):
        shell.ask("gx.ask('hi', 'shout')")
