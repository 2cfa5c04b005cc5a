"""Settings of a service process, from the environment alone (ecosystem P1).

Own variables carry the prefix DEALWRIGHT_, `__` for nesting; DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS stay bare. Every
variable may be given as NAME_FILE with the path of a file that holds the value. An unknown DEALWRIGHT_ variable is an error."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from shared.runtime import failpoints

PREFIX = "DEALWRIGHT_"

OF_OTHERS = re.compile(r"DEALWRIGHT_((TEST|POSTGRES|JAVA|CACHE|STACK|BENCH|CHAOS|DEMO|API)_.+|REVISION)")
"""Read by the embedded stack, tests, tools and `version`; harmless here."""

SECTIONS = (
    *("deals", "automation", "billing", "scheduler", "notifications"),
    *("smtp", "mailbox", "provider", "payments", "storage", "hooks", "pages"),
)
"""First words of what services call their own settings: one environment may be given to all five."""


class SettingsProblem(Exception):
    """The environment does not describe a service that can run; the text says which variable is wrong and how."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StorageSettings(Section):
    """Where the bytes of files lie (F28): deals writes them, notifications reads them, both are given the same folder."""

    folder: Path = Path(".dealwright/files")


class HttpSettings(Section):
    """`rate` and `burst`: requests of one credential per second, and at once. `failures`: bad keys per second and address."""

    rate: float = Field(default=5_000, gt=0)
    burst: float = Field(default=10_000, gt=0)
    failures: float = Field(default=20, gt=0)
    most: int = Field(default=200, ge=1, le=1000)
    """Requests in one group commit."""
    waiting: int = Field(default=1000, ge=1)
    """Requests that may wait; the next one is answered 503."""


class KafkaSettings(Section):
    """`prefix` stands in front of all topics and groups: several deployments, or test runs, on one broker."""

    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,80}$")
    partitions: int = Field(default=12, ge=1)
    retention_days: int = Field(default=14, ge=1)
    replication: int | None = Field(default=None, ge=1)
    """Copies of a topic; None: three, or as many as there are brokers."""
    compression: Literal["none", "gzip"] = "none"
    session_seconds: float | None = Field(default=None, ge=6, le=300)
    """A member that is silent for so long is expelled, and an event loop may stand still for a third of it. None: 6 in `dev`, else 30."""
    create_topics: bool = True
    """At the start; switch it off where only an administrator may, and run `topics` with his rights."""
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str | None = None
    password: SecretStr | None = None
    ca_file: Path | None = None


