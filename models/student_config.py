"""Sizes of the shipped networks; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """Size of a student network.

    Attributes:
        unshuffle: Side of the pixel blocks folded into channels before the first convolution.
        widths: Channels per level, finest first; multiples of 16 keep INT8 fast on CPUs.
        encoder_blocks: Residual blocks per level on the way down, the last level included.
        decoder_blocks: Residual blocks per level on the way up, finest first.
    """

    unshuffle: int
    widths: tuple[int, ...]
    encoder_blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this number of pixels."""
        return self.unshuffle << (len(self.widths) - 1)

    @property
    def halo_px(self) -> int:
        """How far away a pixel can still matter, counted from the kernels on the longest way."""
        levels = len(self.widths)
        strides = [self.unshuffle << level for level in range(levels)]
        there = sum(2 * blocks * stride for blocks, stride in zip(self.encoder_blocks, strides, strict=True))
        back = sum(2 * blocks * stride for blocks, stride in zip(self.decoder_blocks, strides, strict=False))
        ends = 2 * strides[0] + sum(strides[:-1])
        return there + back + ends + self.multiple - 1

    @property
    def macs_per_pixel(self) -> int:
        """Multiply-accumulates of all convolutions per input pixel, rounded."""
        widths, folded = self.widths, 3 * self.unshuffle**2
        areas = [(self.unshuffle << level) ** 2 for level in range(len(widths))]
        total = 2 * 9 * folded * widths[0] / areas[0]
        for blocks in (self.encoder_blocks, self.decoder_blocks):
            total += sum(18 * n * w * w / area for n, w, area in zip(blocks, widths, areas, strict=False))
        for fine, coarse, area in zip(widths, widths[1:], areas[1:], strict=False):
            total += (9 + 4) * fine * coarse / area
        return round(total)


STUDENT_XS = StudentConfig(4, (32, 64, 128), (1, 1, 2), (1, 1))
STUDENT_S = StudentConfig(2, (16, 32, 64, 128), (1, 1, 1, 1), (1, 1, 1))
STUDENT_M = StudentConfig(2, (24, 48, 96, 192), (1, 1, 2, 3), (1, 1, 1))
