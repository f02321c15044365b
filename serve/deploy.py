"""The applications on Ray Serve: one a task and one at the root, each replica made from settings alone.

`application` is what a Serve config file names (`import_path: serve.deploy:application`), with the settings as `args`,
so `serve deploy` brings up what `tuner serve` does. Replicas are never reconfigured: a changed `user_config` would
restart them, and what changes while they serve, the adapters, they read from the registry.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import math
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve as ray_serve

from serve.base import base_of
from serve.desk import RemoteDesk
from serve.errors import ServeError
from serve.gateway import gateway_app
from serve.logs import log_to
from serve.problems import App
from serve.scale import scale_of
from serve.service import Service, prefix
from serve.settings import ServeSettings, TaskSettings, settings_from
from tuner import tasks
from tuner.device import KINDS, kind_of_device
from tuner.errors import ConfigError, Problem, StudyError
from tuner.registry import Registry

GATEWAY = "gateway"
NAMESPACE = "serve"
READY_S = 2.0  # that a task has to say how it is
SPARE = 64  # requests beyond the line that Ray lets in, so that the line's own answer, 429, is what they get


class Adapters:
    """A replica of one task."""

    async def __init__(self, task: str, settings: Mapping[str, Any]) -> None:  # type: ignore[misc]  # Ray awaits it
        known = settings_from(settings)
        log_to(known.log)
        replica = ray_serve.get_replica_context().replica_tag
        name = f"{prefix(task)}#{replica}"
        self._service = await Service.start(task, known, RemoteDesk(NAMESPACE), name)

    def __serve_build_asgi_app__(self) -> App:
        return self._service.app

    async def trouble(self) -> str:
        """Why this replica cannot answer, "" where it can."""
        return self._service.runtime.trouble

    async def check_health(self) -> None:
        """Ray replaces a replica for which this raises: one whose model has stopped working."""
        if not self._service.alive:
            raise RuntimeError(self._service.runtime.trouble)

    async def __del__(self) -> None:
        if hasattr(self, "_service"):  # it may have failed to start
            await self._service.close()


class Gateway:
    """The replica at the root."""

    async def __init__(self, settings: Mapping[str, Any]) -> None:  # type: ignore[misc]  # Ray awaits it
        known = settings_from(settings)
        log_to(known.log)
        self._app = gateway_app(known, RemoteDesk(NAMESPACE), lambda: _troubles(list(known.tasks)))

    def __serve_build_asgi_app__(self) -> App:
        return self._app


async def _troubles(names: list[str]) -> Mapping[str, str]:
    async def one(task: str) -> str:
        try:
            async with asyncio.timeout(READY_S):
                handle = await asyncio.to_thread(ray_serve.get_app_handle, prefix(task))
                said: str = await handle.trouble.remote()
                return said
        except TimeoutError:
            return "it does not answer"
        except Exception as error:  # Ray's errors, of which it has many: whatever it is, the task is not ready
            return str(error) if isinstance(error, ServeError) else type(error).__name__

    return dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))


def application(args: dict[str, Any]) -> Any:
    """One application: `args` hold "task" (or "gateway") and "settings", a mapping as `settings_from` takes it. Raises
    ConfigError."""
    settings = settings_from(args.get("settings") or {})
    if settings.development:
        # the address is the cluster's own here, and behind its proxy every client seems to be this machine
        rule = "a server without keys is for `tuner serve` on this machine"
        raise ConfigError(Problem("development", True, rule, "Leave it out, and make a key: tuner keys create NAME."))
    return _application(args.get("task", GATEWAY), settings)


def _application(task: str, settings: ServeSettings) -> Any:
    plain = settings.model_dump(mode="json")
    if task == GATEWAY:
        options: dict[str, Any] = {"num_replicas": 1, "max_ongoing_requests": 256, "ray_actor_options": {"num_cpus": 0}}
        return ray_serve.deployment(name=GATEWAY, **options)(ray_serve.ingress()(Gateway)).bind(plain)
    if task not in settings.tasks:
        known = ", ".join((*settings.tasks, GATEWAY))
        raise ConfigError(Problem("task", task, "it is not among the tasks of the settings", f"Use one of: {known}."))
    own, on_gpu = settings.tasks[task], _gpus(settings.tasks[task], len(settings.tasks)) > 0
    # settled here for all replicas, those that come later too: a promotion on another base must not part them
    base, revision = base_of(tasks.spec(task), own, Registry(settings.registry))
    plain["tasks"][task].update(base_model=base, revision=revision)
    scale = scale_of(task, settings, base, on_cpu=not on_gpu)
    plain["tasks"][task]["threads"] = scale.threads
    options = replica_options(own, settings, scale.replicas)
    return ray_serve.deployment(name=prefix(task), **options)(ray_serve.ingress()(Adapters)).bind(task, plain)


def replica_options(own: TaskSettings, settings: ServeSettings, replicas: int) -> dict[str, Any]:
    """What Ray Serve is asked for."""
    options: dict[str, Any] = {
        "max_ongoing_requests": own.queue + SPARE,
        "max_queued_requests": own.queue,
        "graceful_shutdown_timeout_s": settings.drain_s,
        "health_check_period_s": 5.0,
        "ray_actor_options": {"num_cpus": own.cpus, "num_gpus": _gpus(own, len(settings.tasks))},
    }
    if own.max_replicas is not None and own.max_replicas > replicas:
        options["autoscaling_config"] = {
            "min_replicas": replicas,
            "max_replicas": own.max_replicas,
            "target_ongoing_requests": max(1, own.queue // 8),
        }
    else:
        options["num_replicas"] = replicas
    return options


def _gpus(own: TaskSettings, tasks: int) -> float:
    """GPUs of a replica: what the settings say, else an equal share of one where the cluster has any. Ray hides all
    GPUs from a replica that asks for none."""
    if own.gpus is not None:
        return own.gpus
    if kind_of_device(own.device) == KINDS[-1] or not ray.is_initialized() or not ray.cluster_resources().get("GPU"):
        return 0.0
    return math.floor(100 / tasks) / 100


def deploy(settings: ServeSettings) -> None:
    """Bring every application up on the connected Ray cluster; returns when all are there. Raises StudyError if one
    cannot start."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # it logs every application it brings up
    try:
        _refuse_if_it_runs()
        ray_serve.start(http_options={"host": settings.host, "port": settings.port})
        ray_serve.run_many(
            [
                ray_serve.RunTarget(
                    target=_application(task, settings),
                    name=task if task == GATEWAY else prefix(task),
                    route_prefix="/" if task == GATEWAY else f"/{prefix(task)}",
                )
                for task in (*settings.tasks, GATEWAY)
            ]
        )
    except RuntimeError as error:
        reason = _reason() or str(error).strip().splitlines()[-1]
        ray_serve.shutdown()
        raise StudyError(f"the applications did not come up: {reason}") from error


def _refuse_if_it_runs() -> None:
    """Raises StudyError where Serve runs on the cluster already: its address is not ours to choose, and ending it would
    end what others have deployed."""
    try:
        ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace=NAMESPACE)
    except ValueError:
        return
    raise StudyError("Ray Serve runs on this cluster already. Add to it with: serve deploy cluster/serve.yaml")


def shut_down() -> None:
    """End every application, after the requests under way, and Serve with them."""
    # Ray's processes tell each other's end as if it were an error
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        ray_serve.shutdown()


def _reason() -> str:
    """The last line of what a deployment that failed says, which is the error its replica raised."""
    for app in ray_serve.status().applications.values():
        for deployment in app.deployments.values():
            lines = [line.strip() for line in deployment.message.splitlines() if line.strip()]
            if "Error" in deployment.message and lines:
                return next((line for line in reversed(lines) if "Error" in line), lines[-1])
    return ""
