"""What a guest image is made of: the recipe beside its scripts, read and checked."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from drill import data
from drill.errors import BadInput
from drill.estate import yaml

_BUILDERS = Path(__file__).parent


class Recipe(BaseModel):
    """`recipe.yaml` of one image; the comments in `fixtures/guests/*/recipe.yaml` say what each key means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kernel: tuple[str, ...]
    packages: tuple[str, ...]
    modules: tuple[str, ...]
    programs: tuple[str, ...] = ()
    busybox: str
    cmdline: str
    perl: tuple[str, ...] = ()
    files: dict[str, str]


def folder(name: str) -> Path:
    """Where the recipe and the scripts of an image lie."""
    return data.path("fixtures", "guests", name)


def read(name: str) -> Recipe:
    """The recipe of an image.  Raises BadInput when it is malformed or there is none of that name."""
    page = folder(name) / "recipe.yaml"
    try:
        return Recipe.model_validate(yaml.read(page).value)
    except ValidationError as error:
        raise BadInput(str(page), str(error)) from error


def digest(name: str) -> str:
    """SHA-256 over the recipe, the scripts and the code that builds from them, in hex."""
    total = hashlib.sha256()
    for path in sorted(folder(name).rglob("*")) + sorted(_BUILDERS.glob("*.py")):
        if path.is_file():
            total.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return total.hexdigest()
