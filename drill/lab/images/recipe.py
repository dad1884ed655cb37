"""What a guest image is made of: the recipe beside its scripts, read and checked."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from drill import data
from drill.errors import BadInput
from drill.estate import yaml

_BUILDERS = Path(__file__).parent


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class System(_Part):
    """An installed distribution on a disk of `size_bytes`, made with debootstrap and then by a script inside it."""

    size_bytes: int
    install: tuple[str, ...]
    files: dict[str, str]
    provision: str


class Recipe(_Part):
    """`recipe.yaml` of one image; the comments in `fixtures/guests/*/recipe.yaml` say what each key means."""

    kernel: tuple[str, ...]
    packages: tuple[str, ...]
    modules: tuple[str, ...]
    modules_where_present: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    busybox: str
    cmdline: str
    perl: tuple[str, ...] = ()
    files: dict[str, str]
    system: System | None = None


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
    """SHA-256 over the recipe, every file that it takes, and the code that builds from them, in hex."""
    ingredients = read(name)
    taken = {*ingredients.files, *(ingredients.system.files if ingredients.system else ())}
    paths = {*folder(name).iterdir(), *_BUILDERS.glob("*.py"), *(folder(name) / file for file in taken)}
    total = hashlib.sha256()
    for path in sorted({path.resolve() for path in paths if path.is_file()}):
        total.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return total.hexdigest()
