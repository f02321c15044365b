"""Hosts Ray Tune's trials as threads of the driver instead of one process each.

Why. A thin trial trains nothing: it asks its engine, an actor with a process of its own, to advance. Yet Tune gives it
a process, and each costs 2.3 CPU seconds to import Ray and Tune: on 2 cores, 8 trials took 21 s to start and 16 took
36 s, while the engine was ready after 8 s. As threads, 16 trials start in a few hundredths of a second, and a report
costs no message to another process.

How. `TuneController` starts, calls and stops trials through one object, its `RayActorManager`. Inside `hosted()` that
name means `ThreadActorManager`: an "actor" is a `_Handle` that owns a `Trainable` and a thread,
`handle.method.remote()` returns a `concurrent.futures.Future`, and `next` waits for futures instead of object
references. Everything above it is Tune's own: searcher, scheduler, retries, reuse of actors, checkpoints, callbacks.
This hooks into a private module of Ray, so constraints.txt pins Ray, and a test fails if the name moves.

What is lost: trials cannot run on other nodes (they have nothing to do there: engines can), they do not show in Ray's
dashboard (engines do), a crash of the driver takes them along (it would end the study in any case, and `--resume` goes
on), and Tune's resource requests for trials mean nothing (the pool's slots do).
"""

from __future__ import annotations

import contextlib
import copy
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.air.execution._internal.event_manager import RayEventManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution.resources import AcquiredResources, ResourceManager, ResourceRequest
from ray.exceptions import RayTaskError
from ray.tune.execution import tune_controller

_Call = tuple[Future[Any], str, tuple[Any, ...], dict[str, Any]]


@contextlib.contextmanager
def hosted() -> Iterator[None]:
    """Within this context `Tuner.fit()` runs its trials as threads of this process."""
    controller: Any = tune_controller
    stock = controller.RayActorManager
    controller.RayActorManager = ThreadActorManager
    try:
        yield
    finally:
        controller.RayActorManager = stock


class _Method:
    """`handle.method`: what has `.remote()`."""

    def __init__(self, handle: _Handle, name: str) -> None:
        self._handle = handle
        self._name = name

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        if self._name == "get_auto_filled_metrics":
            # Tune asks this of every trial it starts, for the time before the first report, and takes a dict as well.
            return {}
        return self._handle.submit(self._name, args, kwargs)


