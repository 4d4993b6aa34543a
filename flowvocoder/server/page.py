"""The endpoints as a page that fetches nothing from elsewhere."""

import html
import re
from typing import Any

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "td,th{text-align:left;vertical-align:top;padding:.2em 1em .2em 0}"
)


def docs(schema: dict[str, Any]) -> str:
    """HTML from an OpenAPI schema."""
    info, parts = schema["info"], []
    for path, methods in schema["paths"].items():
        for method, about in methods.items():
            parts.append(f"<h2><code>{method.upper()} {path}</code></h2>")
            parts += [f"<p>{_text(about[key])}</p>" for key in ("summary", "description") if about.get(key)]
            rows = [_row(parameter) for parameter in (*about.get("parameters", []), *_of_body(schema, about))]
            parts.append(f"<table><tr><th>option<th>values<th>default<th></tr>{''.join(rows)}</table>" * bool(rows))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(info['title'])}</title>"
        f"<style>{_STYLE}</style><h1>{html.escape(info['title'])}</h1><p>{html.escape(info['description'])}</p>"
        f"{''.join(parts)}<p>For machines: <a href=openapi.json>openapi.json</a></p>"
    )


def _text(words: str) -> str:
    """Words as HTML; what stands in backticks is code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(words))


def _of_body(schema: dict[str, Any], about: dict[str, Any]) -> list[dict[str, Any]]:
    """The keys of a JSON body that is a model, as if they were parameters."""
    content = about.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    _, found, name = content.get("$ref", "").rpartition("/")
    fields = schema["components"]["schemas"][name]["properties"] if found else {}
    return [
        {"name": key, "schema": field, "description": field.get("description", "")} for key, field in fields.items()
    ]


def _row(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    kind = next(kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null")
    values = ", ".join(map(str, kind.get("enum", [kind.get("type", "")])))
    limits = [f"{word} {kind[key]:g}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in kind]
    cells = (f"<code>{parameter['name']}</code>", " ".join([values, *limits]), str(schema.get("default", "")),
             html.escape(parameter.get("description", "")))  # fmt: skip
    return "<tr>" + "".join(f"<td>{cell}" for cell in cells) + "</tr>"
