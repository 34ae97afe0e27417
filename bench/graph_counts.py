"""What a training step has TensorFlow do on a GPU, counted on a machine without one.

    python bench/graph_counts.py [--resolution 64] [--custom-ops ref|native] [--precision ...] ...

The step is built for "/gpu:0" and given to TensorFlow's graph optimizer together with a GPU that is
only named. Counted are the nodes of the update of G (as written, as optimized with the rewriting of
layouts, and without it): all of them, convolutions, transpositions of maps, casts; the nodes of one
Adam update; and nodes that have to wait on the host.
"""

import collections
import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import common
import train_speed

from dnnlib.tflib.compat import tf

CONVOLUTIONS = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter")
TRANSPOSED = ("Transpose", "LayoutOptimizer")


def optimized(graph, target, rewrites_layout, architecture):
    """The graph of one operation after TensorFlow's graph optimizer, on a GPU that is only named.

    Args:
      graph: tf.Graph.
      target: tf.Operation to run.
      rewrites_layout: whether the optimizer may change NHWC to NCHW.
      architecture: compute capability, such as "9.0".

    Returns:
      tf.GraphDef.
    """
    from tensorflow.core.protobuf import device_properties_pb2  # noqa: PLC0415
    from tensorflow.python.grappler import cluster, tf_optimizer  # noqa: PLC0415

    devices = []
    for name, kind in (("CPU", "CPU"), ("GPU", "GPU")):
        device = device_properties_pb2.NamedDevice()
        device.name = f"/job:localhost/replica:0/task:0/device:{name}:0"
        device.properties.type = kind
        device.properties.frequency = 1500
        device.properties.num_cores = 8 if kind == "CPU" else 132
        device.properties.memory_size = 8 << 30
        if kind == "GPU":
            device.properties.environment["architecture"] = architecture
            device.properties.environment["cuda"] = "12050"
            device.properties.environment["cudnn"] = "9003"
        devices.append(device)
    config = tf.ConfigProto()
    options = config.graph_options.rewrite_options
    options.layout_optimizer = options.ON if rewrites_layout else options.OFF
    options.min_graph_nodes = -1
    with graph.as_default():
        meta = tf.train.export_meta_graph(graph=graph, clear_extraneous_savers=True)
    meta.collection_def["train_op"].node_list.value.append(target.name)
    return tf_optimizer.OptimizeGraph(
        config, meta, cluster=cluster.Cluster(disable_detailed_stats=True, devices=devices)
    )


def reached(definition, target):
    """Nodes of a GraphDef that an operation depends on."""
    nodes = {node.name: node for node in definition.node}
    found, todo = {}, [target]
    while todo:
        name = todo.pop()
        if name in found or name not in nodes:
            continue
        found[name] = nodes[name]
        todo += [other.lstrip("^").split(":")[0] for other in nodes[name].input]
    return list(found.values())


def count(nodes):
    """{what: number} of nodes."""
    kinds = collections.Counter(node.op for node in nodes)
    inserted = sum("LayoutOptimizer" in node.name for node in nodes if node.op == "Transpose")
    return dict(
        nodes=len(nodes),
        convolutions=sum(kinds[kind] for kind in CONVOLUTIONS),
        transpositions=kinds["Transpose"],
        inserted=inserted,
        casts=kinds["Cast"],
        conditionals=kinds["Switch"] + kinds["If"] + kinds["StatelessIf"],
        adam=kinds["ResourceApplyAdam"],
    )


def main():
    """Print the counts."""
    parser = common.build_parser(__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="9.0", help="compute capability of the GPU")
    parser.add_argument("--model", default="GANsformer", choices=list(common.MODELS))
    args = parser.parse_args()
    common.start(args)
    trainer = train_speed.Trainer(args.model, args, device="/gpu:0")
    results = {}
    for phase in trainer.step.phases:
        target = phase.update
        written = reached(trainer.graph.as_graph_def(), target.name)
        print(f"{phase.name}, as written: {count(written)}", flush=True)
        results[phase.name] = {"written": count(written)}
        for rewrites in (True, False):
            graph = optimized(trainer.graph, target, rewrites, args.architecture)
            found = count(reached(graph, target.name))
            what = "layouts rewritten" if rewrites else "layouts left alone"
            print(f"{phase.name}, optimized, {what}: {found}", flush=True)
            results[phase.name][what] = found
    common.write_json(args.json, results)


if __name__ == "__main__":
    main()