class _Handle:
    """One trial: a Trainable that is made and called in its own thread, one call after another."""

    def __init__(self, trainable: type, kwargs: dict[str, Any], on_done: Callable[[Future[Any]], None]) -> None:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._on_done = on_done
        self._trainable: Any = trainable
        self._kwargs = kwargs
        self._thread = threading.Thread(target=self._work, name="trial", daemon=True)
        self._thread.start()

    def __getattr__(self, name: str) -> _Method:
        return _Method(self, name)

    def submit(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Queue a call; its future also arrives at the manager when it is done."""
        future: Future[Any] = Future()
        self._calls.put((future, name, args, _own_storage(kwargs)))
        return future

    def close(self) -> None:
        """End the thread after the calls that are queued."""
        self._calls.put(None)

    def _work(self) -> None:
        trainable: Any = None
        while (call := self._calls.get()) is not None:
            future, name, args, kwargs = call
            try:
                if trainable is None:
                    trainable = self._trainable(**_own_storage(self._kwargs))
                # Ray gives every actor this method; it resolves once the constructor ran.
                future.set_result(True if name == "__ray_ready__" else getattr(trainable, name)(*args, **kwargs))
            except BaseException as error:
                # Tune tells a failed call from a lost actor by this class, and only retries those two.
                failed: Any = RayTaskError
                future.set_exception(failed(name, traceback.format_exc(), error))
            self._on_done(future)


class _ThreadEvents(RayEventManager):  # type: ignore[misc,unused-ignore]
    """Tune's table of futures and callbacks, for thread futures."""

    def resolve_future(self, future: Any) -> None:
        on_result, on_error = self._tracked_futures.pop(future)
        error = future.exception()
        if error is None:
            if on_result:
                on_result(future.result())
        elif on_error:
            on_error(error)
        else:
            raise error


class _NoResources(ResourceManager):  # type: ignore[misc,unused-ignore]
    """Threads need none of Ray's resources."""

    def request_resources(self, resource_request: ResourceRequest) -> None:
        """Nothing to reserve."""

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        """Nothing was reserved."""

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        return True

    def acquire_resources(self, resource_request: ResourceRequest) -> AcquiredResources | None:
        return AcquiredResources(resource_request=resource_request)

    def free_resources(self, acquired_resource: AcquiredResources) -> None:
        """Nothing was taken."""

    def clear(self) -> None:
        """Nothing is held."""


class ThreadActorManager(RayActorManager):  # type: ignore[misc,unused-ignore]
    """Tune's actor manager with threads for actors. See the module."""

    def __init__(self, resource_manager: ResourceManager) -> None:
        super().__init__(resource_manager=_NoResources())
        self._actor_state_events = _ThreadEvents()
        self._actor_task_events = _ThreadEvents()
        self._done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()

    def next(self, timeout: float | None = None) -> bool:
        """Start what is pending, then wait up to `timeout` seconds for one future and run its callbacks."""
        if self._try_kill_actor():
            return True
        self._try_start_actors()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            try:
                future: Any = self._done.get(timeout=None if left is None else max(left, 0.0))
            except queue.Empty:
                return False
            for events in (self._actor_state_events, self._actor_task_events):
                if future in events._tracked_futures:
                    events.resolve_future(future)
                    return True
            # Tune has let go of this one: its trial was stopped meanwhile.

    def _try_start_actors(self, max_actors: int | None = None) -> int:
        started = 0
        for request, pending in self._resource_request_to_pending_actors.items():
            while pending and (max_actors is None or started < max_actors):
                actor = pending.pop(0)
                actor_class, kwargs, _ = self._pending_actors_to_attrs.pop(actor)
                handle: Any = _Handle(actor_class.__ray_metadata__.modified_class, kwargs, self._done.put)
                acquired: Any = self._resource_manager.acquire_resources(request)
                self._live_actors_to_ray_actors_resources[actor] = (handle, acquired)
                self._track_start(actor, handle.submit("__ray_ready__", (), {}))
                self._enqueue_cached_actor_tasks(tracked_actor=actor)
                started += 1
        return started

    def _track_start(self, actor: TrackedActor, future: Any) -> None:
        self._tracked_actors_to_state_futures[actor].add(future)
        self._actor_state_events.track_future(
            future=future,
            on_result=lambda _: self._actor_start_resolved(tracked_actor=actor, future=future),
            on_error=lambda error: self._actor_start_failed(tracked_actor=actor, exception=error),
        )

    def _try_kill_actor(self) -> bool:
        if not self._live_actors_to_kill:
            return False
        self._actor_stop_resolved(self._live_actors_to_kill.pop())
        return True

    def _cleanup_actor(self, tracked_actor: TrackedActor) -> None:
        handle, _ = self._live_actors_to_ray_actors_resources[tracked_actor]
        super()._cleanup_actor(tracked_actor)
        handle.close()

    def cleanup(self) -> None:
        """End all threads; the manager is empty afterwards."""
        for handle, _ in self._live_actors_to_ray_actors_resources.values():
            handle.close()
        self.__init__(resource_manager=self._resource_manager)  # type: ignore[misc]


def _own_storage(kwargs: dict[str, Any]) -> dict[str, Any]:
    # Sent to a process, a trial's storage context would be a copy; driver and trial both count checkpoints in theirs.
    return {name: copy.copy(value) if name == "storage" else value for name, value in kwargs.items()}
