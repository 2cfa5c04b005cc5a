"""The base of all contracts: a frozen model whose class line says what it is called, where it travels, what orders it."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict


class Contract(BaseModel):
    """A message's body.

    class StageChanged(Event, type="deals.StageChanged.v1", topic="deals.events", key=("element_id",)): ...

    `key` names fields, with a dot for a field of a part ("element.element_id"); the first that is not empty orders the
    message. `type`, `topic` and `key` are no field names. One without a type stands for all that nobody names (`Service.others`)."""

    model_config = ConfigDict(frozen=True, strict=True)

    type: ClassVar[str] = ""
    topic: ClassVar[str] = ""
    key: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, *, type: str = "", topic: str = "", key: tuple[str, ...] = (), **options: Any) -> None:
        super().__init_subclass__(**options)
        if topic:
            cls.type, cls.topic, cls.key = type, topic, key

    def partition_key(self) -> str:
        """Text of the first key field that is not empty. Raises ValueError when all are."""
        for path in self.key:
            value: Any = self
            for name in path.split("."):
                value = getattr(value, name, None)
            if value is not None and value != "":
                return str(value)
        raise ValueError(f"{self.type} has no value in {self.key}")

    @classmethod
    def read(cls, data: bytes) -> Self:
        """The body of a message. Raises pydantic.ValidationError."""
        return cls.model_validate_json(data)


class Event(Contract):
    """A fact, owned by who publishes it. Readers ignore fields they do not know."""

    model_config = ConfigDict(extra="ignore")


class Command(Contract):
    """A request, owned by who receives it. A misspelt field is refused, at any depth when read from bytes."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def read(cls, data: bytes) -> Self:
        return cls.model_validate_json(data, extra="forbid")
