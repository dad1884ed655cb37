"""Mutants: one expression of the core or the engine changed, drawn by a seed, and brought to life in this process.

mutmut says what may be changed into what.  A mutant is a text in memory: it is compiled, and the one function that
differs gives its code to the live one, so that nothing is imported anew and no file is written.
"""

from __future__ import annotations

import ast
import importlib
import random
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import yaml

from fixtures.command_line import ROOT

MUTATED = ("drill/core", "drill/replication")
EXPLAINED = Path(__file__).with_name("explained.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One changed function; `lines` are those of the unchanged file that the change takes away, or before which it puts
    something.
    """

    name: str
    file: str
    function: str
    lines: range
    whole: range
    removed: tuple[str, ...]
    added: tuple[str, ...]
    source: str

    @property
    def diff(self) -> str:
        """The lines taken away and put in, as a patch shows them."""
        return "\n".join((*(f"- {line}" for line in self.removed), *(f"+ {line}" for line in self.added)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a mutant makes no difference: its function, the lines it changes, and the reason."""

    function: str
    removed: tuple[str, ...]
    added: tuple[str, ...]
    reason: str

    def tells_of(self, mutant: Mutant) -> bool:
        """Whether it is this mutant that makes no difference."""
        return (self.function, self.removed, self.added) == (mutant.function, mutant.removed, mutant.added)


def sources() -> list[str]:
    """All files that are mutated, relative to the root, sorted."""
    return sorted(str(path.relative_to(ROOT)) for folder in MUTATED for path in (ROOT / folder).rglob("*.py"))


def draw(count: int, seed: int, files: Iterable[str]) -> list[Mutant]:
    """`count` of all mutants, or all when there are fewer: the same for the same sources, seed and version of mutmut,
    and a larger count draws more beside the same.
    """
    from libcst import FunctionDef  # an extra that only the measurement needs, as mutmut is
    from mutmut.mutation.file_mutation import create_mutations

    everything = []
    for file in files:
        text = (ROOT / file).read_text(encoding="utf-8")
        tree, mutations, _, _ = create_mutations(file, text)
        inside = (one for one in mutations if isinstance(one.contained_by_top_level_function, FunctionDef))
        everything += [(f"{file}#{number}", file, text, tree, one) for number, one in enumerate(inside)]
    random.Random(seed).shuffle(everything)
    return [
        changed(name, file, text, tree.code_for_node(tree.deep_replace(one.original_node, one.mutated_node)))
        for name, file, text, tree, one in everything[:count]
    ]


def changed(name: str, file: str, text: str, source: str) -> Mutant:
    """The mutant that makes `source` of `text`; both differ in one function."""
    before, after = text.splitlines(), source.splitlines()
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))
    pairs = zip(reversed(before[same:]), reversed(after[same:]), strict=False)
    behind = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    end = len(before) - behind
    lines = range(same + 1, max(end, same + 1) + 1)
    qualname, whole = _function_at(ast.parse(text), lines[0])
    return Mutant(
        name=name,
        file=file,
        function=f"{_module(file)}.{qualname}",
        lines=lines,
        whole=whole,
        removed=tuple(line.strip() for line in before[same:end]),
        added=tuple(line.strip() for line in after[same : len(after) - behind]),
        source=source,
    )


def _function_at(tree: ast.Module, line: int) -> tuple[str, range]:
    """The outermost function or method around a line: its qualified name and its lines."""
    for prefix, node in functions(tree):
        first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        if first <= line <= (node.end_lineno or first):
            return f"{prefix}{node.name}", range(first, (node.end_lineno or first) + 1)
    raise ValueError(f"no function at line {line}")


def functions(tree: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions of a module and methods of its classes, with what stands before their names."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield prefix, node
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")


def _module(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def bring_to_life(mutant: Mutant) -> None:
    """Give the live function the mutant's code and defaults.  Raises LookupError where there is no such function."""
    module = importlib.import_module(_module(mutant.file))
    qualname = mutant.function.removeprefix(f"{module.__name__}.")
    code = _code(compile(mutant.source, str(ROOT / mutant.file), "exec", dont_inherit=True), qualname)
    live = _live(module, qualname)
    live.__code__ = code
    (node,) = (one for prefix, one in functions(ast.parse(mutant.source)) if f"{prefix}{one.name}" == qualname)
    live.__defaults__ = tuple(_value(one, module) for one in node.args.defaults) or None
    names = [one.arg for one in node.args.kwonlyargs]
    live.__kwdefaults__ = {
        name: _value(one, module) for name, one in zip(names, node.args.kw_defaults, strict=True) if one is not None
    }


def _value(default: ast.expr, module: types.ModuleType) -> object:
    expression = ast.Expression(default)
    return eval(compile(expression, "<default>", "eval"), vars(module))  # noqa: S307 - our own source


def _code(code: types.CodeType, qualname: str) -> types.CodeType:
    """The code of a function within that of its module."""
    inner = [one for one in code.co_consts if isinstance(one, types.CodeType)]
    for one in inner:
        if one.co_qualname == qualname:
            return one
        if qualname.startswith(f"{one.co_qualname}."):
            return _code(one, qualname)
    raise LookupError(f"no code of {qualname}")


def _live(module: types.ModuleType, qualname: str) -> types.FunctionType:
    """The function of this name that callers reach."""
    found: object = module
    for part in qualname.split("."):
        found = vars(found)[part]
    if isinstance(found, staticmethod | classmethod):
        found = found.__func__
    if not isinstance(found, types.FunctionType):
        raise LookupError(f"{qualname} is no plain function")
    return found


def explanations(path: Path = EXPLAINED) -> list[Explanation]:
    """What is known to make no difference, as the file tells it."""
    told = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    return [
        Explanation(
            function=one["function"],
            removed=_stripped(one["removed"]),
            added=_stripped(one["added"]),
            reason=one["reason"],
        )
        for one in told
    ]


def _stripped(lines: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(line.strip() for line in lines.splitlines()) if isinstance(lines, str) else tuple(lines)
