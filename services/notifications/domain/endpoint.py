"""Webhook endpoint: where another system wants to be called. (notifications 2.3, H9)

Its secrets are derived from the deployment's pepper and a number (channels/webhook.py), so none is stored. After a rotation
the previous one signs as well, so that a receiver may change over when it likes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from services.notifications.domain.origin import Origin
from services.notifications.domain.url import target_of
from shared.es.aggregate import Aggregate
from shared.es.errors import NotFound, Rejected

Status = Literal["none", "active", "disabled", "deleted"]
Reason = Literal["by_person", "gone_410", "failing"]


@dataclass(frozen=True, slots=True)
class AddEndpoint:
    """`allowed`: see url.py."""

    url: str
    purpose: str
    owner_id: str
    description: str
    allowed: frozenset[str]
    origin: Origin


@dataclass(frozen=True, slots=True)
class ChangeEndpoint:
    url: str
    description: str
    allowed: frozenset[str]
    origin: Origin


@dataclass(frozen=True, slots=True)
class RotateSecret:
    origin: Origin


@dataclass(frozen=True, slots=True)
class DisableEndpoint:
    reason: Reason
    origin: Origin


@dataclass(frozen=True, slots=True)
class EnableEndpoint:
    origin: Origin


@dataclass(frozen=True, slots=True)
class DeleteEndpoint:
    origin: Origin


EndpointCommand = AddEndpoint | ChangeEndpoint | RotateSecret | DisableEndpoint | EnableEndpoint | DeleteEndpoint


@dataclass(frozen=True, slots=True)
class EndpointAdded:
    url: str
    purpose: str
    owner_id: str
    description: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class EndpointChanged:
    url: str
    description: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class SecretRotated:
    number: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class EndpointDisabled:
    reason: Reason
    origin: Origin


@dataclass(frozen=True, slots=True)
class EndpointEnabled:
    origin: Origin


@dataclass(frozen=True, slots=True)
class EndpointDeleted:
    origin: Origin


EndpointEvent = EndpointAdded | EndpointChanged | SecretRotated | EndpointDisabled | EndpointEnabled | EndpointDeleted


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`secret_number` is that of the current secret; from 2 on the one before signs too."""

    status: Status = "none"
    url: str = ""
    secret_number: int = 1
    purpose: str = "rule"
    owner_id: str = ""
    description: str = ""
    reason: str | None = None
    origin: Origin = field(default_factory=Origin)

    def must_exist(self) -> None:
        if self.status in ("none", "deleted"):
            raise NotFound("There is no such endpoint.", "endpoint_unknown")


def decide(endpoint: Endpoint, command: EndpointCommand) -> Sequence[EndpointEvent]:
    """Raises Rejected: url_not_allowed, id_taken, endpoint_unknown."""
    if not isinstance(command, AddEndpoint):
        endpoint.must_exist()
    match command:
        case AddEndpoint():
            return _added(endpoint, command)
        case ChangeEndpoint(url=url, description=description, allowed=allowed, origin=origin):
            target_of(url, allowed)
            same = (endpoint.url, endpoint.description) == (url, description)
            return [] if same else [EndpointChanged(url, description, origin)]
        case RotateSecret(origin=origin):
            return [SecretRotated(endpoint.secret_number + 1, origin)]
        case DisableEndpoint(reason=reason, origin=origin):
            return [] if endpoint.status == "disabled" else [EndpointDisabled(reason, origin)]
        case EnableEndpoint(origin=origin):
            return [] if endpoint.status == "active" else [EndpointEnabled(origin)]
        case DeleteEndpoint(origin=origin):
            return [EndpointDeleted(origin)]
        case _:
            assert_never(command)


def _added(endpoint: Endpoint, c: AddEndpoint) -> Sequence[EndpointEvent]:
    target_of(c.url, c.allowed)
    if endpoint.status == "none":
        return [EndpointAdded(c.url, c.purpose, c.owner_id, c.description, c.origin)]
    raise Rejected("id_taken", "An endpoint with this id exists or existed.")


def evolve(endpoint: Endpoint, event: EndpointEvent) -> Endpoint:
    match event:
        case EndpointAdded(url=url, purpose=purpose, owner_id=owner, description=description, origin=origin):
            return Endpoint("active", url, 1, purpose, owner, description, None, origin)
        case EndpointChanged(url=url, description=description):
            return replace(endpoint, url=url, description=description)
        case SecretRotated(number=number):
            return replace(endpoint, secret_number=number)
        case EndpointDisabled(reason=reason):
            return replace(endpoint, status="disabled", reason=reason)
        case EndpointEnabled():
            return replace(endpoint, status="active", reason=None)
        case EndpointDeleted():
            return replace(endpoint, status="deleted")
        case _:
            assert_never(event)


ENDPOINT: Aggregate[Endpoint, EndpointCommand, EndpointEvent] = Aggregate(
    "webhook-endpoint",
    Endpoint(),
    decide,
    evolve,
    (EndpointAdded, EndpointChanged, SecretRotated, EndpointDisabled, EndpointEnabled, EndpointDeleted),
    read_by_others=True,
)
