"""``deblurrt doctor``: what this machine has and lacks."""

from __future__ import annotations

import click
from rich.markup import escape
from rich.table import Table

from ..core.machine import probe_machine
from ..profiling.diagnosis import AREAS, Diagnosis, diagnose, facts_of
from .output import check_json_place, print_table, result_console, write_json

LACKS_A_PART = 5
#: told by a sign and a word, for terminals and eyes without colours
SIGNS = {"ok": "+ ok", "note": "i note", "warning": "! warning", "broken": "X BROKEN"}

EXAMPLES = """\b
Examples:
  deblurrt doctor
  deblurrt doctor --json machine.json    for a report of a defect
  deblurrt doctor --json - | jq .findings

\b
Exit status:
  0  nothing is broken; notes and warnings may be there
  5  broken: a part of the base install is missing, or something installed cannot work here
  7  the file for --json cannot be written"""


# its option is not that of cli/options.py, whose imports fail on just the machines this command is for
@click.command("doctor", epilog=EXAMPLES)
@click.option("--json", "json_place", metavar="FILE", help="Write the result as JSON; - is standard output.")
def doctor_command(json_place: str | None) -> int:
    """Say what this machine has and lacks, which known trap applies, and the remedy for each.

    Takes a few seconds: every installed package that matters is imported once, in a process of its own. Nothing
    is sent, and nothing changed but that the cache folder is made.
    """
    check_json_place(json_place)
    diagnosis = diagnose(probe_machine())
    write_json(json_place, diagnosis.to_dict())
    _print(diagnosis, json_place)
    return LACKS_A_PART if diagnosis.is_broken else 0


def _print(diagnosis: Diagnosis, json_place: str | None) -> None:
    facts = facts_of(diagnosis.machine)
    table = Table("", "area", "found")
    for area in AREAS:
        table.add_row(SIGNS[diagnosis.verdict(area)], area, escape(facts[area]))
    print_table(table, json_place)
    console = result_console(json_place)
    for finding in diagnosis.findings:
        lines = (
            f"\n{SIGNS[finding.severity]}: {finding.trap}",
            f"  found     {finding.found}",
            f"  expected  {finding.expected}",
            f"  remedy    {finding.remedy}",
        )
        # whole lines: a remedy is there to be copied
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    if not diagnosis.findings:
        console.print("\nNo known trap applies.", highlight=False)
