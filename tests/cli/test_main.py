"""The command as a whole: help, versions, exit codes."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import click
import pytest

from deblurrt.cli.main import VERBS
from deblurrt.core.errors import DeblurrtError

EXIT_CODES = {
    "DeblurrtError": 1,
    "UsageError": 2,
    "QualityError": 3,
    "MachineError": 5,
    "MissingExtraError": 5,
    "BackendError": 5,
    "StoppedError": 5,
    "InputError": 6,
    "SourceError": 6,
    "ModelFileError": 6,
    "ContractError": 6,
    "OutputError": 7,
    "IncompleteError": 8,
}


def _all_errors(base: type[DeblurrtError]) -> list[type[DeblurrtError]]:
    return [base, *(error for child in base.__subclasses__() for error in _all_errors(child))]


def test_every_error_class_has_its_documented_exit_code() -> None:
    found = {error.__name__: error.exit_code for error in _all_errors(DeblurrtError)}
    assert {name: found[name] for name in EXIT_CODES} == EXIT_CODES
    # those of other modules, of which some may be loaded, are kinds of these
    assert set(found.values()) == set(EXIT_CODES.values())


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_shows_examples(
    verb: str, deblurrt: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt(verb, "--help") == 0
    assert f"deblurrt {verb}" in capsys.readouterr().out.partition("Examples:")[2]


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_explained(verb: str) -> None:
    module, attribute = VERBS[verb]
    command = getattr(importlib.import_module(f"deblurrt.cli.{module}"), attribute)
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_help_lists_verbs_and_exit_codes(deblurrt: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert deblurrt("--help") == 0
    shown = capsys.readouterr().out
    assert [word for word in (*VERBS, "Exit codes") if word not in shown] == []


def test_unknown_verb_is_wrong_usage(deblurrt: Callable[..., int]) -> None:
    assert deblurrt("sharpen") == 2
