"""Which processes train together: from ``TF_CONFIG``, TensorFlow's convention, or from Slurm.

    TF_CONFIG='{"cluster": {"worker": ["a:2222", "b:2222"]},
                "task": {"type": "worker", "index": 0}}'

Within a job step of Slurm (srun) nothing needs to be set.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Mapping

from dnnlib.errors import UserError

TASK_TYPES = ("chief", "worker")
_FIRST_PORT, _PORTS = 20000, 10000  # of jobs of Slurm


@dataclass(frozen=True)
class Cluster:
    """The processes of a training, and which of them this one is."""

    addresses: tuple[str, ...]  # "host:port" of each worker; the first one leads
    rank: int


def find_cluster(environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """The cluster that environment variables describe; None if this process is alone.

    Raises:
      UserError: they contradict themselves.
    """
    if environment.get("TF_CONFIG"):
        cluster = _from_tf_config(environment["TF_CONFIG"])
    elif environment.get("SLURM_STEP_NUM_TASKS"):
        cluster = _from_slurm(environment)
    else:
        return None
    return cluster if len(cluster.addresses) > 1 else None


def _from_tf_config(text: str) -> Cluster:
    form = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
    try:
        config = json.loads(text)
        jobs = {name: [str(address) for address in config["cluster"][name]] for name in
                config["cluster"]}  # fmt: skip
        kind, index = config["task"]["type"], int(config["task"]["index"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"TF_CONFIG={text}: must have the form {form}") from None
    for name in [*jobs, kind]:
        if name not in TASK_TYPES:
            raise UserError(
                f"TF_CONFIG: tasks of the type {name!r} have no part in synchronous training; "
                f"use {' and '.join(TASK_TYPES)}, as in {form}"
            )
    addresses = [*jobs.get("chief", []), *jobs.get("worker", [])]
    rank = index + (len(jobs.get("chief", [])) if kind == "worker" else 0)
    if not 0 <= index < len(jobs.get(kind, [])):
        raise UserError(
            f"TF_CONFIG: there is no {kind} {index}, the cluster has {len(jobs.get(kind, []))}; "
            "count from 0"
        )
    wrong = [address for address in addresses if not re.fullmatch(r".+:\d+", address)]
    if wrong:
        raise UserError(f"TF_CONFIG: {wrong[0]!r} must be host:port, such as node1:2222")
    if len(set(addresses)) < len(addresses):
        raise UserError("TF_CONFIG: two workers have the same address; give each its own port")
    return Cluster(tuple(addresses), rank)


def _from_slurm(environment: Mapping[str, str]) -> Cluster:
    try:
        hosts = expand_hosts(environment["SLURM_STEP_NODELIST"])
        counts = _expand_counts(environment["SLURM_STEP_TASKS_PER_NODE"])
        rank, job = int(environment["SLURM_PROCID"]), int(environment["SLURM_JOB_ID"])
        step = int(environment.get("SLURM_STEP_ID", 0))
    except (KeyError, ValueError) as error:
        raise UserError(
            f"Slurm's environment is not understood ({error}); set TF_CONFIG, or leave Slurm's "
            "job with unset SLURM_STEP_NUM_TASKS"
        ) from error
    # Jobs that share a machine do not meet: their numbers differ.
    port = _FIRST_PORT + (job * 16 + step * 1024) % _PORTS
    addresses = [
        f"{host}:{port + task}" for host, count in zip(hosts, counts) for task in range(count)
    ]
    if len(addresses) != int(environment["SLURM_STEP_NUM_TASKS"]) or rank >= len(addresses):
        raise UserError(
            f"Slurm's environment has {len(addresses)} tasks on {', '.join(hosts)}, and "
            f"SLURM_STEP_NUM_TASKS={environment['SLURM_STEP_NUM_TASKS']}; set TF_CONFIG"
        )
    return Cluster(tuple(addresses), rank)


def expand_hosts(text: str) -> list[str]:
    """Slurm's short form of a list of hosts: "a[01-03,7],b" => a01, a02, a03, a7, b."""
    hosts = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        match = re.fullmatch(r"([^\[]*)\[([^\]]*)\](.*)", part)
        if match is None:
            hosts.append(part)
            continue
        before, ranges, after = match.groups()
        for item in ranges.split(","):
            first, _, last = item.partition("-")
            for number in range(int(first), int(last or first) + 1):
                name = f"{before}{number:0{len(first)}d}{after}"
                hosts += expand_hosts(name) if "[" in after else [name]
    return hosts


def _expand_counts(text: str) -> list[int]:
    """Slurm's short form of numbers: "2(x3),1" => 2, 2, 2, 1."""
    counts = []
    for part in text.split(","):
        count, _, times = part.partition("(x")
        counts += [int(count)] * int(times.rstrip(")") or 1)
    return counts
