"""What went wrong in code that is not ours: one line, with the place in the user's file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from types import TracebackType

#: modules whose lines tell a user nothing: ours that call theirs, and what imports them
CALLERS = ("deblurrt.cli.", "deblurrt.core.", "deblurrt.export.", "deblurrt.models.torch_", "importlib.", "torch.")
#: longest text of an error that is passed on, characters
LONGEST = 200


def cause(error: BaseException) -> str:
    """Say the first cause of an error in one line, with the line of the user's code it comes from where that is known.

    Args:
        error: As it was caught; its causes are followed.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    place = next((line for line in lines if line.startswith("File ") and "/torch/" not in line), None)
    place = place or users_place(error)
    return f"{said[:LONGEST]} ({place})" if place else said[:LONGEST]


def users_place(error: BaseException) -> str | None:
    """Name file, line and function where the user's code raised an error or called what did; None if it did not.

    Lines of installed packages count only where there are no others.
    """
    installed, own = None, None
    for step in _steps(error.__traceback__):
        code = step.tb_frame.f_code
        name = f"{step.tb_frame.f_globals.get('__name__', '')}."
        if name.startswith(CALLERS) or code.co_filename.startswith("<"):
            continue
        place = f"{PurePath(code.co_filename).name}, line {step.tb_lineno}, in {code.co_name}"
        if "site-packages" in code.co_filename:
            installed = place
        else:
            own = place
    return own or installed


def _steps(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next
