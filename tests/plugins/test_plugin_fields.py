"""The plugins' reading of fields and shapes says what the operators' own tables say; runs without TensorRT."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from deblurrt.plugins.ops import PLUGINS, plugin_op
from deblurrt.plugins.plugin_op import DOMAIN, PLUGIN_VERSION, Example
from tests.plugins.plugin_libraries import HERE, compile_cpp

INT32, INT64, CHAR, OTHER = range(4)
MOST_VALUES, MOST_AXES, MOST_WORDS = 8, 8, 32
REQUIRED = -1


class Field(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("kind", ctypes.c_int),
        ("length", ctypes.c_int32),
    )


class Tensor(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("axes", ctypes.c_int32), ("sides", ctypes.c_int64 * MOST_AXES))


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("fields")
    stand_ins = str(HERE / "fake_kernels.cpp")
    return ctypes.CDLL(
        str(compile_cpp(HERE / "fields_driver.cpp", folder / "fields.so", "-shared", "-fPIC", stand_ins))
    )


def field(name: str, value: Any, kind: int = INT32) -> tuple[Field, Any]:
    """A field, and what owns its numbers."""
    if kind == CHAR:
        text = str(value).encode()
        # TensorRT's parser counts the zero
        return Field(name.encode(), ctypes.cast(ctypes.c_char_p(text), ctypes.c_void_p), kind, len(text) + 1), text
    numbers = np.atleast_1d(np.array(value, np.int64 if kind == INT64 else np.int32))
    return Field(name.encode(), numbers.ctypes.data, kind, numbers.size), numbers


def read(driver: ctypes.CDLL, operator: str, given: Sequence[tuple[Field, Any]]) -> list[int] | str:
    """The settings, or what is wrong with them."""
    fields = (Field * max(len(given), 1))(*(entry for entry, _ in given))
    values = (ctypes.c_int32 * MOST_VALUES)()
    text = ctypes.create_string_buffer(200)
    code = getattr(driver, f"read_{operator}")(fields, len(given), values, text, len(text))
    return list(values) if code == 0 else text.value.decode()


def call(driver: ctypes.CDLL, operator: str, values: Sequence[int], shapes: Sequence[Sequence[int]]) -> Any:
    """The output's shape and the kernel's call as numbers, or what is wrong."""
    numbers = (ctypes.c_int32 * MOST_VALUES)(*values)
    inputs = (Tensor * len(shapes))(*(Tensor(0, len(shape), (ctypes.c_int64 * 8)(*shape)) for shape in shapes))
    output, words = (ctypes.c_int64 * 4)(), (ctypes.c_int32 * MOST_WORDS)()
    text = ctypes.create_string_buffer(200)
    count = getattr(driver, f"call_{operator}")(numbers, inputs, len(shapes), output, words, text, len(text))
    return (tuple(output), list(words)[:count]) if count > 0 else text.value.decode()


def values_of(operator: str, example: Example) -> list[int]:
    attributes = plugin_op(operator).complete(example.attributes)
    flat = [np.atleast_1d(attributes[name]) for name in plugin_op(operator).attributes]
    return [int(number) for number in np.concatenate(flat)]


EXAMPLES = [(name, index) for name in PLUGINS for index in range(len(plugin_op(name).examples))]


@pytest.mark.parametrize("operator", PLUGINS)
def test_settings_are_those_of_the_schema(driver: ctypes.CDLL, operator: str) -> None:
    op = plugin_op(operator)
    text = ctypes.create_string_buffer(400)
    ports = getattr(driver, f"describe_{operator}")(text, len(text))
    assert divmod(ports, 10) == (len(op.inputs), len(op.inputs) - len(op.defaults))
    rows = [row.split() for row in text.value.decode().split(";") if row]
    expected = []
    for name, attribute in op.attributes.items():
        default = attribute.default
        first = REQUIRED if default is None else default if isinstance(default, int) else default[0]
        expected.append([name, attribute.length or 1, first])
    assert [[name, int(length), int(fallback)] for name, length, _, fallback in rows] == expected


@pytest.mark.parametrize(("operator", "index"), EXAMPLES)
@pytest.mark.parametrize("kind", [INT32, INT64])
def test_fields_of_every_example_are_read(driver: ctypes.CDLL, operator: str, index: int, kind: int) -> None:
    example = plugin_op(operator).examples[index]
    marks = [field("plugin_namespace", DOMAIN, CHAR), field("plugin_version", PLUGIN_VERSION, CHAR)]
    given = [field(name, value, kind) for name, value in example.attributes.items()]
    expected = values_of(operator, example)
    assert read(driver, operator, [*given, *marks]) == expected + [0] * (MOST_VALUES - len(expected))


@pytest.mark.parametrize(("operator", "index"), EXAMPLES)
def test_outputs_are_as_the_shape_rule_says(driver: ctypes.CDLL, operator: str, index: int) -> None:
    op, example = plugin_op(operator), plugin_op(operator).examples[index]
    output, _ = call(driver, operator, values_of(operator, example), example.shapes)
    assert output == op.output_shape(example.shapes, op.complete(example.attributes))


def test_call_of_a_convolution_holds_every_size_in_its_place(driver: ctypes.CDLL) -> None:
    shapes = [(1, 8, 12, 17), (1, 24, 6, 9), (1, 12, 6, 9), (4, 4, 3, 1)]
    _, words = call(driver, "ModulatedDeformConv", [2, 2, 2, 0, 2, 1, 2, 4], shapes)
    assert words == [0, 1, 8, 12, 17, 4, 6, 9, 3, 1, 2, 2, 2, 0, 2, 1, 2, 4]


def test_call_of_a_pool_has_batch_and_channels_as_maps(driver: ctypes.CDLL) -> None:
    assert call(driver, "LocalAvgPool", [4, 7], [(2, 3, 11, 14)])[1] == [0, 6, 11, 14, 4, 7]


@pytest.mark.parametrize(
    ("operator", "given", "said"),
    [
        ("LocalAvgPool", [], "window is missing"),
        ("LocalAvgPool", [("window", [4], INT32)], "window has 1 numbers, expected 2"),
        ("LocalAvgPool", [("window", [0, 4], INT32)], "window is 0, expected at least 1 and 31 bits"),
        ("LocalAvgPool", [("window", [4, 1 << 31], INT64)], "window is 2147483648, expected at least 1 and 31 bits"),
        ("LocalAvgPool", [("window", [4, 4], OTHER)], "window is no whole number, expected INT32"),
        ("LocalAvgPool", [("window", "44", CHAR)], "window is no whole number, expected INT32"),
        ("LocalAvgPool", [("strides", [1, 1], INT32)], "there is no field strides"),
        ("LocalAvgPool", [("plugin_version", "2", CHAR)], "plugin_version is '2', expected '1'"),
        ("ModulatedDeformConv", [("pads", [-1, 0], INT32)], "pads is -1, expected at least 0 and 31 bits"),
        ("ModulatedDeformConv", [("groups", [1, 1], INT32)], "groups has 2 numbers, expected 1"),
    ],
)
def test_fields_out_of_range_are_named(
    driver: ctypes.CDLL, operator: str, given: list[tuple[str, Any, int]], said: str
) -> None:
    assert read(driver, operator, [field(*entry) for entry in given]) == said


@pytest.mark.parametrize(
    ("changed", "shape", "said"),
    [
        (0, (1, 7, 12, 17), "channels of x is 7, expected 8"),
        (1, (1, 26, 6, 9), "channels of offset is 26, expected 24"),
        (1, (2, 24, 6, 9), "batch of offset is 2, expected 1"),
        (2, (1, 12, 6, 8), "width of mask is 8, expected 9"),
        (0, (1, 8, 14, 17), "height of offset is 6, expected 7"),
        (0, (1, 8, 0, 17), "height of offset is 6, expected 0"),
        (3, (5, 4, 3, 1), "rest of output channels by groups is 1, expected 0"),
        (0, (1, 8, 12), "x has 3 axes, expected 4"),
        (0, (1, 8, 12, 1 << 31), "axis 3 of x is 2147483648 long, expected 31 bits"),
        (0, (1, 8, 12, -1), "axis 3 of x is -1 long, expected 31 bits"),
    ],
)
def test_shapes_that_do_not_fit_are_named(driver: ctypes.CDLL, changed: int, shape: tuple[int, ...], said: str) -> None:
    shapes: list[tuple[int, ...]] = [(1, 8, 12, 17), (1, 24, 6, 9), (1, 12, 6, 9), (4, 4, 3, 1)]
    shapes[changed] = shape
    assert call(driver, "ModulatedDeformConv", [2, 2, 2, 0, 2, 1, 2, 4], shapes) == said


def test_maps_are_counted_in_31_bits(driver: ctypes.CDLL) -> None:
    assert call(driver, "LocalAvgPool", [4, 7], [(1 << 16, 1 << 16, 1, 1)]) == "x has 4294967296 maps, expected 31 bits"
