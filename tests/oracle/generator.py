"""Generators: mapping, synthesis and the network around them."""

from types import SimpleNamespace

import numpy as np

from . import ops
from .attention import attend, grid_encoding, resnet_block
from .options import channels, published_options

# ---------------------------------------------------------------------------------- mapping


def normalize_latents(x):
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-8)


def mapping_mlp(v, x, dim, opt, *, ltnt_pos=None, attention=False):
    """Rows [..., I] => [..., dim]; `attention` lets the components [N, n, dim] see each other."""
    act, lrmul, layers = opt.mapping_nonlinearity, opt.mapping_lrmul, opt.mapping_num_layers
    if not opt.mapping_resnet:
        for i in range(layers):
            x = ops.dense(v.scope(f"Dense{i}"), x, dim, act, lrmul)
        return x
    half = layers // 2
    for i in range(half):
        scope = v.scope(f"AttLayer_{i}")

        def self_attention(x, scope=scope):
            pos = ltnt_pos if opt.use_pos else None
            gates = (opt.ltnt_gate, opt.ltnt_gate)
            return attend(scope, x, x, dim, opt, pos=(pos, pos), gates=gates)[0]

        names = (f"Dense{i}_0", f"Dense{i}_1")
        x = resnet_block(v, x, self_attention if attention else None, names, act=act, lrmul=lrmul)
    return ops.dense(v.scope(f"Dense{half - 1}"), x, dim, act, lrmul)


def mapping(v, opt, z, ltnt_pos):
    """z [N, k, z_dim] => w [N, k, w_dim]."""
    N, dim = len(z), opt.mapping_dim or opt.w_dim
    x = z
    if opt.mapping_dim:
        x = ops.dense(v, x, dim, name="map_start")
        if opt.use_pos:
            ltnt_pos = ops.dense(v, ltnt_pos, dim, name="map_pos")
    x, g = x[:, : opt.n], x[:, opt.n :]  # the global latent is the last one, if there is one
    if opt.normalize_latents:
        x = normalize_latents(x)
    if opt.mapping_shared_dim:
        d = opt.mapping_shared_dim
        x = ops.dense(v, x.reshape(N, -1), d, name="inmap")
        x = mapping_mlp(v, x, d, opt)
        x = ops.dense(v, x, opt.n * dim, name="outmap").reshape(N, opt.n, dim)
    else:
        x = mapping_mlp(v, x, dim, opt, ltnt_pos=ltnt_pos, attention=opt.mapping_ltnt2ltnt)
    if opt.transformer:
        g = mapping_mlp(v.scope("global"), g, dim, opt)
        x = np.concatenate([x, g], axis=1)
    if opt.mapping_dim:
        x = ops.dense(v, x, opt.w_dim, name="map_end")
    return x


def mapping_stylegan2(v, opt, z, labels):
    """z [N, z_dim], labels [N, c_dim] => w [N, w_dim]."""
    x = z
    if opt.c_dim:
        embedding = v("LabelConcat/weight", (opt.c_dim, opt.z_dim))
        x = np.concatenate([x, labels @ embedding], axis=1)
    if opt.normalize_latents:
        x = normalize_latents(x)
    for i in range(opt.mapping_num_layers):
        dim = opt.w_dim if i == opt.mapping_num_layers - 1 else opt.mapping_fmaps
        x = ops.dense(v.scope(f"Dense{i}"), x, dim, opt.mapping_nonlinearity, opt.mapping_lrmul)
    return x


# -------------------------------------------------------------------------------- synthesis


