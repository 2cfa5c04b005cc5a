"""`make schemas`: what the contracts and services say about themselves, written down for others.

    shared/contracts/schemas/<type>.json    JSON Schema 2020-12, closed per version (E9)
    docs/api/asyncapi-<service>.json        AsyncAPI 3, one per service, and the merged asyncapi.json (E10)
    docs/api/openapi-<service>.json         OpenAPI 3.1, one per service (H1)

A change that is not additive is refused; `--unreleased` writes it all the same, for types nobody outside has seen yet."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.asyncapi import document_files
from deploy.compatibility import Json, breaking_changes
from deploy.openapi import openapi_files
from deploy.published import SCHEMAS, schema_files


def breaks(files: dict[Path, Json]) -> Iterator[str]:
    """What the new schemas would break of the committed ones."""
    for path in sorted(SCHEMAS.glob("*.json")):
        if path not in files:
            yield f"{path.stem}: the type is gone"
        else:
            yield from (f"{path.stem}: {change}" for change in breaking_changes(json.loads(path.read_text()), files[path]))


def text(document: Json) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    files = schema_files()
    broken = [] if "--unreleased" in arguments else list(breaks(files))
    if broken:
        print("Not additive, so it needs a new type (.v2):", *broken, sep="\n  ", file=sys.stderr)
        return 1
    for path in set(SCHEMAS.glob("*.json")) - files.keys():
        path.unlink()
    for path, document in {**files, **document_files(), **openapi_files()}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
