"""What each tissue measures in Hounsfield units, by contrast phase, and how BTCV numbers the organs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Phase = Literal["portal", "arterial", "delayed"]

BTCV_ORGANS: dict[str, int] = {
    "spleen": 1,
    "right_kidney": 2,
    "left_kidney": 3,
    "gallbladder": 4,
    "esophagus": 5,
    "liver": 6,
    "stomach": 7,
    "aorta": 8,
    "inferior_vena_cava": 9,
    "portal_and_splenic_veins": 10,
    "pancreas": 11,
    "right_adrenal_gland": 12,
    "left_adrenal_gland": 13,
}
"""The organs of the BTCV challenge and their values in a label map; 0 is background."""

AIR = -1000.0

# Tissues that contrast medium leaves about as they are.
_PLAIN: dict[str, float] = {
    "air": AIR,
    "gas": -950.0,
    "lung": -840.0,
    "fat": -105.0,
    "sinus_fat": -60.0,
    "muscle": 58.0,
    "disc": 75.0,
    "canal": 25.0,
    "cancellous_bone": 175.0,
    "cortical_bone": 480.0,
    "rib": 330.0,
    "bowel_content": 15.0,
    "stool": 5.0,
    "stomach": 18.0,
    "gallbladder": 9.0,
    "esophagus": 42.0,
}

# Per phase, in typical values of abdominal CT: arterial about 35 s, portal venous about 70 s, and
# delayed (some 4 minutes, or a weak bolus) after the injection.
_ENHANCED: dict[Phase, dict[str, float]] = {
    "portal": {
        "spleen": 128, "kidney": 196, "medulla": 178, "liver": 108, "hepatic_vein": 155, "aorta": 160,
        "inferior_vena_cava": 142, "portal_and_splenic_veins": 172, "pancreas": 92, "adrenal": 74,
        "gut_wall": 88, "heart": 150,
    },
    "arterial": {
        "spleen": 138, "kidney": 205, "medulla": 95, "liver": 72, "hepatic_vein": 64, "aorta": 310,
        "inferior_vena_cava": 92, "portal_and_splenic_veins": 118, "pancreas": 108, "adrenal": 80,
        "gut_wall": 82, "heart": 250,
    },
    "delayed": {
        "spleen": 92, "kidney": 152, "medulla": 170, "liver": 82, "hepatic_vein": 98, "aorta": 106,
        "inferior_vena_cava": 102, "portal_and_splenic_veins": 104, "pancreas": 66, "adrenal": 52,
        "gut_wall": 66, "heart": 102,
    },
}  # fmt: skip


def hounsfield(phase: Phase, enhancement: float = 1.0) -> Mapping[str, float]:
    """Return the mean HU of every tissue in a contrast ``phase``, the enhanced ones times ``enhancement``."""
    return {**_PLAIN, **{tissue: value * enhancement for tissue, value in _ENHANCED[phase].items()}}
