"""What is compiled, and the copy that make serve runs: never one of sources that have changed since."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path

import pytest

from tests.server_process import ROOT

sys.path.insert(0, str(ROOT / "build_backend"))
import compiled_copy
from redqueue_build import COMPILED


@pytest.mark.parametrize("name", COMPILED)
def test_it_has_nothing_that_mypyc_compiles_without_a_word_and_wrongly(name: str) -> None:
    for node in ast.walk(ast.parse((ROOT / name).read_text())):
        if isinstance(node, ast.Subscript):
            index = ast.unparse(node.slice)
            assert not index.endswith("_FIELD"), f"line {node.lineno}: bytes cannot be indexed by a slice in a constant"
        elif isinstance(node, ast.Assign | ast.Return):
            lazy = isinstance(node.value, ast.GeneratorExp)
            assert not lazy, f"line {node.lineno}: a generator expression becomes a list"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "next":
            lazy = isinstance(node.args[0], ast.GeneratorExp)
            assert not lazy, f"line {node.lineno}: a generator expression becomes a list, which is no iterator"
        elif isinstance(node, ast.Try):
            names = [handler.name for handler in node.handlers if handler.name]
            assert len(names) == len(set(names)), f"line {node.lineno}: one name for exceptions of different classes"


@pytest.mark.parametrize("name", COMPILED)
def test_its_constants_are_final_for_else_each_use_is_looked_up(name: str) -> None:
    module = ast.parse((ROOT / name).read_text())
    for node in module.body:
        if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Subscript):  # which names a type
            assert ast.unparse(node.targets[0]) == "log", f"line {node.lineno}: write it NAME: Final = ..."


def test_a_copy_belongs_to_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in ("redqueue", "bin", "build_backend"):
        shutil.copytree(ROOT / entry, tmp_path / entry, ignore=shutil.ignore_patterns("__pycache__"))
    for entry in ("pyproject.toml", "setup.py"):
        shutil.copy(ROOT / entry, tmp_path / entry)
    before = compiled_copy.hash_of_sources()
    monkeypatch.setattr(compiled_copy, "ROOT", tmp_path)
    assert compiled_copy.hash_of_sources() == before
    for edited in (*COMPILED, "redqueue/options.py", "build_backend/redqueue_build.py", "pyproject.toml"):
        path = tmp_path / edited
        text = path.read_text()
        path.write_text(text + "\n")
        assert compiled_copy.hash_of_sources() != before, edited
        path.write_text(text)
    (tmp_path / "redqueue" / "new.py").write_text("")
    assert compiled_copy.hash_of_sources() != before
