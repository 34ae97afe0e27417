"""Discriminators."""

from types import SimpleNamespace

import numpy as np

from . import ops
from .attention import attend, grid_encoding, resnet_block
from .options import channels, published_options


class Discriminator:
    """One evaluation; `acts` collects every layer's output by scope."""

    def __init__(self, v, opt, N):
        self.v, self.opt, self.acts = v, opt, {}
        self.ltnt_pos = self.aggregators = None
        self.grids = {}
        if opt.family == "stylegan2":
            if opt.progressive:
                v("lod", (), "zero", trainable=False)
            return
        if opt.use_pos:
            self.ltnt_pos = v("ltnt_emb/emb", (opt.components_num, opt.a_dim), "uniform")
        dim = opt.pos_dim or opt.a_dim
        for r in range(opt.R + 1):
            self.grids[r] = grid_encoding(v.scope(f"pos_emb{r}"), r, dim, opt)
        if opt.transformer:
            shared = v("aggregators", (opt.components_num, opt.a_dim), "uniform")
            self.aggregators = np.tile(shared, (N, 1, 1))

    def conv(self, x, name, out, size, act, **kwargs):
        v = self.v.scope(name)
        x = ops.conv_layer(v, x, out, size, k=self.opt.resample_kernel, **kwargs)
        x = ops.bias_act(x, v("bias", (out,), "bias"), act)
        self.acts[name] = x
        return x

    def from_rgb(self, x, image, r):
        name = "{0}x{0}/FromRGB".format(2**r)
        if self.opt.progressive:
            name = f"FromRGB_lod{self.opt.R - r}"
        t = self.conv(image, name, channels(self.opt, r), 1, self.opt.nonlinearity)
        return t if x is None else x + t

    def attention_block(self, x, r):
        """The aggregators look at the features, at each other; the features at each other."""
        opt, v = self.opt, self.v.scope("{0}x{0}".format(2**r))
        N, C, H, W = x.shape
        grid, pos = self.grids[r], self.ltnt_pos
        dim, gate, img_gate = opt.a_dim, opt.ltnt_gate, opt.img_gate
        x = x.reshape(N, C, H * W).transpose(0, 2, 1)
        scope, gates = v.scope("AttLayer_n2l"), (gate, img_gate)
        self.aggregators = attend(
            scope, self.aggregators, x, dim, opt, pos=(pos, grid), gates=gates
        )[0]
        if opt.ltnt2ltnt:

            def among_aggregators(y):
                scope = v.scope("AttLayer_l2l")
                return attend(scope, y, y, dim, opt, pos=(pos, pos), gates=(gate, gate))[0]

            names = ("Densel2l_0", "Densel2l_1")
            self.aggregators = resnet_block(v, self.aggregators, among_aggregators, names)
        if opt.img2img == r:
            scope, gates = v.scope("AttLayer_n2n"), (img_gate, img_gate)
            x = attend(scope, x, x, dim, opt, pos=(grid, grid), gates=gates)[0]
        return x.transpose(0, 2, 1).reshape(N, C, H, W)

    def block(self, x, r):
        """2^r => 2^(r-1)."""
        opt, res = self.opt, "{0}x{0}".format(2**r)
        skip = x
        if opt.transformer and opt.start_res <= r < opt.end_res:
            x = self.attention_block(x, r)
        x = self.conv(x, f"{res}/Conv0", channels(opt, r), 3, opt.nonlinearity)
        out = channels(opt, r - 1)
        x = self.conv(x, f"{res}/Conv1_down", out, 3, opt.nonlinearity, down=True)
        if opt.architecture == "resnet":
            v = self.v.scope(f"{res}/Skip")
            skip = ops.conv_layer(v, skip, out, 1, down=True, k=opt.resample_kernel)
            x = (x + skip) / np.sqrt(2)
        return x

    def component_scores(self):
        """Aggregators [N, n, a_dim] => one score each [N, n]."""
        opt, x = self.opt, self.aggregators.transpose(0, 2, 1)
        if opt.mbstd_group_size > 1:
            x = ops.minibatch_stddev(x, opt.mbstd_group_size, opt.mbstd_num_channels)
        x = x.transpose(0, 2, 1)
        v = self.v.scope("ComponentScores")
        x = ops.dense(v.scope("Dense"), x, opt.a_dim, opt.nonlinearity)
        return ops.dense(v.scope("Output"), x, 1)[..., 0]

    def scores(self, images, labels):
        """images [N, C, H, W], labels [N, c_dim] => [N, 1]."""
        opt, x = self.opt, None
        for r in range(opt.R, 2, -1):
            if opt.architecture == "skip" or r == opt.R:
                x = self.from_rgb(x, images, r)
            x = self.block(x, r)
            if opt.architecture == "skip":
                images = ops.downsample_2d(images, opt.resample_kernel)
            if opt.progressive:  # exists, and does not count while lod is 0
                v = self.v.scope(f"FromRGB_lod{opt.R - r + 1}")
                out = channels(opt, r - 1)
                v("weight", (1, 1, opt.num_channels, out)), v("bias", (out,), "bias")
        if opt.architecture == "skip":
            x = self.from_rgb(x, images, 2)
        if opt.mbstd_group_size > 1:
            x = ops.minibatch_stddev(x, opt.mbstd_group_size, opt.mbstd_num_channels)
        x = self.conv(x, "4x4/Conv", channels(opt, 2), 3, opt.nonlinearity)
        v = self.v.scope("4x4/Dense0")
        x = ops.dense(v, x.reshape(len(x), -1), channels(opt, 1), opt.nonlinearity)
        self.acts["4x4/Dense0"] = x
        if opt.transformer:
            x = np.concatenate([x, self.component_scores()], axis=1)
        x = ops.dense(self.v.scope("Output"), x, max(opt.c_dim, 1))
        if opt.c_dim:
            x = (x * labels).sum(axis=1, keepdims=True)
        return x


def discriminator(func_name, kwargs, variables, images, labels=None):
    """Evaluates a published discriminator: => namespace of scores [N, 1] and acts."""
    opt = published_options(func_name, kwargs)
    images = np.asarray(images, np.float64)
    labels = None if labels is None else np.asarray(labels, np.float64)
    d = Discriminator(variables["own"], opt, len(images))
    return SimpleNamespace(scores=d.scores(images, labels), acts=d.acts)
