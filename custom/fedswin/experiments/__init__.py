"""Experiments: a plan is a grid of runs; what is missing of it is run, and a table, a plot and a CSV tell the rest.

`plan.py` is what a plan file holds, `cells.py` the grid, `counts.py` how many runs it has, `dealing.py` which case of
which site a run trains on and is tested on, `kept_patients.py` whom no run trains on, `work.py` one run, `schedule.py`
their order, and `experiment.py` all of it. `rows.py` is the CSV; `learning.py` (has the encoder learned?), `paired.py`
(differences and intervals), `summary.py`, `conclusions.py`, `table.py`, `plot.py` and `results.py` tell what is in it,
and read nothing else.
"""
