"""Placeholders in operators' texts: a closed part of Liquid, total and deterministic (rule-format 6, ecosystem 2.3, T8).

No includes, no assignments, no clock but `now`, no random; every source, output, loop and nesting has a limit. A path that is
valid but has no value is *unresolved*: the text says empty there, and the caller hears which ones it were."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, DivisionByZero, InvalidOperation
from functools import lru_cache
from typing import Any

import holidays
from babel.numbers import format_currency
from liquid import BoundTemplate, Environment
from liquid.builtin import tags as builtin_tags
from liquid.exceptions import LiquidError

from services.automation.domain.card import Person, Scope, normal, zone_of
from services.automation.domain.catalogue import LONGEST_SOURCE
from services.automation.domain.visit import Rendered

LONGEST_TEXT = 64_000
MOST_READS = 20_000
LARGEST = 30
"""Digits of the largest number a filter takes."""
ALLOWED_TAGS = ("if", "unless", "for")


class TemplateProblem(ValueError):
    """A template that cannot be used. `code` as in rule-format 8: bad_template, unknown_filter, template_too_long."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


class Missing:
    """Stands for a path without a value while a template is filled: empty, false, and remembered when it is shown."""

    def __init__(self, path: str, seen: Notes) -> None:
        self.path, self._seen = path, seen

    def __str__(self) -> str:
        self._seen.missing.append(self.path)
        return ""

    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __eq__(self, other: object) -> bool:
        return other is None or other == "" or isinstance(other, Missing)

    def __hash__(self) -> int:
        return 0

    def __liquid__(self) -> None:
        """What conditions see."""
        return


class Notes:
    """What was found missing while one text was filled, and how much was read: a budget, because loops multiply."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.required: list[str] = []
        self._reads = 0

    def reads(self) -> None:
        self._reads += 1
        if self._reads > MOST_READS:
            raise TemplateProblem("template_error", f"A template reads at most {MOST_READS} values.")


class Branch(Mapping[str, Any]):
    """A path as Liquid walks it: `deal`, then `deal.contact`, then a value."""

    def __init__(self, scope: Scope, seen: Notes, path: str = "") -> None:
        self._scope, self._seen, self._path = scope, seen, path

    def __getitem__(self, name: str) -> Any:
        self._seen.reads()
        path = f"{self._path}.{name}" if self._path else str(name)
        if path in BRANCHES:
            return Branch(self._scope, self._seen, path)
        value = self._scope.value(normal(path))
        if value is None:
            return Branch(self._scope, self._seen, path) if _leads_on(path) else Missing(path, self._seen)
        return _plain(value, path, self._scope)

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 1

    def __str__(self) -> str:
        """A path that leads somewhere and is shown itself: `{{responsible}}` is a name."""
        if self._path == "now":
            return self._scope.local_now().isoformat(timespec="seconds")
        value = self._scope.value(normal(self._path))
        if value is None:
            self._seen.missing.append(self._path)
            return ""
        return str(_plain(value, self._path, self._scope))


ROOTS = ("deal", "lead", "contact", "company", "responsible", "const", "var", "steps", "invoices", "event", "uf", "rule", "now")
BRANCHES = frozenset(
    (
        *ROOTS,
        *(f"{root}.{name}" for root in ("deal", "lead") for name in ("contact", "company", "responsible", "invoices", "uf")),
        *(f"{root}.{name}.uf" for root in ("deal", "lead") for name in ("contact", "company")),
        "contact.uf",
        "company.uf",
        "invoices.last",
        "deal.invoices.last",
    )
)


def _leads_on(path: str) -> bool:
    """`steps.link` is no value, `steps.link.url` is one."""
    parts = path.split(".")
    return parts[0] == "steps" and len(parts) == 2


def _plain(value: Any, path: str, scope: Scope) -> Any:
    """Text as is, yes/no in the pipeline's language, people by name, lists joined where they are shown."""
    if isinstance(value, bool):
        return ("ja" if value else "nein") if scope.card.pipeline.language == "de" else ("yes" if value else "no")
    if normal(path) in ("responsible", "created_by") and isinstance(value, str):
        person: Person | None = scope.card.links.person(value)
        return person.name if person else value
    return Listed(value) if isinstance(value, list | tuple) else value


class Listed(tuple[Any, ...]):
    """A list that reads `a, b` where it is shown as it is (G37)."""

    def __str__(self) -> str:
        return ", ".join(str(item.get("name", "")) if isinstance(item, Mapping) else str(item) for item in self)


# ------------------------------------------------------------------------------------------------ filters


def _default(value: Any, text: Any = "") -> Any:
    return text if value is None or value == "" or isinstance(value, Missing) or value == [] else value


def _required(value: Any) -> Any:
    if isinstance(value, Missing):
        value._seen.required.append(value.path)
        return ""
    return value


