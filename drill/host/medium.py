"""A medium that is carried between sites, a mounted disk or share: looked at before anything is copied (H3, H4)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from drill.errors import BadInput, Refused, Usage
from drill.host.files import LocalFiles

ENTRIES_MAX = 1 << 20
_CURE = "name a folder on a disk or a share that can be carried, mounted on its own"


def opened(folder: str, own: Iterable[str]) -> LocalFiles:
    """The tree in `folder`, an absolute path without a link in it.

    Refused on a file system that holds one of `own` (this host's stores, state and disks): what lies there is not
    carried anywhere, and a copy of a disk beside it fills it up.
    """
    if not folder.startswith("/") or os.path.normpath(folder) != folder:
        raise Usage(f"{folder[:200]!r} is not an absolute path", "name the folder by its full path on that host")
    if not os.path.isdir(folder):
        raise Usage(f"there is no folder {folder[:200]} on that host", "mount the medium there first")
    if os.path.realpath(folder) != folder:
        raise Refused(f"{folder[:200]} is reached through a link", "H3", "name the folder that it leads to")
    device = os.stat(folder).st_dev
    for path in own:
        if os.path.exists(path) and os.stat(path).st_dev == device:
            raise Refused(f"{folder[:200]} is on this replication host itself, where {path} is", "H4", _CURE)
    return LocalFiles(folder)


def check_plain(folder: str, item: str) -> None:
    """Everything in the item's folder is a plain file with one name and no special rights; BadInput otherwise."""
    place, where = os.path.join(folder, item), f"seed of {item}"
    try:
        if not stat.S_ISDIR(os.lstat(place).st_mode):
            raise BadInput(where, "it is not in a folder")
        with os.scandir(place) as entries:
            for count, entry in enumerate(entries):
                mode = entry.stat(follow_symlinks=False)
                name = entry.name[:80]
                if count >= ENTRIES_MAX:
                    raise BadInput(where, f"more than {ENTRIES_MAX} files")
                if not stat.S_ISREG(mode.st_mode) or mode.st_nlink != 1:
                    raise BadInput(where, f"{name!r} is no plain file")
                if mode.st_mode & (stat.S_ISUID | stat.S_ISGID):
                    raise BadInput(where, f"{name!r} would run with its owner's rights")
    except FileNotFoundError as error:
        raise BadInput(where, "there is none in this location") from error
