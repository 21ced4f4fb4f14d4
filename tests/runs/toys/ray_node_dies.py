"""Two nodes on this machine: one step runs on the first, one waits for its memory, and the node is killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ray.cluster_utils import Cluster

from oversight.runs.pools.pool import Blueprint, Died, Event, Order, Reported
from oversight.runs.pools.ray import RayPool

log, store = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
large = cluster.add_node(num_cpus=1, memory=4 * 2**30)
small = cluster.add_node(num_cpus=1, memory=2**29)
cluster.wait_for_nodes()
document = {"others": {"fragile": 1, "draw": 1}, "log": log}
plan = Blueprint(builder="ray_toy:build", document=document, store=store)
keys = {step.kind: key for key, step in plan.build().steps.items()}
pool = RayPool(plan, cluster.address)
orders = {"ray 1": "fragile", "ray 2": "draw"}


def start(worker: str) -> None:
    """Hand out a step that asks for more memory than the second node has."""
    pool.start(worker, Order(keys=(keys[orders[worker]],), memory_bytes=3 * 2**30))


def gather(kind: type[Died] | type[Reported]) -> dict[str, Event]:
    """The next event of both workers."""
    found: dict[str, Event] = {}
    while len(found) < 2:
        pool.idle()
        for event in pool.wait(0.2):
            assert isinstance(event, kind), event
            found[event.worker] = event
    return found


assert pool.size == 2
start("ray 1")
while not Path(log + ".pid").exists():
    time.sleep(0.02)
start("ray 2")
cluster.remove_node(large, allow_graceful=False)
print("toy:", {worker: event.reason.partition(":")[0] for worker, event in sorted(gather(Died).items())})
assert pool.size == 1
for worker in orders:
    start(worker)
print("toy:", sum(len(event.report.made) for event in gather(Reported).values()))
pool.close()
cluster.shutdown()
