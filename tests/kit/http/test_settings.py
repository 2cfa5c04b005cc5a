"""Settings come from the environment, or files it names; what is wrong is named (P1, T18)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.runtime.settings import SettingsProblem, check_loaded_settings, effective, is_loopback, read_settings, unknown_variables

GOOD = {
    "DATABASE_URL": "postgresql://kit:canary-1@db.example/dealwright_{service}",
    "KAFKA_BOOTSTRAP_SERVERS": "broker:9092",
    "DEALWRIGHT_PEPPER": "canary-2 is a pepper of enough length",
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("DEALWRIGHT_", "DATABASE_URL", "KAFKA_")):
            monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def test_each_service_has_its_own_database(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().database_of("deals") == "postgresql://kit:canary-1@db.example/dealwright_deals"
    monkeypatch.setenv("DATABASE_URL_READER", "postgresql://reader@db.example/{service}")
    assert read_settings().reader_database_of("billing") == "postgresql://reader@db.example/billing"
    assert read_settings().owner_database_of("billing") == "postgresql://kit:canary-1@db.example/dealwright_billing"


def test_nested_settings_and_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEALWRIGHT_KAFKA__PREFIX", "t1-")
    monkeypatch.setenv("DEALWRIGHT_PORT", "8101")
    found = read_settings()
    assert (found.kafka.prefix, found.port, found.host) == ("t1-", 8101, "127.0.0.1")


def test_secrets_may_be_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DEALWRIGHT_PEPPER")
    (tmp_path / "pepper").write_text("a pepper that is kept in a file, with a line feed\n")
    monkeypatch.setenv("DEALWRIGHT_PEPPER_FILE", str(tmp_path / "pepper"))
    assert read_settings().pepper.get_secret_value() == "a pepper that is kept in a file, with a line feed"
    monkeypatch.setenv("DEALWRIGHT_PEPPER_FILE", str(tmp_path / "nothing"))
    with pytest.raises(SettingsProblem, match="DEALWRIGHT_PEPPER_FILE"):
        read_settings()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATABASE_URL", None, "DATABASE_URL is missing"),
        ("KAFKA_BOOTSTRAP_SERVERS", None, "KAFKA_BOOTSTRAP_SERVERS is missing"),
        ("DEALWRIGHT_PEPPER", None, "DEALWRIGHT_PEPPER is missing"),
        ("DEALWRIGHT_PEPPER", "short", "DEALWRIGHT_PEPPER at least 32"),
        ("DEALWRIGHT_PORT", "http", "DEALWRIGHT_PORT"),
        ("DEALWRIGHT_ENVIRONMENT", "with_underscore", "DEALWRIGHT_ENVIRONMENT"),
        ("DEALWRIGHT_HTTP__RATE", "-1", "DEALWRIGHT_HTTP__RATE"),
        ("DEALWRIGHT_HTTP__RAET", "5", "DEALWRIGHT_HTTP__RAET"),
        ("DEALWRIGHT_PROT", "5", "DEALWRIGHT_PROT"),
        ("DEALWRIGHT_HOST", "0.0.0.0", "DEALWRIGHT_TLS__PROXY"),
        ("DEALWRIGHT_HOST", "::", "loopback"),
    ],
)
def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, said: str) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsProblem) as problem:
        read_settings()
    assert said in str(problem.value)
    assert "canary" not in str(problem.value)


def test_another_address_needs_encryption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEALWRIGHT_HOST", "0.0.0.0")
    monkeypatch.setenv("DEALWRIGHT_TLS__PROXY", "true")
    assert read_settings().host == "0.0.0.0"
    assert [is_loopback(h) for h in ("127.0.0.1", "127.8.8.8", "::1", "localhost", "10.0.0.1", "example.org")] == [True] * 4 + [False] * 2


def test_one_environment_may_be_given_to_all_services() -> None:
    assert unknown_variables(["DEALWRIGHT_SMTP__HOST", "DEALWRIGHT_STACK_PORTS", "PATH", "DEALWRIGHT_PEPPER_FILE"]) == []
    assert unknown_variables(["DEALWRIGHT_SMPT__HOST", "DEALWRIGHT_KAFKA__TOPIC"]) == ["DEALWRIGHT_KAFKA__TOPIC", "DEALWRIGHT_SMPT__HOST"]


def test_a_services_own_settings_are_known_once_loaded() -> None:
    class Storage(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="DEALWRIGHT_STORAGE__")
        folder: str = "files"

    assert Storage().folder == "files"
    assert unknown_variables(["DEALWRIGHT_STORAGE__FOLDER", "DEALWRIGHT_STORAGE__FODLER"]) == ["DEALWRIGHT_STORAGE__FODLER"]


def test_a_services_own_settings_are_checked_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hooks(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="DEALWRIGHT_HOOKS__")
        most: int = 3

    assert Hooks().most == 3
    check_loaded_settings()
    monkeypatch.setenv("DEALWRIGHT_HOOKS__MOST", "many")
    with pytest.raises(SettingsProblem, match="DEALWRIGHT_HOOKS__MOST"):
        check_loaded_settings()


def test_what_is_in_force_is_shown_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEALWRIGHT_KAFKA__PASSWORD", "canary-3")
    rows = {variable: (value, origin) for variable, value, origin in effective(read_settings())}
    assert rows["DATABASE_URL"] == ("postgresql://kit:***@db.example/dealwright_{service}", "environment")
    assert rows["DEALWRIGHT_PORT"] == ("8000", "default")
    assert "canary" not in str(rows)
    assert "canary" not in repr(read_settings())
