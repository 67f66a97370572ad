"""The command ``gatewayx ask``: calls a model and writes its answer to standard output."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

from gatewayx_nb.calls import (
    PARAM_OPTIONS,
    finish_note,
    reply_summary,
)
from gatewayx_nb.cli.call_line import (
    call_options,
    read_line,
    recording_status,
    refuse_unused,
)
from gatewayx_nb.cli.standard_error import warn
from gatewayx_nb.cli.standard_input import has_piped_text, piped_text
from gatewayx_nb.commands import (
    LineParser,
    add_shell_options,
    recording,
)
from gatewayx_nb.engine_pool import DryRun
from gatewayx_nb.errors import GatewayError, RequestError, UsageError
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.calls import ReplyStream
    from gatewayx_nb.cli.shell_session import ShellSession
    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.replies import Reply

_ONLY_IN_A_NOTEBOOK = ("chat",)
"""Call options that only a notebook has, because they need a pool that outlives the call."""

_UNUSED_OPTIONS = {
    "dry_run": ("json", "no_stream", "quiet", "cassette"),
    "json": ("no_stream", "quiet"),
    "schema": ("no_stream",),
}
"""For each option, the options that have no effect if it is set."""

_UNFINISHED_ESCAPE = re.compile(r"[\x1b\x90\x98\x9b\x9d-\x9f][^\x07\x1b]{0,200}\Z")
"""Matches, at the end of a chunk, what may be the beginning of an escape sequence."""


def ask_parser() -> LineParser:
    """Return the parser of ``gatewayx ask REF [options] [PROMPT]``."""
    parser = LineParser(
        "gatewayx ask",
        "Call a model. Text that is piped in follows the prompt.",
        "gatewayx ask -h",
        "A prompt that begins with a dash follows `--`.",
        is_from_shell=True,
    )
    parser.usage = "%(prog)s REF [options] [PROMPT | -]"
    parser.param_options = PARAM_OPTIONS
    parser.add_argument("reference", metavar="REF", help="engine or engine:model")
    prompt_help = "the prompt; `-` reads it from standard input"
    parser.add_argument("prompt", nargs="*", metavar="PROMPT", help=prompt_help)
    add_shell_options(parser, skip=_ONLY_IN_A_NOTEBOOK)
    add_run_option = parser.adder_for_group("Run")
    add_run_option("--cassette", metavar="FILE", help="record the reply in this file, or replay it")
    add_run_option(
        "--json", action="store_true", help="write one JSON object: text, usage, cost, error, …"
    )
    add_run_option(
        "--no-stream", action="store_true", help="write the answer only when it is complete"
    )
    add_run_option(
        "--dry-run", action="store_true", help="show what would be sent, and send nothing"
    )
    add_run_option("-q", "--quiet", action="store_true", help="write no figures below the answer")
    add_run_option("-h", "--help", action="store_true", help="show this list")
    return parser


def ask(session: ShellSession, words: Sequence[str]) -> int:
    """Call a model with the words after ``gatewayx ask``; return the exit status.

    Raises:
        GatewayError: If the line is invalid or the call fails.
        KeyboardInterrupt: If the user stops the call; the text received so far is written.
    """
    parser = ask_parser()
    args, prompt_words = read_line(session, parser, words)
    for option in ("dry_run", "json", "schema"):
        refuse_unused(parser, args, option, _UNUSED_OPTIONS[option])
    prompt = _read_prompt(session, args.reference, prompt_words)
    options = call_options(parser, args, words)
    if args.dry_run:
        session.show(DryRun.of([session.pool.preview(prompt, args.reference, **options)]))
        return 0
    with recording(session.pool, args.cassette) as cassette:
        if args.json:
            reply = _write_json(session.pool, prompt, args.reference, options)
        elif args.schema or args.no_stream:
            reply = session.pool.ask(prompt, args.reference, **options)
            json_text = json.dumps(reply.parsed, ensure_ascii=False, indent=2)
            _write_line(json_text if args.schema else reply.text)
        else:
            reply = _stream_answer(session.pool, prompt, args.reference, options)
    status = _write_summary(reply, is_quiet=args.quiet or args.json)
    return status or recording_status(cassette)


def _read_prompt(session: ShellSession, reference: str, words: Sequence[str]) -> str:
    """Return the prompt; text that is piped in follows the typed words."""
    if not words and any(character.isspace() for character in reference):
        raise UsageError(
            "the reference is missing.",
            hint=f'For example, `gatewayx ask mock "{reference[:60]}"`.',
        )
    reads_only_input = list(words) == ["-"]
    if "-" in words and not reads_only_input:
        raise UsageError(
            "`-` reads the whole prompt from standard input, so it must be the only word.",
            hint="Omit `-`: text that is piped in follows the other words.",
        )
    typed_text = "" if reads_only_input else " ".join(words)
    piped_input = piped_text() if reads_only_input or has_piped_text() else ""
    prompt = "\n\n".join(filter(str.strip, (typed_text, piped_input)))
    if not prompt:
        problem = "standard input is empty" if reads_only_input else "the prompt is missing"
        is_known_reference = session.is_reference(reference)
        example = (
            f'{reference} "Why is the sky blue?"' if is_known_reference else f'mock "{reference}"'
        )
        raise UsageError(
            f"{problem}.",
            hint=f"For example, `gatewayx ask {example}`.",
            topic="no-prompt",
        )
    return prompt


def _stream_answer(pool: EnginePool, prompt: str, reference: str, options: dict[str, Any]) -> Reply:
    """Write an answer while it arrives."""
    stream = pool.stream(prompt, reference, **options)
    held_back_text, ends_with_newline = "", True
    try:
        for chunk in stream:
            text, held_back_text = _split_at_escape(held_back_text + chunk.text)
            if text:
                _write_text(text)
                ends_with_newline = text.endswith("\n")
    finally:
        stream.close()
        if held_back_text:
            _write_text(held_back_text)
        if not ends_with_newline or held_back_text:
            sys.stdout.write("\n")
            sys.stdout.flush()
    return stream.reply


def _split_at_escape(text: str) -> tuple[str, str]:
    """Return the text without an unfinished escape sequence at its end, and that sequence."""
    unfinished_escape = _UNFINISHED_ESCAPE.search(text) if sys.stdout.isatty() else None
    return (
        (text[: unfinished_escape.start()], unfinished_escape[0])
        if unfinished_escape
        else (text, "")
    )


def _write_line(text: str) -> None:
    _write_text(text if text.endswith("\n") else f"{text}\n")


def _write_text(text: str) -> None:
    """Write text; on a terminal, omit the characters that could control the terminal."""
    text = plain(text) if sys.stdout.isatty() else text.encode("utf-8", "replace").decode()
    sys.stdout.write(text)
    sys.stdout.flush()


def _write_summary(reply: Reply, *, is_quiet: bool) -> int:
    """Write the figures and, for an incomplete answer, the reason; return the exit status."""
    if not is_quiet:
        if sys.stdout.isatty() and sys.stderr.isatty():
            sys.stderr.write(f"[{plain(reply_summary(reply))}]\n")
        elif reply.fallback_from:
            warn(f"{reply.engine} has answered instead of {reply.fallback_from}.")
    if reply.finish_reason == "stop" and not reply.tool_calls:
        return 0
    reason = finish_note(reply) or "it ended for an unknown reason"
    warn(f"the answer is incomplete: {plain(reason)}.")
    return 1


def _write_json(pool: EnginePool, prompt: str, reference: str, options: dict[str, Any]) -> Reply:
    """Write one JSON object with the answer or the error.

    Raises:
        GatewayError: If the call fails; the object has then been written.
        KeyboardInterrupt: If the user stops the call; the object with the text received so far has
            then been written.
    """
    result: dict[str, Any] = dict.fromkeys(_JSON_KEYS)
    stream: ReplyStream | None = None
    try:
        if "schema" in options:
            reply = pool.ask(prompt, reference, **options)
        else:
            stream = pool.stream(prompt, reference, **options)
            for _ in stream:
                pass
            reply = stream.reply
    except GatewayError as error:
        result["text"] = error.partial if isinstance(error, RequestError) else ""
        result["error"] = {"type": type(error).__name__, "message": plain(error.describe())}
        _write_line(json.dumps(result, ensure_ascii=False))
        raise
    except KeyboardInterrupt:
        result["text"] = stream.reply.text if stream is not None else ""
        result["error"] = {"type": "KeyboardInterrupt", "message": "The call was stopped."}
        _write_line(json.dumps(result, ensure_ascii=False))
        raise
    reply_fields = reply.to_dict()
    result |= {key: reply_fields[key] for key in _JSON_KEYS if key in reply_fields}
    _write_line(json.dumps(result, ensure_ascii=False))
    return reply


_JSON_KEYS = ("text", "parsed", "engine", "model", "usage", "cost", "finish_reason", "error")
