"""Writes StyleGAN2-ADA's networks, given in its TensorFlow variables, as the two code bases do."""

import numpy as np
import pickles
from ada_oracle import levels


def tensorflow_generator(o, variables, version=5):
    """Network for a pickle; the options are written in that code's words."""
    static = dict(
        num_channels=o.num_channels,
        resolution=o.resolution,
        label_size=o.c_dim,
        latent_size=o.z_dim,
        dlatent_size=o.w_dim,
        mapping_layers=o.layers,
        mapping_fmaps=o.hidden,
        mapping_lrmul=o.lrmul,
        mapping_nonlinearity=o.mapping_act,
        nonlinearity=o.act,
        label_fmaps=o.embed,
        architecture=o.architecture,
        conv_clamp=o.clamp,
        use_noise=o.use_noise,
        resample_kernel=o.kernel,
        fmap_base=o.base,
        fmap_max=o.most,
        fmap_const=o.const,
        num_fp16_res=2,
        dtype="float32",
        dlatent_avg_beta=0.9,
        style_mixing_prob=None,
    )
    parts = {
        role: _network(f"G_{role}", f"G_{role}", static, variables[role], version)
        for role in ("synthesis", "mapping")
    }
    return _network("G", "G_main", static, variables[""], version, parts)


def _network(name, func, static, variables, version, parts=()):
    state = pickles.state(
        version,
        name=name,
        static_kwargs=static,
        components=dict(parts),
        build_func_name=func,
        variables=list(variables.items()),
    )
    state.update(input_shapes=[[None, 5]], output_shapes=[[None, 3]])
    state.update(input_names=["latents_in"], output_names=["images_out"])
    return pickles.Object(pickles.NETWORK, state)


def tensorflow_discriminator(o, variables, version=5):
    static = dict(
        num_channels=o.num_channels,
        resolution=o.resolution,
        label_size=o.c_dim,
        mapping_layers=o.layers,
        mapping_fmaps=o.cmap if o.c_dim else None,
        mapping_lrmul=o.lrmul,
        nonlinearity=o.act,
        architecture=o.architecture,
        conv_clamp=o.clamp,
        resample_kernel=o.kernel,
        fmap_base=o.base,
        fmap_max=o.most,
        mbstd_group_size=o.group,
        mbstd_num_features=o.features,
        score_max=o.scores,
        use_spectral_norm=o.spectral_norm,
        use_pagan=True,
        pagan_num=3,
        freeze_layers=2,
        adaptive_dropout=0.5,
    )
    side = o.resolution
    pagan = {f"{side}x{side}/FromRGB/PAGAN/weight": np.ones([3, 2], np.float32)}
    return _network("D", "D_main", static, {**variables, **pagan}, version)


# PyTorch


def tree(layers):
    """{path: (class name, attributes, {tensor: array}, buffers)} => pickled network."""

    def build(path):
        class_name, attributes, tensors, buffers = layers[path]
        start = f"{path}." if path else ""
        names = [p[len(start) :] for p in layers if p and p.startswith(start)]
        children = {name: build(start + name) for name in names if "." not in name}
        return pickles.module(class_name, tensors, children, buffers, **attributes)

    return build("")


def kernel_2d(kernel):
    k = np.asarray(kernel, np.float64)
    return (np.outer(k, k) / k.sum() ** 2).astype(np.float32)


def _turn(x):
    """[k, k, I, O] => [O, I, k, k]; [I, O] => [O, I]."""
    return np.ascontiguousarray(x.transpose(3, 2, 0, 1) if x.ndim == 4 else x.T)


def _dense(v, name, act="linear", lrmul=1.0, **changes):
    weight, bias = v[f"{name}/weight"], v[f"{name}/bias"]
    attributes = dict(
        activation=act, bias_gain=lrmul, weight_gain=np.float64(lrmul / np.sqrt(len(weight)))
    )
    attributes.update(changes)
    return ("FullyConnectedLayer", attributes, dict(weight=_turn(weight), bias=bias), {})


def torch_mapping(v, o, scope):
    """Layers of a mapping network, whose dense layers are SCOPE0, SCOPE1, ... in v."""
    attributes = dict(num_layers=o.layers, w_avg_beta=0.9)
    layers = {"mapping": ("MappingNetwork", attributes, {}, {})}
    if o.c_dim:
        layers["mapping.embed"] = _dense(v, "LabelEmbed")
    for i in range(o.layers):
        layers[f"mapping.fc{i}"] = _dense(v, f"{scope}{i}", o.mapping_act, o.lrmul)
    return layers


