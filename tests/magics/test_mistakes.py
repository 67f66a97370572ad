"""A beginner's mistakes: the typed cell, and the lines that are shown."""

from dataclasses import dataclass

import pytest

import gatewayx_nb
from gatewayx_nb.errors import GatewayError

CELL_HELP = "Run `%%gatewayx -h` for help."
LIST = "`%gatewayx status` lists the engines."

NAMES = """
import dataclasses

@dataclasses.dataclass
class City:
    name: str

nmae = city = "Rome"
"""


@dataclass(frozen=True)
class Mistake:
    """A mistake.

    Attributes:
        typed: The cell.
        message: The message.
        hint: The hint.
    """

    typed: str
    message: str
    hint: str


MISTAKES = [
    Mistake(
        "%gatewayx What is the capital of France?",
        "'What' is neither a command nor a model.",
        f"Run `%gatewayx mock What is the capital of France?`. Or {LIST}",
    ),
    Mistake(
        "%gx gork why?",
        "there is no command or engine 'gork'. Did you mean 'grok'?",
        f"Run `%gatewayx help`. Or {LIST}",
    ),
    Mistake(
        "%gx mock",
        "the prompt is missing.",
        "For example, `%gatewayx mock Why is the sky blue?`.",
    ),
    Mistake("%%gx gpt-4o\nhi", "there is no engine 'gpt-4o'. Did you mean 'openai:gpt-4o'?", LIST),
    Mistake(
        "%%gx claude-3-opus\nhi",
        "there is no engine 'claude-3-opus'. Did you mean 'anthropic:claude-3-opus'?",
        LIST,
    ),
    Mistake("%gx gpt-4o hi", "there is no engine 'gpt-4o'. Did you mean 'openai:gpt-4o'?", LIST),
    Mistake("%gx smollm2 hi", "there is no engine 'smollm2'. Did you mean 'local:smollm2'?", LIST),
    Mistake(
        "%%gx openai/gpt-4o\nhi",
        "there is no engine 'openai/gpt-4o'. Use a colon: 'openai:gpt-4o'.",
        LIST,
    ),
    Mistake(
        "%%gx openai\nhi",
        "engine 'openai' needs a key, but GATEWAYX_OPENAI_API_KEY is not set.",
        "Run `%gatewayx key set openai`. Or run `%gatewayx pull smollm2`.",
    ),
    Mistake(
        "%%gx mock --temprature 0\nhi",
        "there is no option '--temprature'. Did you mean '--temperature'?",
        CELL_HELP,
    ),
    Mistake(
        "%%gx mock -temperature 0\nhi",
        "there is no option '-temperature'. Did you mean '--temperature'?",
        CELL_HELP,
    ),
    Mistake(
        "%%gx mock --temperature=hot\nhi",
        "`--temperature` must be a number >= 0, got 'hot'.",
        "For example, `--temperature 0.2`.",
    ),
    Mistake("%%gx mock -n 0\nhi", "`-n` must be an int >= 1, got 0.", "For example, `-n 500`."),
    Mistake("%gx mock -n 0 hi", "`-n` must be an int >= 1, got 0.", "For example, `-n 500`."),
    Mistake(
        "%%gx mock -n\nhi",
        "`-n` needs a value, N: maximum tokens in the answer; the model's own limit if omitted.",
        CELL_HELP,
    ),
    Mistake("%%gx mock --renew=3\nhi", "`--renew` takes no value.", CELL_HELP),
    Mistake(
        "%gx cassette --prune=x",
        "`--prune` takes no value.",
        "Run `%gatewayx help cassette` for help.",
    ),
    Mistake(
        "%%gx mock --system You are a pirate\nhi",
        "text with spaces must be quoted.",
        f'Write `--system "You are a pirate"`. {CELL_HELP}',
    ),
    Mistake(
        "%%gx --system You are a pirate\nhi",
        "text with spaces must be quoted.",
        'Write `--system "You are a pirate"`.',
    ),
    Mistake(
        "%%gx --model smollm2\nhi",
        "there is no option '--model': the model is the first word.",
        f"For example, `%%gatewayx smollm2`. {CELL_HELP}",
    ),
    Mistake(
        "%gx history --model grok",
        "there is no option '--model'.",
        "Run `%gatewayx help history` for help.",
    ),
    Mistake(
        "%%gx mock --seed 3\nhi",
        "there is no option '--seed'.",
        f"Use `-p seed=3`. {CELL_HELP}",
    ),
    Mistake(
        "%%gx mock -seed 3\nhi", "there is no option '-seed'.", f"Use `-p seed=3`. {CELL_HELP}"
    ),
    Mistake(
        "%gx mock --top_p=0.5 hi",
        "there is no option '--top_p'.",
        f"Use `-p top_p=0.5`. {CELL_HELP}",
    ),
    Mistake(
        "%%gx mock --stop\nhi",
        "there is no option '--stop'.",
        f"Use `-p stop=END`. {CELL_HELP}",
    ),
    Mistake(
        "%%gx mock -p seed=x\nhi",
        "`-p seed=` must be an int, got 'x'.",
        "For example, `-p seed=1`.",
    ),
    Mistake("%%gx mock -p seed=1 -p seed=2\nhi", "`-p seed` has two values.", "Omit one of them."),
    *(
        Mistake(typed, f"`{flag}` can be used only once.", "Remove the repetition.")
        for typed, flag in (
            ("%%gx mock -t 0 -t 1\nhi", "-t"),
            ("%%gx mock -t 0 --temperature=0\nhi", "--temperature"),
            ("%gx mock -o a -o b hi", "-o"),
            ("%gx chat reset --keep 1 --keep 2", "--keep"),
        )
    ),
    *(
        Mistake(typed, f"`{flag}` has no effect with `--dry-run`.", "Omit one of them.")
        for typed, flag in (
            ("%%gx mock --dry-run -o a\nhi", "-o"),
            ("%gx mock --dry-run --bg hi", "--bg"),
            ("%%gx mock --insert --dry-run\nhi", "--insert"),
            ("%gx mock --quiet --dry-run hi", "--quiet"),
        )
    ),
    *(
        Mistake(
            typed,
            f"the line of a magic cannot contain a comment, got {comment}.",
            "Omit the comment.",
        )
        for typed, comment in (
            ("%%gx mock # a comment\nhi", "'# a comment'"),
            ("%%gx #comment\nhi", "'#comment'"),
            ("%%gx mock -t 0 -s '# Role' # it\nhi", "'# it'"),
            ("%%gx mock # it's mine\nhi", '"# it\'s mine"'),
            ("%gatewayx status # comment", "'# comment'"),
            ("%gatewayx history # 3", "'# 3'"),
        )
    ),
    *(
        Mistake(
            f"%%gx {line}\nhi",
            f"a model reference cannot contain a comma, got {reference!r}.",
            f"Write the models with a space between them: `{models}`.",
        )
        for line, reference, models in (
            ("local,mock", "local,mock", "local mock"),
            ("mock, local", "mock,", "mock local"),
            ("mock:a,local:b", "mock:a,local:b", "mock:a local:b"),
        )
    ),
    Mistake(
        "%gatewayx chat list --keep 2",
        "`--keep` has no effect with `chat list`.",
        "Run `%gatewayx chat reset --keep 2`.",
    ),
    *(
        Mistake(
            f"%gatewayx cassette a.jsonl\n%gatewayx cassette --speed {speed}",
            f"speed must be a number > 0, got {speed}.0.",
            "1 is the recorded speed; if omitted, the replay is immediate.",
        )
        for speed in ("0", "-1")
    ),
    Mistake(
        "%%gx mock -p temperature=0\nhi",
        "engine 'mock' has no parameter 'temperature'; nothing was sent.",
        "Use `-t`, which sets temperature.",
    ),
    Mistake(
        "%%gx mock --as pdf\nhi",
        "`--as` must be one of markdown, text, code, json, html, frame, got 'pdf'.",
        CELL_HELP,
    ),
    Mistake(
        "%%gx mock --as json -q\nhi",
        "the answer and its correction of 'mock' must be JSON: it contains no JSON.",
        "Run the cell again. Or use another model.",
    ),
    Mistake(
        "%%gx mock --schema 'list[Citty]'\nhi",
        "`--schema` refers to 'Citty', which is not defined in this notebook. Did you mean 'City'?",
        "Define a class or a dict with the fields of the answer in a cell above.",
    ),
    Mistake(
        "%%gx mock --schema Citty\nhi",
        "`--schema` refers to 'Citty', which is not defined in this notebook. Did you mean 'City'?",
        "Define a class or a dict with the fields of the answer in a cell above.",
    ),
    Mistake(
        "%gx mock hi {{name}}",
        "the prompt refers to 'name', which is not defined. Did you mean 'nmae'?",
        'Define it first: name = "..."',
    ),
    Mistake(
        "%gx mock -bullet one",
        "there is no option '-bullet'.",
        f"A prompt that begins with a dash follows `--`. {CELL_HELP}",
    ),
    Mistake(
        "%%gx status",
        "'status' is a command, and commands begin with one %.",
        "Use one %: `%gatewayx status`.",
    ),
    Mistake(
        "%%gx ask mock\nhi",
        "'ask' is a command, and commands begin with one %.",
        "Write `%%gatewayx REF`, and the prompt on the lines below it.",
    ),
    Mistake(
        "%%gx mock --image plot.png\nhi",
        "`--image` refers to 'plot.png', but there is no such variable in this notebook and no such"
        " file in 'project'. Did you mean 'plot1.png'?",
        "A figure needs no file: `--image fig` sends the figure in the variable `fig`.",
    ),
    Mistake(
        "%%gx mock --image plot1.png\nhi",
        "engine 'mock' does not support images.",
        "These engines are ready and take images: google.",
    ),
    Mistake(
        "%%gx mock --image nope.png\nhi",
        "`--image` refers to 'nope.png', but there is no such variable in this notebook and no such"
        " file in 'project'.",
        "A figure needs no file: `--image fig` sends the figure in the variable `fig`.",
    ),
    Mistake(
        "%gx mock hi {{opn}}",
        "the prompt refers to 'opn', which is not defined.",
        'Define it first: opn = "..."',
    ),
    Mistake(
        "%gx mock hi {{dataclasses}}",
        "the prompt refers to 'dataclasses', which is a module and cannot be converted to text.",
        "Name one of its attributes: {{dataclasses.NAME}}.",
    ),
    Mistake(
        "jj = %gx mock --bg -q hi\n%gx mock say {{jj}}",
        "the prompt refers to 'jj', which is a Job, not its result.",
        "First assign the result: answer = jj.result(). Then write {{answer}}.",
    ),
    Mistake(
        "%gx mock hi {{nope}}",
        "the prompt refers to 'nope', which is not defined.",
        'Define it first: nope = "..."',
    ),
    *(
        Mistake(
            f"%gx {line}",
            f"there is no command or engine '{line.split()[0]}'. Did you mean 'cassette'?",
            "Run `%gatewayx help cassette`.",
        )
        for line in ("record", "record story.jsonl", "replay", "save", "save story.jsonl")
    ),
    Mistake("%%gx mock --fallback nobody\nhi", "there is no engine 'nobody'.", LIST),
    Mistake(
        "%gatewayx key sett openai",
        "the action must be one of set, remove, import, got 'sett'. Did you mean 'set'?",
        "Run `%gatewayx key` for help.",
    ),
    *(
        Mistake(
            f"%gatewayx {line}",
            f"the reference {missing} missing.",
            "Run `%gatewayx ask mock Why is the sky blue?`.",
        )
        for line, missing in (("ask", "and the prompt are"), ("ask hi", "or the prompt is"))
    ),
    Mistake(
        "%gatewayx ask mock",
        "the prompt is missing.",
        "For example, `%gatewayx mock Why is the sky blue?`.",
    ),
    *(
        Mistake(
            f"%gatewayx new {name}",
            f"engine {name!r} has a name that does not consist of 1 to 63 characters from a-z, 0-9"
            " and _.",
            f"Run `%gatewayx new {valid}`.",
        )
        for name, valid in (("My-Engine", "my_engine"), ("Grok", "my_grok"), ("!", "my"))
    ),
    *(
        Mistake(
            typed,
            "`--max-cost` must be an amount of US dollars >= 0, without $, got '$0.01'.",
            "For example, `--max-cost 0.05`.",
        )
        for typed in ("%%gx mock --max-cost $0.01\nhi", "%gx mock --max-cost $0.01 hi")
    ),
    Mistake(
        "%%gx mock --timeout 5m\nhi",
        "`--timeout` must be a number of seconds > 0 and at most 604,800, got '5m'.",
        "For example, `--timeout 60`.",
    ),
    Mistake(
        "%gatewayx cancel --all",
        "there is no option '--all'.",
        "Run `%gatewayx help cancel` for help.",
    ),
    Mistake(
        "%gatewayx key import",
        "`%gatewayx key import` needs FILE.",
        "Run `%gatewayx key` for help.",
    ),
    *(
        Mistake(
            f"%%gx mock --schema {file}\nhi",
            f"`--schema` must be a name in this notebook, got the file '{file}'.",
            f"First load it: schema = json.load(open('{file}')). Then use `--schema schema`.",
        )
        for file in ("file.json", "schemas/city.json", "plot1.png")
    ),
    Mistake("%gatewayx key set", "`%gatewayx key` needs NAME.", "Run `%gatewayx key` for help."),
    Mistake(
        "%gatewayx key set opnai",
        "there is no engine 'opnai'. Did you mean 'openai'?",
        "Run `%gatewayx key set openai`. Or for an engine that you will add:"
        " `%gatewayx key set opnai --new`.",
    ),
    Mistake(
        "%gatewayx key set gpt",
        "there is no engine 'gpt'. Did you mean 'openai'?",
        "Run `%gatewayx key set openai`. Or for an engine that you will add:"
        " `%gatewayx key set gpt --new`.",
    ),
    Mistake(
        "%gatewayx key set Grok!",
        "engine 'Grok!' has a name that does not consist of 1 to 63 characters from a-z, 0-9"
        " and _.",
        "Run `%gatewayx key` for help.",
    ),
    Mistake(
        "%gatewayx cassette --mode rekord",
        "`--mode` must be one of auto, record, replay, off, got 'rekord'. Did you mean 'record'?",
        "Run `%gatewayx help cassette` for help.",
    ),
    Mistake(
        "%gatewayx models one two",
        "'two' is not expected here.",
        "Run `%gatewayx help models` for help.",
    ),
    Mistake(
        "%%gatewayx mock --tools weather send",
        "'send' is not expected here.",
        "To add a value, repeat the option: `--tools send`. Run `%%gatewayx -h` for help.",
    ),
    Mistake(
        "%gatewayx history x",
        "N must be a whole number, got 'x'.",
        "Run `%gatewayx help history` for help.",
    ),
    Mistake("%gatewayx use", "`%gatewayx use` needs REF.", "Run `%gatewayx help use` for help."),
    Mistake(
        "%gatewayx help stuff",
        "there is no command or topic 'stuff'.",
        f"Run `%gatewayx help`. Or {LIST}",
    ),
    Mistake(
        "%gx packageless hi",
        "engine 'packageless' cannot be loaded: ModuleNotFoundError: No module named 'not_there' in"
        " packageless_engine.py, line 1: `import not_there`.",
        "Run `%pip install not_there`, then the cell again. Or fix engines/packageless_engine.py;"
        " it is reloaded on the next call.",
    ),
    Mistake(
        "%gx faulty hi",
        "engine 'faulty' raised NameError: name 'undefined' is not defined in faulty_engine.py,"
        " line 9: `return undefined`.",
        "Fix engines/faulty_engine.py; it is reloaded on the next call.",
    ),
    Mistake(
        "%gx empty hi",
        "engine 'empty' cannot be loaded: it must define one subclass of LLMEngine, got none.",
        "Fix engines/empty_engine.py; it is reloaded on the next call.",
    ),
]


