"""Structured logs: JSON lines, or coloured text on a terminal; one chain for our own loggers and everybody else's (ecosystem O5).

Secrets and personal data are redacted by key and by pattern (T18), control characters are escaped (T19)."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, TextIO

import orjson
import structlog

from shared.runtime.clock import now
from shared.runtime.settings import LogSettings

Event = MutableMapping[str, Any]

ABOUT: ContextVar[Mapping[str, Any]] = ContextVar("about", default=MappingProxyType({}))
"""What every line of the current request or batch carries: correlation_id, tenant_id, …"""


def about(**fields: Any) -> None:
    """From here on, in this task, every line carries these fields too."""
    ABOUT.set({**ABOUT.get(), **fields})


SECRET_KEYS = re.compile(r"passw|secret|token|authori[sz]ation|pepper|api_?key|cookie|hmac|credential$|private", re.IGNORECASE)
PATTERNS = (
    (re.compile(r"\bdw_[a-z0-9]{1,16}_[A-Za-z0-9-]+_[A-Za-z0-9_-]{16,}"), "dw_***"),
    (re.compile(r"\bwh(?:sec|pk|sk)_[A-Za-z0-9+/=_-]{8,}"), "whsec_***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), r"\1 ***"),
    (re.compile(r"(://[^\s:/@]*):[^\s@/]+@"), r"\1:***@"),
    (re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,4})?\b"), "***iban***"),
    (re.compile(r"\b\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{1,7}\b|\b[3-6]\d{13,15}\b"), "***card***"),
    (re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"), "***@***"),
)
_HINT = re.compile(r"dw_|wh(?:sec|pk|sk)_|(?i:bearer|basic)|@|[A-Z]{2}\d\d|\d{4}")
"""Cheap: only text that holds one of these is looked at closely."""
_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def redacted(text: str) -> str:
    """The text without keys, passwords, bank details and addresses."""
    if not _HINT.search(text) or _IDS.fullmatch(text):
        return text
    for pattern, instead in PATTERNS:
        text = pattern.sub(instead, text)
    return text


def _clean(value: Any, depth: int = 0) -> Any:
    match value:
        case str():
            return redacted(value)
        case bool() | int() | float() | None:
            return value
        case Mapping() if depth < 6:
            return {str(k): "***" if SECRET_KEYS.search(str(k)) else _clean(v, depth + 1) for k, v in value.items()}
        case list() | tuple() | set() | frozenset() if depth < 6:
            return [_clean(each, depth + 1) for each in value]
        case _:
            return redacted(str(value))


def redact(logger: Any, method: str, event: Event) -> Event:
    for key, value in event.items():
        if key.startswith("_") or key in ("exc_info", "credential_id"):
            continue
        event[key] = "***" if SECRET_KEYS.search(key) else _clean(value)
    return event


def add_about(logger: Any, method: str, event: Event) -> Event:
    for key, value in ABOUT.get().items():
        event.setdefault(key, value)
    return event


def add_logger(logger: Any, method: str, event: Event) -> Event:
    record = event.get("_record")
    event["logger"] = record.name if record is not None else getattr(logger, "name", "") or "dealwright"
    return event


def explain_error(logger: Any, method: str, event: Event) -> Event:
    """exc_info becomes error.type, error.message and error.stacktrace."""
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["error.type"] = type(error).__name__
        event["error.message"] = str(error)
        event["error.stacktrace"] = "".join(traceback.format_exception(error))
    return event


class Service:
    """The three fields that say whose line it is."""

    def __init__(self, name: str, version: str, environment: str) -> None:
        self._fields = {"service.name": name, "service.version": version, "deployment.environment": environment}

    def __call__(self, logger: Any, method: str, event: Event) -> Event:
        event.update(self._fields)
        return event


def as_json(logger: Any, method: str, event: Event) -> str:
    """One line; orjson escapes control characters."""
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode("utf-8", "replace")


def escape_control(logger: Any, method: str, event: Event) -> Event:
    """For terminals: what could move the cursor or forge a line is shown as its number."""
    for key, value in event.items():
        if isinstance(value, str) and key != "error.stacktrace":
            event[key] = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", value).replace("\n", "\\n")
    return event


class Lines:
    """Writes finished lines, each at once; what a bound logger calls."""

    def __init__(self, stream: TextIO, name: str = "") -> None:
        self.name = name
        self._write, self._flush = stream.write, stream.flush

    def msg(self, message: str) -> None:
        self._write(message + "\n")
        self._flush()

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


class _Access:
    """Where lines of requests go. They hold nothing of the caller's choosing but ids, so the long chain is not needed."""

    out: TextIO | None = None
    service: Mapping[str, str] = MappingProxyType({})
    text = False


def access(**fields: Any) -> None:
    """One line per request: cheap, because every request pays for it."""
    if _Access.out is None:
        return
    if _Access.text:
        structlog.get_logger("access").info("request", **fields)
        return
    line = {"timestamp": now(), "level": "info", "event": "request", "logger": "access", **fields, **_Access.service}
    _Access.out.write(orjson.dumps(line).decode() + "\n")
    _Access.out.flush()


def set_up(settings: LogSettings, *, service: str, version: str, environment: str, stream: TextIO | None = None) -> None:
    """Once per process. Our loggers and those of uvicorn, aiokafka and the rest end in the same lines."""
    out = stream or sys.stdout
    text = settings.form == "text" or (settings.form == "auto" and out.isatty())
    level = logging.getLevelNamesMapping()[settings.level]
    shared = _chain(Service(service, version, environment))
    render = [escape_control, structlog.dev.ConsoleRenderer()] if text else [as_json]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *args: Lines(out, str(args[0]) if args else ""),
        cache_logger_on_first_use=False,
    )
    _take_over(out, level, shared, render)
    _Access.out = out if settings.access and level <= logging.INFO else None
    _Access.text = text
    _Access.service = {"service.name": service, "service.version": version, "deployment.environment": environment}


def _chain(service: Service) -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        add_about,
        structlog.processors.add_log_level,
        add_logger,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        service,
        explain_error,
        redact,
    ]


def _take_over(out: TextIO, level: int, shared: list[Any], render: list[Any]) -> None:
    handler = logging.StreamHandler(out)
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[remove, *render]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING) if level > logging.DEBUG else level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "aiokafka", "sqlalchemy"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
