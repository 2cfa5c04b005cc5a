"""Events as JSON and back, by plain type names, upcasts applied on read. The one seam where personal fields will be sealed (T21)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import orjson
from pydantic import TypeAdapter

from shared.es.aggregate import Aggregate, Json


class Codec(Protocol):
    def encode(self, event: object) -> tuple[str, str]:
        """The type's name and the JSON."""

    def decode(self, aggregate: str, type: str, data: str) -> object: ...


class DataclassCodec:
    """Encodes frozen dataclasses of plain values (text, numbers, Decimal, UUID, date, datetime, tuples, maps, dataclasses).

    A union of dataclasses inside an event needs a Literal field that tells its members apart. A field that an old event
    lacks takes its default; an event of a type that nobody knows raises KeyError."""

    def __init__(self, aggregates: Iterable[Aggregate[Any, Any, Any]]) -> None:
        self._readers: dict[tuple[str, str], Callable[[str], object]] = {}
        for aggregate in aggregates:
            for event in aggregate.events:
                self._readers[aggregate.name, event.__name__] = TypeAdapter(event).validate_json
            for old, upcast in aggregate.upcasts.items():
                self._readers[aggregate.name, old] = _upcasting(aggregate, old, upcast)

    def encode(self, event: object) -> tuple[str, str]:
        return type(event).__name__, orjson.dumps(event, default=_plain).decode()

    def decode(self, aggregate: str, type: str, data: str) -> object:
        return self._readers[aggregate, type](data)


def _upcasting(aggregate: Aggregate[Any, Any, Any], old: str, upcast: Callable[[Json], Json]) -> Callable[[str], object]:
    adapters = {event.__name__: TypeAdapter(event) for event in aggregate.events}

    def read(data: str) -> object:
        shape = upcast(orjson.loads(data))
        name = shape.pop("type", old)
        return adapters[name].validate_python(shape)

    return read


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset | set):
        return sorted(value)
    return str(value)