def _number(value: Any) -> Decimal:
    try:
        number = Decimal(str(value["amount"] if isinstance(value, Mapping) else value))
    except (InvalidOperation, KeyError, TypeError):
        raise TemplateProblem("template_error", f"{str(value)[:100]!r} is no number.") from None
    if not number.is_finite() or abs(number.adjusted()) > LARGEST:
        raise TemplateProblem("template_error", f"{str(value)[:100]!r} is too large a number.")
    return number


def _counted(calculate: Callable[[Decimal, Decimal], Decimal]) -> Callable[[Any, Any], Any]:
    def filtered(value: Any, other: Any) -> Any:
        if isinstance(value, Missing):
            return value
        try:
            return _shown(calculate(_number(value), _number(other)))
        except (DivisionByZero, InvalidOperation):
            raise TemplateProblem("template_error", "A number was divided by zero.") from None

    return filtered


def _shown(number: Decimal) -> str:
    text = format(number.normalize() if number == number.to_integral() else number, "f")
    return text if len(text) < 40 else format(round(number, 6), "f")


def _round(value: Any, places: Any = 0) -> Any:
    if isinstance(value, Missing):
        return value
    return format(_number(value).quantize(Decimal(1).scaleb(-min(max(int(places), 0), 6)), ROUND_HALF_UP), "f")


def _moment(value: Any) -> date | datetime | None:
    if isinstance(value, date | datetime):
        return value
    text = str(value)
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError:
        return None


def _date(zone: str) -> Callable[..., Any]:
    def filtered(value: Any, pattern: str = "%Y-%m-%d") -> Any:
        if isinstance(value, Missing):
            return value
        at = _moment(value)
        if at is None or len(pattern) > 80:
            raise TemplateProblem("template_error", f"{value!r} is no date.")
        return (at.astimezone(zone_of(zone)) if isinstance(at, datetime) and at.tzinfo else at).strftime(pattern)

    return filtered


def _add_days(value: Any, days: Any) -> Any:
    at = None if isinstance(value, Missing) else _moment(value)
    if at is None:
        return value
    return (at + timedelta(days=max(-36_600, min(36_600, int(days))))).isoformat()


def _business_days(value: Any, days: Any) -> Any:
    """So many working days later, German holidays and weekends left out."""
    at = None if isinstance(value, Missing) else _moment(value)
    if at is None:
        return value
    left, step = min(abs(int(days)), 2000), 1 if int(days) >= 0 else -1
    closed = holidays.country_holidays("DE")
    while left:
        at += timedelta(days=step)
        day = at.date() if isinstance(at, datetime) else at
        left -= day.weekday() < 5 and day not in closed
    return at.isoformat()


def _within_length(length: int) -> None:
    if length > LONGEST_TEXT:
        raise TemplateProblem("template_error", f"The text would be longer than {LONGEST_TEXT} characters.")


def _replace(value: Any, old: Any, new: Any = "") -> Any:
    """Measured before it is made: a few replacements in a row could fill the memory."""
    text, old, new = str(value), str(old), str(new)
    _within_length(len(text) + text.count(old) * max(len(new) - len(old), 0))
    return text.replace(old, new)


def _append(value: Any, text: Any) -> str:
    return _joined_up(str(value), str(text))


def _prepend(value: Any, text: Any) -> str:
    return _joined_up(str(text), str(value))


def _joined_up(first: str, second: str) -> str:
    _within_length(len(first) + len(second))
    return first + second


def _join(value: Any, separator: Any = ", ") -> str:
    parts = [str(part) for part in value] if isinstance(value, list | tuple) else [str(value)]
    between = str(separator)
    _within_length(sum(map(len, parts)) + len(parts) * len(between))
    return between.join(parts)


def _money(language: str, currency: str) -> Callable[..., Any]:
    def filtered(value: Any) -> Any:
        if isinstance(value, Missing):
            return value
        code = value.get("currency", currency) if isinstance(value, Mapping) else currency
        return format_currency(_number(value), code, locale="de_DE" if language == "de" else "en_GB")

    return filtered


# ------------------------------------------------------------------------------------------------ templates


KEPT_FILTERS = ("upcase", "downcase", "capitalize", "strip", "truncate", "first", "last", "size")


class Placeholders(Environment):
    """Liquid with what operators need and nothing else."""

    loop_iteration_limit = 1000
    output_stream_limit = LONGEST_TEXT
    local_namespace_limit = LONGEST_TEXT
    context_depth_limit = 10

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        for name in [name for name in self.tags if name not in KEPT_TAGS]:
            del self.tags[name]
        for name in [name for name in self.filters if name not in KEPT_FILTERS]:
            del self.filters[name]
        self.filters |= OWN_FILTERS


RESERVED = "true|false|nil|null|empty|blank|and|or|contains|not|in|offset|limit|reversed|cols|continue|with|for|as|required|if|else|by"
"""Words that Liquid keeps for itself: as parts of a path (`const.limit`) they are written in brackets for it."""
_OPENING = re.compile(r"\{[{%]")
_WORDS = re.compile(
    rf"""'[^']*'|"[^"]*"|(?P<required>\|\s*required\b)|\.(?P<word>{RESERVED})(?![\w-])|(?<=[A-Za-z_-])\.(?P<number>\d+)(?![\w-])"""
)


