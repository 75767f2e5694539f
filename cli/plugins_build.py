"""``deblurrt plugins build``: the library of our operators for TensorRT."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from ..core.outputs import check_output, output_error, part_of
from ..plugins.tensorrt_library import CompiledLibrary, build_library
from .options import json_option
from .output import check_json_place, terminal, write_json
from .plugin_archs import ARCHS

EXAMPLES = """\b
Examples:
  deblurrt plugins build
  deblurrt plugins build --arch sm87 -o plugins.so
  deblurrt plugins build --tensorrt-root ~/TensorRT-11.1 --arch sm86,sm120"""


@click.command("build", epilog=EXAMPLES)
@click.option(
    "--tensorrt-root",
    "root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of TensorRT with its include/; TENSORRT_ROOT or the system's if not given.",
)
@click.option(
    "--arch", "archs", type=ARCHS, default=(), help="Compute capabilities: sm87,sm110; if not given this GPU's, or all."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A copy of the library; the cache keeps its own.")
@click.option("--force", is_flag=True, help="Compile it again, and replace an existing FILE.")
@json_option
def build_command(
    root: Path | None, archs: tuple[str, ...], output: Path | None, force: bool, json_place: str | None
) -> int:
    """Compile our operators as plugins for TensorRT 10.3 to 11, once for all engines.

    Needs TensorRT's C++ headers, nvcc, g++ and cmake, and no GPU. `deblurrt build` does the same by itself where a
    network has such operators. TensorRT-RTX takes no plugins and needs none.

    Ends with 5 when headers or programs are missing, and says which.
    """
    check_json_place(json_place)
    if output is not None:
        check_output(output, force=force)
    console = terminal()
    with console.status("looking for TensorRT and the compilers") as status:

        def say(line: str) -> None:
            status.update(line)
            console.print(line, highlight=False, soft_wrap=True, markup=False)

        library = build_library(root, archs, force=force, say=say)
    path = library.path if output is None else _copied(library.path, output)
    for line in _lines(library, path):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    told = {"sha256": library.sha256, "cuda": library.cuda, "archs": library.archs, "tensorrt": library.tensorrt}
    write_json(json_place, {"library": str(path), **told})
    return 0


def _copied(library: Path, output: Path) -> Path:
    part = part_of(output)
    try:
        shutil.copy(library, part)
        part.replace(output)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise output_error(output, error) from error
    return output


def _lines(library: CompiledLibrary, path: Path) -> list[str]:
    version = ".".join(map(str, library.tensorrt))
    return [
        f"{path}",
        f"SHA-256 {library.sha256}, TensorRT {version}, CUDA {library.cuda}, {', '.join(library.archs)}",
        f"trtexec --onnx=MODEL.onnx --saveEngine=MODEL.engine --dynamicPlugins={path}",
        f"trtexec --loadEngine=MODEL.engine --dynamicPlugins={path}",
    ]
