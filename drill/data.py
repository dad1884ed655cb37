"""Where the data that ships with drill lies: guest recipes, estates, topologies, report templates, the catalogue.

In a checkout these are the top-level folders `fixtures/`, `hosts/` and `reports/`, and `spec/` of `docs/`; in an
installed wheel the same folders lie inside the package, in `drill/_data/` (pyproject.toml puts them there).
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
FOLDERS = ("docs", "fixtures", "hosts", "reports")


def path(folder: str, *parts: str) -> Path:
    """The absolute path of shipped data, e.g. `path("hosts", "lab-two-site.yaml")`; it may not exist.

    Raises ValueError for a folder that does not ship.
    """
    if folder not in FOLDERS:
        raise ValueError(f"{folder!r} is not one of the shipped folders {FOLDERS}")
    packaged = _PACKAGE / "_data"
    root = packaged if packaged.is_dir() else _PACKAGE.parent
    return root.joinpath(folder, *parts)
