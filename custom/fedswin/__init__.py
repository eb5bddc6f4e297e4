"""FedSwin: federated, label-free pre-training of a Swin UNETR on CT, and its fine-tuning.

Importing the package is cheap: torch, MONAI and NVFlare are imported by the rooms that need them.
"""

__version__ = "0.1.0"
