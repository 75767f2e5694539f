"""Keys and shapes of the authors' checkpoints, written down from their classes, not read off ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Shapes = dict[str, tuple[int, ...]]


def conv(key: str, made: int, given: int, side: int = 3, *, bias: bool = True) -> Shapes:
    shapes: Shapes = {f"{key}.weight": (made, given, side, side)}
    return shapes | ({f"{key}.bias": (made,)} if bias else {})


def batch_norm(key: str, width: int) -> Shapes:
    vectors: Shapes = {f"{key}.{name}": (width,) for name in ("weight", "bias", "running_mean", "running_var")}
    return vectors | {f"{key}.num_batches_tracked": ()}


def wrcan(n_feats: int = 64, n_resgroups: int = 4, n_resblocks: int = 16) -> Shapes:
    a, b, c = n_feats, n_feats * 2, n_feats * 4
    shapes = conv("head.0", a, 3) | conv("body_exp.0", c, b) | conv("tail.0", 3, a)
    for level, (given, made) in enumerate([(a, a), (a, b)]):
        shapes |= conv(f"encoder.{level}.layers.0", made, given) | conv(f"encoder.{level}.pool.0", made, made)
    for level, given in enumerate([c, b]):
        shapes |= conv(f"decoder.{level}.upsampler.0.0", given * 2, given)
        shapes |= conv(f"decoder.{level}.layers.0", given // 2, given)
    for group in range(n_resgroups):
        for block in range(n_resblocks):
            key = f"body.{group}.body.{block}"
            for branch in range(4):
                shapes |= conv(f"{key}.dilated_parallel.{branch}.0", c // 2, c)
            shapes |= conv(f"{key}.shrink.0", c, c * 2)
            shapes |= conv(f"{key}.channel_attention.0.conv_du.0", c // 16, c, 1)
            shapes |= conv(f"{key}.channel_attention.0.conv_du.2", c, c // 16, 1)
        shapes |= conv(f"body.{group}.body.{n_resblocks}", c, c)
    return shapes | conv(f"body.{n_resgroups}", c, c)


def eacd(channels: int = 64) -> Shapes:
    c = channels
    shapes = conv("aspp.conv1.0", c, c, 1) | conv("aspp.feat2feat", c, c * 4, 1)
    shapes |= conv("aspp.platlayer.1", c, c, 1, bias=False)
    for dilation in (6, 12, 18):
        shapes |= conv(f"aspp.conv{dilation}.0", c, c, bias=False)
    for side in (1, 3, 5, 7):
        shapes |= conv(f"kernelbox.kernel{side}", c, 3, side)
    shapes |= conv("kernelbox.feat2feat", c, c * 4, 1) | conv("kernelbox.conv2", c, c) | conv("kernelbox.conv", 3, c, 1)
    shapes |= conv("RCAB.firstblock.0", c, c, bias=False) | conv("RCAB.firstblock.2", c, c, bias=False)
    shapes |= conv("RCAB.cab.1", c // 16, c, 1) | conv("RCAB.cab.3", c, c // 16, 1)
    for layer in range(3):
        shapes |= conv(f"RDB.dense_layers.{layer}.conv", c // 2, c + layer * (c // 2), bias=False)
    shapes |= conv("RDB.conv_1x1", c, c + 3 * (c // 2), 1, bias=False)
    shapes |= conv("RG.block1.0", c, c) | conv("RG.block1.2", c, c) | conv("RG.conv32", c, c)
    for layer, (made, given) in enumerate([(c, 3), (c, c), (c, c), (c, c), (c, c), (3, c)]):
        shapes |= conv(f"edgeblock.{layer * 2}", made, given, bias=False)
    for branch, blocks, bias in (("one", 15, True), ("two", 14, False)):
        shapes |= conv(f"{branch}.0", c, c)
        for block in range(blocks):
            shapes |= conv(f"{branch}.{2 + 3 * block}", c, c, bias=bias) | batch_norm(f"{branch}.{3 + 3 * block}", c)
    shapes |= conv("one.47", c, c) | conv("two.44", c, c) | conv("two.46", c, c)
    shapes |= conv("conv2", c, 12) | conv("conv3", c, c) | conv("feat2conv", c, c * 2) | conv("lastblock.0", 3, c, 1)
    shapes |= conv("block1.0", c * 2, c * 2) | conv("block1.2", c * 2, c * 2)
    shapes |= conv("block2.0", c * 2, c * 2) | batch_norm("block2.1", c * 2)
    return shapes | conv("conv32", c * 2, c * 2) | conv("featconv", c, c * 3) | conv("feat4conv", c * 2, c * 6, 1)


def _rms_block(key: str, width: int, reduction: int, *, bias: bool) -> Shapes:
    narrow = width // reduction
    shapes = conv(f"{key}.body.0", width, width, bias=bias) | conv(f"{key}.body.2", width, width, bias=bias)
    for branch, first in (("local_att", 0), ("global_att", 1)):
        shapes |= conv(f"{key}.body.3.{branch}.{first}", narrow, width, 1, bias=bias)
        shapes |= conv(f"{key}.body.3.{branch}.{first + 2}", width, narrow, 1, bias=bias)
    return shapes


def edpn(  # noqa: C901 - a table
    *, is_sr: bool, n_blocks: int = 3, n_frames: int = 5, reduction: int = 8, channels: int = 64, groups: int = 12
) -> Shapes:
    c, t = channels, n_frames
    shapes = conv("conv_first", c, 3) | conv("HRconv", c, c)
    for part in (1, 2, 3):
        for block in range(6):
            shapes |= conv(f"feature_extractor{part}.{block}.conv1", c, c)
            shapes |= conv(f"feature_extractor{part}.{block}.conv2", c, c)
    for level in (2, 3):
        shapes |= conv(f"fea_L{level}_conv1", c, c) | conv(f"fea_L{level}_conv2", c, c)
    for level in (1, 2, 3):
        for block in range(n_blocks):
            key = f"pspa.L{level}_spa.SPA_blocks.{block}"
            for name in ("conv_base", "conv_ref", "offset_conv2", "dcn_conv", "out_conv2", "dcnpack"):
                shapes |= conv(f"{key}.{name}", c, c)
            shapes |= conv(f"{key}.offset_conv1", c, c * 2) | conv(f"{key}.out_conv1", c, c * 2)
            shapes |= conv(f"{key}.dcnpack.conv_offset_mask", 216, c)
        shapes |= conv(f"pspa.L{level}_spa.out_conv1", c, c * 2) | conv(f"pspa.L{level}_spa.out_conv2", c, c)
        shapes |= conv(f"pspa.L{level}_conv", c, c)
    for key in ("pspa.L1_conv_up", "pspa.L2_conv_up", "pspa.out_conv"):
        shapes |= conv(f"{key}1", c, c * 2) | conv(f"{key}2", c, c)
    shapes |= conv("tsa_fusion.temporal_attn1", c, c) | conv("tsa_fusion.temporal_attn2", c, c)
    for name in ("feat_fusion", "conv3D_fusion", "spatial_attn1"):
        shapes |= conv(f"tsa_fusion.{name}", c, c * t, 1)
    shapes |= {"tsa_fusion.conv3D.weight": (t, t, 1, 1, 1), "tsa_fusion.conv3D.bias": (t,)}
    shapes |= conv("tsa_fusion.spatial_attn2", c, c * 2, 1) | conv("tsa_fusion.spatial_attn_l2", c, c * 2)
    for name in ("spatial_attn3", "spatial_attn5", "spatial_attn_l3"):
        shapes |= conv(f"tsa_fusion.{name}", c, c)
    for name in ("spatial_attn4", "spatial_attn_l1", "spatial_attn_add1", "spatial_attn_add2"):
        shapes |= conv(f"tsa_fusion.{name}", c, c, 1)
    for group in range(1, groups + 1):
        for block in range(10):
            shapes |= _rms_block(f"reconstructor{group}.body.{block}", c, reduction, bias=True)
    head = conv("upscale.0", c * 16, c, 1) | conv("upscale.2", 3, c) if is_sr else conv("upscale.0", 3, c)
    return shapes | head


def _cab(key: str, width: int) -> Shapes:
    shapes = conv(f"{key}.body.0", width, width, bias=False) | conv(f"{key}.body.2", width, width, bias=False)
    shapes |= conv(f"{key}.CA.conv_du.0", width // 4, width, 1, bias=False)
    shapes |= conv(f"{key}.CA.conv_du.2", width, width // 4, 1, bias=False)
    return shapes | {f"{key}.body.1.weight": (1,)}


def mprnet(  # noqa: C901 - a table
    n_feat: int = 96, scale_unetfeats: int = 48, scale_orsnetfeats: int = 32, num_cab: int = 8
) -> Shapes:
    widths = [n_feat, n_feat + scale_unetfeats, n_feat + 2 * scale_unetfeats]
    wide = n_feat + scale_orsnetfeats
    shapes: Shapes = {}

    def add(key: str, made: int, given: int, side: int = 1) -> None:
        shapes.update(conv(key, made, given, side, bias=False))

    for stage in (1, 2, 3):
        add(f"shallow_feat{stage}.0", n_feat, 3, 3)
        shapes.update(_cab(f"shallow_feat{stage}.1", n_feat))
    for stage in (1, 2):
        for level, width in enumerate(widths, start=1):
            for block in (0, 1):
                shapes.update(_cab(f"stage{stage}_encoder.encoder_level{level}.{block}", width))
                shapes.update(_cab(f"stage{stage}_decoder.decoder_level{level}.{block}", width))
        add(f"stage{stage}_encoder.down12.down.1", widths[1], widths[0])
        add(f"stage{stage}_encoder.down23.down.1", widths[2], widths[1])
        add(f"stage{stage}_decoder.up21.up.1", widths[0], widths[1])
        add(f"stage{stage}_decoder.up32.up.1", widths[1], widths[2])
        shapes.update(_cab(f"stage{stage}_decoder.skip_attn1", widths[0]))
        shapes.update(_cab(f"stage{stage}_decoder.skip_attn2", widths[1]))
    for side in ("enc", "dec"):
        for level, width in enumerate(widths, start=1):
            add(f"stage2_encoder.csff_{side}{level}", width, width)
            add(f"stage3_orsnet.conv_{side}{level}", wide, n_feat)
        add(f"stage3_orsnet.up_{side}1.up.1", widths[0], widths[1])
        add(f"stage3_orsnet.up_{side}2.0.up.1", widths[1], widths[2])
        add(f"stage3_orsnet.up_{side}2.1.up.1", widths[0], widths[1])
    for group in (1, 2, 3):
        for block in range(num_cab):
            shapes.update(_cab(f"stage3_orsnet.orb{group}.body.{block}", wide))
        add(f"stage3_orsnet.orb{group}.body.{num_cab}", wide, wide, 3)
    for name in ("sam12", "sam23"):
        add(f"{name}.conv1", n_feat, n_feat)
        add(f"{name}.conv2", 3, n_feat)
        add(f"{name}.conv3", n_feat, 3)
    add("concat12", n_feat, n_feat * 2, 3)
    add("concat23", wide, n_feat * 2, 3)
    add("tail", 3, wide, 3)
    return shapes


def mprnet_sr(*, groups: int = 17, blocks: int = 10, **options: int) -> Shapes:
    wide = options.get("n_feat", 96) + options.get("scale_orsnetfeats", 32)
    shapes = mprnet(**options) | _cab("SRNet_sr_cab", wide)
    shapes |= conv("SRNet_before_rec.0", 64, wide, bias=False) | {"SRNet_before_rec.1.weight": (1,)}
    for group in range(1, groups + 1):
        for block in range(blocks):
            shapes |= _rms_block(f"SRNet_reconstructor{group}.body.{block}", 64, 8, bias=False)
        shapes |= conv(f"SRNet_reconstructor{group}.body.{blocks}", 64, 64, bias=False)
    shapes |= conv("SRNet_HRconv", 64, 64, bias=False)
    return shapes | conv("SRNet_upscale.0", 1024, 64, 1, bias=False) | conv("SRNet_upscale.2", 3, 64, bias=False)


def _numbered(kind: str, kernels: Sequence[tuple[int, ...]], bias_axis: int) -> Shapes:
    shapes: Shapes = {}
    for place, kernel in enumerate(kernels):
        name = f"{kind}_{place}" if place else kind
        shapes |= {f"{name}/kernel:0": kernel, f"{name}/bias:0": (kernel[bias_axis],)}
    return shapes


def carlo_net(channels: int = 128) -> Shapes:
    c = channels
    down = [(3, 3, 3, c), *[(3, 3, c, c)] * 9]
    up = [*[(3, 3, c, c)] * 9, (3, 3, 3, c)]
    return _numbered("conv2d", down, 3) | _numbered("conv2d_transpose", up, 2)


def kaist_net(in_frames: int = 1, channels: int = 32) -> Shapes:
    c, d, e = channels, channels * 2, channels * 4
    down = [(5, 5, 3 * in_frames, c), *[(5, 5, c, d)] * 9, (1, 1, c, d), *[(5, 5, d, e)] * 9, (1, 1, d, e)]
    down += [*[(5, 5, e, e * 2)] * 4, *[(5, 5, d, e)] * 4, (1, 1, e + d, d), *[(5, 5, c, d)] * 9]
    down += [(5, 5, d, d), (1, 1, d + c, c), (5, 5, c, c), (5, 5, c, 3), (5, 5, c, 1)]
    down += [(5, 5, d, d), (5, 5, d, c), (5, 5, c, 25)]
    up = [*[(4, 4, c, d)] * 9, *[(4, 4, d, e)] * 9, *[(4, 4, e, e * 2)] * 4, *[(4, 4, d, e)] * 4, *[(4, 4, c, d)] * 9]
    return _numbered("conv2d", down, 3) | _numbered("conv2d_transpose", up, 2)


def atrous_net(blocks: int = 10, channels: int = 256, in_frames: int = 1, batch_norm: bool = False) -> Shapes:
    c, h = channels, channels // 2
    block = [*[(3, 3, c, h)] * 4, (3, 3, h * 4, c)]
    kernels = [(9, 9, 3 * in_frames, h), (3, 3, h, c), *block * blocks, (3, 3, c, c // 4), (3, 3, c // 4, 3)]
    shapes = _numbered("conv2d", kernels, 3) | _numbered("conv2d_transpose", [(3, 3, h, c)], 2)
    if batch_norm:
        widths = [h, c, *[h, h, h, h, c] * blocks, h, c // 4]
        for place, width in enumerate(widths):
            name = f"batch_normalization_{place}" if place else "batch_normalization"
            for kind in ("gamma", "beta", "moving_mean", "moving_variance"):
                shapes[f"{name}/{kind}:0"] = (width,)
    return shapes


#: name in the zoo -> keys and shapes for options
LAYOUTS: dict[str, Callable[..., Shapes]] = {
    "wrcan": wrcan,
    "edpn_sr": lambda **options: edpn(is_sr=True, **options),
    "edpn_deblock": lambda **options: edpn(is_sr=False, **options),
    "edpn_sr_13m": lambda **options: edpn(is_sr=True, **{"n_blocks": 1, "n_frames": 7, **options}),
    "eacd": eacd,
    "carlo_net": carlo_net,
    "kaist_net": kaist_net,
    "atrous_net": atrous_net,
    "mprnet": mprnet,
    "mprnet_sr": mprnet_sr,
}

#: tensors in the authors' PyTorch checkpoints, where known
ENTRIES: dict[str, int] = {"wrcan": 928, "eacd": 268, "edpn_sr": 1750, "mprnet": 316, "mprnet_sr": 1363}

Options = dict[str, Any]
