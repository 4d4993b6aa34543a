"""The endpoints as a page that fetches nothing from elsewhere."""

import html
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
            parts += [f"<p>{html.escape(about[key])}</p>" for key in ("summary", "description") if about.get(key)]
            rows = [_row(parameter) for parameter in about.get("parameters", [])]
            parts.append(f"<table><tr><th>option<th>values<th>default<th></tr>{''.join(rows)}</table>" * bool(rows))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(info['title'])}</title>"
        f"<style>{_STYLE}</style><h1>{html.escape(info['title'])}</h1><p>{html.escape(info['description'])}</p>"
        f"{''.join(parts)}<p>For machines: <a href=openapi.json>openapi.json</a></p>"
    )


def _row(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    kind = next(kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null")
    values = ", ".join(map(str, kind.get("enum", [kind.get("type", "")])))
    limits = [f"{word} {kind[key]:g}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in kind]
    cells = (f"<code>{parameter['name']}</code>", " ".join([values, *limits]), str(schema.get("default", "")),
             html.escape(parameter.get("description", "")))  # fmt: skip
    return "<tr>" + "".join(f"<td>{cell}" for cell in cells) + "</tr>"
