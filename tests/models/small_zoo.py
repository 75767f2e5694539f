"""Every network of the zoo at a size that tests can run."""

from __future__ import annotations

from typing import Any

MPRNET: dict[str, Any] = {"n_feat": 16, "scale_unetfeats": 8, "scale_orsnetfeats": 8, "num_cab": 2}

#: name in the zoo -> options
SMALL: dict[str, dict[str, Any]] = {
    "wrcan": {"n_feats": 4, "n_resgroups": 2, "n_resblocks": 2},
    "edpn_sr": {"n_blocks": 1, "n_frames": 3, "channels": 16, "groups": 1},
    "edpn_deblock": {"n_blocks": 2, "channels": 16, "groups": 1},
    "edpn_sr_13m": {"channels": 16, "groups": 1},
    "eacd": {"channels": 16},
    "carlo_net": {"channels": 6},
    "kaist_net": {"channels": 4, "in_frames": 3},
    "atrous_net": {"blocks": 2, "channels": 8, "batch_norm": True},
    "mprnet": MPRNET,
    "mprnet_sr": {**MPRNET, "groups": 2, "blocks": 2},
}
