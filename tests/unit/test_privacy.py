"""What a vault keeps is told from its schema, and the guide tells the same."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from drill.model.vault import Kind
from drill.vault import privacy
from drill.vault.schema import metadata
from fixtures.command_line import ROOT


@pytest.mark.spec("R1.a")
def test_every_column_and_every_kind_of_object_has_what_why_and_whether_it_can_be_left_out() -> None:
    rows = {one.where: one for one in privacy.table()}
    columns = {f"{table.name}.{column.name}" for table in metadata.sorted_tables for column in table.columns}
    assert columns | {f"desired.document of {kind.value}" for kind in Kind} <= rows.keys()
    for one in rows.values():
        assert one.what, one.where
        assert one.why, one.where
        assert one.out == "no" or one.out.startswith("yes"), one.where


@pytest.mark.spec("R1.a")
def test_the_guide_prints_the_table_as_the_schema_has_it() -> None:
    assert privacy.markdown() in (ROOT / "docs/guide/privacy.md").read_text()


def test_a_column_without_its_row_is_found() -> None:
    strange = sa.Table("strange", sa.MetaData(), sa.Column("face", sa.Text), info={"why": "x"})
    with pytest.raises(KeyError):
        privacy.row(strange, strange.c.face)


def test_a_column_that_could_hold_the_content_of_a_disk_is_refused() -> None:
    strange = sa.Table("strange", sa.MetaData(), sa.Column("block", sa.LargeBinary), info={"why": "x"})
    with pytest.raises(TypeError, match=r"strange\.block could hold"):
        privacy.row(strange, strange.c.block)
