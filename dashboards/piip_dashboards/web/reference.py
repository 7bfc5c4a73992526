"""The API's description as rows of a page, without foreign scripts."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """A parameter of a route, or a field of an answer."""

    name: str
    kind: str
    text: str


@dataclass(frozen=True)
class Endpoint:
    """A route of the API."""

    method: str
    path: str
    text: str
    parameters: list[Field]
    answer: str
    fields: list[Field]


def endpoints(description: dict[str, Any]) -> list[Endpoint]:
    """The routes in an OpenAPI description."""
    schemas = description.get("components", {}).get("schemas", {})
    return [
        _endpoint(method, path, route, schemas)
        for path, methods in description["paths"].items()
        for method, route in methods.items()
    ]


def _endpoint(method: str, path: str, route: dict[str, Any], schemas: dict[str, Any]) -> Endpoint:
    content = route["responses"]["200"].get("content", {})
    answer = _kind(content.get("application/json", {}).get("schema", {}))
    fields = [
        Field(name, _kind(field), field.get("description", ""))
        for name, field in schemas.get(answer, {}).get("properties", {}).items()
    ]
    parameters = [
        Field(one["name"], _kind(one["schema"]), one.get("description", "")) for one in route.get("parameters", [])
    ]
    return Endpoint(method.upper(), path, route.get("description", ""), parameters, answer, fields)


def _kind(schema: dict[str, Any]) -> str:
    """A type as text."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(_kind(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}" if "items" in schema else "list"
    return str(schema.get("format") or schema.get("type") or "")
