"""Checks one value of a config against a type, and describes what the type accepts."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ssl_rot.errors import as_text

PLAIN = (bool, int, float, str, Path, list, Sequence, Literal)


def find_value_fault(value: Any, annotation: Any) -> str | None:
    """A description of what a parameter accepts if it does not accept ``value``, else ``None``.

    A node with a ``_target_`` is accepted: its own signature says what may be in it.
    """
    if isinstance(value, Mapping) and "_target_" in value:
        return None
    alternatives = _alternatives(annotation)
    if Any in alternatives:
        return None
    optional = NoneType in alternatives
    if any((get_origin(kind) or kind) not in PLAIN for kind in alternatives - {NoneType}):
        needed = "a node with a _target_" + (", or null" if optional else "")
        return None if value is None and optional else needed
    adapter = _adapter(annotation)
    try:
        adapter.validate_python(value)
    except ValidationError:
        return describe(adapter.json_schema())
    return None


def describe(schema: Mapping[str, Any]) -> str:
    """Describes the values that a JSON schema accepts."""
    if "description" in schema:
        return str(schema["description"])
    if "anyOf" in schema:
        return ", or ".join(describe(each) for each in schema["anyOf"])
    if "enum" in schema:
        *others, last = map(as_text, schema["enum"])
        return f"{', '.join(others)} or {last}"
    kind = schema["type"]
    if kind == "array":
        return f"a list, each item {describe(schema['items'])}"
    names = {"boolean": "true or false", "null": "null", "string": "a string"}
    if kind in names:
        return names[kind]
    low, high = schema.get("minimum"), schema.get("maximum")
    noun = "a whole number" if kind == "integer" else "a number"
    if low is not None and high is not None:
        return f"{noun} from {low} to {high}"
    bounds = [
        f"{words} {as_text(schema[key])}"
        for key, words in (
            ("minimum", "of at least"),
            ("exclusiveMinimum", "greater than"),
            ("maximum", "of at most"),
            ("exclusiveMaximum", "less than"),
        )
        if key in schema
    ]
    return " ".join([noun, " and ".join(bounds)]).strip()


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation, config=ConfigDict(strict=True))


def _alternatives(annotation: Any) -> set[Any]:
    """The members of a union, or the type itself, without constraints."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _alternatives(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return set().union(*(_alternatives(each) for each in get_args(annotation)))
    return {annotation}