class Synthesis:
    """One evaluation of the synthesis network; `acts` collects every layer's output by scope."""

    def __init__(self, v, opt, ws, ltnt_pos, noise_mode):
        """ws [N, k, L, w_dim]; StyleGAN2's have k = 1."""
        self.v, self.opt, self.ws, self.ltnt_pos = v, opt, ws, ltnt_pos
        self.noise_mode = noise_mode
        self.index_offset = 1 if opt.is_gansformer else 0  # index 0 is the latent stem's
        self.acts, self.maps = {}, []
        self.latents = None  # component latents handed on by latent attention
        self.assignments = None  # k-means assignments handed on by the attention layer before
        if opt.progressive:
            v("lod", (), "zero", trainable=False)
        self.grids, self.noise = {}, []
        if opt.is_gansformer:
            dim = opt.pos_dim or opt.w_dim
            for r in range(opt.R + 1):
                self.grids[r] = grid_encoding(v.scope(f"pos_emb{r}"), r, dim, opt)
        for i in range(opt.L - 1):
            r = (i + 5) // 2
            copies = opt.n if opt.merge and r < opt.m else 1
            shape = (copies, 1, 2**r, 2**r)
            self.noise.append(v(f"noise{i}", shape, "noise", trainable=False))

    def style(self, r, index):
        """The latent that modulates convolutions at resolution 2^r => [N or N * k, w_dim]."""
        ws = self.ws
        if self.opt.merge and r <= self.opt.m:
            return ws.reshape((-1, *ws.shape[2:]))[:, index]
        return ws[:, -1, index]

    def add_noise(self, v, x, i):
        """The noise variable of layer i, times the scope's strength."""
        if not self.opt.local_noise:
            return x
        strength = v("noise_strength", (), "noise_strength")
        if self.noise_mode == "none":
            return x
        assert self.noise_mode == "const", "random noise has no expected value here"
        noise = self.noise[i]
        return x + strength * np.tile(noise, (len(x) // len(noise), 1, 1, 1))

    def stem(self):
        """The 4x4 input of the first convolution."""
        opt, N = self.opt, len(self.ws)
        C = channels(opt, 2)
        if not opt.latent_stem:
            v = self.v.scope("4x4/Const")
            copies = opt.n if opt.merge else 1
            x = np.tile(v("const", (copies, C, 4, 4)), (N, 1, 1, 1))
            self.acts["4x4/Const"] = x
            return x
        v = self.v.scope("4x4/Dense")
        w = self.style(2, 0)
        weight = v("weight", (w.shape[1], C * 16)) * (np.sqrt(2) / 4) / np.sqrt(w.shape[1])
        x = self.add_noise(v, (w @ weight).reshape(-1, C, 4, 4), 0)
        x = ops.bias_act(x, v("bias", (C,), "bias"), opt.nonlinearity)
        self.acts["4x4/Dense"] = x
        return x

    def layer(self, x, r, name, i, *, up=False):
        """Convolution, attention, noise, bias and activation."""
        opt, v = self.opt, self.v.scope(name)
        out = channels(opt, r)
        index = i + self.index_offset
        x = ops.modulated_conv_layer(
            v, x, self.style(r, index), out, 3, up=up, k=opt.resample_kernel, modulate=opt.style
        )
        if opt.transformer and opt.start_res <= r < opt.end_res:
            x = self.attention_block(v, x, r, index)
        else:
            self.latents = None
        x = self.add_noise(v, x, i)
        x = ops.bias_act(x, v("bias", (out,), "bias"), opt.nonlinearity)
        self.acts[name] = x
        return x

    def attention_block(self, v, x, r, index):
        """Attention between the image features x [N, C, H, W] and the component latents."""
        opt = self.opt
        N, C, H, W = x.shape
        x = x.reshape(N, C, H * W).transpose(0, 2, 1)
        grid, gate, img_gate = self.grids[r], opt.ltnt_gate, opt.img_gate
        pos = self.ltnt_pos if opt.use_pos else None
        w = self.ws[:, :-1, index] if self.latents is None else self.latents
        x, probs, self.assignments = attend(
            v.scope("AttLayer_l2n"), x, w, C, opt,
            pos=(grid, pos), gates=(img_gate, gate), image=True, carried=self.assignments,
        )  # fmt: skip
        self.maps.append(probs.transpose(0, 1, 3, 2).reshape(N, -1, w.shape[1], H, W))

        def among_latents(y):
            scope = v.scope("AttLayer_l2l")
            return attend(scope, y, y, opt.w_dim, opt, pos=(pos, pos), gates=(gate, gate))[0]

        def from_image(y):
            scope = v.scope("AttLayer_n2l")
            return attend(scope, y, x, opt.w_dim, opt, pos=(pos, grid), gates=(gate, img_gate))[0]

        self.latents = None
        if opt.ltnt2ltnt:
            self.latents = resnet_block(v, w, among_latents, ("Densel2l_0", "Densel2l_1"))
        if opt.img2ltnt:
            self.latents = resnet_block(v, w, from_image, ("Densen2l_0", "Densen2l_1"))
        if opt.img2img == r:
            scope, gates = v.scope("AttLayer_n2n"), (img_gate, img_gate)
            x = attend(scope, x, x, C, opt, pos=(grid, grid), gates=gates)[0]
        return x.transpose(0, 2, 1).reshape(N, C, H, W)

    def block(self, x, r):
        """One resolution: 2^(r-1) => 2^r."""
        res, opt, out = f"{2**r}x{2**r}", self.opt, channels(self.opt, r)
        t = self.layer(x, r, f"{res}/Conv0_up", 2 * r - 5, up=True)
        t = self.layer(t, r, f"{res}/Conv1", 2 * r - 4)
        if opt.architecture == "resnet":
            skip = ops.conv_layer(
                self.v.scope(f"{res}/Skip"), x, out, 1, up=True, k=opt.resample_kernel
            )
            t = (t + skip) / np.sqrt(2)
            self.acts[f"{res}/Skip"] = t
        return t

    def merge(self, x, r):
        """k-GAN: the k images of each sample become one, and so do its latents."""
        opt, k = self.opt, self.opt.n
        _, C, H, W = x.shape
        w = self.v("{0}x{0}/merge{1}/weight".format(2**r, r), (1, 1, C, 1)) / np.sqrt(C)
        scores = ops.correlate(x, w).reshape(-1, k, 1, H, W)
        if opt.merge_same:
            scores = scores.sum(axis=(3, 4), keepdims=True)
        if opt.merge_type == "softmax":
            alpha = ops.softmax(scores, axis=1)
        elif opt.merge_type == "max":
            best = scores.argmax(axis=1)[:, None]
            alpha = (best == np.arange(k).reshape(1, k, 1, 1, 1)).astype(float)
        elif opt.merge_type == "sum":
            alpha = np.ones_like(scores)
        else:  # leaves: each next image covers a share of those before it
            alpha = np.ones_like(scores[:, :1])
            for d in range(1, k):
                t = ops.sigmoid(scores[:, d : d + 1] - scores[:, :d].max())
                alpha = np.concatenate([alpha * (1 - t), t], axis=1)
        x = (alpha * x.reshape(-1, k, C, H, W)).sum(axis=1)
        shares = alpha.mean(axis=(3, 4)).reshape(-1, k, 1, 1)
        self.ws = np.broadcast_to((shares * self.ws).sum(axis=1, keepdims=True), self.ws.shape)
        return x

    def to_rgb(self, x, y, r):
        """Adds this resolution's contribution to the image y."""
        res, opt = f"{2**r}x{2**r}", self.opt
        name = f"ToRGB_lod{opt.R - r}" if opt.progressive else f"{res}/ToRGB"
        v, offset = self.v.scope(name), self.index_offset
        if r == opt.R and opt.transformer and opt.end_res >= opt.R:
            x = ops.modulated_conv_layer(
                v.scope("extraLayer"), x, self.style(r, 2 * r - 4 + offset), x.shape[1], 3,
                modulate=opt.style,
            )  # fmt: skip
            self.acts[f"{name}/extraLayer"] = x
        style = self.style(r, 2 * r - 3 + offset)
        t = ops.modulated_conv_layer(
            v, x, style, opt.num_channels, 1, modulate=opt.style, demodulate=False
        )
        t = ops.bias_act(t, v("bias", (opt.num_channels,), "bias"), "linear")
        t = np.tanh(t) if opt.tanh else t
        y = t if y is None else y + t
        self.acts[name] = y
        return y

    def image(self):
        """=> images [N, C, H, W]."""
        opt = self.opt
        x = self.layer(self.stem(), 2, "4x4/Conv", 0)
        y = None
        for r in range(2, opt.R + 1):
            if r > 2:
                x = self.block(x, r)
            if opt.merge and r == opt.m:
                x = self.merge(x, r)
            if opt.architecture == "skip":
                y = y if y is None else ops.upsample_2d(y, opt.resample_kernel)
                y = self.to_rgb(x, y, r)
            elif r == opt.R or opt.progressive:
                y = self.to_rgb(x, None, r)  # only the last one counts
        return y

    def image_maps(self):
        """=> maps [N, n, layers, heads, H, W] at the image's resolution."""
        if not self.maps:
            return None
        size = self.opt.resolution
        full = [m.repeat(size // m.shape[3], axis=3).repeat(size // m.shape[4], axis=4)
                for m in self.maps]  # fmt: skip
        return np.stack(full, axis=1).transpose(0, 3, 1, 2, 4, 5)


# ------------------------------------------------------------------------------ the network


def truncation(opt, dynamic):
    """(psi, cutoff) of this evaluation; psi None means off."""
    psi, cutoff = opt.truncation_psi, opt.truncation_cutoff
    psi, cutoff = dynamic.get("truncation_psi", psi), dynamic.get("truncation_cutoff", cutoff)
    if dynamic.get("is_validation"):
        if opt.family == "head":
            return None, None
        return opt.truncation_psi_val, opt.truncation_cutoff_val
    return psi, cutoff


def truncate(ws, average, psi, cutoff):
    """Moves the first `cutoff` layers of ws [N, k, L, w_dim] towards the average."""
    if psi is None or psi == 1:
        return ws
    layers = np.arange(ws.shape[2])
    psi = np.where(layers < (len(layers) if cutoff is None else cutoff), psi, 1.0)
    return average + (ws - average) * psi[:, None]


def noise_mode(opt, dynamic):
    if "randomize_noise" in dynamic:
        return "random" if dynamic["randomize_noise"] else "const"
    return dynamic.get("noise_mode", opt.noise_mode)


def generator(func_name, kwargs, variables, z, labels=None, **dynamic):
    """Evaluates a published generator.

    Args:
      func_name: Name of the published build function.
      kwargs: Its static keywords.
      variables: dict(own=..., mapping=..., synthesis=...) of `Variables`.
      z: [N, k, z_dim] ([N, z_dim] for StyleGAN2); with take_ws ws [N, k, L, w_dim].
      labels: [N, c_dim] or None.
      dynamic: truncation_psi, truncation_cutoff, is_validation, noise_mode (or
        randomize_noise), take_ws.

    Returns:
      A namespace of images [N, C, H, W], maps [N, n, layers, heads, H, W] or None,
      w [N, k, w_dim] (before truncation), ws [N, k, L, w_dim], acts {scope: activations}.
    """
    opt = published_options(func_name, kwargs)
    own, ltnt_pos = variables["own"], None
    z = np.asarray(z, np.float64)
    if opt.is_gansformer:
        rows = opt.n - 1 if opt.family == "head" and not opt.transformer else opt.n
        ltnt_pos = own("ltnt_emb/emb", (rows, opt.w_dim), "uniform")
    else:
        own("lod", (), "zero", trainable=False)
    average = own("dlatent_avg", (opt.w_dim,), "average", trainable=False)
    take_ws, w = dynamic.get("take_ws"), None
    if take_ws:
        ws = z
    else:
        if opt.is_gansformer:
            w = mapping(variables["mapping"], opt, z, ltnt_pos)
        else:
            w = mapping_stylegan2(variables["mapping"], opt, z, labels)[:, None]
        ws = np.repeat(w[:, :, None], opt.L, axis=2)
    if not (take_ws and opt.family == "head"):
        ws = truncate(ws, average, *truncation(opt, dynamic))
    s = Synthesis(variables["synthesis"], opt, ws, ltnt_pos, noise_mode(opt, dynamic))
    images = s.image()
    return SimpleNamespace(images=images, maps=s.image_maps(), w=w, ws=ws, acts=s.acts)
