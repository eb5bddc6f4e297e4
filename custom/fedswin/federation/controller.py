"""The server's side of a study: rounds of federated averaging, each global model scored by the sites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.workflows.model_controller import ModelController

from fedswin.config import Job, load_job
from fedswin.federation import messages
from fedswin.federation.aggregator import ExactMeanAggregator
from fedswin.federation.refusal import UpdateRefusedError
from fedswin.run_folder import Record, RunFolder, round_record
from fedswin.weights.file import load_weights

_META = ("train", "cases", "steps", "seconds", "bytes_up", "bytes_down", "validation_cases")


class FederatedAveraging(ModelController):
    """Federated averaging (McMahan et al., 2017) whose records are about the model that they name.

    In round r the sites score global model r, train it, and return it; their mean is global model r + 1.
    So the score of a model is known one task later, the last model gets a task of its own, and every
    global model from 0 to R has a line in ``metrics.jsonl``.

    The job and the initial weights come from the app's ``config`` folder.
    """

    def __init__(self, aggregator_id: str = "aggregator") -> None:
        super().__init__(persistor_id="", ignore_result_error=True, task_check_period=0.1)
        self._aggregator_id = aggregator_id

    def run(self) -> None:
        """Run the study."""
        config = Path(self.engine.get_workspace().get_app_config_dir(self.fl_ctx.get_job_id()))
        self._job: Job = load_job(config / messages.JOB_FILE)
        self._folder = RunFolder(Path(self.get_run_dir()), self._job)
        self._aggregator: ExactMeanAggregator = self.get_component(self._aggregator_id)
        initial = load_weights(config / messages.INITIAL_WEIGHTS)
        model = FLModel(
            params={name: tensor.numpy() for name, tensor in initial.tensors.items()},
            params_type=ParamsType.FULL,
        )
        sites = self._enrol()
        if len(sites) < self._job.federation.min_sites:
            self.panic(f"{len(sites)} sites can take part, federation.min_sites is {self._job.federation.min_sites}.")
            return
        self._average(model, sites)

    def _enrol(self) -> list[str]:
        """Ask every site for its number of cases; return those that have something to train on."""
        sites = []
        for reply in self.send_model_and_wait(messages.PREPARE, FLModel(metrics={}), self.sample_clients()):
            name = reply.meta["client_name"]
            if error := reply.meta.get("error"):
                self.warning(f"{name} does not take part: {error}")
            elif not reply.meta.get("cases"):
                self.warning(f"{name} does not take part: it has no case to train on")
            else:
                sites.append(name)
        return sorted(sites)

    def _average(self, model: FLModel, sites: list[str]) -> None:
        record: Record = {"status": "initial"}
        reports: dict[str, Record] = {}
        for number in range(self._job.federation.rounds):
            model.current_round, model.total_rounds = number, self._job.federation.rounds
            self._aggregator.start_round(model)
            replies = self._ask(messages.TRAIN, model, sites)
            if self.abort_signal.triggered:
                return
            self._close_round(number, record, reports, replies, model)
            model, record, reports = self._next_model(model, sites, replies)
            self._folder.save_last(_tensors(model), number + 1)
        model.current_round = self._job.federation.rounds
        replies = self._ask(messages.VALIDATE, model, sites)
        self._close_round(model.current_round, record, reports, replies, model)

    def _ask(self, task: str, model: FLModel, sites: list[str]) -> dict[str, FLModel]:
        """Send ``model`` to the sites and return their answers, in the order of the sites' names."""
        sent = FLModel(
            params=dict(model.params),
            params_type=ParamsType.FULL,
            current_round=model.current_round,
            total_rounds=model.total_rounds,
        )
        replies = {reply.meta["client_name"]: reply for reply in self.send_model_and_wait(task, sent, sites)}
        return dict(sorted(replies.items()))

    def _next_model(
        self, model: FLModel, sites: list[str], replies: dict[str, FLModel]
    ) -> tuple[FLModel, Record, dict[str, Record]]:
        """Average the answers; below ``min_sites`` the old model stays and the round counts as failed."""
        refused = []
        for name, reply in replies.items():
            try:
                self._aggregator.accept_model(reply)
            except UpdateRefusedError as reason:
                self.warning(f"The update of {name} is refused: {reason}")
                refused.append({"site": name, "reason": str(reason)})
        refused_names = {entry["site"] for entry in refused}
        accepted = [name for name in replies if name not in refused_names]
        outcome = {"refused": refused, "missing": [name for name in sites if name not in replies]}
        reports = {name: _report(replies[name]) for name in accepted}
        if len(accepted) < self._job.federation.min_sites:
            self.error(f"Round failed: {len(accepted)} updates, {self._job.federation.min_sites} needed.")
            return model, {"status": "failed", **outcome}, reports
        return self._aggregator.aggregate_model(), {"status": "ok", **outcome}, reports

    def _close_round(
        self,
        number: int,
        record: Record,
        reports: dict[str, Record],
        replies: dict[str, FLModel],
        model: FLModel,
    ) -> None:
        """Write the line about global model ``number``: how it was made, and how the sites score it now."""
        sites: dict[str, Record] = {name: dict(report) for name, report in reports.items()}
        for name, reply in replies.items():
            cases = reply.meta.get("validation_cases")
            sites.setdefault(name, {}).update(metrics=reply.metrics or {}, validation_cases=cases)
        self._folder.close_round(round_record(number, sites=sites, **record), _tensors(model))


def _report(reply: FLModel) -> dict[str, Any]:
    return {"weight": reply.meta["cases"], **{key: reply.meta[key] for key in _META if key in reply.meta}}


def _tensors(model: FLModel) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in model.params.items()}
