"""Declares functions that a model may call, and checks the arguments of their calls."""

from __future__ import annotations

import dataclasses
import inspect
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from gatewayx_nb import bounded_json
from gatewayx_nb.arguments import with_one_line_errors
from gatewayx_nb.errors import UsageError
from gatewayx_nb.mcp_server import MCPServer
from gatewayx_nb.messages import ToolDefinition
from gatewayx_nb.schema import ResponseSchema
from gatewayx_nb.text import short_repr, well_formed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

F = TypeVar("F", bound="Callable[..., Any]")

# All providers accept such a name. OpenAI allows 64 characters, and Gemini requires a letter or an
# underscore at the start.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")

_MARKS_ATTRIBUTE = "__gatewayx_tool__"

_SECTION_HEADING = re.compile(
    r"^(Args|Arguments|Parameters|Returns|Yields|Raises|Examples?|Notes?):?\s*$"
)
"""A heading of a docstring in Google's or NumPy's style."""

_GOOGLE_ARGUMENT = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^()]*\))?:\s+(\S.*)$")
_NUMPY_ARGUMENT = re.compile(r"^(\w+)\s*:")
_SPHINX_ARGUMENT = re.compile(r"^:param\s+(?:[^:\s]+\s+)?(\w+):\s+(\S.*)$")


@dataclass(frozen=True, slots=True)
class _Marks:
    """The arguments of `tool` for a function."""

    name: str = ""
    read_only: bool = False
    ask: bool = False
    outside: bool = False


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *, name: str = "", read_only: bool = False, ask: bool = False, outside: bool = False
) -> Callable[[F], F]: ...
@with_one_line_errors
def tool(
    function: F | None = None,
    /,
    *,
    name: str = "",
    read_only: bool = False,
    ask: bool = False,
    outside: bool = False,
) -> F | Callable[[F], F]:
    """Declare what the signature and the docstring of a function for ``tools=`` cannot express.

    The function itself is not changed.

    >>> @tool(read_only=True)
    ... def weather(city: str) -> str:
    ...     '''Return the weather in a city.'''
    ...     return "sunny"
    >>> weather("Rome")
    'sunny'

    Args:
        function: The function, if the decorator is used without arguments.
        name: The name that the model sees; the function's own if omitted.
        read_only: Whether calls change nothing, so that they need no permission even after a result
            from outside. This is not checked.
        ask: Whether to ask for permission before each call.
        outside: Whether the results contain text from outside, such as a web page, which may try to
            instruct the model. Also set it for a function that passes on such text from another
            function.

    Raises:
        UsageError: If an argument has the wrong type.
    """
    if function is None:
        marks = _Marks(name, read_only, ask, outside)
        for field in dataclasses.fields(marks):
            value = getattr(marks, field.name)
            if not isinstance(value, str if field.name == "name" else bool):
                type_name = "str" if field.name == "name" else "bool"
                raise UsageError(f"{field.name} must be a {type_name}, got {short_repr(value)}.")
        return partial(_mark, marks)
    return _mark(_Marks(), function)


