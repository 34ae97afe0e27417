"""Who trains together, as TF_CONFIG or Slurm tell."""

import json

import pytest

from dnnlib.cluster import Cluster, expand_hosts, find_cluster
from dnnlib.errors import UserError


def tf_config(cluster, kind="worker", index=0):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_tf_config():
    two = {"worker": ["a:1", "b:1"]}
    assert find_cluster(tf_config(two, index=1)) == Cluster(("a:1", "b:1"), 1)
    chief = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    assert find_cluster(tf_config(chief, index=1)) == Cluster(("a:1", "b:1", "c:1"), 2)
    assert find_cluster(tf_config(chief, "chief")).rank == 0
    assert find_cluster(tf_config({"worker": ["a:1"]})) is None
    assert find_cluster({}) is None and find_cluster({"TF_CONFIG": ""}) is None


@pytest.mark.parametrize(
    "environment, message",
    [
        ({"TF_CONFIG": "{"}, r"TF_CONFIG=\{: must have the form"),
        ({"TF_CONFIG": "[]"}, "must have the form"),
        (tf_config({"ps": ["a:1"], "worker": ["b:1", "c:1"]}), "type 'ps' have no part"),
        (tf_config({"worker": ["a:1", "b:1"]}, index=2), "no worker 2, the cluster has 2"),
        (tf_config({"worker": ["a:1", "b"]}), "'b' must be host:port"),
        (tf_config({"worker": ["a:1", "a:1"]}), "two workers have the same address"),
    ],
)
def test_contradictions_are_one_line(environment, message):
    with pytest.raises(UserError, match=message) as error:
        find_cluster(environment)
    assert "\n" not in str(error.value)


def slurm(**changes):
    step = dict(NODELIST="n[08-10],z", TASKS_PER_NODE="2(x3),1", NUM_TASKS="7", ID="0")
    step = {f"SLURM_STEP_{name}": value for name, value in step.items()}
    return {**step, "SLURM_PROCID": "4", "SLURM_JOB_ID": "12", **changes}


def test_a_step_of_slurm():
    cluster = find_cluster(slurm())
    assert cluster.rank == 4
    port = int(cluster.addresses[0].split(":")[1])
    want = [f"n08:{port}", f"n08:{port + 1}", f"n09:{port}", f"n09:{port + 1}", f"n10:{port}"]
    assert cluster.addresses == (*want, f"n10:{port + 1}", f"z:{port}")
    other = find_cluster(slurm(SLURM_JOB_ID="13")).addresses
    assert not set(other) & set(cluster.addresses)
    assert find_cluster({"SLURM_JOB_ID": "12", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}) is None
    with pytest.raises(UserError, match="has 7 tasks on n08, n09, n10, z, and"):
        find_cluster(slurm(SLURM_STEP_NUM_TASKS="8"))
    with pytest.raises(UserError, match="not understood"):
        find_cluster(slurm(SLURM_PROCID="x"))


def test_lists_of_hosts():
    assert expand_hosts("a,b-1") == ["a", "b-1"]
    assert expand_hosts("a[1-2,9]-x,b") == ["a1-x", "a2-x", "a9-x", "b"]
    assert expand_hosts("r[1-2]n[01-02]") == ["r1n01", "r1n02", "r2n01", "r2n02"]
