"""The synthesis network: intermediate latents to an image.

Papers: StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), Generative Adversarial Transformers
(Hudson & Zitnick 2021, arXiv:2103.01209).
"""

import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib.precision import double_precision
from training.model.synthesis_graph import SynthesisGraph, SynthesisOptions, output_maps


@tflib.register_builder("synthesis", SynthesisOptions)
def synthesis(
    ws, options, *, ltnt_pos=None, component_mask=None, rng=None, is_template_graph=False
):
    """Synthesise images.

    Args:
      ws: [N, K, L, D], L = 2 log2(resolution) - 1; with ``transformer`` the last of the K is the
        global latent, which modulates convolutions; the image attends to the others.
      options: SynthesisOptions; callers give its fields as keywords.
      ltnt_pos: [components_num, D] encoding of the components; needed with ``use_pos``.
      component_mask: [N, components_num], 0 hides a component; None hides none.
      rng: StepRandom; None: TensorFlow's stateful generators.
      is_template_graph: whether the template is being built; ``ltnt_pos`` is not bound yet then.

    Returns:
      images [N, num_channels, H, W]; with attention and maps="image" also maps
      [N, components_num, layers, M, H, W]; with "layers" [N, components_num, M, h, w] for each.
    """
    options.check()
    num_latents = options.components_num + (1 if options.transformer else 0)
    ws.set_shape([None, num_latents, 2 * options.max_log2 - 1, options.w_dim])
    if options.use_pos and ltnt_pos is None:
        if not is_template_graph:
            raise ValueError("use_pos=True needs ltnt_pos; the outer generator binds it")
        ltnt_pos = tf.zeros([options.components_num, options.w_dim])
    # The k-means steps of these amplify rounding from layer to layer.
    steps = options.kmeans and (options.iterative or options.kmeans_iters > 1)
    precise = options.quirk.double_precision and steps and not options.attention_dropout
    with double_precision(precise, ws, ltnt_pos, component_mask) as (w, pos, mask):
        grids = options.grids(options.w_dim, w.dtype)
        first_layer = 0 if options.quirk.latents_from_zero else 1
        graph = SynthesisGraph(options, w, rng, grids, pos, mask, first_layer)
        images = graph.images()
        found = [] if options.maps == "none" else graph.maps()
    images = tf.identity(tf.cast(images, tf.float32), name="images_out")
    found = [tf.cast(x, tf.float32) for x in found]
    return (images, *output_maps(found, options.size_at(options.max_log2), options.maps))
