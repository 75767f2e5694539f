"""Every error the toolkit raises on purpose, with the exit code the command ends with.

DeblurrtError                1  base class; seen alone it is a defect of ours
|- UsageError                2  the arguments contradict each other
|- QualityError              3  a quality gate was not met
|- MachineError              5  this machine lacks or mismatches something
|  |- MissingExtraError         an optional package is not installed
|  |- BackendError              a backend cannot load or run the model here
|  `- StoppedError              a build was stopped at its deadline
|- InputError                6  input missing, unreadable, damaged or unfit
|  |- SourceError               a video, camera or picture cannot be read
|  |- ModelFileError            a model file is not what it should be
|  `- ContractError             frames or arrays do not fit the network
|- OutputError               7  output exists, folder missing, disk full
`- IncompleteError           8  finished, but part of the input or output is missing
"""

from __future__ import annotations


class DeblurrtError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        exit_code: What the ``deblurrt`` command exits with when this error ends it.
    """

    exit_code = 1


class UsageError(DeblurrtError):
    """The arguments contradict each other or name something that does not exist."""

    exit_code = 2


class QualityError(DeblurrtError):
    """A quality gate (parity, decibel budget, precision label) was not met."""

    exit_code = 3


class MachineError(DeblurrtError):
    """This machine lacks something the work needs, or has another version of it."""

    exit_code = 5


class MissingExtraError(MachineError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class BackendError(MachineError):
    """A backend cannot load or run a model on this machine."""


class StoppedError(MachineError):
    """A build was stopped at its deadline."""


class InputError(DeblurrtError):
    """Input is missing, unreadable, damaged or unfit."""

    exit_code = 6


class SourceError(InputError):
    """A video, camera, picture or folder cannot be read."""


class ModelFileError(InputError):
    """A model file is missing, damaged or of another kind."""


class ContractError(InputError, ValueError):
    """Frames, arrays or a contract's own values do not fit together."""


class OutputError(DeblurrtError):
    """Output exists already, its folder is missing, or the disk is full."""

    exit_code = 7


class IncompleteError(DeblurrtError):
    """The work ended, but part of the input could not be read or a sink failed; output is kept."""

    exit_code = 8
