"""Guest images, built on this machine from distribution packages and cached by content.

`ensure("micro")` returns the folder of a finished image and builds it first where none is cached; `cached` only looks.
A folder `<cache>/images/<name>-<digest>/` is complete whenever it exists, and is never changed afterwards.
"""

from drill.lab.images.store import CACHE_VARIABLE, Progress, cache_root, cached, ensure

__all__ = ["CACHE_VARIABLE", "Progress", "cache_root", "cached", "ensure"]
