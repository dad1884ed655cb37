"""Fixtures that every folder of tests uses; they live in fixtures/."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = [
    "fixtures.command_line", "fixtures.installed", "fixtures.postgresql", "fixtures.shop", "tests.words",
]  # fmt: skip

# A machine that is busy is no defect: every test has pytest's deadline, an example needs none of its own.
settings.register_profile("drill", deadline=None)
settings.load_profile("drill")
