"""The command ``fedswin``: each subcommand parses, calls one function, and prints."""

from __future__ import annotations

import logging
import sys
import warnings

import typer

from fedswin.cli import bench, data, experiment, federation, local_federation, models, report, site, training
from fedswin.cli.screen import stderr
from fedswin.errors import FedSwinError

app = typer.Typer(
    help="Pre-train and fine-tune a Swin UNETR on CT together, without sharing a scan.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(data.app, name="data")
app.add_typer(site.app, name="site")
app.add_typer(local_federation.app, name="federation")
for commands in (training, models, report, experiment, federation, bench):
    app.add_typer(commands.app)


def main() -> None:
    """Run the command line; a `FedSwinError` becomes one message and exit code 1."""
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
    try:
        app()
    except FedSwinError as error:
        stderr.print(f"Error: {error}", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
