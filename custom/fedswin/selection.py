"""Which global model of a study is the best, by the scores of the sites, and when to stop looking for a better one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Literal

from fedswin.training.scores import global_scores


@dataclass(frozen=True)
class Selection:
    """The best of the global models so far; `after` returns the selection that has seen one more.

    Two models are compared on the sites that scored both of them, since any model looks good while a hard site is away.
    Of two equal models the earlier is the better one. As long as no site scores anything, the newest model is as good
    as any, and counts as the best.

    Attributes:
        metric: the metric that decides.
        mode: whether less or more of it is better.
        patience: so many models in a row without a new best one are enough; ``None`` never stops.
        best: of the best model's record ``round``, ``global``, and of each of the ``sites`` that scored it ``metrics``,
            ``validation_cases`` and ``scored``; ``None`` before the first model.
        without_gain: how many models have been compared with the best one since, and were no better.
        note: what a person should know about the newest comparison, in a sentence, if anything.
    """

    metric: str
    mode: Literal["min", "max"]
    patience: int | None = None
    best: Mapping[str, Any] | None = None
    without_gain: int = 0
    note: str | None = None

    @property
    def should_stop(self) -> bool:
        """Whether as many models as ``patience`` says brought no gain."""
        return self.patience is not None and self.without_gain >= self.patience

    def after(self, record: Mapping[str, Any]) -> Selection:
        """Return the selection that has also seen ``record``, a line of ``metrics.jsonl``."""
        if record["status"] == "failed":  # it is the model of the round before
            return replace(self, note=None)
        new = self._scored_part(record)
        if self.best is None or not self.best["sites"]:
            return replace(self, best=new, without_gain=0, note=None)
        both = sorted(self.best["sites"].keys() & new["sites"].keys())
        compared = replace(self, note=_note(self.best, new, both))
        if not both:
            return compared
        if self._is_better(new, self.best, both):
            return replace(compared, best=new, without_gain=0)
        # A resumed study may score anew what came before its best model: that is no time without gain.
        return replace(compared, without_gain=self.without_gain + (new["round"] > self.best["round"]))

    def after_all(self, records: Sequence[Mapping[str, Any]]) -> Selection:
        """Return the selection that has also seen ``records``, one after the other."""
        return reduce(Selection.after, records, self)

    def resumed(self, chosen: Mapping[str, Any] | None, kept: Sequence[Mapping[str, Any]]) -> Selection:
        """Return the selection with which an interrupted study goes on.

        Args:
            chosen: what `best` was when ``best.pt`` was written, which may be later than the last record kept; ``None``
                if there is no such file, and then the next model is the best.
            kept: the records before the round that the study goes on with.
        """
        if chosen is None:
            return self
        best = {key: chosen[key] for key in ("round", "global", "sites")}
        since = [record for record in kept if record["round"] > best["round"]]
        return replace(self, best=best).after_all(since)

    def _scored_part(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        sites = {
            name: {key: site[key] for key in ("metrics", "validation_cases", "scored") if key in site}
            for name, site in record["sites"].items()
            if self.metric in global_scores({name: site})
        }
        return {"round": record["round"], "global": record["global"], "sites": sites}

    def _is_better(self, new: Mapping[str, Any], old: Mapping[str, Any], sites: Sequence[str]) -> bool:
        a, b = (global_scores({name: model["sites"][name] for name in sites})[self.metric] for model in (new, old))
        return a > b if self.mode == "max" else a < b


def _note(old: Mapping[str, Any], new: Mapping[str, Any], both: Sequence[str]) -> str | None:
    if len(both) == len(old["sites"]) == len(new["sites"]):
        return None
    models = f"global model {new['round']} and the best one so far, {old['round']}"
    if not both:
        return f"No site scored both {models}, which stays the best."
    return f"Compared on the sites that scored both {models}: {', '.join(both)}."
