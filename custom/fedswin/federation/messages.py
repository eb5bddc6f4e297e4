"""The words that server and sites exchange beside the tensors: task names, keys, environment variables."""

from __future__ import annotations

PREPARE = "prepare"
"""Read the data and say how many cases there are."""
TRAIN = "train"
"""Score the model that came, train it, send it back."""
VALIDATE = "validate"
"""Score the model that came."""

ALIVE = "fedswin_alive"
"""The topic of a site's sign of life."""
END_SEGMENT = "fedswin_end_segment"
"""The topic of the command that ends a running job after its round."""
SHOW_STUDY = "fedswin_show_study"
"""The topic of the command that asks a running job how far its study is; ``known`` is the number of
records that the asker has."""
STUDY = "fedswin_study"
"""The key of a job's meta that names the study it goes on with: the id of the study's first job."""

FIRST_STEP = "fedswin_first_step"
"""The property of a job's context at the server that holds the first step of training that the job makes."""

JOB_FILE = "job.yaml"
"""The job, in the ``config`` folder of every app."""
INITIAL_WEIGHTS = "initial.pt"
"""Global model 0, in the ``config`` folder of the server's app."""

SITE_DATA_VARIABLE = "FEDSWIN_SITE_DATA"
"""Environment variable of a real site: its data folder."""
STUDIES_VARIABLE = "FEDSWIN_STUDIES"
"""Environment variable of a real server or site: where it keeps the state of studies."""
SITES_DATA_VARIABLE = "FEDSWIN_SITES_DATA"
"""Environment variable of the simulator: the folder of all site folders."""
RUN_VARIABLE = "FEDSWIN_RUN"
"""Environment variable of the simulator: the run folder, which is the folder of its one study."""
JOB_FILE_VARIABLE = "FEDSWIN_JOB_FILE"
"""Environment variable by which the executor tells the trainer where the job file is."""
STUDY_FOLDER_VARIABLE = "FEDSWIN_STUDY_FOLDER"
"""Environment variable by which the executor tells the trainer where the study's folder is."""
