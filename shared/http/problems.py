"""Every error as RFC 9457 problem details: what went wrong, where, and what to do about it (ecosystem H2, domain 7)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core.core_schema import ErrorType

from shared.es.errors import Conflict, Fault, NotYet, Rejected, Stale, Unavailable
from shared.messaging.requests import Answer

MEDIA_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """One type of problem: its status, its constant title, and what whoever gets it should do."""

    status: int
    title: str
    remedy: str


KINDS: dict[str, Kind] = {
    "malformed-json": Kind(
        400,
        "The body is not valid JSON",
        "Send UTF-8 JSON without NaN, duplicate keys or lone surrogates, nested at most 32 deep.",
    ),
    "malformed-request": Kind(
        400,
        "The request cannot be read",
        "A header or the address does not have the form the detail names; correct it.",
    ),
    "unknown-parameter": Kind(
        400,
        "Unknown query parameter or sort field",
        "Use the parameters that the API document lists for this operation.",
    ),
    "bad-cursor": Kind(
        400,
        "The cursor does not belong to this query",
        "Start again without `cursor`; keep filters and sort while following `next_cursor`.",
    ),
    "idempotency-key-missing": Kind(
        400,
        "The Idempotency-Key header is missing",
        "Send `Idempotency-Key` with a new unique value; use the same value when you repeat the request.",
    ),
    "unauthenticated": Kind(
        401,
        "No valid credential",
        "Send `Authorization: Bearer dw_…` with a key that is neither expired nor revoked.",
    ),
    "forbidden": Kind(403, "The credential may not do this", "Use a credential that holds the scope the detail names."),
    "tenant-suspended": Kind(403, "The tenant is suspended", "Ask the operator of this deployment to resume the tenant."),
    "not-found": Kind(404, "No such thing", "Check the address and the id; things of other tenants are never shown."),
    "method-not-allowed": Kind(405, "This method is not offered here", "Use one of the methods in the `Allow` header."),
    "conflict": Kind(409, "Somebody else was faster", "Read the current state and send the request again, best with `If-Match`."),
    "idempotency-key-busy": Kind(
        409,
        "The first request with this key is still running",
        "Repeat it after `Retry-After` seconds with the same key; the first answer will be said again.",
    ),
    "request-timeout": Kind(408, "The body did not arrive in time", "Send the request again, faster."),
    "id-taken": Kind(409, "The id is taken", "Choose a new id, or leave it out."),
    "not-yet": Kind(409, "A fact this rests on has not arrived", "Repeat the request a little later."),
    "version-conflict": Kind(
        412,
        "The version is not the current one",
        "Read the resource again (its `ETag` is in this answer), decide afresh, and send the new `If-Match`.",
    ),
    "too-large": Kind(413, "The body is too large", "JSON bodies may have 256 KiB, uploads 25 MiB; send less at a time."),
    "unsupported-media-type": Kind(
        415,
        "This content type is not accepted here",
        "Send `Content-Type: application/json` (or what the API document names).",
    ),
    "validation-failed": Kind(
        422,
        "The request is well-formed but not valid",
        "Correct every entry of `errors`; each names its place and what is wrong.",
    ),
    "idempotency-key-reused": Kind(
        422,
        "The Idempotency-Key was used for another request",
        "Use a new key for a new request; a repetition must be identical.",
    ),
    "unknown-reference": Kind(422, "The request names something that does not exist", "Correct the ids that `errors` points at."),
    "precondition-required": Kind(
        428,
        "The If-Match header is missing",
        "Read the resource and send its `ETag` as `If-Match`, so that nobody's change is overwritten.",
    ),
    "too-many-requests": Kind(429, "Too many requests", "Wait as long as `Retry-After` says."),
    "internal": Kind(
        500,
        "Something went wrong here",
        "Report the `correlation_id`; the request may be repeated with the same Idempotency-Key.",
    ),
    "unavailable": Kind(
        503,
        "Not available at the moment",
        "Repeat the request after `Retry-After` seconds with the same Idempotency-Key.",
    ),
}
REFUSED = Kind(409, "", "The domain refused this; `detail` says why. Repeating it unchanged will not help.")

STATUS_SLUGS = {kind.status: slug for slug, kind in reversed(KINDS.items())}
STATUS_SLUGS |= {400: "malformed-request", 403: "forbidden", 409: "conflict", 422: "validation-failed"}


class Problem(Exception):
    """An error that is about HTTP itself, raised anywhere below a route."""

    def __init__(self, slug: str, detail: str = "", *, errors: Iterable[Fault] = (), headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(detail or KINDS[slug].title)
        self.slug = slug
        self.detail = detail or KINDS[slug].title + "."
        self.errors = tuple(errors)
        self.headers = tuple(headers)


@dataclass(frozen=True, slots=True)
class About:
    """Which request a problem belongs to."""

    instance: str
    correlation_id: str
    trace_id: str | None = None


def slug_of(code: str) -> str:
    return code.replace("_", "-")


def title_of(slug: str) -> str:
    known = KINDS.get(slug)
    return known.title if known else slug.replace("-", " ").capitalize()


def problem(slug: str, status: int, detail: str, about: About, errors: Iterable[Fault] = (), **more: Any) -> Answer:
    """The answer for one problem. `more` are extension members of this type of problem."""
    body = {
        "type": f"/problems/{slug}",
        "title": title_of(slug),
        "status": status,
        "detail": detail,
        "instance": about.instance,
        "code": slug.replace("-", "_"),
        "correlation_id": about.correlation_id,
        "trace_id": about.trace_id,
        "errors": [fault._asdict() for fault in errors],
        **more,
    }
    return Answer(status, body, headers=(("Content-Type", MEDIA_TYPE),))


def problem_of(error: BaseException, about: About) -> Answer:
    """What is answered for an exception (architecture B.8). An unknown one is a bug: 500 without any of its text."""
    match error:
        case Problem():
            answer = problem(error.slug, KINDS[error.slug].status, error.detail, about, error.errors)
            return replace(answer, headers=(*answer.headers, *error.headers))
        case Stale():
            answer = problem("version-conflict", 412, error.detail, about, current_version=error.current)
            return replace(answer, etag=error.current)
        case Rejected(code="idempotency_key_busy"):
            return problem("idempotency-key-busy", 409, error.detail, about).with_header("Retry-After", "1")
        case Rejected():
            return problem(slug_of(error.code), error.status, error.detail, about, error.errors)
        case Conflict():
            detail = "Other requests changed or held the same thing three times in a row. Nothing of this one was stored."
            return problem("conflict", 409, detail, about)
        case NotYet():
            return problem("not-yet", 409, str(error) or KINDS["not-yet"].title + ".", about).with_header("Retry-After", "1")
        case Unavailable():
            return problem("unavailable", 503, "The database or the broker is away.", about).with_header("Retry-After", "1")
        case _:
            return problem("internal", 500, "The request could not be handled. Nothing of it was stored.", about)


class Body(BaseModel):
    """A request's body: unknown members are refused, values never change once read, text is NFC.

    Control characters and broken text were refused before, for the whole document. Numbers are not read from text where a
    type of shared.http.types is used; money, zones and codes have theirs there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def text_is_nfc(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {name: composed(value) for name, value in data.items()}
        return data


def composed(value: Any) -> Any:
    """The value with its text in Unicode's composed form."""
    match value:
        case str():
            return value if value.isascii() else unicodedata.normalize("NFC", value)
        case list():
            return [composed(each) for each in value]
        case _:
            return value


CODES = {
    "missing": ("required", "This is required."),
    "extra_forbidden": ("unknown_field", "This is not known here; leave it out."),
    "string_type": ("wrong_type", "This must be a string."),
    "int_type": ("wrong_type", "This must be a whole number."),
    "int_parsing": ("wrong_type", "This must be a whole number."),
    "int_from_float": ("wrong_type", "This must be a whole number."),
    "bool_type": ("wrong_type", "This must be true or false."),
    "bool_parsing": ("wrong_type", "This must be true or false."),
    "list_type": ("wrong_type", "This must be a list."),
    "tuple_type": ("wrong_type", "This must be a list."),
    "dict_type": ("wrong_type", "This must be an object."),
    "model_type": ("wrong_type", "This must be an object."),
    "model_attributes_type": ("wrong_type", "This must be an object."),
    "uuid_type": ("wrong_type", "This must be a UUID."),
    "uuid_parsing": ("wrong_type", "This must be a UUID."),
    "string_too_long": ("too_long", ""),
    "too_long": ("too_long", ""),
    "string_too_short": ("too_short", ""),
    "too_short": ("too_short", ""),
    "literal_error": ("unknown_value", ""),
    "enum": ("unknown_value", ""),
    "union_tag_invalid": ("unknown_value", ""),
    "union_tag_not_found": ("required", ""),
    "greater_than": ("out_of_range", ""),
    "greater_than_equal": ("out_of_range", ""),
    "less_than": ("out_of_range", ""),
    "less_than_equal": ("out_of_range", ""),
    "value_error": ("invalid", ""),
}
"""What pydantic calls a fault -> our code and our sentence ('' keeps pydantic's)."""


_PYDANTIC = frozenset(get_args(ErrorType))
"""Every other type is a code of ours, from shared.http.types or a service's own."""


def faults_of(errors: Iterable[Mapping[str, Any]], body: Any = None) -> list[Fault]:
    """One fault per error that FastAPI reports."""
    return [_fault(error, body) for error in errors]


def _fault(error: Mapping[str, Any], body: Any) -> Fault:
    code, sentence = CODES.get(error["type"], ("", ""))
    code = code or ("invalid" if error["type"] in _PYDANTIC else error["type"])
    return Fault(_pointer(error["loc"], body), code, sentence or _sentence(str(error["msg"])))


def _sentence(message: str) -> str:
    text = message.removeprefix("Value error, ").strip()
    return text if text.endswith((".", "!", "?")) else text + "."


def _pointer(loc: Sequence[int | str], body: Any) -> str:
    """'#/amount/currency' for the body, 'query/limit' for the rest. Names of union members are no place in the document."""
    where, *path = loc
    if where != "body":
        return "/".join(str(part) for part in loc)
    steps: list[str] = []
    at = body
    for n, part in enumerate(path):
        inside = (isinstance(at, dict) and part in at) or (isinstance(at, list) and isinstance(part, int) and part < len(at))
        if inside:
            at = at[part]
        elif n < len(path) - 1 or not isinstance(at, dict):
            continue
        steps.append(str(part).replace("~", "~0").replace("/", "~1"))
    return "#/" + "/".join(steps) if steps else "#"


def _described(status: int) -> dict[str, Any]:
    slugs = [f"`{slug}`" for slug, kind in KINDS.items() if kind.status == status]
    if status == 409:
        slugs.append("or a refusal of the domain")
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": ", ".join(slugs), "content": {MEDIA_TYPE: {"schema": schema}}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: _described(status) for status in (400, 401, 403, 404, 409, 412, 413, 415, 422, 428, 429, 500, 503)
}
"""`responses=` of every operation, for the OpenAPI document."""

_TEXT = {"type": "string"}
PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "code", "correlation_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "A page that explains this type of problem."},
        "title": {**_TEXT, "description": "The same for every problem of this type."},
        "status": {"type": "integer"},
        "detail": {**_TEXT, "description": "What went wrong this time, for people."},
        "instance": {**_TEXT, "description": "The path that was asked."},
        "code": {**_TEXT, "description": "The type as a word, for programs."},
        "correlation_id": _TEXT,
        "trace_id": {"type": ["string", "null"]},
        "current_version": {"type": "integer", "description": "With `version-conflict`: the version to decide on."},
        "changes": {"type": "array", "items": {"type": "object"}, "description": "With `version-conflict`: what happened since."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": {**_TEXT, "description": "JSON pointer into the body, or `query/<name>`, `path/<name>`, `header/<name>`."},
                    "code": _TEXT,
                    "detail": _TEXT,
                },
            },
        },
    },
}


def page_of(slug: str) -> str:
    """The readable page behind a problem's `type`."""
    kind = KINDS.get(slug, REFUSED)
    title = escape(title_of(slug))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<h1>{title}</h1><p><code>{escape(slug)}</code>, HTTP status {kind.status}</p><p>{escape(kind.remedy)}</p></html>"
    )
