"""The API document as a page: rendered here, without scripts and without anything from another host (H1, T23)."""

from __future__ import annotations

from collections import defaultdict
from html import escape
from typing import Any

import orjson

Json = dict[str, Any]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
code,pre{font:14px/1.45 ui-monospace,monospace}pre{background:#f5f5f5;padding:.7rem;overflow:auto}
details{border-top:1px solid #ddd;padding:.4rem 0}summary{cursor:pointer}b{display:inline-block;min-width:4.2rem}
table{border-collapse:collapse}td{padding:.1rem .8rem .1rem 0;vertical-align:top}small{color:#666}
@media(prefers-color-scheme:dark){body{background:#191919;color:#ddd}pre{background:#222}details{border-color:#444}small{color:#999}}
"""


def page(document: Json) -> str:
    """One page: operations by tag, each with parameters, body, answers and a call to copy."""
    groups: dict[str, list[str]] = defaultdict(list)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            groups[(operation.get("tags") or ["other"])[0]].append(_operation(document, path, method.upper(), operation))
    info = document["info"]
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(shown)}" for tag, shown in groups.items())
    title = escape(info["title"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>{title}</title>"
        f"<style>{_STYLE}</style><h1>{title} <small>{escape(info['version'])}</small></h1><p>{escape(info.get('description', ''))}</p>"
        f"<p><a href=/openapi.json>openapi.json</a></p>{body}</html>"
    )


def _operation(document: Json, path: str, method: str, operation: Json) -> str:
    scopes = [scope for need in operation.get("security", []) for scope in need.get("key", [])]
    said = operation.get("description") or operation.get("summary") or ""
    return (
        f"<details id={escape(operation['operationId'])}><summary><b>{method}</b><code>{escape(path)}</code>"
        f" <small>{escape(', '.join(scopes) or 'open')}</small></summary><p>{escape(said)}</p>"
        f"{_parameters(document, operation)}{_body(document, operation)}{_answers(document, operation)}"
        f"<pre>{escape(_call(document, path, method, operation))}</pre></details>"
    )


def _parameters(document: Json, operation: Json) -> str:
    rows = []
    for given in operation.get("parameters", []):
        parameter = _resolved(document, given)
        needed = "" if parameter.get("required") else " <small>optional</small>"
        kind = _kind(document, parameter.get("schema", {}))
        said = escape(parameter.get("description", ""))
        rows.append(f"<tr><td><code>{escape(parameter['name'])}</code>{needed}<td>{parameter['in']}<td>{escape(kind)}<td>{said}")
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _body(document: Json, operation: Json) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    return "".join(f"<p>Body, <code>{escape(kind)}</code></p>{_fields(document, found['schema'])}" for kind, found in content.items())


def _fields(document: Json, schema: Json) -> str:
    whole = _resolved(document, schema)
    needed = whole.get("required", [])
    rows = [
        f"<tr><td><code>{escape(name)}</code>{'' if name in needed else ' <small>optional</small>'}<td>{escape(_kind(document, field))}"
        f"<td>{escape(field.get('description', ''))}"
        for name, field in whole.get("properties", {}).items()
    ]
    return f"<table>{''.join(rows)}</table>" if rows else f"<pre>{escape(_json(whole))}</pre>"


def _answers(document: Json, operation: Json) -> str:
    rows = []
    for status, response in operation["responses"].items():
        rows.append(f"<tr><td><b>{escape(status)}</b><td>{escape(_resolved(document, response).get('description', ''))}")
    return f"<details><summary>Answers</summary><table>{''.join(rows)}</table></details>"


def _call(document: Json, path: str, method: str, operation: Json) -> str:
    """A curl command that works once $KEY and the ids are filled in."""
    parts = [f"curl -X {method} http://127.0.0.1:$PORT{path}"]
    if operation.get("security"):
        parts.append('-H "Authorization: Bearer $KEY"')
    for given in operation.get("parameters", []):
        parameter = _resolved(document, given)
        if parameter["in"] == "header":
            parts.append(f"-H '{parameter['name']}: …'")
    for kind, found in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"-H 'Content-Type: {kind}' -d '{_json(_example(document, found['schema']))}'")
    return " \\\n  ".join(parts)


def _example(document: Json, schema: Json, depth: int = 0) -> Any:
    whole = _resolved(document, schema)
    if whole.get("examples"):
        return whole["examples"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if whole.get(choice):
            return _example(document, whole[choice][0], depth)
    match whole.get("type"):
        case "object" if depth < 4:
            needed = whole.get("required", [])
            return {name: _example(document, field, depth + 1) for name, field in whole.get("properties", {}).items() if name in needed}
        case "array":
            return [_example(document, whole.get("items", {}), depth + 1)] if depth < 4 else []
        case "integer" | "number":
            return whole.get("minimum", 1)
        case "boolean":
            return True
        case _:
            return whole.get("const") or (whole.get("enum") or ["…"])[0]


def _kind(document: Json, schema: Json) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(_kind(document, each) for each in schema[choice])
    if schema.get("type") == "array":
        return f"list of {_kind(document, schema.get('items', {}))}"
    if "enum" in schema or "const" in schema:
        return " or ".join(str(value) for value in schema.get("enum", [schema.get("const")]))
    return str(schema.get("format") or schema.get("type") or "any")


def _resolved(document: Json, schema: Json) -> Json:
    while "$ref" in schema:
        found: Any = document
        for step in str(schema["$ref"]).removeprefix("#/").split("/"):
            found = found[step]
        schema = found
    return schema


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
