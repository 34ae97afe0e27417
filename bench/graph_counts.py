"""What a training step has TensorFlow do on a GPU, counted on a machine without one.

    python bench/graph_counts.py [--resolution 64] [--custom-ops ref|native] [--precision ...] ...

The step is built for "/gpu:0" and given to TensorFlow's graph optimizer together with a GPU that is
only named. Counted are the nodes of each update (as written, as optimized with the rewriting of
layouts, and without it): all of them, convolutions, transpositions, those that the optimizer has
inserted, casts, those of Adam; how often the host waits for what the GPU computes; and how many
bytes an update waits for that come from the host, and how many are copied ahead for the next one.
"""

import collections
import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import common
import train_speed

from dnnlib.tflib.compat import tf

CONVOLUTIONS = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter")
# Inputs that kernels on a GPU want in the host's memory, by type of operation.
HOST_INPUTS = {
    kind: inputs
    for kinds, inputs in (
        ("StatelessRandomNormal StatelessRandomUniform StatelessRandomUniformInt", (0, 1)),
        ("StatelessRandomNormalV2 StatelessRandomUniformV2 StatelessRandomUniformIntV2", (0, 3)),
        ("StatelessRandomGetKeyCounter If StatelessIf Fill Split OneHot", (0,)),
        ("Switch Reshape Tile Sum Mean Max Transpose Pad BroadcastTo", (1,)),
        ("Slice StridedSlice", (1, 2, 3)),
        ("Conv2DBackpropInput DepthwiseConv2dNativeBackpropInput", (0,)),
        ("Conv2DBackpropFilter DepthwiseConv2dNativeBackpropFilter", (1,)),
        ("ConcatV2", (-1,)),
        ("GatherV2", (2,)),
    )
    for kind in kinds.split()
}


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


def host_reads(graph, names):
    """Operations on a GPU for which the host waits: one of their inputs there, computed by the GPU.

    An int32 tensor is no such input: TensorFlow computes those on the host, even for a GPU.

    Args:
      graph: tf.Graph.
      names: of the operations to look at.

    Returns:
      List of names.
    """
    found = []
    for op in graph.get_operations():
        if op.name in names and "GPU" in op.device.upper():
            read = [op.inputs[i] for i in HOST_INPUTS.get(op.type, ()) if i < len(op.inputs)]
            found += [op.name for x in read if x.dtype != tf.int32 and _is_from_gpu(x)]
    return found


def _is_from_gpu(x):
    return "GPU" in x.op.device.upper() and x.op.type not in ("Const", "Placeholder")


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
        adam=kinds["ResourceApplyAdam"],
    )


def bytes_fed(graph, names):
    """Bytes that are fed to operations: what they wait for from the host."""
    fed = [graph.get_operation_by_name(name) for name in names]
    tensors = [op.outputs[0] for op in fed if op.type in ("Placeholder", "PlaceholderWithDefault")]
    return sum(x.shape.num_elements() * x.dtype.size for x in tensors)


def measure(args):
    """{phase: {form of the graph: counts}}.

    Of the form "host reads": names of operations; "bytes fed": see :func:`bytes_fed`; "bytes copied
    ahead": of the next step's inputs.
    """
    common.start(args)
    trainer = train_speed.Trainer(args.model, args, device="/gpu:0")
    put = trainer.step.inputs.put
    copied = {node.name for node in reached(trainer.graph.as_graph_def(), put.name)}
    results = {}
    for phase in trainer.step.phases:
        target = phase.update
        written = reached(trainer.graph.as_graph_def(), target.name)
        results[phase.name] = found = {"as written": count(written)}
        for rewrites, what in ((True, "layouts rewritten"), (False, "layouts left alone")):
            graph = optimized(trainer.graph, target, rewrites, args.architecture)
            found[what] = count(reached(graph, target.name))
        names = {node.name for node in written}
        found["host reads"] = host_reads(trainer.graph, names)
        found["bytes fed"] = bytes_fed(trainer.graph, names)
        found["bytes copied ahead"] = bytes_fed(trainer.graph, copied - names)
    return results


def main():
    """Print the counts."""
    parser = common.build_parser(__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="9.0", help="compute capability of the GPU")
    parser.add_argument("--model", default="GANsformer", choices=list(common.MODELS))
    args = parser.parse_args()
    results = measure(args)
    for phase, found in results.items():
        for what, counts in found.items():
            print(f"{phase}, {what}: {counts}", flush=True)
    common.write_json(args.json, results)


if __name__ == "__main__":
    main()
