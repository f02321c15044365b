"""Connecting to Ray: the cluster that is named by the environment, else one started on this machine for one study.

Inside a submitted job, or wherever RAY_ADDRESS is set, that cluster is used and left running. Otherwise Ray starts
here, listens on 127.0.0.1 only, asks for a token, and ends with the study. The dashboard is not started then: it costs
1.5 of the 7 seconds that Ray takes to come up on 2 cores, and the study has its own progress display; `ray start
--head` has one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from tuner.device import COMPUTE_ENVIRONMENT
from tuner.device_host import cores
from tuner.errors import StudyError

log = logging.getLogger(__name__)

_REACH_S = 5.0
_LOCAL_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux this keeps every listener on the loopback interface
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray runs workers at nice 15 by default: anything else on the machine would stop the training threads.
    "RAY_worker_niceness": "0",
    # One worker a core would be started in advance, each importing Ray while the engine waits to start its own.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
}


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """Within this context Ray is connected. Raises StudyError if the cluster cannot be reached or Ray cannot start."""
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        for name, value in {**_LOCAL_ENVIRONMENT, **COMPUTE_ENVIRONMENT}.items():
            os.environ.setdefault(name, value)
        _let_workers_import_us()
    import ray

    if ray.is_initialized():
        yield
        return
    _start(address)
    try:
        yield
    finally:
        ray.shutdown()


def _start(address: str | None) -> None:
    import ray
    from ray._private import ray_constants

    # Ray writes the token with the rights of the umask; others on this machine must not read it.
    before = os.umask(0o077)
    try:
        if address:
            _check_reachable(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            # Ray read the variable when it was imported, which may have been before it was set here.
            ray_constants.ENABLE_RAY_CLUSTER = False
            apple = sys.platform == "darwin" and platform.machine() == "arm64"
            ray.init(
                address="local",
                num_cpus=cores(),
                # Ray would call an Apple GPU "GPU", and an engine on it would look for CUDA.
                num_gpus=0 if apple else None,
                resources={"mps": 1} if apple else None,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if address:
            raise StudyError(
                f"the Ray cluster at RAY_ADDRESS = {address!r} cannot be reached: {reason}. Check that it runs "
                "(ray status) and that RAY_AUTH_MODE=token is set if it asks for a token; or unset RAY_ADDRESS to run "
                "on this machine."
            ) from error
        raise StudyError(f"Ray cannot start on this machine: {reason}. `tuner doctor` says more.") from error
    finally:
        os.umask(before)
    protect_token()


def _check_reachable(address: str) -> None:
    """Raises OSError if nothing listens there. Ray itself waits a minute for a cluster and then ends the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()


def token_path() -> Path:
    """Where Ray keeps the token of this user."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def protect_token() -> None:
    """Make Ray's token readable by its owner only; a token that is not there, or not ours, is left alone."""
    path = token_path()
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
            log.info("%s was readable by others and is not any more", path)
    except OSError as error:
        log.debug("the token %s was left as it is: %s", path, error)


def _let_workers_import_us() -> None:
    # A checkout that is not installed is found through the working directory, which Ray's workers do not share.
    root = str(Path(__file__).resolve().parents[1])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if root not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, paths)])
