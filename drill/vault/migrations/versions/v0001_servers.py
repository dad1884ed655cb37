"""The vault, registration keys, servers, clouds, the audit log.

Revision 0001, the first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NAME = sa.String(63)
_ONLY_GROWS = """
CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit log only grows'; END $$
"""
_GUARD = """
CREATE TRIGGER audit_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows()
"""
_GUARDS = {
    "sqlite": (
        "CREATE TRIGGER audit_kept BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END",
        "CREATE TRIGGER audit_same BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END",
    ),
    "postgresql": (_ONLY_GROWS, _GUARD),
}


def upgrade() -> None:
    """Make the tables of the first version."""
    _keys()
    _servers()
    _clouds()
    op.create_table(
        "audit",
        sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("line", sa.Text, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    for guard in _GUARDS[op.get_bind().dialect.name]:
        op.execute(guard)


def _keys() -> None:
    op.create_table(
        "vault",
        sa.Column(
            "singleton",
            sa.Integer,
            sa.CheckConstraint("singleton = 1", name="one"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("id", _NAME, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("region", _NAME, nullable=False),
        sa.Column("goal", _NAME, nullable=False),
        sa.Column("state", _NAME, nullable=False),
        sa.Column("made_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "registration_keys",
        sa.Column("id", _NAME, primary_key=True),
        sa.Column("server", _NAME, nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("made_us", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
        sa.Column("used_us", sa.BigInteger),
        sa.Column("revoked_us", sa.BigInteger),
    )
    op.create_table(
        "failed_registrations",
        sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("server", _NAME, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
    )


def _servers() -> None:
    op.create_table(
        "servers",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("site", _NAME, nullable=False),
        sa.Column("is_cluster", sa.Boolean, nullable=False),
        sa.Column("registered_us", sa.BigInteger, nullable=False),
        sa.Column("proxy_address", sa.Text, nullable=False),
        sa.Column("proxy_port", sa.Integer, nullable=False),
        sa.Column("proxy_user", sa.Text, nullable=False),
        sa.Column("proxy_credential", sa.Text, nullable=False),
        sa.Column("encryption_certificate", sa.Text, nullable=False),
    )
    op.create_table(
        "server_nodes",
        sa.Column("server", _NAME, sa.ForeignKey("servers.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("host_name", sa.Text, nullable=False),
        sa.Column("drill", sa.Text, nullable=False),
        sa.Column("certificate", sa.Text, nullable=False),
        sa.Column("registered_us", sa.BigInteger, nullable=False),
        sa.Column("seen_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "seen_versions",
        sa.Column("server", _NAME, primary_key=True),
        sa.Column("node", _NAME, primary_key=True),
        sa.Column("component", _NAME, primary_key=True),
        sa.Column("place", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["server", "node"],
            ["server_nodes.server", "server_nodes.name"],
            name="fk_seen_versions_server",
            ondelete="CASCADE",
        ),
    )


def _clouds() -> None:
    op.create_table(
        "clouds",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("server", _NAME, sa.ForeignKey("servers.name", ondelete="CASCADE"), nullable=False),
        sa.Column("synchronised_us", sa.BigInteger),
    )
    op.create_table(
        "cloud_hosts",
        sa.Column("cloud", _NAME, sa.ForeignKey("clouds.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("host_group", _NAME, primary_key=True),
        sa.Column("host", _NAME, primary_key=True),
    )
