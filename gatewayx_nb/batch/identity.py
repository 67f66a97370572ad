"""Computes the digests of jobs and rows, by which a later run finds stored answers."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import textwrap
import types
from typing import TYPE_CHECKING, Any, cast

import msgspec

from gatewayx_nb.calls import OPTIONS
from gatewayx_nb.images import Image
from gatewayx_nb.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayx_nb.batch.row_prompt import RowRequest
    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.function_tools import Tool
    from gatewayx_nb.messages import Prompt

_KEY_BYTES = 8
"""Bytes in a row's key. The probability that any two of a million rows share a key is 3e-8."""

_MAX_DEPTH = 4
"""Maximum nesting depth of captured functions whose code is included."""

_ANSWER_OPTIONS = ("fallback", "cache")
"""Options that `RequestBody` does not record, but that affect the engine or the cost."""

_REFUSING_POLICIES = ("ask", "never")
"""Values of ``approve`` for which a map refuses the calls that need permission."""


def job_definition(
    model: str,
    address: str,
    prompt_parts: tuple[object, ...],
    options: CallOptions,
    constants_digest: str = "",
) -> dict[str, str]:
    """Return the values that identify a job, as strings that can be stored and compared.

    Args:
        model: Reference of the model, including the engine's default model if the caller named no
            model.
        address: Base URL of the provider; empty if the engine has none.
        prompt_parts: The prompt and the system prompt: templates, functions or ``None``.
        options: The options of all rows.
        constants_digest: A digest of the placeholder values that are the same for all rows; empty
            without such values.
    """
    prompt, system = (None if part is None else _part_text(part) for part in prompt_parts)
    return {
        "model": model,
        "address": address,
        "prompt": prompt or "",
        **({} if system is None else {"system": system}),
        **({"constants": constants_digest} if constants_digest else {}),
        "options": _options_json(options).decode(),
    }


def job_digest(definition: Mapping[str, str]) -> bytes:
    """Return the digest of a job's definition."""
    return hashlib.blake2b(_encode(definition), digest_size=16).digest()


def row_key(request: RowRequest, answered_by: str = "") -> int:
    """Return the key of a rendered request, a signed 64-bit integer.

    Args:
        request: The request.
        answered_by: The engine and model that answer, if the row chooses its own model.
    """
    # The first byte distinguishes a string from an encoded list.
    if isinstance(request.prompt, str) and not request.options and not request.sample:
        content = b"t" + request.prompt.encode("utf-8", "surrogatepass")
    else:
        values = [_prompt_value(request.prompt), _options_value(request.options), answered_by]
        values += [request.sample] if request.sample else []
        content = b"l" + _encode(values)
    digest = hashlib.blake2b(content, digest_size=_KEY_BYTES).digest()
    return int.from_bytes(digest, "little", signed=True)


def _options_json(options: CallOptions) -> bytes:
    return _encode(_options_value(options))


def _encode(value: object) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=_serializable_value, order="sorted")
    except UnicodeEncodeError:  # an unpaired surrogate
        return json.dumps(value, default=_serializable_value, sort_keys=True).encode()


def _serializable_value(value: object) -> object:
    if isinstance(value, Image):
        return _image_value(value)
    if isinstance(value, Message):
        return _message_value(value)
    return repr(value)


def _options_value(options: CallOptions) -> dict[str, Any]:
    """Return the options that can change an answer."""
    values: dict[str, Any] = {}
    for name, value in options.items():
        to_recorded = OPTIONS[name].to_recorded
        if name == "images":
            values[name] = [_image_value(image) for image in value]  # type: ignore[attr-defined]
        elif name == "schema":
            values[name] = value.described or value.schema  # type: ignore[attr-defined]
        elif name == "tools" and to_recorded is not None:
            # The code is included, because it may have changed while the declaration did not.
            code = [
                _code_without_captures(tool.function) for tool in cast("tuple[Tool, ...]", value)
            ]
            values[name] = [to_recorded(value), *code]
        elif name == "approve":
            if value not in _REFUSING_POLICIES:
                values[name] = value if isinstance(value, str) else _code_without_captures(value)
        elif to_recorded is not None:
            values[name] = to_recorded(value)
        elif name in (*_ANSWER_OPTIONS, "model"):
            values[name] = value
    return values


def _code_without_captures(function: object) -> str:
    """Return the code of a function without its captured values, which calls may change.

    Any other callable object is identified by its class.
    """
    function = getattr(function, "__func__", function)  # the function of a method
    return (
        _source_or_bytecode(function)
        if isinstance(function, types.FunctionType)
        else _qualified_name(function)
    )


