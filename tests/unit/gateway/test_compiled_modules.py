"""What is compiled must do what its source says: mypyc has limits that neither it nor mypy tells of."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pathspec
import pytest

from tests.compiled import PACKAGES

ROOT = Path(__file__).parents[3]
HOOK = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]
INCLUDE, EXCLUDE = (pathspec.PathSpec.from_lines("gitignore", HOOK["mypyc"][which]) for which in ("include", "exclude"))


def modules() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def compiled_modules() -> Iterator[str]:
    for name in modules():
        if INCLUDE.match_file(name) and not EXCLUDE.match_file(name):
            yield name


@pytest.fixture(params=compiled_modules())
def module(request: pytest.FixtureRequest) -> ast.Module:
    name: str = request.param
    return ast.parse((ROOT / name).read_text())


def test_every_name_is_one() -> None:
    """A module that was renamed would be interpreted from then on, and nobody would notice."""
    names = modules()
    for patterns in (HOOK["mypyc"]["include"], HOOK["mypyc"]["exclude"]):
        for pattern in patterns:
            spec = pathspec.PathSpec.from_lines("gitignore", [pattern])
            assert any(map(spec.match_file, names)), pattern


def test_no_struct_is_compiled(module: ast.Module) -> None:
    """The class's options (`frozen=True`) would be lost, and with them its hash."""
    bases = [ast.unparse(base) for node in ast.walk(module) if isinstance(node, ast.ClassDef) for base in node.bases]
    assert "msgspec.Struct" not in bases


def test_no_exception_has_an_attribute_of_its_class(module: ast.Module) -> None:
    """It would have that of the class that it is derived from, such as another `code`."""
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Error") for base in node.bases):
            assert not [part for part in node.body if isinstance(part, ast.Assign | ast.AnnAssign)], node.name


def test_no_bound_of_a_slice_does_anything(module: ast.Module) -> None:
    """`view[: read()]` reads twice where `view` is not of a type that mypyc knows."""
    for node in ast.walk(module):
        if isinstance(node, ast.Slice):
            for bound in (node.lower, node.upper):
                calls = [part for part in ast.walk(bound or ast.Constant(None)) if isinstance(part, ast.Call)]
                assert all(ast.unparse(call.func) in ("len", "min", "max") for call in calls), ast.unparse(node)


def test_no_handler_shares_its_name(module: ast.Module) -> None:
    """A function's variable has one type: that of what else has its name would be demanded of the exception."""
    for function in ast.walk(module):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            parts = [*ast.walk(function)]
            assigned = {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
            caught: dict[str, str] = {}
            for handler in parts:
                if isinstance(handler, ast.ExceptHandler) and handler.name and handler.type:
                    assert handler.name not in assigned, f"{function.name}: {handler.name}"
                    kind = ast.unparse(handler.type)
                    assert caught.setdefault(handler.name, kind) == kind, f"{function.name}: {handler.name}"
