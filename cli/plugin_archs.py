"""``--arch`` of ``deblurrt plugins``: which GPUs code is compiled for."""

from __future__ import annotations

from typing import Any

import click

from ..core.errors import UsageError
from ..plugins.archs import parse_arch


class ArchType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """``87``, ``sm87`` or ``sm_87``; gives ``sm87``."""

    name = "ARCH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read one."""
        try:
            return parse_arch(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class ArchsType(ArchType):
    """Several with commas between them; gives a tuple."""

    name = "ARCH,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read all."""
        if isinstance(value, tuple):
            return value
        return tuple(super(ArchsType, self).convert(each, param, ctx) for each in value.split(","))


ARCH, ARCHS = ArchType(), ArchsType()
