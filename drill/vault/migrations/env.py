"""Alembic's way into the vault: it runs inside the transaction that drill/vault/migrate.py has opened."""

from __future__ import annotations

from alembic import context

from drill.vault.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