def _prompt_value(prompt: Prompt) -> object:
    if isinstance(prompt, str):
        return prompt
    messages = [prompt] if isinstance(prompt, Message) else prompt
    return [
        _message_value(message) if isinstance(message, Message) else message for message in messages
    ]


def _message_value(message: Message) -> object:
    return [message.role, [_part_value(part) for part in message.parts]]


def _part_value(part: object) -> object:
    if isinstance(part, str):
        return part
    return _image_value(part) if isinstance(part, Image) else repr(part)


def _image_value(image: Image) -> list[str]:
    return [image.mime, image.url, hashlib.blake2b(image.data, digest_size=16).hexdigest()]


def _part_text(part: object) -> str:
    return part if isinstance(part, str) else function_text(part)


def function_text(function: Any, depth: int = 0) -> str:  # noqa: ANN401 - any callable
    """Return the code of a function and the values that it captures.

    Comments, layout and global variables are ignored. A global variable that changes a row's
    request changes the row's key anyway.
    """
    if isinstance(function, functools.partial):
        arguments = [*map(_value_text, function.args)]
        arguments += [f"{name}={_value_text(value)}" for name, value in function.keywords.items()]
        return f"{function_text(function.func, depth)}({', '.join(arguments)})"
    if isinstance(function, types.MethodType):
        owner = function.__self__
        code = function_text(function.__func__, depth)
        return f"{_value_text(owner)}{_attributes_text(owner)}.{code}"
    if not isinstance(function, types.FunctionType):
        call = getattr(type(function), "__call__", None)  # noqa: B004 - to read its code
        name = f"{getattr(function, '__module__', '')}.{_qualified_name(function)}"
        is_python = isinstance(call, types.FunctionType)
        code = function_text(call, depth + 1) if is_python else ""
        return f"{name}{_attributes_text(function)} {code}"
    captured_values = [
        f"{name}={_cell_text(cell, depth)}"
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=False
        )
    ]
    defaults = [*map(_value_text, function.__defaults__ or ())]
    defaults += [
        f"{name}={_value_text(value)}" for name, value in (function.__kwdefaults__ or {}).items()
    ]
    return "\n".join([_source_or_bytecode(function), *captured_values, *defaults])


def _qualified_name(function: object) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _attributes_text(function: object) -> str:
    state = getattr(function, "__dict__", None)
    return _value_text(state) if state else ""


def _cell_text(cell: types.CellType, depth: int) -> str:
    try:
        value = cell.cell_contents
    except ValueError:  # a function that captures itself before its name is bound
        return "?"
    if isinstance(value, types.FunctionType):
        return function_text(value, depth + 1) if depth < _MAX_DEPTH else _qualified_name(value)
    return _value_text(value)


def _value_text(value: object) -> str:
    """Return a string for a captured value; every process returns the same string."""
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    # The representation of most objects contains their address, which differs between processes.
    return f"{type(value).__qualname__}" if " at 0x" in text else text


def _source_or_bytecode(function: types.FunctionType) -> str:
    """Return the source of a function without comments, or its bytecode if it has no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return _code_text(function.__code__)
    if function.__name__ != "<lambda>":
        return ast.unparse(tree)
    # The source of a lambda is the whole statement that contains it.
    lambdas = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda) and _is_code_of(node, function.__code__)
    ]
    return ast.unparse(lambdas[0]) if len(lambdas) == 1 else _code_text(function.__code__)


def _is_code_of(node: ast.Lambda, code: types.CodeType) -> bool:
    arguments = node.args
    names = [
        argument.arg
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    ]
    count = code.co_argcount + code.co_kwonlyargcount
    if tuple(names) != code.co_varnames[:count]:
        return False
    lines = [position for position in code.co_positions() if None not in position]
    columns = {(position[2], position[3]) for position in lines}
    # Code positions are relative to the file and node positions to the statement, but the columns
    # match unless the statement is indented.
    body = (node.body.col_offset, node.body.end_col_offset)
    return body in columns or _constants(node) == _code_constants(code)


def _constants(node: ast.AST) -> list[str]:
    return sorted(repr(child.value) for child in ast.walk(node) if isinstance(child, ast.Constant))


def _code_constants(code: types.CodeType) -> list[str]:
    return sorted(repr(value) for value in code.co_consts if value is not None)


def _code_text(code: types.CodeType) -> str:
    constants = [
        _code_text(value) if isinstance(value, types.CodeType) else repr(value)
        for value in code.co_consts
    ]
    names = " ".join((*code.co_names, *code.co_varnames, *code.co_freevars))
    return f"{code.co_code.hex()} {names} {constants}"
