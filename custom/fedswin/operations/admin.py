"""A person's session with the server of a federation."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from nvflare.apis.fl_exception import FLCommunicationError
from nvflare.fuel.flare_api import api_spec
from nvflare.fuel.flare_api.flare_api import Session
from nvflare.fuel.hci.client.file_transfer import FileTransferModule

from fedswin.errors import FedSwinError
from fedswin.federation import messages

COMPLETED = "FINISHED:COMPLETED"
"""The state of a job that ended as it should."""

_LOGIN_SECONDS = 15.0
_POLL_SECONDS = 1.0
_CHUNK_SECONDS = 120.0
_ENDED = "FINISHED"
_SERVER_ERRORS = (
    api_spec.InternalError,
    api_spec.InvalidJobDefinition,
    api_spec.NoReply,
    api_spec.SessionClosed,
    FLCommunicationError,
    RuntimeError,
)


class Federation:
    """A session with the server, as the person that a kit belongs to; a context manager.

    Args:
        kit: the kit of a person.
        login_seconds: how long to try to connect.

    Raises:
        FedSwinError: on entering, if the kit is none of a person, or the server cannot be reached or does
            not accept it. Every method raises it too, if the server refuses or cannot be reached any more.
    """

    def __init__(self, kit: Path, login_seconds: float = _LOGIN_SECONDS) -> None:
        self._kit = kit
        self._login_seconds = login_seconds
        about = _read_admin_config(kit)
        self._user: str = about["username"]
        self._server = f"{about['host']}:{about['port']}"
        self._session: Session = None

    def __enter__(self) -> Federation:
        logging.getLogger("nvflare").addHandler(logging.NullHandler())  # else its warnings go to the terminal
        with self._plain_errors():
            self._session = Session(self._user, str(self._kit.absolute()))
            try:
                self._session.try_connect(self._login_seconds)
            except BaseException:
                self._close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def connected_sites(self) -> list[str]:
        """Return the names of the sites that are connected to the server."""
        with self._plain_errors():
            return sorted(client.name for client in self._session.get_connected_client_list())

    def submit(self, folder: Path) -> str:
        """Submit the NVFlare job in ``folder`` and return its id."""
        with self._plain_errors():
            return self._session.submit_job(str(folder.absolute()))

    def end_segment(self, job_id: str) -> bool:
        """Ask a job to end after the round that is under way.

        Returns:
            Whether it will; not if it does not run, though the server may list it so: it was killed with the job.
        """
        with self._plain_errors():
            try:
                self._session.do_app_command(job_id, messages.END_SEGMENT, {})
            except api_spec.JobNotRunning:
                return False
        return True

    def show_study(self, job_id: str, known: int) -> dict[str, Any]:
        """Return the job, the status of its study, and the records but for the first ``known``.

        Returns:
            Nothing if the job does not run, or is still starting.
        """
        with self._plain_errors():
            try:
                return self._session.do_app_command(job_id, messages.SHOW_STUDY, {"known": known})
            except (api_spec.JobNotRunning, api_spec.NoReply):  # its process comes up, or goes
                return {}
            except api_spec.InternalError as error:
                if f"no app command func for topic {messages.SHOW_STUDY}" in str(error):  # it is starting
                    return {}
                raise

    def job(self, job_id: str) -> dict[str, Any]:
        """Return what the server knows of a job, its ``status`` among it."""
        with self._plain_errors():
            return self._session.get_job_meta(job_id)

    def jobs(self) -> list[dict[str, Any]]:
        """Return what the server knows of each job, the newest first."""
        with self._plain_errors():
            return self._session.list_jobs(detailed=True, reverse=True)

    def abort(self, job_id: str) -> None:
        """Stop a job at once, at the server and at its sites; one that waits will not start."""
        with self._plain_errors():
            self._session.abort_job(job_id)

    def wait(self, job_id: str, timeout: float | None = None) -> dict[str, Any]:
        """Wait until a job has ended, and return what the server knows of it.

        Raises:
            FedSwinError: if it has not ended after ``timeout`` seconds.
        """
        started = time.monotonic()
        while not has_ended(about := self.job(job_id)):
            if timeout is not None and time.monotonic() - started > timeout:
                raise FedSwinError(
                    f"Job {job_id} is {about['status'].lower()}, {timeout:g} s after the wait for it began. It goes "
                    "on; fetch it later."
                )
            time.sleep(_POLL_SECONDS)
        return about

    def download(self, job_id: str, folder: Path) -> Path:
        """Download the result of a job that has ended into ``folder``, and return where it lies there."""
        with self._plain_errors():
            self._session.api.file_download_progress_timeout = _CHUNK_SECONDS  # 5 s is too short for a busy server
            for module in self._session.api.cmd_modules:
                if isinstance(module, FileTransferModule):
                    module.download_dir = str(folder.absolute())  # and not the kit
            location = self._session.download_job_result(job_id)
        if not location or not Path(location).is_dir():
            raise FedSwinError(f"The server has no result of job {job_id}.")
        return Path(location)

    def log(self, job_id: str) -> str:
        """Return the server's log of a job, empty if it has none."""
        with self._plain_errors():
            return self._session.get_job_logs(job_id)["logs"].get("server", "")

    def _close(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            self._session.close()

    @contextlib.contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """Turn NVFlare's errors into ours, with what it prints meanwhile, and keep that off the terminal."""
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                yield
        except api_spec.JobNotFound as error:
            raise FedSwinError(f"The server at {self._server} knows no such job: {error}.") from None
        except api_spec.JobNotDone as error:
            raise FedSwinError(f"{error}. Fetch it when it has ended, or wait for it.") from None
        except api_spec.AuthorizationError as error:
            raise FedSwinError(f"{self._user} may not do this: {error}. Ask a lead or project_admin.") from None
        except (api_spec.NoConnection, api_spec.AuthenticationError) as error:
            raise FedSwinError(
                f"No connection to the server at {self._server} as {self._user}: {error}. Is the server running and "
                f"its port open from here, and is {self._kit} a kit from its last provisioning?"
            ) from None
        except _SERVER_ERRORS as error:
            said = " ".join(line for line in printed.getvalue().splitlines() if "Connecting to" not in line)
            raise FedSwinError(f"The server at {self._server}: {error} {said}".rstrip()) from error


def has_ended(about: dict[str, Any]) -> bool:
    """Whether a job has ended, well or not.

    Args:
        about: what `Federation.job` returns.
    """
    return str(about["status"]).startswith(_ENDED)


def _read_admin_config(kit: Path) -> dict[str, Any]:
    path = kit / "startup" / "fed_admin.json"
    try:
        return json.loads(path.read_text())["admin"]
    except (OSError, ValueError, KeyError):
        raise FedSwinError(
            f"{kit} is not the kit of a person: it has no readable startup/fed_admin.json. Give the folder named "
            "after a person's e-mail address among those that 'fedswin provision' made."
        ) from None
