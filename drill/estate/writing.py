"""Plain values → YAML that reads back as the same values by our rules (drill/estate/yaml.py)."""

from __future__ import annotations

import yaml

from drill.estate.yaml import Plain, reads_as_text

WIDTH = 116


class _Writer(yaml.CSafeDumper):
    """PyYAML's writer: no aliases, and quotes where our reader would not see a text."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        """A value that stands twice is written twice."""
        return True


def _text(writer: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    style = None if reads_as_text(value) else '"'
    return writer.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Writer.add_representer(str, _text)


def write(value: Plain) -> str:
    """The value as a block of YAML, keys in their order; ends with a line feed."""
    return yaml.dump(
        value, Dumper=_Writer, sort_keys=False, allow_unicode=True, default_flow_style=False, width=WIDTH, indent=2
    )
