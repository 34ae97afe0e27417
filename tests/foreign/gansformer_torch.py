"""GANsformer's generator in PyTorch: random layers as its files have them, and what they compute.

NumPy, float64, NCHW; the formulas of attention are the oracle's.
"""

from types import SimpleNamespace

import numpy as np
import pickles
from ada_files import kernel_2d
from ada_oracle import channels, levels, normalized
from oracle import attention, ops

DEFAULTS = dict(
    resolution=8,
    num_channels=2,
    k=4,
    z_dim=8,
    w_dim=8,
    c_dim=0,
    embed=7,
    num_layers=3,
    layer_dim=8,
    lrmul=0.1,
    resnet=True,
    ltnt2ltnt=False,
    normalize_global=True,
    use_pos=True,
    mapping_heads=1,
    heads=1,
    ltnt_gate=False,
    img_gate=False,
    norm="layer",
    integration="mul",
    kmeans=True,
    kmeans_iters=1,
    pos_type="sinus",
    directions=2,
    start=0,
    end=20,
    architecture="resnet",
    style=True,
    local_noise=True,
    kernel=[1, 3, 3, 1],
    base=64,
    most=8,
)

NAMES = {
    "query": "to_queries",
    "key": "to_keys",
    "value": "to_values",
    "from_pos": "from_pos_map",
    "to_pos": "to_pos_map",
    "out": "modulation",
    "e_cont": "to_gate_attention.gate",
    "e_pos": "to_gate_attention.gate_pos",
    "n_cont": "from_gate_attention.gate",
    "n_pos": "from_gate_attention.gate_pos",
}


def options(**given):
    assert set(given) <= set(DEFAULTS)
    return SimpleNamespace(**dict(DEFAULTS, **given))


