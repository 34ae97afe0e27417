"""Text about networks: the table of layers."""

import numpy as np

from dnnlib.tflib import tfutil


def _layer_of(name):
    """Layer of a variable: "G_synthesis/4x4/Conv/weight" => "G_synthesis/4x4/Conv"."""
    return name.rsplit("/", 1)[0] if "/" in name else name


def _layer_output(net, layer):
    """The last floating-point tensor made inside a layer and used outside of it, or None."""
    prefix = f"{net.scope}/{layer}/"
    output = None
    for op in net.input_templates[0].graph.get_operations():
        if not op.name.startswith(prefix):
            continue
        for tensor in op.outputs:
            leaves = [user for user in tensor.consumers() if not user.name.startswith(prefix)]
            if leaves and tensor.dtype.is_floating and tensor.shape.ndims is not None:
                output = tensor
    return output


def list_layers(net):
    """Layers of the template graph in the order of their variables.

    Returns:
      List of (name, output tensor or None, list of trainable variables). Inputs come first and
      outputs last, without variables.
    """
    layers = [(name, x, []) for name, x in zip(net.input_names, net.input_templates)]
    by_layer = {}
    for name, variable in net.vars.items():
        variables = by_layer.setdefault(_layer_of(name), [])
        if name in net.trainables:
            variables.append(variable)
    layers += [(layer, _layer_output(net, layer), found) for layer, found in by_layer.items()]
    return layers + [(name, x, []) for name, x in zip(net.output_names, net.output_templates)]


def _count(variables):
    """Number of parameters."""
    return sum(int(np.prod(tfutil.shape_to_list(variable.shape))) for variable in variables)


def layer_table(net, title=None, hide_layers_with_no_params=False):
    """Lines of a table: layer, parameters, output shape."""
    rows = [[title or net.name, "Params", "OutputShape"], ["---"] * 3]
    total = 0
    for name, output, variables in list_layers(net):
        params = _count(variables)
        total += params
        if params or not hide_layers_with_no_params:
            shape = "-" if output is None else str(output.shape.as_list()).replace("None", "?")
            rows.append([name, str(params) if params else "-", shape])
    rows += [["---"] * 3, ["Total", str(total), ""]]
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