@pytest.fixture
def project_with_faults(project, shell):
    """Return a project with faulty engine files, and one ready engine that takes images."""
    project.set_keys("GATEWAYX_GOOGLE_API_KEY=made-up-google-key-123456\n")
    project.settings('default_model = "mock"\n')
    (project.root / "plot1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    path = project.engine("packageless", "x")
    path.write_text(f"import not_there\n{path.read_text()}")
    body = "    async def generate(self, prompt, **kwargs):\n        return undefined\n"
    project.engine("faulty", body=body)
    (project.engines / "empty_engine.py").write_text("x = 1\n")
    shell.ask(NAMES)
    return project


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.typed)
def test_a_mistake_is_answered_in_three_lines(shell, project_with_faults, mistake, monkeypatch):
    """One line says what is wrong and suggests a correction; the next ones say how to fix it."""
    monkeypatch.setattr("getpass.getpass", lambda _: pytest.fail("it asked for a key"))

    with pytest.raises(GatewayError) as error:
        shell.ask(mistake.typed)

    message, hint, more = error.value._render_traceback_()
    assert message == f"{type(error.value).__name__}: {mistake.message}"
    assert hint == mistake.hint
    assert more == f"More: `%gatewayx help {error.value.help}`"
    assert not project_with_faults.keys.read_text().count("OPNAI")