def _mark(marks: _Marks, function: F) -> F:
    # Reading a classmethod or staticmethod from its class returns the function inside, so marks on
    # the wrapper would be lost.
    marked_function = (
        function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
    )
    try:
        if not callable(marked_function) or isinstance(marked_function, type):
            raise TypeError  # noqa: TRY301 - handled like an object without attributes
        setattr(marked_function, _MARKS_ATTRIBUTE, marks)
    except (AttributeError, TypeError):  # a built-in function or a method of an instance
        raise UsageError(
            f"tool must decorate a function, got {short_repr(function)}.",
            hint="For example, `@gx.tool(read_only=True)` above the function.",
        ) from None
    return function


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call.

    Attributes:
        function: The function.
        definition: Its name, description and parameters, as the model sees them.
        read_only: Whether calls change nothing.
        ask: Whether each call needs permission.
        outside: Whether the results contain text from outside.
        ask_reason: Why the user must be asked even if ``approve`` permits the call, worded as a
            part of the question; empty if ``approve`` suffices.
    """

    function: Callable[..., Any]
    definition: ToolDefinition
    read_only: bool = False
    ask: bool = False
    outside: bool = False
    _schema: ResponseSchema | None = None
    _signature: inspect.Signature | None = None
    ask_reason: str = ""

    @classmethod
    def of(cls, function: object) -> Tool:
        """Return the tool for a function.

        Raises:
            UsageError: If a model cannot call it.
        """
        if isinstance(function, Tool):
            return function
        if not callable(function) or isinstance(function, type):
            raise UsageError(
                f"tools must be functions or MCP servers, got {short_repr(function)}.",
                hint="Pass the function itself, as in `tools=[weather]`, or an MCP server, as in"
                ' `tools=gx.mcp("NAME")`.',
            )
        marks = getattr(function, _MARKS_ATTRIBUTE, None)
        if not isinstance(marks, _Marks):  # some objects have every attribute
            marks = _Marks()
        name = marks.name or getattr(function, "__name__", "")
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise UsageError(
                "the name of a tool must consist of 1 to 64 ASCII letters, digits, '_' or '-', got"
                f" {short_repr(name)}.",
                hint="Set one with `@gx.tool(name=…)`, or write the function with `def`.",
            )
        signature = _signature(function, name)
        parameters = signature.parameters
        summary, descriptions = _read_docstring(inspect.getdoc(function) or "")
        schema = _schema_of(name, parameters) if parameters else None
        parameters_schema: dict[str, Any] = {
            "type": "object",
            "properties": {},
            "additionalProperties": False,
        }
        if schema and schema.described:
            parameters_schema = {
                key: value for key, value in schema.described.items() if key != "title"
            }
            parameters_schema["properties"] = {
                parameter: _with_description(subschema, descriptions.get(parameter, ""))
                for parameter, subschema in parameters_schema["properties"].items()
            }
        definition = ToolDefinition(name, well_formed(summary), parameters_schema)
        marked_values = (marks.read_only, marks.ask, marks.outside)
        return cls(function, definition, *marked_values, schema, signature)

    @property
    def name(self) -> str:
        """The name that the model sees."""
        return self.definition.name

    def bind(self, arguments: str) -> inspect.BoundArguments:
        """Return the arguments of a call, converted to the types of the parameters.

        Args:
            arguments: The JSON that the model wrote.

        Raises:
            ValueError: If they are not a JSON object that fits the parameters; the message is one
                line.
        """
        values = read_arguments(arguments)
        properties = self.definition.parameters["properties"]
        if unknown_names := [key for key in values if key not in properties]:
            raise ValueError(f"there is no parameter {short_repr(unknown_names[0])}")
        if self._schema is not None:
            parsed_arguments = self._schema.parse(arguments)
            values = {key: getattr(parsed_arguments, key) for key in values}
        signature = self._signature or inspect.signature(self.function)
        bound_arguments = signature.bind_partial()
        bound_arguments.arguments.update(
            {key: values[key] for key in signature.parameters if key in values}
        )
        return bound_arguments


def read_arguments(arguments: str) -> dict[str, Any]:
    """Decode the arguments that a model wrote; an empty str means that there are none.

    Raises:
        ValueError: If they are not a JSON object; the message is one line.
    """
    try:
        values = bounded_json.loads(arguments or "{}")
    except RecursionError:
        raise ValueError("the arguments are nested too deeply") from None
    except ValueError:
        raise ValueError("the arguments must be a JSON object") from None
    if not isinstance(values, dict):
        raise ValueError("the arguments must be a JSON object")  # noqa: TRY004 - as above
    return values


def read_tools(tools: object) -> tuple[Tool | MCPServer, ...]:
    """Convert one or more functions to tools; MCP servers are returned unchanged.

    Raises:
        UsageError: If a model cannot call one of the functions, or two tools or two servers have
            the same name.
    """
    is_several = isinstance(tools, (list, tuple, set, frozenset))
    values = cast("Iterable[object]", tools) if is_several else (tools,)
    tools_and_servers = tuple(
        value if isinstance(value, MCPServer) else Tool.of(value) for value in values
    )
    check_names(entry for entry in tools_and_servers if isinstance(entry, Tool))
    servers: dict[str, MCPServer] = {}
    for server in tools_and_servers:
        if isinstance(server, MCPServer) and servers.setdefault(server.name, server) is not server:
            raise UsageError(
                f"two MCP servers have the name {server.name!r}.",
                hint='Rename one of them: `gx.mcp(…, name="other")`.',
            )
    return tools_and_servers


def check_names(tools: Iterable[Tool]) -> None:
    """Check that no two tools have the same name.

    Raises:
        UsageError: If two tools have the same name.
    """
    names: set[str] = set()
    for checked_tool in tools:
        if checked_tool.name in names:
            raise UsageError(
                f"two tools have the name {checked_tool.name!r}.",
                hint="Give one of them another name with `@gx.tool(name=…)`.",
            )
        names.add(checked_tool.name)


def _signature(function: Callable[..., Any], name: str) -> inspect.Signature:
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise UsageError(
            f"an annotation of the tool {name!r} cannot be read: {error}.",
            hint="Define the type before the function.",
        ) from None
    except Exception:  # noqa: BLE001 - an annotation in quotes is the user's code
        raise UsageError(
            f"the signature of the tool {name!r} is unknown.",
            hint="Wrap it in a function with named parameters.",
        ) from None
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise UsageError(
                f"the tool {name!r} has the parameter `{parameter}`, which a model cannot fill.",
                hint="Wrap it in a function with named parameters.",
            )
    return signature


def _schema_of(name: str, parameters: Mapping[str, inspect.Parameter]) -> ResponseSchema:
    """Return a schema for an object with a property for each parameter."""
    fields: list[Any] = []
    for parameter in parameters.values():
        parameter_type = _parameter_type(parameter)
        if parameter.default is parameter.empty:
            fields.append((parameter.name, parameter_type))
        else:
            default = dataclasses.field(default_factory=partial(_default, parameter))
            fields.append((parameter.name, parameter_type, default))
    try:
        arguments_class = dataclasses.make_dataclass(name.replace("-", "_"), fields, kw_only=True)
        return ResponseSchema(arguments_class, extract=bounded_json.loads)
    except (UsageError, TypeError, ValueError) as error:
        reason = error.message if isinstance(error, UsageError) else str(error)
        raise UsageError(
            f"the parameters of the tool {name!r} have no JSON Schema: {reason.rstrip('.')}.",
            hint="Annotate them with types such as `str`, `int`, `list[str]` or a dataclass.",
        ) from None


def _default(parameter: inspect.Parameter) -> object:
    return parameter.default


def _parameter_type(parameter: inspect.Parameter) -> Any:  # noqa: ANN401 - a type
    """Return the type of a parameter: its annotation, or else the type of its default."""
    if parameter.annotation is not parameter.empty:
        return parameter.annotation
    has_simple_default = type(parameter.default) in (bool, int, float, str)
    return type(parameter.default) if has_simple_default else Any


def _with_description(schema: Any, text: str) -> Any:  # noqa: ANN401 - JSON
    if not text or not isinstance(schema, dict) or "description" in schema:
        return schema
    return {**schema, "description": well_formed(text)}


def _read_docstring(docstring: str) -> tuple[str, dict[str, str]]:
    """Return the text before the first section, and the description of each parameter.

    The parameters may be described in the style of Google, NumPy or Sphinx.
    """
    lines = docstring.expandtabs().splitlines()
    summary = []
    for line in lines:
        if _SECTION_HEADING.match(line) or line.startswith(":param"):
            break
        summary.append(line)
    descriptions = dict(_described_parameters(lines[len(summary) :]))
    return "\n".join(summary).strip(), descriptions


def _described_parameters(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    name, words, indent = "", [""], 0
    for line in [*lines, ""]:
        text, width = line.strip(), len(line) - len(line.lstrip())
        if text and name and width > indent:
            words.append(text)
            continue
        if name:
            yield name, " ".join(words).strip()
        name, words, indent = "", [], width
        if _SECTION_HEADING.match(line):
            continue
        if match := _SPHINX_ARGUMENT.match(text) or (
            _GOOGLE_ARGUMENT.match(text) if width else None
        ):
            name, words = match[1], [match[2]]
        elif not width and (match := _NUMPY_ARGUMENT.match(text)):
            name = match[1]
