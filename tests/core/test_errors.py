from __future__ import annotations

import inspect
import re

import pytest

from deblurrt.core import errors
from deblurrt.core.errors import ContractError, DeblurrtError, MissingExtraError

CLASSES = {
    name: entry for name, entry in inspect.getmembers(errors, inspect.isclass) if issubclass(entry, DeblurrtError)
}
#: a line of the tree: bars and blanks, the name, its own exit code where it has one
TREE_LINE = re.compile(r"^([|` -]*)([A-Z]\w+Error) +(\d)?", re.M)


def test_tree_in_the_docstring_names_every_error() -> None:
    assert {name for _, name, _ in TREE_LINE.findall(inspect.getdoc(errors) or "")} == set(CLASSES)


def test_tree_in_the_docstring_shows_bases_and_exit_codes() -> None:
    parents: dict[int, str] = {}
    for indent, name, code in TREE_LINE.findall(inspect.getdoc(errors) or ""):
        depth = len(indent) // 3
        parents[depth] = name
        if depth:
            assert CLASSES[name].__bases__[0].__name__ == parents[depth - 1]
        if code:
            assert CLASSES[name].exit_code == int(code)
        else:
            assert "exit_code" not in vars(CLASSES[name])


@pytest.mark.parametrize("name", CLASSES)
def test_error_ends_the_command_with_a_documented_code(name: str) -> None:
    assert CLASSES[name].exit_code in {1, 2, 3, 5, 6, 7, 8}


def test_missing_extra_is_an_import_error_too() -> None:
    assert issubclass(MissingExtraError, ImportError)


def test_contract_error_is_a_value_error_too() -> None:
    assert issubclass(ContractError, ValueError)
