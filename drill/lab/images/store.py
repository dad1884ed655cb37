"""The image cache: finished images by content, one builder at a time, nothing half-made ever visible."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from drill.errors import Usage
from drill.lab.images import boot, packages, recipe, system

Progress = Callable[[str], None]
"""Told in a few words what a build is about to do."""

CACHE_VARIABLE = "DRILL_CACHE_DIR"
NAMES = ("micro", "debian")
_DIGITS = 16


def cache_root() -> Path:
    """The cache folder: what DRILL_CACHE_DIR says, or the machine's."""
    return Path(os.environ.get(CACHE_VARIABLE, "/var/cache/drill"))


def cached(name: str, root: Path | None = None) -> Path | None:
    """The newest finished image of this name made from the recipe as it is now, or None.  Asks no package source."""
    if name not in NAMES:
        raise Usage(f"no guest image is called {name!r}", f"one of {', '.join(NAMES)}")
    wanted = recipe.digest(name)
    fitting = [
        page.parent
        for page in _images(root).glob(f"{name}-*/manifest.json")
        if json.loads(page.read_text())["recipe"] == wanted
    ]
    return max(fitting, key=lambda image: image.stat().st_mtime, default=None)


def ensure(name: str, progress: Progress = lambda _: None, root: Path | None = None) -> Path:
    """The folder of the image `name`, built now unless it is cached.  Needs root and apt only when it has to build.

    Killed at any moment it leaves a folder that the next build of the same image removes.  Raises what the commands
    of the build raise; nothing is cached then.
    """
    if (image := cached(name, root)) is not None:
        return image
    with _sole_builder(name, root):
        if (image := cached(name, root)) is None:
            image = _built(name, progress, root)
    return image


def _images(root: Path | None) -> Path:
    return (root or cache_root()) / "images"


@contextmanager
def _sole_builder(name: str, root: Path | None) -> Iterator[None]:
    _images(root).mkdir(parents=True, exist_ok=True)
    with (_images(root) / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _built(name: str, progress: Progress, root: Path | None) -> Path:
    """Build into a folder that no reader looks at, then give it its name.  The builder's lock is held."""
    for stale in _images(root).glob(f".{name}-*.partial"):
        shutil.rmtree(stale)
    work = _images(root) / f".{name}-{os.getpid()}.partial"
    image, debs, tree = work / "image", work / "debs", work / "tree"
    for folder in (image, debs):
        folder.mkdir(parents=True)
    try:
        return _made(name, progress, image=image, debs=debs, tree=tree)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _made(name: str, progress: Progress, *, image: Path, debs: Path, tree: Path) -> Path:
    begun = time.monotonic()
    ingredients = recipe.read(name)
    progress(f"{name} guest: fetching packages")
    versions = packages.fetched(ingredients.packages, ingredients.kernel, debs)
    progress(f"{name} guest: unpacking {len(versions)} packages")
    packages.unpack(debs, tree)
    progress(f"{name} guest: writing the image")
    boot.build(name, ingredients, tree, image)
    if ingredients.system is not None:
        progress(f"{name} guest: installing the distribution, about a minute")
        versions = {**versions, **system.build(ingredients.system, recipe.folder(name), tree.with_name("root"), image)}
    manifest = _manifest(name, versions, image)
    (image / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))
    final = image.parents[1] / f"{name}-{manifest['digest']}"
    if final.exists():
        shutil.rmtree(final)
    image.rename(final)
    progress(f"{name} guest: built in {time.monotonic() - begun:.1f} s")
    return final


def _manifest(name: str, versions: Mapping[str, str], image: Path) -> dict[str, object]:
    """What the image is: its recipe's digest, the versions it was made from, the digest of each of its files."""
    made_from = recipe.digest(name)
    whole = hashlib.sha256(json.dumps([made_from, dict(versions)], sort_keys=True).encode()).hexdigest()
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(image.iterdir())}
    return {
        "name": name,
        "digest": whole[:_DIGITS],
        "recipe": made_from,
        "packages": dict(versions),
        "files": files,
    }