def _for_liquid(source: str) -> str:
    """The same template in words that Liquid understands; texts between placeholders and quoted ones stay.

    Raises TemplateProblem for what is not closed: Liquid's own search for it takes time with the square of the length."""
    parts: list[str] = []
    at = 0
    while (opening := _OPENING.search(source, at)) is not None:
        start = opening.start()
        end = source.find("}}" if opening[0] == "{{" else "%}", start + 2) + 2
        if end < 2 or _OPENING.search(source, start + 2, end) is not None:
            raise TemplateProblem("bad_template", f"A placeholder is opened and not closed: {source[start : start + 40]}")
        parts += (source[at:start], _WORDS.sub(_word_for_liquid, source[start:end]))
        at = end
    return "".join((*parts, source[at:]))


def _word_for_liquid(found: re.Match[str]) -> str:
    if found["required"]:
        return "| must_have"
    name = found["word"] or found["number"]
    return f"['{name}']" if name else found[0]


KEPT_TAGS = (*ALLOWED_TAGS, "output", "literal", "illegal", "content", "echo", builtin_tags.__name__)
OWN_FILTERS: dict[str, Callable[..., Any]] = {
    "default": _default,
    "must_have": _required,
    "replace": _replace,
    "append": _append,
    "prepend": _prepend,
    "join": _join,
    "plus": _counted(lambda a, b: a + b),
    "minus": _counted(lambda a, b: a - b),
    "times": _counted(lambda a, b: a * b),
    "divided_by": _counted(lambda a, b: a / b),
    "round": _round,
    "add_days": _add_days,
    "business_days": _business_days,
}


@lru_cache(maxsize=64)
def _environment(zone: str, language: str, currency: str) -> Placeholders:
    environment = Placeholders(strict_filters=True)
    environment.filters["date"] = _date(zone)
    environment.filters["money"] = _money(language, currency)
    return environment


@lru_cache(maxsize=4096)
def _parsed(source: str, zone: str, language: str, currency: str) -> BoundTemplate:
    if len(source) > LONGEST_SOURCE:
        raise TemplateProblem("template_too_long", f"A template has at most {LONGEST_SOURCE} characters.")
    try:
        return _environment(zone, language, currency).from_string(_for_liquid(source))
    except (LiquidError, RecursionError) as error:
        raise _unusable(error) from None


def _unusable(error: Exception) -> TemplateProblem:
    """As a sentence; a tag that there is not is answered with those that there are."""
    said = str(error).splitlines()[0][:300] if str(error) else "it is nested too deeply"
    tags = f"; tags are {', '.join(ALLOWED_TAGS)}" if "unexpected tag" in said else ""
    code = "unknown_filter" if "filter" in said.lower() else "bad_template"
    return TemplateProblem(code, f"The text cannot be filled: {said}{tags}.")


def render(source: str, scope: Scope) -> Rendered:
    """Fills a template on the facts of one run. Never raises: what went wrong is a sentence in `error`."""
    card, seen = scope.card, Notes()
    roots: dict[str, Any] = {name: Branch(scope, seen, name) for name in ROOTS}
    roots |= {"arrival": scope.arrival, "rule": {"name": scope.rule_name}}
    try:
        template = _parsed(source, card.zone, card.pipeline.language, str(card.fields.get("currency") or "EUR"))
        text = template.render(**roots)
    except TemplateProblem as problem:
        return Rendered("", error=problem.detail)
    except (LiquidError, RecursionError, ValueError, TypeError, ArithmeticError) as error:
        return Rendered("", error=str(error).splitlines()[0][:300] if str(error) else type(error).__name__)
    missing = tuple(path for path in dict.fromkeys(seen.missing) if path not in seen.required)
    return Rendered(text, missing, tuple(dict.fromkeys(seen.required)))


def check(source: str) -> Iterable[str]:
    """The paths that a template names. Raises TemplateProblem when it cannot be used."""
    template = _parsed(source, "UTC", "en", "EUR")
    try:
        found = template.analyze(include_partials=False)
    except LiquidError as error:
        raise _unusable(error) from None
    offered = sorted(("required", *KEPT_FILTERS, *OWN_FILTERS.keys() - {"must_have"}, "date", "money"))
    unknown = [name for name in found.filters if name not in (*offered, "must_have")]
    if unknown:
        raise TemplateProblem("unknown_filter", f"There is no filter {unknown[0]}; there are {', '.join(offered)}.")
    return [_path(variable.segments) for variables in found.globals.values() for variable in variables]


def _path(segments: Iterable[Any]) -> str:
    """`const.limit` from its parts; an index or a path in brackets ends it."""
    parts: list[str] = []
    for segment in segments:
        if not isinstance(segment, str):
            break
        parts.append(segment)
    return ".".join(parts)
