"""Two processes that train one site together, for tests: what each of them holds in the end is left in a folder."""

from __future__ import annotations

from pathlib import Path

import torch

from fedswin.config import Job
from fedswin.data.datalist import Site
from fedswin.training.distributed import Ranks, RoundFailedError, joined
from fedswin.training.journal import Journal
from fedswin.training.site_trainer import SiteTrainer
from fedswin.weights.file import load_parameters, parameters


def train(rank: int, job: Job, site: Site, folder: Path) -> None:
    """Train a round that fails in process 1, then the same again, and save the model and the optimizer."""
    with joined(rank, 2, folder / "meeting", device=torch.device("cpu")) as ranks:
        told = site if rank == 0 else ranks.tell()
        assert told == site
        trainer = SiteTrainer(job, site, Journal(folder / str(rank)), lambda *_: None, ranks)
        _fail_once(trainer, rank)
        if rank == 0:
            report = _lead(trainer, ranks)
            torch.save(report, folder / "report.pt")
        else:
            torch.nn.init.zeros_(
                next(trainer.model.parameters())
            )  # process 0 has the model; what is here counts nothing
            trainer.follow()
        torch.save({"model": parameters(trainer.model), "trainer": trainer.state_dict()}, folder / f"{rank}.pt")


def _lead(trainer: SiteTrainer, ranks: Ranks) -> dict[str, float]:
    model, state = parameters(trainer.model), trainer.state_dict()
    try:
        trainer.train(0)
    except RoundFailedError:
        assert not ranks.is_broken
    else:
        raise AssertionError("process 1 has failed, and process 0 has not noticed")
    load_parameters(trainer.model, model, "the model of before")
    trainer.load_state_dict(state)
    done = trainer.train(0)
    ranks.tell(None)
    return done.train


def _fail_once(trainer: SiteTrainer, rank: int) -> None:
    """In process 1 the second batch cannot be read at first."""
    read, failures = trainer.task.batch, iter([OSError("/data/secret/patient7.nii.gz")])

    def batch(number: int) -> object:
        if rank == 1 and number == 3 and (failure := next(failures, None)):
            raise failure
        return read(number)

    trainer.task.batch = batch