def test_the_error_for_a_missing_key_offers_an_installed_local_model(shell, tmp_path, monkeypatch):
    """The error for a missing key offers local weights that exist, instead of a download."""
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"GGUF" + b"\0" * 100)
    monkeypatch.setenv("GATEWAYX_LOCAL_MODEL", str(weights))
    monkeypatch.setenv("GATEWAYX_LOCAL_MODEL_PATH", str(weights))

    with pytest.raises(GatewayError) as error:
        shell.ask("%%gx openai\nhi")

    assert error.value._render_traceback_()[1] == (
        "Run `%gatewayx key set openai`. Or call a model that needs no key: `%%gatewayx local`."
    )


def test_an_image_without_an_engine_for_it_names_a_key_to_set(shell):
    """If no ready engine takes images, the hint names the key that makes one ready."""
    shell.user_ns["figure"] = gatewayx_nb.images.Image("image/png", b"\x89PNG\r\n\x1a\n")

    with pytest.raises(GatewayError, match="does not support images") as error:
        shell.ask("%gx mock --image figure hi")

    assert error.value._render_traceback_()[1] == (
        "Set a key for an engine that takes images: `%gatewayx key set openai`, or for anthropic"
        " and google."
    )


@pytest.mark.parametrize("line", ["key", "key -h", "key set -h", "help key"])
def test_key_without_arguments_shows_its_usage(shell, line):
    """`key` alone shows its usage, without a warning about a pasted key."""
    output = repr(shell.ask(f"%gatewayx {line}"))

    assert "key set NAME" in output
    assert "renew" not in output


