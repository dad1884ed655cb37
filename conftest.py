"""Fixtures that every folder of tests uses; they live in fixtures/."""

from __future__ import annotations

pytest_plugins = ["fixtures.command_line", "fixtures.installed"]