class LogSettings(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    form: Literal["auto", "json", "text"] = "auto"
    """auto: coloured text on a terminal, JSON lines elsewhere."""
    access: bool = True
    """A line per request."""


class TlsSettings(Section):
    certificate: Path | None = None
    key: Path | None = None
    proxy: bool = False
    """A proxy in front of this process terminates TLS."""


class EnvironmentAndFiles(EnvSettingsSource):
    """The environment, where NAME_FILE stands for the content of a file. Services' own settings use it too."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        found = dict(super()._load_env_vars())
        for name, path in list(found.items()):
            if name.endswith("_file") and path and (PREFIX.lower() in name or name.startswith("database_url")) and name not in _FILES:
                found.setdefault(name.removesuffix("_file"), _content(name, path))
        return found


_FILES = frozenset({"dealwright_kafka__ca_file"})
"""Settings whose own name ends so."""


def _content(name: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SettingsProblem(f"{name.upper()} names {path}, which cannot be read: {error.strerror}") from None


class FromEnvironment(BaseSettings):
    """Settings of this process and of the services: given to the constructor or, each variable also as NAME_FILE, in the environment."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, EnvironmentAndFiles(settings_cls)


class Settings(FromEnvironment):
    """What every service process needs."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore", frozen=True, populate_by_name=True)

    database_url: SecretStr = Field(validation_alias=AliasChoices("DATABASE_URL", "database_url"))
    database_url_owner: SecretStr | None = Field(default=None, validation_alias=AliasChoices("DATABASE_URL_OWNER", "database_url_owner"))
    database_url_reader: SecretStr | None = Field(default=None, validation_alias=AliasChoices("DATABASE_URL_READER", "database_url_reader"))
    kafka_bootstrap_servers: str = Field(validation_alias=AliasChoices("KAFKA_BOOTSTRAP_SERVERS", "kafka_bootstrap_servers"))
    pepper: SecretStr
    """Key of credential hashes and cursors; the same in all five services."""
    state_dir: Path = Path(".dealwright/state")
    environment: str = Field(default="dev", pattern=r"^[a-z0-9]{1,16}$")
    """Second word of every API key; in `dev` the API documents are shown as pages."""
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    pool: int = Field(default=8, ge=2, le=100)
    """Database connections per role; as many again when busy."""
    migrate: bool = True
    """Bring the database up to date when the service starts."""
    drain_seconds: float = Field(default=10, ge=0, le=300)
    http: HttpSettings = HttpSettings()
    kafka: KafkaSettings = KafkaSettings()
    log: LogSettings = LogSettings()
    tls: TlsSettings = TlsSettings()

    @field_validator("pepper")
    @classmethod
    def long_enough(cls, pepper: SecretStr) -> SecretStr:
        if len(pepper.get_secret_value()) < 32:
            raise ValueError("at least 32 characters")
        return pepper

    @model_validator(mode="after")
    def not_open_to_the_network(self) -> Self:
        encrypted = self.tls.proxy or (self.tls.certificate and self.tls.key)
        if not is_loopback(self.host) and not encrypted:
            raise ValueError(
                f"{PREFIX}HOST {self.host} is not a loopback address: give {PREFIX}TLS__CERTIFICATE and {PREFIX}TLS__KEY, or declare"
                f" the proxy that terminates TLS with {PREFIX}TLS__PROXY=true"
            )
        return self

    @property
    def session(self) -> float:
        """Seconds of a consumer group's session (R4)."""
        return self.kafka.session_seconds or (6.0 if self.environment == "dev" else 30.0)

    def database_of(self, service: str) -> str:
        """The service's own URL; `{service}` in the setting is filled in."""
        return _filled(self.database_url, service)

    def owner_database_of(self, service: str) -> str:
        return _filled(self.database_url_owner or self.database_url, service)

    def reader_database_of(self, service: str) -> str:
        return _filled(self.database_url_reader or self.database_url, service)


def _filled(url: SecretStr, service: str) -> str:
    return url.get_secret_value().replace("{service}", service)


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@cache
def settings() -> Settings:
    """Raises SettingsProblem; read lazily, once per process."""
    return read_settings()


def read_settings() -> Settings:
    try:
        found = Settings()  # type: ignore[call-arg]  # the fields come from the environment
    except ValidationError as error:
        raise SettingsProblem("; ".join(_told(fault) for fault in error.errors())) from None
    if unknown := unknown_variables(os.environ):
        raise SettingsProblem(f"unknown: {', '.join(unknown)}. `config` lists the settings there are")
    if failpoints.planted() and found.environment != "dev":
        raise SettingsProblem(f"FAILPOINTS is set in the environment {found.environment!r}: failpoints are for tests")
    return found


def check_loaded_settings() -> None:
    """The services' own settings are read lazily; what is wrong with them is said at the start all the same. Raises SettingsProblem."""
    for own in _settings_classes():
        prefix = str(own.model_config.get("env_prefix") or "")
        if own is Settings or not prefix.startswith(PREFIX):
            continue
        try:
            own()
        except ValidationError as error:
            raise SettingsProblem("; ".join(_told(fault, prefix) for fault in error.errors())) from None


def _told(fault: Any, prefix: str = "") -> str:
    name = variable_of(prefix + str(fault["loc"][0]), *map(str, fault["loc"][1:])) if fault["loc"] else ""
    sentence = "is missing" if fault["type"] == "missing" else str(fault["msg"]).removeprefix("Value error, ")
    return f"{name} {sentence}".strip()


def variable_of(*path: str) -> str:
    bare = path[0].upper() in ("DATABASE_URL", "DATABASE_URL_OWNER", "DATABASE_URL_READER", "KAFKA_BOOTSTRAP_SERVERS")
    return path[0].upper() if bare else (PREFIX if not path[0].startswith(PREFIX) else "") + "__".join(part.upper() for part in path)


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """DEALWRIGHT_ variables that no settings class of this process knows and that are nobody else's either."""
    known = set(known_variables())
    return sorted(
        name
        for name in environment
        if name.startswith(PREFIX)
        and name not in known
        and name.removesuffix("_FILE") not in known
        and not OF_OTHERS.fullmatch(name)
        and not any(name.startswith(f"{PREFIX}{section.upper()}_") and not _is_loaded(section, known) for section in SECTIONS)
    )


def _is_loaded(section: str, known: set[str]) -> bool:
    return any(name.startswith(f"{PREFIX}{section.upper()}_") for name in known)


def known_variables() -> Iterator[str]:
    """Of the kit's settings and of every other settings class that this process has loaded."""
    for found in _settings_classes():
        prefix = str(found.model_config.get("env_prefix") or "")
        yield from (name for name, _ in fields_of(found, prefix) if name.startswith(PREFIX))


def _settings_classes() -> Iterator[type[BaseSettings]]:
    todo: list[type[BaseSettings]] = [BaseSettings]
    while todo:
        found = todo.pop()
        todo.extend(found.__subclasses__())
        yield found


def fields_of(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The variable of each setting, and the way to its value."""
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        first = str(alias.choices[0]) if isinstance(alias, AliasChoices) else alias if isinstance(alias, str) else None
        variable = first or f"{prefix}{name}".upper()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from ((inner, (name, *path)) for inner, path in fields_of(field.annotation, f"{variable}__"))
        else:
            yield variable, (name,)


def effective(found: BaseSettings, prefix: str = PREFIX) -> list[tuple[str, str, str]]:
    """Variable, redacted value and origin of every setting, for `config`."""
    rows = []
    for variable, path in fields_of(type(found), prefix):
        value: Any = found
        for step in path:
            value = getattr(value, step)
        rows.append((variable, _redacted(value), _origin(variable)))
    return rows


def _redacted(value: Any) -> str:
    if not isinstance(value, SecretStr):
        return str(value)
    url = re.sub(r"(://[^:/@]+):[^@]*@", r"\1:***@", value.get_secret_value())
    return url if "://" in url else "***"


def _origin(variable: str) -> str:
    if variable in os.environ:
        return "environment"
    return f"file {os.environ[variable + '_FILE']}" if variable + "_FILE" in os.environ else "default"
