"""MPRNet and MPRNet-SR once more: literal quarters and halves, functions, and the authors' keys alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

#: path of a pool, its map -> the mean, of one value or of one per pixel
Pool = Callable[[str, Tensor], Tensor]
Levels = list[Tensor]


def global_mean(path: str, x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


class Recomputation:
    """The graphs of the papers' code on a state dict.

    Args:
        state: With the authors' keys.
        num_cab: Channel attention blocks per block of the third stage.
        pool: What takes the place of the global pools.
    """

    def __init__(self, state: dict[str, Tensor], num_cab: int, pool: Pool = global_mean) -> None:
        self.state, self.num_cab, self.pool = state, num_cab, pool

    def conv(self, key: str, x: Tensor) -> Tensor:
        weight = self.state[f"{key}.weight"]
        return functional.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def prelu(self, key: str, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.state[f"{key}.weight"] * x)

    def block(self, key: str, x: Tensor) -> Tensor:
        y = self.conv(f"{key}.body.2", self.prelu(f"{key}.body.1", self.conv(f"{key}.body.0", x)))
        hidden = torch.relu(self.conv(f"{key}.CA.conv_du.0", self.pool(f"{key}.CA.avg_pool", y)))
        return y * torch.sigmoid(self.conv(f"{key}.CA.conv_du.2", hidden)) + x

    def blocks(self, key: str, x: Tensor, count: int = 2) -> Tensor:
        for place in range(count):
            x = self.block(f"{key}.{place}", x)
        return x

    def shallow(self, stage: int, x: Tensor) -> Tensor:
        return self.block(f"shallow_feat{stage}.1", self.conv(f"shallow_feat{stage}.0", x))

    def up(self, key: str, x: Tensor) -> Tensor:
        x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.conv(f"{key}.up.1", x)

    def encode(self, stage: int, x: Tensor, first: tuple[Levels, Levels] | None = None) -> Levels:
        key, levels = f"stage{stage}_encoder", []
        for level in (1, 2, 3):
            if level > 1:
                x = functional.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)
                x = self.conv(f"{key}.down{level - 1}{level}.down.1", x)
            x = self.blocks(f"{key}.encoder_level{level}", x)
            if first is not None:
                encoded, decoded = (maps[level - 1] for maps in first)
                x = x + self.conv(f"{key}.csff_enc{level}", encoded) + self.conv(f"{key}.csff_dec{level}", decoded)
            levels.append(x)
        return levels

    def decode(self, stage: int, encoded: Levels) -> Levels:
        key = f"stage{stage}_decoder"
        third = self.blocks(f"{key}.decoder_level3", encoded[2])
        second = self.up(f"{key}.up32", third) + self.block(f"{key}.skip_attn2", encoded[1])
        second = self.blocks(f"{key}.decoder_level2", second)
        first = self.up(f"{key}.up21", second) + self.block(f"{key}.skip_attn1", encoded[0])
        return [self.blocks(f"{key}.decoder_level1", first), second, third]

    def supervise(self, key: str, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        picture = self.conv(f"{key}.conv2", x) + frames
        return self.conv(f"{key}.conv1", x) * torch.sigmoid(self.conv(f"{key}.conv3", picture)) + x, picture

    def original_resolution(self, x: Tensor, second: tuple[Levels, Levels]) -> Tensor:
        for level in (1, 2, 3):
            key = f"stage3_orsnet.orb{level}.body"
            x = x + self.conv(f"{key}.{self.num_cab}", self.blocks(key, x, self.num_cab))
            for side, maps in zip(("enc", "dec"), second, strict=True):
                y, up = maps[level - 1], f"stage3_orsnet.up_{side}{level - 1}"
                if level == 2:
                    y = self.up(up, y)
                if level == 3:
                    y = self.up(f"{up}.1", self.up(f"{up}.0", y))
                x = x + self.conv(f"stage3_orsnet.conv_{side}{level}", y)
        return x

    def stages(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Merged features of stage 3, what its net makes of them, and the pictures of stages 2 and 1."""
        height, width = frames.shape[2:]
        encoders, decoders, attended, pictures, seconds = [], [], [], [], []
        for half in (frames[:, :, : height // 2], frames[:, :, height // 2 :]):
            left = self.encode(1, self.shallow(1, half[..., : width // 2]))
            right = self.encode(1, self.shallow(1, half[..., width // 2 :]))
            encoders.append([torch.cat(pair, dim=3) for pair in zip(left, right, strict=True)])
            decoders.append(self.decode(1, encoders[-1]))
            features, picture = self.supervise("sam12", decoders[-1][0], half)
            attended.append(features)
            pictures.append(picture)
            merged = self.conv("concat12", torch.cat([self.shallow(2, half), attended[-1]], dim=1))
            seconds.append(self.encode(2, merged, (encoders[-1], decoders[-1])))
        encoded = [torch.cat(pair, dim=2) for pair in zip(*seconds, strict=True)]
        decoded = self.decode(2, encoded)
        whole, second_picture = self.supervise("sam23", decoded[0], frames)
        merged = self.conv("concat23", torch.cat([self.shallow(3, frames), whole], dim=1))
        restored = self.original_resolution(merged, (encoded, decoded))
        return merged, restored, second_picture, torch.cat(pictures, dim=2)

    def deblurred(self, frames: Tensor) -> list[Tensor]:
        """What MPRNet returns."""
        _, restored, second, first = self.stages(frames)
        return [self.conv("tail", restored) + frames, second, first]

    def multi_scale(self, key: str, x: Tensor) -> Tensor:
        y = self.conv(f"{key}.body.2", torch.relu(self.conv(f"{key}.body.0", x)))
        key = f"{key}.body.3"
        near = self.conv(f"{key}.local_att.2", torch.relu(self.conv(f"{key}.local_att.0", y)))
        mean = self.pool(f"{key}.global_att.0", y)
        far = self.conv(f"{key}.global_att.3", torch.relu(self.conv(f"{key}.global_att.1", mean)))
        return y * torch.sigmoid(near + far) + x

    def enlarged(self, frames: Tensor, groups: int, blocks: int) -> tuple[list[Tensor], Tensor]:
        """What MPRNet-SR returns."""
        merged, restored, second, first = self.stages(frames)
        features = merged + restored
        start = self.conv("SRNet_before_rec.0", self.block("SRNet_sr_cab", features))
        start = x = self.prelu("SRNet_before_rec.1", start)
        for group in range(1, groups + 1):
            key, y = f"SRNet_reconstructor{group}.body", x
            for place in range(blocks):
                y = self.multi_scale(f"{key}.{place}", y)
            x = x + self.conv(f"{key}.{blocks}", y)
        x = self.conv("SRNet_HRconv", x + start)
        x = self.conv("SRNet_upscale.0", torch.maximum(x, 0.1 * x))
        large = self.conv("SRNet_upscale.2", functional.pixel_shuffle(x, 4))
        return [self.conv("tail", features), second, first], large
