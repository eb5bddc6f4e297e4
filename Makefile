# make simulate and make test need only Python 3.10 or newer: they install what is missing first.
PYTHON ?= python3
RUN_DIR ?= runs/demo
SCENARIO := simulator/three_phantom_hospitals.yaml
PYTEST_ARGS ?=
CONSTRAINTS := constraints-py311.txt
TORCH ?= $(shell sed -n 's/^torch==//p' $(CONSTRAINTS))
# Used only on Linux without an NVIDIA GPU, where PyPI's torch would bring CUDA; see .ci/install.
TORCH_BUILD ?= auto
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
export PYTHON TORCH TORCH_BUILD TORCH_CPU_INDEX

# NVFlare starts processes of its own as `python3`: they must find the environment's.
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH"
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install simulate pictures results test test-long lint format lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED) ## make .venv with the project and all it needs

$(INSTALLED): pyproject.toml $(CONSTRAINTS) .ci/install
	@.ci/install .venv $(CONSTRAINTS)
	@touch $@

# Each is a command that a user may type in the environment; make shows it before it runs.
run = @echo '$$ $(strip $(1))'; $(IN_VENV) $(1)

# The scans are synthetic, so pictures of them may be collected for the report.
simulate: $(INSTALLED) ## train three phantom hospitals together, into RUN_DIR (runs/demo): 7 minutes on two cores
	$(call run,fedswin simulate jobs/demo/pretrain.yaml --data $(SCENARIO) --out "$(RUN_DIR)/pretrain" --pictures \
	  --overwrite)
	$(call run,fedswin simulate jobs/demo/finetune.yaml --data $(SCENARIO) --init "$(RUN_DIR)/pretrain" \
	  --out "$(RUN_DIR)/finetune" --pictures --overwrite)
	$(call run,fedswin train jobs/demo/finetune.yaml --data $(SCENARIO) --init "$(RUN_DIR)/pretrain" \
	  --out "$(RUN_DIR)/local" --overwrite)
	$(call run,fedswin evaluate "$(RUN_DIR)/finetune" "$(RUN_DIR)"/local/* --data $(SCENARIO) \
	  --out "$(RUN_DIR)/evaluation" --overwrite)
	$(call run,fedswin report "$(RUN_DIR)/finetune" "$(RUN_DIR)/local" "$(RUN_DIR)/pretrain" \
	  --evaluation "$(RUN_DIR)/evaluation" --out "$(RUN_DIR)/report.html" --overwrite)
	@echo
	@echo "Models, metrics and curves: $(RUN_DIR)/{pretrain,finetune,local}; the table: $(RUN_DIR)/evaluation"
	@echo "Report: $(RUN_DIR)/report.html"
	@echo "Curves: .venv/bin/tensorboard --logdir $(RUN_DIR)"

pictures: $(INSTALLED) ## the README's pictures of the runs in RUN_DIR, into simulator/; needs Chromium
	@$(IN_VENV) PYTHONPATH=tests python .ci/pictures.py "$(RUN_DIR)" simulator

results: $(INSTALLED) ## write simulator/RESULTS.md from the rows of the experiments
	$(call run,fedswin results simulator/plans/head_neck.yaml simulator/plans/sarcoma.yaml simulator/plans/phantoms.yaml \
	  simulator/plans/figure_7.yaml simulator/plans/table_4.yaml simulator/plans/figure_6.yaml \
	  simulator/plans/figure_8.yaml simulator/plans/unseen_hospital.yaml simulator/plans/figure_6_decathlon.yaml --rows simulator/results \
	  --out simulator/RESULTS.md)

test: $(INSTALLED) ## the fast tests, and one of each kind that starts NVFlare
	@$(IN_VENV) pytest -m "not long" $(PYTEST_ARGS)

test-long: $(INSTALLED) ## the slow tests: the fault matrix, the refusals
	@$(IN_VENV) pytest -m long $(PYTEST_ARGS) || { code=$$?; \
	  [ $$code -ne 5 ] || echo "test-long: no test is marked long, so nothing was checked" >&2; exit $$code; }

lint: $(INSTALLED) ## ruff check, ruff format --check, mypy
	@$(IN_VENV) ruff check
	@$(IN_VENV) ruff format --check
	@$(IN_VENV) mypy

format: $(INSTALLED) ## mend what ruff can mend
	@$(IN_VENV) ruff check --fix
	@$(IN_VENV) ruff format

lock: ## write constraints-py311.txt anew from the ranges in pyproject.toml
	@.ci/lock $(CONSTRAINTS)

clean: ## remove caches and build outputs; .venv and runs/ stay
	rm -rf build dist custom/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find custom tests -name __pycache__ -prune -exec rm -rf {} +
