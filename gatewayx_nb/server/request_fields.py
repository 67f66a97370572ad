"""Reads the fields of a request, and refuses fields that are unknown or not supported."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from gatewayx_nb.calls import check_option
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.schema import ResponseSchema
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

T = TypeVar("T")

_MAX_NAME_LENGTH = 100
"""Maximum number of characters of a name or a value in an error message."""

_TYPE_NAMES = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    list: "a list",
    dict: "an object",
}


class InvalidFieldError(UsageError):
    """Raised if a field of a request is missing, unknown or invalid.

    Attributes:
        field: The path of the field, such as ``tools[0].function.name``.
    """

    def __init__(self, field: str, problem: str, hint: str = "") -> None:
        super().__init__(f"{field} {problem}.", hint=hint)
        self.field = field


class RequestFields:
    """The fields of a JSON object. A field that is null is not set.

    Args:
        values: The object.
        field_path: The path of the object in the request, for messages; empty for the whole
            request.

    Raises:
        InvalidFieldError: If ``values`` is not an object.
    """

    def __init__(self, values: object, field_path: str = "") -> None:
        if not isinstance(values, dict):
            raise InvalidFieldError(field_path or "the body", "must be a JSON object")
        self._values: dict[str, Any] = values
        self._path_prefix = f"{field_path}." if field_path else ""
        self._known_names: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def take(self, name: str, expected_type: type[T]) -> T | None:
        """Return a field, or ``None`` if it is not set.

        Raises:
            InvalidFieldError: If the field has another type.
        """
        self._known_names.add(name)
        value = self._values.get(name)
        if value is None:
            return None
        is_number = (
            expected_type is float and isinstance(value, int) and not isinstance(value, bool)
        )
        is_wrong_bool = isinstance(value, bool) and expected_type is not bool
        if is_wrong_bool or not (isinstance(value, expected_type) or is_number):
            raise InvalidFieldError(
                self._path_prefix + name, f"must be {_TYPE_NAMES[expected_type]}"
            )
        return value  # type: ignore[no-any-return]

    def require(self, name: str, expected_type: type[T]) -> T:
        """Return a field that must be set.

        Raises:
            InvalidFieldError: If the field is missing or has another type.
        """
        value = self.take(name, expected_type)
        if value is None:
            raise InvalidFieldError(self._path_prefix + name, "is missing")
        return value

    def require_choice(self, name: str, choices: Sequence[str]) -> str:
        """Return a string that must be set and be one of the choices.

        Raises:
            InvalidFieldError: If the field is missing or has another value.
        """
        value = self.require(name, str)
        if value not in choices:
            expected_text = " or ".join(map(json.dumps, choices))
            quoted_value = json.dumps(shorten(value, _MAX_NAME_LENGTH), ensure_ascii=False)
            raise InvalidFieldError(
                self._path_prefix + name, f"must be {expected_text}, got {quoted_value}"
            )
        return value

    def path_of(self, name: str) -> str:
        """Return the path of a field in the request."""
        return self._path_prefix + name

    def take_any(self, name: str) -> Any:  # noqa: ANN401 - JSON
        """Return a field of any type, or ``None`` if it is not set."""
        self._known_names.add(name)
        return self._values.get(name)

    def take_list(self, name: str, read_item: Callable[[object, str], T]) -> list[T]:
        """Return the results of ``read_item(item, path)`` for a list; empty if it is not set.

        Raises:
            InvalidFieldError: If the field is not a list.
        """
        items = self.take(name, list) or []
        return [
            read_item(item, f"{self._path_prefix}{name}[{index}]")
            for index, item in enumerate(items)
        ]

    def take_object(self, name: str) -> RequestFields | None:
        """Return the fields of an object, or ``None`` if it is not set.

        Raises:
            InvalidFieldError: If the field is not an object.
        """
        value = self.take_any(name)
        return None if value is None else RequestFields(value, self._path_prefix + name)

    def require_object(self, name: str) -> RequestFields:
        """Return the fields of an object that must be set.

        Raises:
            InvalidFieldError: If the field is missing or not an object.
        """
        if name not in self:
            raise InvalidFieldError(self._path_prefix + name, "is missing")
        return RequestFields(self.take_any(name), self._path_prefix + name)

    def accept(
        self,
        neutral_values_by_name: Mapping[str, Iterable[object]],
        *,
        ignored_names: Iterable[str] = (),
    ) -> None:
        """Accept fields whose value has no effect, such as ``n`` if it is 1.

        Args:
            neutral_values_by_name: The values without effect, by field name.
            ignored_names: Fields that may have any value, because the value is not used.

        Raises:
            InvalidFieldError: If a field has another value, which would have an effect.
        """
        self._known_names.update(ignored_names, neutral_values_by_name)
        for name, values in neutral_values_by_name.items():
            if (value := self._values.get(name)) is None:
                continue
            # The values are compared as JSON, because `True == 1` in Python.
            neutral_values = [json.dumps(neutral_value) for neutral_value in values]
            if json.dumps(value) not in neutral_values:
                alternative = f" or use {' or '.join(neutral_values)}" if neutral_values else ""
                raise InvalidFieldError(
                    self._path_prefix + name, f"is not supported; omit it{alternative}"
                )

    def check_all_known(self) -> None:
        """Check that every field that is set has been read.

        Raises:
            InvalidFieldError: If a field has not been read; the message names the field.
        """
        for name, value in self._values.items():
            if name not in self._known_names and value is not None:
                hint = did_you_mean(name[:_MAX_NAME_LENGTH], self._known_names).strip()
                field = self._path_prefix + shorten(name, _MAX_NAME_LENGTH)
                raise InvalidFieldError(field, "is not supported", hint)


def read_schema(fields: RequestFields) -> ResponseSchema:
    """Return the JSON Schema in the field ``schema``, for validating the answer.

    Raises:
        InvalidFieldError: If the schema is missing or cannot be used.
    """
    return create_schema(fields.path_of("schema"), fields.require("schema", dict))


def create_schema(field_path: str, schema: Mapping[str, Any]) -> ResponseSchema:
    """Return a JSON Schema from a request, for validating an answer or arguments.

    Args:
        field_path: The path of the schema in the request.
        schema: The schema.

    Raises:
        InvalidFieldError: If the schema cannot be used.
    """
    try:
        return ResponseSchema(schema)
    except UsageError as error:
        problem = f"is not supported: {error.message.removesuffix('.')}"
        raise InvalidFieldError(field_path, problem) from None


def check_fields(options: Mapping[str, Any], field_names: Mapping[str, str]) -> None:
    """Check the values of options, so that an error names the field of the request.

    Args:
        options: The options of a call.
        field_names: The name of the field for each option whose name differs from it.

    Raises:
        InvalidFieldError: If a value is invalid.
    """
    for name in _CHECKED_OPTIONS:
        if (value := options.get(name)) is None:
            continue
        try:
            check_option(name, value)
        except UsageError as error:
            problem = error.message.removeprefix(f"{name} ").removesuffix(".")
            raise InvalidFieldError(field_names.get(name, name), problem) from None


_CHECKED_OPTIONS = ("temperature", "top_p", "max_tokens", "stop", "seed", "effort")
