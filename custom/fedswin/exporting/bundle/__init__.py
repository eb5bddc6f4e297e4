"""A segmentation model as a MONAI bundle: a folder that MONAI alone runs on a scan, without FedSwin.

A bundle holds one model. An ensemble of folds is none: it would need code beside MONAI's.
"""

from fedswin.exporting.bundle.folder import is_bundle, noted_in, write_bundle
from fedswin.exporting.bundle.usage import how_to_use

__all__ = ["how_to_use", "is_bundle", "noted_in", "write_bundle"]
