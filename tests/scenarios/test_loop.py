"""Two rules that would copy each other's copies for ever (scenarios.md 4: loop; C4, D40, F27)."""

from __future__ import annotations

import pytest

from tests.scenarios.ground import Ground
from tests.scenarios.rules import text_of


def copies_to(pipeline: str, id: str) -> dict[str, object]:
    return {"rules": [{"id": id, "type": "copy_deal", "settings": {"pipeline": pipeline}}]}


@pytest.mark.shows("S83")
async def test_a_rule_never_acts_twice_in_one_chain(ground: Ground) -> None:
    await ground.apply(text_of({"sales/new": copies_to("installation", "a"), "installation/planning": copies_to("sales", "b")}))

    deal = await ground.deal("Loop")
    await ground.settle()

    [first] = await ground.items("deals", "/v1/deals", copied_from=deal)
    [second] = await ground.items("deals", "/v1/deals", copied_from=first["id"])
    assert await ground.items("deals", "/v1/deals", copied_from=second["id"]) == []
    assert len(await ground.said("deals.DealCopied")) == 2
    assert [await ground.state("a", deal), await ground.state("b", first["id"])] == ["succeeded", "succeeded"]
    assert await ground.state("a", second["id"]) == "blocked(loop)"
    told = [notice for notice in await ground.feed("olaf") if "loop" in str(notice)]
    assert len(told) == 1
