"""The ``deblurrt`` command."""