def torch_generator(o, variables, **extra):
    """Layers of a generator, see :func:`tree`."""
    v = variables["synthesis"]
    sizes = dict(z_dim=o.z_dim, c_dim=o.c_dim, w_dim=o.w_dim, img_resolution=o.resolution)
    sizes.update(img_channels=o.num_channels, num_ws=2 * levels(o) - 2, _init_kwargs={})
    layers = {"": ("Generator", sizes, {}, {})}
    layers.update(torch_mapping(variables["mapping"], o, "Dense"))
    layers["mapping"][3]["w_avg"] = variables[""]["dlatent_avg"]
    layers["synthesis"] = ("SynthesisNetwork", dict(w_dim=o.w_dim), {}, {})
    f = kernel_2d(o.kernel)

    def modulated(path, name, class_name, up=1, noise=None):
        flip = slice(None, None, -1 if up == 2 else 1)
        weight = _turn(v[f"{name}/weight"][flip, flip])
        tensors, buffers = dict(weight=weight, bias=v[f"{name}/bias"]), {}
        attributes = dict(conv_clamp=o.clamp)
        if class_name == "SynthesisLayer":
            buffers["resample_filter"] = f if up == 2 else kernel_2d([1, 3, 3, 1])
            attributes.update(activation=o.act, up=up, use_noise=o.use_noise, padding=1)
            if o.use_noise:
                tensors["noise_strength"] = v[f"{name}/noise_strength"]
                buffers["noise_const"] = v[f"noise{noise}"][0, 0]
        layers[path] = (class_name, attributes, tensors, buffers)
        affine = {"a/weight": v[f"{name}/mod_weight"], "a/bias": v[f"{name}/mod_bias"] + 1}
        layers[f"{path}.affine"] = _dense(affine, "a")

    for r in range(2, levels(o) + 1):
        path, res = f"synthesis.b{2**r}", f"{2**r}x{2**r}"
        attributes = dict(architecture=o.architecture, use_fp16=r > 2, resolution=2**r, **extra)
        const = {"const": v["4x4/Const/const"][0]} if r == 2 else {}
        layers[path] = ("SynthesisBlock", attributes, const, dict(resample_filter=f))
        if r == 2:
            modulated(f"{path}.conv1", "4x4/Conv", "SynthesisLayer", noise=0)
        else:
            modulated(f"{path}.conv0", f"{res}/Conv0_up", "SynthesisLayer", 2, 2 * r - 5)
            modulated(f"{path}.conv1", f"{res}/Conv1", "SynthesisLayer", 1, 2 * r - 4)
            if o.architecture == "resnet":
                skip = dict(activation="linear", up=2, down=1, conv_clamp=None, bias=None)
                tensors = dict(weight=_turn(v[f"{res}/Skip/weight"]))
                layers[f"{path}.skip"] = ("Conv2dLayer", skip, tensors, dict(resample_filter=f))
        if o.architecture == "skip" or r == levels(o):
            modulated(f"{path}.torgb", f"{res}/ToRGB", "ToRGBLayer")
    return layers


def torch_discriminator(o, v, frozen=()):
    """Layers of a discriminator; those in ``frozen`` keep their tensors as buffers."""
    sizes = dict(c_dim=o.c_dim, img_resolution=o.resolution, img_channels=o.num_channels)
    layers = {"": ("Discriminator", dict(sizes, _init_kwargs={}), {}, {})}
    f = kernel_2d(o.kernel)

    def conv(path, name, act, clamp, down=1, is_plain=False):
        attributes = dict(activation=act, up=1, down=down, conv_clamp=clamp)
        tensors, buffers = dict(weight=_turn(v[f"{name}/weight"])), {}
        if is_plain:
            attributes["bias"] = None
        else:
            tensors["bias"] = v[f"{name}/bias"]
        if path in frozen:
            tensors, buffers = {}, tensors
        buffers["resample_filter"] = f if down == 2 else kernel_2d([1, 3, 3, 1])
        layers[path] = ("Conv2dLayer", attributes, tensors, buffers)

    for r in range(levels(o), 1, -1):
        path, res, act = f"b{2**r}", f"{2**r}x{2**r}", o.act if r > 2 else o.end_act
        is_end = r == 2
        class_name = "DiscriminatorEpilogue" if is_end else "DiscriminatorBlock"
        buffers = {} if is_end else dict(resample_filter=f)
        layers[path] = (class_name, dict(architecture=o.architecture), {}, buffers)
        if f"{res}/FromRGB/weight" in v:
            conv(f"{path}.fromrgb", f"{res}/FromRGB", act, None if is_end else o.clamp)
        if not is_end:
            conv(f"{path}.conv0", f"{res}/Conv0", act, o.clamp)
            conv(f"{path}.conv1", f"{res}/Conv1_down", act, o.clamp, 2)
            if o.architecture == "resnet":
                conv(f"{path}.skip", f"{res}/Skip", "linear", None, 2, is_plain=True)
    if o.features:
        attributes = dict(group_size=o.group, num_channels=o.features)
        layers["b4.mbstd"] = ("MinibatchStdLayer", attributes, {}, {})
    conv("b4.conv", "4x4/Conv", o.end_act, o.clamp)
    layers["b4.fc"] = _dense(v, "4x4/Dense0", o.end_act)
    layers["b4.out"] = _dense(v, "Output")
    if o.c_dim:
        layers.update(torch_mapping(v, o, "Mapping"))
    return layers
