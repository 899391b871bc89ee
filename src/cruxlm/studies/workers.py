"""Run cells one by one: in this process, in several, or over a Ray cluster.

A cell runs on one thread wherever it runs: a training's last digits depend on how its sums are
split, and what a cell finds must not depend on how many cores there are.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import islice
from multiprocessing import active_children, get_context, parent_process
from typing import Any

from cruxlm.results.scores import plain
from cruxlm.runtime.environment import package_versions, peak_memory_mib
from cruxlm.runtime.errors import MissingExtraError, OptionError, OutputError
from cruxlm.studies.stored import Ran
from cruxlm.studies.study import Cell


def ran(cells: Sequence[Cell], workers: int = 1, *, ray: bool = False) -> Iterator[Ran]:
    """Run cells and yield each as it is done.

    After a cell that raises no other is begun; those that run by then are yielded before its error
    is raised.

    Args:
        cells: The cells; with more than one worker their ``run`` must be a function of a module.
        workers: How many run at a time, each in a process of its own. One runs in this process.
        ray: Whether to run over Ray instead: the cluster of ``RAY_ADDRESS``, else this machine.

    Raises:
        OptionError: For fewer than one worker.
        OutputError: When a worker was killed, as a machine without memory does.
        MissingExtraError: When Ray is asked for and not installed.
    """
    if workers < 1:
        raise OptionError(f"workers must be 1 or more, not {workers}")
    if ray:
        return _over_ray(cells)
    workers = min(workers, len(cells))
    return map(_run, cells) if workers < 2 else _in_processes(cells, workers)


def _run(cell: Cell) -> Ran:
    began = time.perf_counter()
    with _one_thread():
        result = cell.run(**cell.options)
    return Ran(
        cell,
        plain(result),
        package_versions(),
        {
            "seconds": round(time.perf_counter() - began, 3),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "peak_memory_mib": peak_memory_mib(),
        },
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _side_by_side(
    cells: Sequence[Cell],
    most: int,
    start: Callable[[Cell], Any],
    first: Callable[[list[Any]], Any],
    result: Callable[[Any], Ran],
) -> Iterator[Ran]:
    """At most so many at a time: ``start`` begins one, ``first`` waits for one to be done."""
    left = iter(cells)
    running = [start(cell) for cell in islice(left, most)]
    failed: Exception | None = None
    while running:
        done = first(running)
        running.remove(done)
        try:
            found = result(done)
        except Exception as error:
            failed = failed or error
            continue
        yield found
        if failed is None:
            running += [start(cell) for cell in islice(left, 1)]
    if failed is not None:
        raise failed


def _in_processes(cells: Sequence[Cell], workers: int) -> Iterator[Ran]:
    others = set(active_children())
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begun)
    try:
        yield from _side_by_side(
            cells,
            workers,
            lambda cell: pool.submit(_run, cell),
            lambda running: next(iter(wait(running, return_when=FIRST_COMPLETED).done)),
            lambda done: done.result(),
        )
    except BrokenProcessPool as error:
        raise OutputError(
            "a worker was killed, perhaps for want of memory: run again with fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(active_children()) - others:
            child.terminate()


def _begun() -> None:
    """A worker ends when its parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, too, and ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()  # killed, it cannot end its workers
        os._exit(1)


def _over_ray(cells: Sequence[Cell]) -> Iterator[Ran]:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("--ray needs ray: pip install 'cruxlm[ray]'") from error
    own = not ray.is_initialized()
    if own:
        ray.init(log_to_driver=False, configure_logging=False, include_dashboard=False)
    run = ray.remote(num_cpus=1, max_retries=0)(_run)

    def result(done: Any) -> Ran:
        try:
            found: Ran = ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        return found

    try:
        yield from _side_by_side(
            cells,
            max(1, int(ray.cluster_resources().get("CPU", 1))),
            run.remote,
            lambda running: ray.wait(running, num_returns=1)[0][0],
            result,
        )
    finally:
        if own:
            ray.shutdown()
