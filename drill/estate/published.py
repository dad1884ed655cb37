"""The JSON schema of estate files, for editors and other programs (published as docs/estate.schema.json)."""

from __future__ import annotations

import json
from typing import Any

from drill.estate.schema import EstateSection

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema made of the models that read a file; what must agree within a file is not in it."""
    return {"$schema": DIALECT, **EstateSection.model_json_schema(), "title": "drill estate"}


def text() -> str:
    """The schema as it is published: indented, keys in the order of the models."""
    return json.dumps(json_schema(), indent=2) + "\n"
