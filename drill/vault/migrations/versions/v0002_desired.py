"""Pairs, desired objects, jobs, probes; a cloud's profile and its encryption.

Revision 0002, after 0001.  Clouds that were there get the profile that all of them had, and do not encrypt.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NAME = sa.String(63)


def upgrade() -> None:
    """Add what came with the second version."""
    with op.batch_alter_table("vault") as table:
        table.add_column(sa.Column("generation", sa.BigInteger, nullable=False, server_default="0"))
    with op.batch_alter_table("vault") as table:
        table.alter_column("generation", server_default=None)
    with op.batch_alter_table("clouds") as table:
        table.add_column(sa.Column("profile", sa.Text, nullable=False, server_default="kvm"))
        table.add_column(sa.Column("encrypts", sa.Boolean, nullable=False, server_default=sa.false()))
    with op.batch_alter_table("clouds") as table:
        table.alter_column("profile", server_default=None)
        table.alter_column("encrypts", server_default=None)
    _pairs()
    _jobs()
    op.create_table(
        "desired",
        sa.Column("kind", _NAME, primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("changed_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "probes",
        sa.Column("looker", sa.Text, primary_key=True),
        sa.Column("purpose", sa.Text, primary_key=True),
        sa.Column("at", sa.Text, primary_key=True),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("reached", sa.Boolean, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
    )


def _pairs() -> None:
    op.create_table(
        "pairs",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("made_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "pair_stores",
        sa.Column("pair", _NAME, sa.ForeignKey("pairs.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("since_us", sa.BigInteger, primary_key=True),
        sa.Column("store", sa.Text, nullable=False),
    )
    op.create_table(
        "pair_clouds",
        sa.Column("cloud", _NAME, sa.ForeignKey("clouds.name", ondelete="RESTRICT"), primary_key=True),
        sa.Column("pair", _NAME, sa.ForeignKey("pairs.name", ondelete="CASCADE"), nullable=False),
        sa.Column("side", sa.String(6), nullable=False),
        sa.UniqueConstraint("pair", "side"),
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("state", _NAME, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("started_us", sa.BigInteger),
        sa.Column("ended_us", sa.BigInteger),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("cause_message", sa.Text, nullable=False),
        sa.Column("cause_remedy", sa.Text, nullable=False),
    )
    op.create_table(
        "job_steps",
        sa.Column("job", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", _NAME, nullable=False),
        sa.Column("started_us", sa.BigInteger),
        sa.Column("ended_us", sa.BigInteger),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.UniqueConstraint("job", "name"),
    )
    op.create_table(
        "job_questions",
        sa.Column("job", sa.Text, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("asked_us", sa.BigInteger, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("answered_by", sa.Text, nullable=False),
        sa.Column("answered_us", sa.BigInteger),
        sa.Column("note", sa.Text, nullable=False),
    )