def test_the_hint_after_a_pasted_key_names_its_engine(shell):
    """The hint after a pasted key names the engine that was typed."""
    with pytest.raises(GatewayError, match="renew that key") as error:
        shell.ask("%gatewayx key set cohere sk-canary-7Hq2pVxN4mTzK9wB")

    assert error.value._render_traceback_()[1] == "Run `%gatewayx key set cohere`."


def test_a_mistyped_engine_is_suggested_when_its_key_is_removed(shell):
    """If no key file contains the key of an unknown engine, the most similar name is suggested."""
    assert "GATEWAYX_GORK_API_KEY. Did you mean 'grok'?" in repr(shell.ask("%gx key remove gork"))
    assert "Did you mean" not in repr(shell.ask("%gx key remove grok"))


def test_a_key_for_a_future_engine_is_set_with_new(shell, project, monkeypatch):
    """With `--new`, a key is set for an engine that does not exist yet."""
    monkeypatch.setattr("getpass.getpass", lambda _: "made-up-key-123456")

    output = repr(shell.ask("%gatewayx key set opnai --new"))

    assert "There is no engine 'opnai' yet" in output
    assert "GATEWAYX_OPNAI_API_KEY" in project.keys.read_text()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("models -h", "--live"),
        ("status?", "an engine; all if omitted"),
        ("ask -h", "--temperature"),
        ("help ask", "--temperature"),
        ("help options", "--temperature"),
        ("help --max-tokens", "maximum tokens in the answer"),
        ("help temperature", "sampling temperature"),
        ("help top_p", "`%%gatewayx REF -p top_p=0.9`: nucleus sampling"),
        ("help --seed", "`%%gatewayx REF -p seed=1`: sampling seed"),
        ("ask -h", "`-p` also sets `top_p`, `stop`, `seed`, `cache`, `max_turns`"),
        ("help key set", "set NAME"),
        ("help cost", "%gatewayx history"),
        ("help record", "%gatewayx cassette"),
        ("-h", "%gatewayx explain"),
    ],
)
def test_help_is_found(shell, line, text):
    """`CMD -h`, `CMD?` and `help TOPIC` show the help of a command, a topic or an option."""
    assert text in repr(shell.ask(f"%gatewayx {line}"))


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("auto", "is open in mode auto: it replays what is recorded and records the rest."),
        ("record", "is open in mode record: it calls the models and replaces what is recorded."),
        ("replay", "is open in mode replay: it only replays its 1 entry."),
        ("off", "is closed, mode off: it is not used; calls go to the models, and nothing is"),
    ],
)
def test_each_mode_of_a_cassette_is_described(shell, mode, text):
    """Opening a cassette in a mode shows what the mode does; `off` shows that it is closed."""
    shell.ask("%gatewayx cassette a.jsonl")
    shell.ask("%gx mock -q hi")

    assert f"Cassette a.jsonl {text}" in repr(shell.ask(f"%gatewayx cassette --mode {mode}"))


