"""Renames imports: `from data.images import x` -> `from fast_style_transfer.data.images import x`.

Only the imports change; every other character of a source stays, so that line numbers and comments do too.
"""

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

PACKAGE = "fast_style_transfer"


class ImportFault(ValueError):
    """An import of ours that cannot be renamed: file:line and what to write instead."""


class Names(NamedTuple):
    """Top-level names of the repository: those that are installed, and those that are not, such as tests."""

    installed: frozenset[str]
    others: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        return self.installed | self.others


def renamed(source: str, names: Names, where: str) -> str:
    """Returns a source with its imports renamed; `where` is its file. Raises ImportFault."""
    lines = source.encode().splitlines(keepends=True)
    tree = ast.parse(source)
    edits = sorted(_edits(tree, lines, names, where), reverse=True)
    for line, column, old, new in edits:
        content = lines[line - 1]
        lines[line - 1] = content[:column] + new + content[column + len(old) :]
    result = b"".join(lines).decode()
    _check(ast.parse(result), names, where)
    return result


class _Edit(NamedTuple):
    line: int  # from 1
    column: int  # of bytes, from 0
    old: bytes
    new: bytes


def _edits(tree: ast.Module, lines: list[bytes], names: Names, where: str) -> Iterator[_Edit]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and _top(node.module) in names.all:
            _check_installed(node.module, node, names, where)
            yield _from_edit(node, lines, where)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if _top(alias.name) in names.all:
                    _check_installed(alias.name, node, names, where)
                    yield _import_edit(node, alias, lines, where)


def _from_edit(node: ast.ImportFrom, lines: list[bytes], where: str) -> _Edit:
    """from data.images import x -> from fast_style_transfer.data.images import x"""
    found = re.compile(rb"from\s+").match(lines[node.lineno - 1], node.col_offset)
    old = node.module.encode()
    if not found or not lines[node.lineno - 1].startswith(old, found.end()):
        raise ImportFault(f"{where}:{node.lineno}: write `from {node.module} import` on one line")
    return _Edit(node.lineno, found.end(), old, f"{PACKAGE}.{node.module}".encode())


def _import_edit(node: ast.Import, alias: ast.alias, lines: list[bytes], where: str) -> _Edit:
    """import data.images as x -> import fast_style_transfer.data.images as x; import infer -> from ... import infer"""
    if alias.asname:
        return _Edit(alias.lineno, alias.col_offset, alias.name.encode(), f"{PACKAGE}.{alias.name}".encode())
    if "." in alias.name or len(node.names) > 1:
        above, _, name = alias.name.rpartition(".")
        remedy = f"from {above} import {name}" if above else f"import {name}` in a line of its own, `"
        raise ImportFault(f"{where}:{node.lineno}: write `{remedy}` in place of `{ast.unparse(node)}`")
    old = lines[node.lineno - 1][node.col_offset : alias.col_offset] + alias.name.encode()
    return _Edit(node.lineno, node.col_offset, old, f"from {PACKAGE} import {alias.name}".encode())


def _top(module: str) -> str:
    return module.partition(".")[0]


def _check_installed(module: str, node: ast.AST, names: Names, where: str) -> None:
    if _top(module) in names.others:
        raise ImportFault(f"{where}:{node.lineno}: {_top(module)} is not installed, so nothing may import it")


def _check(tree: ast.Module, names: Names, where: str) -> None:
    """Raises ImportFault for what would still import a module by its name in the repository."""
    module = re.compile(rf"({'|'.join(names.all)})(\.[a-z_][a-z_0-9]*)+")
    statement = re.compile(rf"^\s*(from|import) ({'|'.join(names.all)})\b", re.MULTILINE)
    documentation = {id(node) for node in _docstrings(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            if {_top(name) for name in modules} & names.all:
                raise ImportFault(f"{where}:{node.lineno}: is not renamed: {ast.unparse(node)}")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            is_module = module.fullmatch(node.value) and not node.value.endswith(".py")
            if is_module or statement.search(node.value):
                raise ImportFault(
                    f"{where}:{node.lineno}: names a module in a text; take it from the module's __name__"
                )


def _docstrings(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            yield body[0].value
