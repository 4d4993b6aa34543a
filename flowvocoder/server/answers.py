"""Refusals as JSON: `{"error": {"code": ..., "message": ..., "status": ...}}`."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from flowvocoder.errors import (
    AcousticError,
    AudioError,
    CheckpointError,
    ConfigError,
    FlowVocoderError,
    ImplausibleMelError,
    MelError,
    one_line,
)

CODES = {
    400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
    408: "too_slow", 411: "length_required", 413: "too_large", 429: "too_many_requests", 500: "internal", 503: "busy",
    504: "timeout",
}  # fmt: skip
"""Codes of errors by HTTP status, unless they say more."""

_KINDS: list[tuple[type[FlowVocoderError], str]] = [
    (ImplausibleMelError, "implausible_mel"), (MelError, "bad_mel"), (AudioError, "bad_audio"),
    (ConfigError, "bad_option"), (CheckpointError, "bad_voice"),
]  # fmt: skip


def error(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """The object that every refusal is."""
    return {"error": {"code": code or CODES.get(status, "refused"), "message": one_line(message), "status": status}}


def refusal(problem: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, object and headers for an exception. What is not the client's to mend tells nothing of the server."""
    if isinstance(problem, HTTPException):
        return problem.status_code, error(problem.status_code, str(problem.detail)), dict(problem.headers or {})
    if isinstance(problem, FlowVocoderError) and not isinstance(problem, AcousticError):
        code = next((code for kind, code in _KINDS if isinstance(problem, kind)), "bad_request")
        return 400, error(400, str(problem), code), {}
    return 500, error(500, "Something went wrong on the server: its log says what"), {}


def refused(problem: Exception) -> JSONResponse:
    """The same as an answer."""
    status, content, headers = refusal(problem)
    return JSONResponse(content, status, headers)