@pytest.mark.parametrize("line", ["", " --mode auto", " --mode record"])
@pytest.mark.parametrize("override", ["", "replay"])
def test_a_cassettes_line_is_the_same_in_a_replay(shell, monkeypatch, line, override):
    """A notebook saves the line, which is the same when the notebook is replayed."""
    first = repr(shell.ask(f"%gatewayx cassette a.jsonl{line}"))
    shell.ask("%gx mock -q hi")
    monkeypatch.setenv("GATEWAYX_CASSETTE_MODE", override)

    assert repr(shell.ask(f"%gatewayx cassette a.jsonl{line}")) == first


def test_tb_shows_the_whole_traceback(shell, project_with_faults, capsys):
    """`%tb` shows the traceback of an engine's own exception, with its file and source line."""
    with pytest.raises(GatewayError):
        shell.ask("%gx faulty hi")
    capsys.readouterr()

    shell.ask("%tb")

    output = capsys.readouterr()
    text = output.out + output.err
    assert f'File "{project_with_faults.engines}/faulty_engine.py", line 9, in generate' in text
    assert "NameError: name 'undefined' is not defined" in text


PYTHON_MISTAKES = [
    ("gx.ask('hi', 'mock').text", None),
    ("gx.ask([{'role': 'user', 'content': 'x' * 10_000}], 5)", "model must be"),
    ("gx.ask('hi', 'mock', images='plot.png')", "the image 'plot.png' cannot be read"),
    ("gx.ask('hi', 'mock', temperature='hot')", "temperature must be a number >= 0, got 'hot'"),
    ("gx.ask('hi', 'gpt-4o')", "Did you mean 'openai:gpt-4o'"),
    ("gx.ask('hi', 'mock', temprature=0)", "Did you mean 'temperature'"),
]


@pytest.mark.parametrize(("call", "message"), PYTHON_MISTAKES)
def test_a_mistake_in_python_is_answered_in_one_line(shell, call, message):
    """The error for a mistake in a Python call is one line, without the whole prompt."""
    shell.user_ns["gx"] = gatewayx_nb
    if message is None:
        assert shell.ask(call) == "[mock] hi"
        return
    with pytest.raises((GatewayError, TypeError), match=message) as error:
        shell.ask(call)
    assert len(str(error.value)) < 400
