"""The words that server and sites exchange beside the tensors: task names and keys of the reply."""

from __future__ import annotations

PREPARE = "prepare"
"""Read the data and say how many cases there are."""
TRAIN = "train"
"""Score the model that came, train it, send it back."""
VALIDATE = "validate"
"""Score the model that came."""

JOB_FILE = "job.yaml"
"""The job, in the ``config`` folder of every app."""
INITIAL_WEIGHTS = "initial.pt"
"""Global model 0, in the ``config`` folder of the server's app."""

JOB_FILE_VARIABLE = "FEDSWIN_JOB_FILE"
"""Environment variable by which the executor tells the trainer where the job file is."""
SITE_DATA_VARIABLE = "FEDSWIN_SITE_DATA"
"""Environment variable of a real site: its data folder."""
SITES_DATA_VARIABLE = "FEDSWIN_SITES_DATA"
"""Environment variable of the simulator: the folder of all site folders."""
