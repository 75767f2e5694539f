from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from deblurrt.cli.live_options import LIVE_OPTIONS
from deblurrt.cli.main import command
from deblurrt.cli.run import SECTIONS, run_command
from deblurrt.cli.source_options import SOURCE_OPTIONS, reading_of
from deblurrt.runtime.source_health import HealthLimits
from deblurrt.runtime.source_uris import LiveOptions

STREAM = "rtsp://cam/live"
UNSET = dict.fromkeys(SOURCE_OPTIONS) | {"keep_damaged": False, "reconnect_frozen": False}


def test_nothing_given_is_what_python_has() -> None:
    assert reading_of([STREAM], **UNSET) == LiveOptions()


def test_every_option_arrives() -> None:
    given = {
        "reader": "pyav",
        "rtsp_transport": "udp",
        "open_timeout": 5.0,
        "stall_timeout": 3.0,
        "connect_attempts": 7,
        "reconnect_delay": 1.0,
        "reconnect_delay_max": 30.0,
        "reconnect_frozen": True,
        "keep_damaged": True,
        "untagged_matrix": "bt601",
    }
    assert given.keys() == UNSET.keys()
    assert reading_of([STREAM], **given) == LiveOptions(
        reader="pyav",
        transport="udp",
        keeps_corrupt=True,
        attempts=7,
        limits=HealthLimits(open_s=5.0, stall_s=3.0, first_retry_s=1.0, longest_retry_s=30.0),
        untagged_matrix=6,
        reconnects_frozen=True,
    )


def test_matrix_goes_with_files_too() -> None:
    assert reading_of(["drive.mp4"], **UNSET | {"untagged_matrix": "bt709"}).untagged_matrix == 1


@pytest.mark.parametrize("name", sorted(set(SOURCE_OPTIONS)))
def test_every_option_of_reading_has_help_and_is_grouped(name: str) -> None:
    (option,) = [option for option in run_command.params if option.name == name]
    assert isinstance(option, click.Option)
    assert option.help
    assert name in SECTIONS["Reading"]


def test_headings_name_options_that_exist() -> None:
    named = [name for names in SECTIONS.values() for name in names]
    assert len(named) == len(set(named))
    assert set(named) <= {option.name for option in run_command.params}
    assert set(LIVE_OPTIONS) <= {option.name for option in run_command.params}


def test_help_shows_every_option_once_under_its_heading() -> None:
    text = CliRunner().invoke(command, ["run", "--help"]).output
    for heading in ("Options:", *(f"{title}:" for title in SECTIONS)):
        assert heading in text.splitlines()
    options = [option.opts[-1] for option in run_command.params if isinstance(option, click.Option)]
    for option in options:
        assert sum(line.split()[:1] == [option] for line in text.splitlines()) == 1, option
    assert text.index("Reading:") < text.index("--stall-timeout") < text.index("Account and view:")
