"""How someone who has only the bundle runs it on a scan, and trains it further."""

from __future__ import annotations

from importlib.metadata import version

from fedswin.config import DataSettings
from fedswin.weights.file import Weights

_USAGE = """\
## Run it on your own scan

In this folder, with Python 3.10 or newer. FedSwin is not needed.

```console
$ pip install monai=={monai} torch nibabel einops fire
$ python -m monai.bundle run --config_file configs/inference.json --image scan.nii.gz
$ python -m monai.bundle run --config_file configs/inference.json --dataset_dir scans --output_dir labels
```

The first segments one file, the second every NIfTI file of a folder. For each a label map appears in `labels`: for
`scan.nii.gz` it is `scan_seg.nii.gz`, on the scan's own grid. `configs/labels.json` says which value stands for what:
{values}. A scan must be {images}, of any orientation, spacing and size.

All class probabilities of a scan are in memory at once, about {bytes} bytes for each of its voxels. A scan of
512 x 512 x 300 voxels takes about {gib:.0f} GiB. `fedswin predict` goes block by block and takes less.

MONAI says that a configuration can run any code. That is so of every bundle: run only one that you trust.

## Fine-tune from it

With MONAI alone. The label maps have the values of `configs/labels.json`.

```python
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.losses import DiceCELoss
from monai.transforms import Compose, LoadImaged, MapLabelValued, RandSpatialCropd, ResampleToMatchd

cases = [{{"image": "images/case1.nii.gz", "label": "labels/case1.nii.gz"}}]
bundle = ConfigParser(ConfigParser.load_config_file("configs/inference.json"))
network, values = bundle.get_parsed_content("network_def"), bundle["label_values"]
network.load_state_dict(torch.load("models/model.pt", weights_only=True))
steps = [bundle.get_parsed_content("preprocessing"), LoadImaged("label", ensure_channel_first=True)]
steps += [ResampleToMatchd("label", "image", mode="nearest", padding_mode="zeros")]
steps += [MapLabelValued("label", values, range(len(values))), RandSpatialCropd(["image", "label"], bundle["roi"])]
optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=1e-5)
for batch in DataLoader(Dataset(cases, Compose(steps)), batch_size=1, shuffle=True):
    DiceCELoss(to_onehot_y=True, softmax=True)(network(batch["image"]), batch["label"]).backward()
    optimizer.step()
    optimizer.zero_grad()
torch.save(network.state_dict(), "models/finetuned.pt")
```
"""
_BIG_SCAN = 512 * 512 * 300
_BYTES_OF_A_PROBABILITY = 16
"""Measured: 15 to 16, with and without resampling."""


def how_to_use(weights: Weights) -> str:
    """Return the sections of a bundle's model card that say how to run the model and how to train it further.

    Args:
        weights: the model that the bundle holds.

    Returns:
        Markdown, with headings of the second level. Its Python code runs in the bundle's folder.
    """
    job = weights.job
    needed = _BYTES_OF_A_PROBABILITY * (1 + len(job.segmentation.classes))
    values = {"background": 0, **job.segmentation.written_values}
    return _USAGE.format(
        monai=version("monai"),
        values=", ".join(f"{value} is {name}" for name, value in values.items()),
        images=_images(job.data),
        bytes=needed,
        gib=needed * _BIG_SCAN / 2**30,
    )


def _images(data: DataSettings) -> str:
    if data.is_ct:
        return "CT in Hounsfield units"
    return f"one file with the channels {', '.join(data.channels)}, in this order, as its fourth dimension"