class Generator:
    """Makes the layers of a generator; then computes with them.

    Attributes:
      layers: {path: (class name, attributes, {parameter: array}, {buffer: array})}.
    """

    def __init__(self, o, seed=0):
        self.o, self.rng, self.layers = o, np.random.RandomState(seed), {}
        sizes = dict(z_dim=o.z_dim, w_dim=o.w_dim, c_dim=o.c_dim, k=np.int64(o.k))
        sizes.update(img_resolution=o.resolution, img_channels=o.num_channels)
        own = {"pos": self.random(o.k - 1, o.w_dim)} if o.k > 1 else {}
        self.add("", "Generator", own, component_dropout=0.0, **sizes)
        self.make_mapping()
        self.make_synthesis()

    def random(self, *shape):
        return self.rng.standard_normal(shape).astype(np.float32)

    def add(self, path, class_name, parameters=(), buffers=(), **attributes):
        self.layers[path] = (class_name, attributes, dict(parameters), dict(buffers))

    def add_dense(self, path, num_in, num_out, act="linear", lrmul=1.0):
        tensors = dict(weight=self.random(num_out, num_in), bias=self.random(num_out))
        self.add(path, "FullyConnectedLayer", tensors, act=act, b_gain=lrmul)

    def make_mapping(self):
        o = self.o
        self.add(
            "mapping",
            "MappingNetwork",
            buffers=dict(w_avg=self.random(o.w_dim)),
            normalize_global=np.bool_(o.normalize_global),
            use_pos=o.use_pos,
            w_avg_beta=0.995,
        )
        if o.c_dim:
            self.add_dense("mapping.embed", o.c_dim, o.embed)
        for name in ["mlp", "global_mlp"] if o.k > 1 else ["global_mlp"]:
            path = f"mapping.{name}"
            self.add(path, "MLP")
            extra = o.embed if o.c_dim and name == "global_mlp" else 0
            num = o.num_layers // 2 if o.resnet else o.num_layers
            widths = [o.z_dim + extra, *[o.layer_dim] * (num - 1), o.w_dim]
            for i in range(num):
                if o.ltnt2ltnt and name == "mlp":
                    gates = (o.ltnt_gate, o.ltnt_gate)
                    pos = o.w_dim if o.use_pos else None
                    sides = (widths[i], widths[i], pos, pos)
                    self.make_attention(f"{path}.sa{i}", sides, o.mapping_heads, gates, None)
                if not o.resnet:
                    self.add_dense(f"{path}.l{i}", widths[i], widths[i + 1], "lrelu", o.lrmul)
                    continue
                self.add(f"{path}.l{i}", "ResnetLayer")
                self.add_dense(f"{path}.l{i}.fc0", o.w_dim, o.w_dim, "lrelu", o.lrmul)
                self.add_dense(f"{path}.l{i}.fc1", o.w_dim, o.w_dim, "linear", o.lrmul)
            self.add_dense(f"{path}.out_layer", o.w_dim, o.w_dim, "lrelu", o.lrmul)

    def make_attention(self, path, sides, heads, gates, kmeans):
        """``sides``: width of the elements that ask and that answer, and of their positions."""
        o, (dim, to_dim, from_pos, to_pos) = self.o, sides
        tensors, is_image = {}, kmeans is not None
        if kmeans:
            tensors["centroids"] = self.random(1, heads, o.k - 1, 2 * dim // heads)
            tensors["att_weight"] = 1 + 0.3 * self.random(heads, 1, 2 * dim // heads)
        self.add(
            path,
            "TransformerLayer",
            tensors,
            num_heads=heads,
            norm=o.norm if is_image else None,
            integration=o.integration if is_image else "add",
            kmeans=bool(kmeans),
            kmeans_iters=o.kmeans_iters,
            parametric=True,
            _init_kwargs=dict(pos_type=o.pos_type, pos_directions_num=o.directions),
        )
        dropout = pickles.Object("torch.nn.modules.dropout Dropout", dict(p=0.06))
        self.layers[path][1]["att_dp"] = dropout
        self.add_dense(f"{path}.to_queries", dim, dim)
        self.add_dense(f"{path}.to_keys", to_dim, dim)
        self.add_dense(f"{path}.to_values", to_dim, dim)
        self.add_dense(f"{path}.modulation", dim, dim)
        for name, width in (("from_pos_map", from_pos), ("to_pos_map", to_pos)):
            if width:
                self.add_dense(f"{path}.{name}", width, dim)
        for side, is_on, width, pos in (
            ("from", gates[0], dim, from_pos),
            ("to", gates[1], to_dim, to_pos),
        ):
            gate = f"{path}.{side}_gate_attention"
            self.add(gate, "GateAttention", should_gate=is_on)
            if is_on:
                self.add_dense(f"{gate}.gate", width, heads)
                if pos:
                    self.add_dense(f"{gate}.gate_pos", pos, heads)

    def make_synthesis(self):
        o = self.o
        self.add("synthesis", "SynthesisNetwork")
        f = dict(resample_kernel=kernel_2d(o.kernel))
        for r in range(2, levels(o) + 1):
            path, before, here = f"synthesis.b{2**r}", channels(o, r - 1), channels(o, r)
            const = {"const": self.random(here, 4, 4)} if r == 2 else {}
            self.add(path, "SynthesisBlock", const, f, architecture=o.architecture)
            if r > 2:
                self.make_conv(f"{path}.conv0", before, here, r, up=2)
            self.make_conv(f"{path}.conv1", here, here, r)
            if r > 2 and o.architecture == "resnet":
                weight = dict(weight=self.random(here, before, 1, 1))
                self.add(f"{path}.skip", "Conv2dLayer", weight, f, up=2, down=1)
            if r == levels(o):
                self.make_conv(f"{path}.conv_last", here, here, r, is_last=True)
            if o.architecture == "skip" or r == levels(o):
                weight = dict(weight=self.random(o.num_channels, here, 1, 1))
                self.add(f"{path}.torgb", "ToRGBLayer", weight, style=o.style)
                self.add_dense(f"{path}.torgb.affine", o.w_dim, here)
                bias = dict(bias=self.random(o.num_channels))
                self.add(f"{path}.torgb.biasAct", "BiasActLayer", bias, act="linear")

    def make_conv(self, path, num_in, num_out, r, up=1, is_last=False):
        o = self.o
        tensors, buffers = dict(weight=self.random(num_out, num_in, 3, 3)), {}
        has_noise = o.local_noise and not is_last
        if has_noise:
            tensors["noise_strength"] = self.random()
            buffers["noise_const"] = self.random(2**r, 2**r)
        attends = o.k > 1 and not is_last and o.start <= r < o.end
        if attends and o.pos_type == "sinus":
            buffers["grid_pos"] = self.grid(r)
        elif attends:
            tensors["grid_pos"] = tensors["pos0"] = self.random(2**r, 2**r, o.w_dim)
        buffers["resample_kernel"] = kernel_2d(o.kernel if up == 2 else [1, 3, 3, 1])
        attributes = dict(style=np.bool_(o.style), up=up, local_noise=has_noise, use_pos=o.use_pos)
        self.add(path, "SynthesisLayer", tensors, buffers, **attributes)
        self.add_dense(f"{path}.affine", o.w_dim, num_in)
        if not is_last:
            bias = dict(bias=self.random(num_out))
            self.add(f"{path}.biasAct", "BiasActLayer", bias, act="lrelu", out_clamp=None)
        if attends:
            sides = (num_out, o.w_dim, o.w_dim, o.w_dim if o.use_pos else None)
            gates = (o.img_gate, o.ltnt_gate)
            self.make_attention(f"{path}.transformer", sides, o.heads, gates, o.kmeans)

    def grid(self, r):
        """[H, W, w_dim]."""
        opt = SimpleNamespace(pos_type="sinus", pos_directions_num=self.o.directions)
        grid = attention.grid_encoding(None, r, self.o.w_dim, opt).astype(np.float32)
        return grid.reshape(2**r, 2**r, -1)

    # Evaluation

    def tensor(self, path, name):
        _, _, parameters, buffers = self.layers[path]
        value = parameters[name] if name in parameters else buffers[name]
        return value.astype(float)

    def dense(self, path, x):
        _, attributes, _, _ = self.layers[path]
        w, lrmul = self.tensor(path, "weight"), attributes["b_gain"]
        b = self.tensor(path, "bias") * lrmul
        rows = x.reshape(-1, x.shape[-1]) @ (w.T * lrmul / np.sqrt(w.shape[1]))
        return ops.bias_act(rows, b, attributes["act"]).reshape((*x.shape[:-1], -1))

    def mapped(self, z, c):
        """[N, k, z_dim] => [N, k, w_dim]."""
        o = self.o
        x, g = z[:, :-1], z[:, -1]
        x = x / np.sqrt((x**2).mean(axis=(1, 2), keepdims=True) + 1e-8) if o.k > 1 else x
        g = normalized(g) if o.normalize_global else g
        if o.c_dim:
            g = np.concatenate([g, normalized(self.dense("mapping.embed", c))], axis=1)
        g = self.mlp("mapping.global_mlp", g)[:, np.newaxis]
        return np.concatenate([self.mlp("mapping.mlp", x), g], axis=1) if o.k > 1 else g

    def mlp(self, path, x):
        o, i = self.o, 0
        pos = self.tensor("", "pos") if o.use_pos and o.k > 1 else None
        while f"{path}.l{i}" in self.layers:
            y = x
            if f"{path}.sa{i}" in self.layers:
                gates = (o.ltnt_gate, o.ltnt_gate)
                y, _ = self.attend(f"{path}.sa{i}", x, x, (pos, pos), gates, o.mapping_heads)
            if o.resnet:
                y = self.dense(f"{path}.l{i}.fc1", self.dense(f"{path}.l{i}.fc0", y))
                x = ops.leaky_relu(x + y)
            else:
                x = self.dense(f"{path}.l{i}", y)
            i += 1
        return self.dense(f"{path}.out_layer", x)

    def attend(self, path, x, to, pos, gates, heads, is_image=False):
        """[N, F, C], [N, T, D] => new x, probabilities [N, M, F, T]."""
        o = self.o

        def variable(name, *_):
            if name == "toasgn_init":
                return self.tensor(path, "centroids")
            if name.endswith("st_weights"):
                return self.tensor(path, "att_weight")
            kind, _, layer = name.partition("_")
            value = self.tensor(f"{path}.{NAMES[layer]}", kind)
            return value.T

        opt = SimpleNamespace(
            num_heads=heads,
            norm=o.norm,
            integration=o.integration,
            kmeans=o.kmeans,
            kmeans_iters=o.kmeans_iters if o.kmeans else 1,
            iterative=False,
        )
        x, probs, _ = attention.attend(
            variable, x, to, x.shape[2], opt, pos=pos, gates=gates, image=is_image
        )
        return x, probs

    def conv(self, path, x, w, up=False, demodulate=True):
        filters = self.tensor(path, "weight").transpose(2, 3, 1, 0)
        filters = (filters[::-1, ::-1] if up else filters) / np.sqrt(np.prod(filters.shape[:3]))
        if not self.o.style:
            return ops.resampling_conv(x, filters, up, False, self.o.kernel)
        style = self.dense(f"{path}.affine", w)
        images = []
        for n in range(len(x)):
            own = filters * style[n][:, np.newaxis]
            if demodulate:
                own = own / np.sqrt((own**2).sum(axis=(0, 1, 2)) + 1e-8)
            images.append(ops.resampling_conv(x[n : n + 1], own, up, False, self.o.kernel))
        return np.concatenate(images)

    def layer(self, path, x, ws, r, noise, maps, up=False):
        """``ws``: [N, k, w_dim]."""
        o = self.o
        x = self.conv(path, x, ws[:, -1], up)
        if f"{path}.transformer" in self.layers:
            N, C, H, W = x.shape
            grid = self.tensor(path, "grid_pos").reshape(H * W, -1)
            pos = self.tensor("", "pos") if o.use_pos else None
            flat = x.reshape(N, C, H * W).transpose(0, 2, 1)
            gates = (o.img_gate, o.ltnt_gate)
            flat, probs = self.attend(
                f"{path}.transformer", flat, ws[:, :-1], (grid, pos), gates, o.heads, True
            )
            x = flat.transpose(0, 2, 1).reshape(N, C, H, W)
            scale = o.resolution // H
            probs = probs.transpose(0, 3, 1, 2).reshape(N, o.k - 1, o.heads, H, W)
            maps.append(probs.repeat(scale, axis=3).repeat(scale, axis=4))
        if o.local_noise and noise:
            x = x + self.tensor(path, "noise_const") * self.tensor(path, "noise_strength")
        return ops.bias_act(x, self.tensor(f"{path}.biasAct", "bias"), "lrelu")

    def generated(self, ws, noise=True):
        """ws [N, k, L, w_dim] => images, maps [N, k - 1, layers, heads, H, W] or None."""
        o, maps, y = self.o, [], None
        x = np.tile(self.tensor("synthesis.b4", "const"), [len(ws), 1, 1, 1])
        for r in range(2, levels(o) + 1):
            path, before = f"synthesis.b{2**r}", x
            if r > 2:
                x = self.layer(f"{path}.conv0", x, ws[:, :, 2 * r - 5], r, noise, maps, True)
            index = 2 * r - 4
            x = self.layer(f"{path}.conv1", x, ws[:, :, index], r, noise, maps)
            if r > 2 and o.architecture == "resnet":
                w = self.tensor(f"{path}.skip", "weight").transpose(2, 3, 1, 0)
                skip = ops.upsample_conv_2d(before, w / np.sqrt(w.shape[2]), o.kernel)
                x = (x + skip) / np.sqrt(2)
            if r == levels(o):
                index += 1
                x = self.conv(f"{path}.conv_last", x, ws[:, -1, index])
            y = None if y is None else ops.upsample_2d(y, o.kernel)
            if o.architecture == "skip" or r == levels(o):
                rgb = self.conv(f"{path}.torgb", x, ws[:, -1, index + 1], demodulate=False)
                rgb = rgb + self.tensor(f"{path}.torgb.biasAct", "bias").reshape(1, -1, 1, 1)
                y = rgb if y is None else y + rgb
        return y, np.stack(maps, axis=2) if maps else None

    def __call__(self, z, c, psi=1.0, cutoff=None, noise=True):
        """Images, maps, ws of latents z [N, k, z_dim] and labels."""
        num = 2 * levels(self.o) - 1
        ws = np.repeat(self.mapped(z, c)[:, :, np.newaxis], num, axis=2)
        average = self.tensor("mapping", "w_avg")
        cutoff = num if cutoff is None else cutoff
        ws[:, :, :cutoff] = average + (ws[:, :, :cutoff] - average) * psi
        return (*self.generated(ws, noise), ws)
