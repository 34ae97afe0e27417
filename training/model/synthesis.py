"""The synthesis network: intermediate latents to an image.

Papers: StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), Generative Adversarial Transformers
(Hudson & Zitnick 2021, arXiv:2103.01209).
"""

from types import SimpleNamespace

import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib.precision import double_precision
from training.model.layers import log2_resolution
from training.model.positional import GridEncodings, LayerEncodings
from training.model.quirks import Quirks
from training.model.synthesis_graph import (
    SynthesisGraph,
    check_options,
    noise_mode_of,
    output_maps,
)


@tflib.register_builder("synthesis")
def synthesis(
    ws,
    *,
    resolution,
    num_channels=3,
    w_dim=512,
    components_num=1,
    transformer=False,
    architecture="skip",
    style=True,
    latent_stem=False,
    local_noise=True,
    noise_mode="random",
    randomize_noise=None,
    fused_modconv=None,
    tanh=False,
    nonlinearity="lrelu",
    conv_clamp=None,
    resample_kernel=(1, 3, 3, 1),
    channel_base=16 << 10,
    channel_max=512,
    channel_min=1,
    channel_decay=1.0,
    const_channels=None,
    start_res=0,
    end_res=8,
    num_heads=1,
    norm=None,
    integration="add",
    ltnt_gate=False,
    img_gate=False,
    kmeans=False,
    kmeans_iters=1,
    iterative=False,
    duplex=False,
    ltnt2ltnt=False,
    img2ltnt=False,
    img2img=0,
    local_attention=0,
    use_pos=False,
    pos_dim=None,
    pos_type="sinus",
    pos_init="uniform",
    pos_directions_num=2,
    merge=False,
    merge_layer=-1,
    merge_type="sum",
    merge_same=False,
    attention_dropout=0.0,
    maps="image",
    quirks=(),
    ltnt_pos=None,
    component_mask=None,
    rng=None,
    is_template_graph=False,
    is_validation=False,
):
    """Synthesise images.

    Args:
      ws: [N, K, L, D], L = 2 log2(resolution) - 1; with ``transformer`` the last of the K is the
        global latent, which modulates convolutions; the image attends to the others.
      resolution: side of the images, a power of two.
      num_channels: of the images.
      w_dim: D.
      components_num: components, the global latent not counted.
      transformer: attention from the components to the image.
      architecture: "skip" (sum of images of all resolutions), "resnet" or "orig".
      style: modulate convolutions by the (global) latent.
      latent_stem: make the first map from the latent instead of a constant.
      local_noise: add noise in every layer.
      noise_mode: "random", "const" (variables) or "none".
      randomize_noise: StyleGAN2's spelling: True is "random", False is "const".
      fused_modconv: accepted for old scripts; both forms of the convolution are the same function.
      tanh: bound each contribution to the image.
      nonlinearity: activation of the layers.
      conv_clamp: bound of the layers' and of ToRGB's outputs; None: none.
      resample_kernel: FIR filter of up-sampling.
      channel_base: channels at resolution 2^r are channel_base / 2^(r - 1), but not more than
      channel_max: this, nor fewer than
      channel_min: this;
      channel_decay: exponent: 2^((r - 1) * channel_decay).
      const_channels: channels of the learned constant; None: those of its resolution.
      start_res: attention at resolutions 2^r with start_res <= r
      end_res: < end_res.
      num_heads: attention heads.
      norm: normalise the image before it takes in what it gathered: None, "instance" or "layer"
        ("batch" is the same as "layer").
      integration: how it takes it in: "add", "mul" or "both".
      ltnt_gate: gates on the latents' side.
      img_gate: gates on the image's side.
      kmeans: attend by learned centroids, see centroids.py.
      kmeans_iters: k-means steps per layer.
      iterative: carry assignments from layer to layer.
      duplex: attend by centroids that the latents find in the image (the paper's duplex attention).
      ltnt2ltnt: components look at each other after each layer.
      img2ltnt: components look at the image after each layer.
      img2img: log2 of a resolution at which positions look at each other (SAGAN); 0: none.
      local_attention: side of the windows in which positions look at each other; 0: none.
      use_pos: tell the components apart by ``ltnt_pos``.
      pos_dim: width of the image's positional encoding; None: D.
      pos_type: its kind, see positional.py.
      pos_init: start of trainable kinds.
      pos_directions_num: its number of directions.
      merge: k-GAN: every latent makes its own image, see kgan.py.
      merge_layer: log2 of the resolution at which these become one; -1: the last.
      merge_type: "sum", "softmax", "max" or "leaves".
      merge_same: one weight per image rather than per position.
      attention_dropout: rate of dropout on the attention's probabilities.
      maps: attention maps at the image's resolution in one tensor ("image"), at their own, one
        tensor for each layer ("layers"), or "none".
      quirks: names of the published code's quirks to reproduce, see quirks.py.
      ltnt_pos: [components_num, D] encoding of the components.
      component_mask: [N, components_num], 0 hides a component; None: none.
      rng: StepRandom; None: TensorFlow's stateful generators.
      is_template_graph: no bound tensors are there yet.
      is_validation: accepted for old scripts, which give it to all networks; truncation is not
        done here.

    Returns:
      images [N, num_channels, H, W]; with attention and "image" also maps
      [N, components_num, layers, M, H, W]; with "layers" [N, components_num, M, h, w] for each.
    """
    opt = SimpleNamespace(**locals())
    opt.quirks = Quirks.named(quirks)
    opt.noise_mode = noise_mode_of(None, randomize_noise) or noise_mode
    check_options(opt)
    num_latents = components_num + (1 if transformer else 0)
    ws.set_shape([None, num_latents, 2 * log2_resolution(resolution) - 1, w_dim])
    if use_pos and ltnt_pos is None:
        if not is_template_graph:
            raise ValueError("use_pos=True needs ltnt_pos; the outer generator binds it")
        opt.ltnt_pos = tf.zeros([components_num, w_dim])
    # The k-means steps of these amplify rounding from layer to layer.
    amplifies = kmeans and (iterative or kmeans_iters > 1) and not attention_dropout
    precise = opt.quirks.double_precision and amplifies
    with double_precision(precise, opt, "ws ltnt_pos component_mask"):
        if opt.quirks.positions_by_layer and pos_type == "trainable2d":
            grids = LayerEncodings(pos_dim or w_dim, pos_init)
        else:
            grids = GridEncodings(
                log2_resolution(resolution),
                pos_dim or w_dim,
                pos_type,
                pos_init,
                pos_directions_num,
                opt.quirks.flat_sinusoids,
                opt.ws.dtype,
            )
        first_layer = 0 if opt.quirks.latents_from_zero else 1
        graph = SynthesisGraph(opt, opt.ws, grids, first_layer)
        images = graph.images()
        found = [] if maps == "none" else graph.maps()
    images = tf.identity(tf.cast(images, tf.float32), name="images_out")
    return (images, *output_maps([tf.cast(x, tf.float32) for x in found], resolution, maps))
