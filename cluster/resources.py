"""What each part of a job asks of the cluster: CPU cores, a GPU, memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """The resources of one worker or style."""

    cpus: int
    gpus: int
    memory: int = 0  # bytes; 0 asks for none

    @property
    def threads(self) -> int | None:
        """The threads of one operation on the CPU; None where a GPU computes."""
        return None if self.gpus else self.cpus


def share_of(
    nodes: Sequence[Mapping[str, float]], parts: int, *, cpus_each: int | None, memory: int = 0
) -> Share:
    """Returns the resources of each of `parts` that work at the same time on nodes with, for example, {"CPU": 8.0}.

    cpus_each: CPU cores, or None for as many as let all parts run at once, at least 1; with GPUs, 1.
    memory: bytes that each part needs on a CPU. No more is asked for than the largest node has, for the part itself
    explains better than a scheduler why it cannot start.
    """
    if any(node.get("GPU", 0) >= 1 for node in nodes):
        return Share(cpus_each or 1, 1)
    most = int(max((node.get("memory", 0) for node in nodes), default=0))
    return Share(cpus_each or _most_cpus(nodes, parts), 0, min(memory, most))


def _most_cpus(nodes: Sequence[Mapping[str, float]], parts: int) -> int:
    cores = [int(node.get("CPU", 0)) for node in nodes]
    fitting = (
        cpus for cpus in range(max(cores, default=0), 0, -1) if sum(core // cpus for core in cores) >= parts
    )
    return next(fitting, 1)


def places(nodes: Sequence[Mapping[str, float]], share: Share) -> int:
    """Returns how many parts with this share the nodes hold at once, free or not."""
    wanted = {"CPU": share.cpus, "GPU": share.gpus, "memory": share.memory}
    return sum(
        min(int(node.get(name, 0) // amount) for name, amount in wanted.items() if amount) for node in nodes
    )


def nodes_of_cluster() -> list[dict[str, float]]:
    """Returns the resources of each living node of the cluster that this process has joined."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
