"""Label maps that a datalist can name, for label maps that other tools wrote."""

from __future__ import annotations

from collections.abc import Mapping

BACKGROUND = "background"
"""The name under which a label map files what no class of a job is about."""

LABEL_MAPS: Mapping[str, Mapping[int, str]] = {
    "totalsegmentator_v2": {
        **dict.fromkeys(range(118), BACKGROUND),
        1: "spleen",
        2: "right_kidney",
        3: "left_kidney",
        4: "gallbladder",
        5: "liver",
        6: "stomach",
        7: "pancreas",
        8: "right_adrenal_gland",
        9: "left_adrenal_gland",
        15: "esophagus",
        52: "aorta",
        63: "inferior_vena_cava",
        64: "portal_and_splenic_veins",
    },
}
"""``{name: {label value: class}}``, with the organs named as in `fedswin.data.phantom.tissue.BTCV_ORGANS`.

``totalsegmentator_v2``: the 117 classes of the task ``total`` of TotalSegmentator 2 (its ``map_to_binary.py``). Those
that BTCV does not annotate are background, and so are the cysts that it takes out of the kidneys (23 and 24).
"""

PAIRS: Mapping[str, str] = {
    "right_kidney": "kidneys",
    "left_kidney": "kidneys",
    "right_adrenal_gland": "adrenal_glands",
    "left_adrenal_gland": "adrenal_glands",
}
"""The class that an organ belongs to in a job that does not tell the sides apart."""
