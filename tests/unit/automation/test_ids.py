"""Ids derived from ids are name-based UUIDs of version 5 (README 3)."""

from __future__ import annotations

from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.automation.domain.ids import derived


@given(st.uuids(), st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_a_derived_id_is_a_uuid5(namespace: UUID, name: str) -> None:
    assert derived(str(namespace), name) == str(uuid5(namespace, name))


@pytest.mark.parametrize("namespace", ["no id", "abcd", ""])
def test_only_an_id_is_a_namespace(namespace: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        derived(namespace, "name")
