"""Pictures of attention: what each latent component looks at.

For the training loop: :func:`save_attention_overlay` writes one sheet of image | attention |
strongest latent, :func:`save_layer_strips` shows how the regions form from layer to layer.
:func:`attention_sheet` shows all about one sample.

Attention maps come as the generator gives them, in any of three forms:
  [N, K, H, W]           one layer, heads already joined;
  [N, K, layers, M, H, W]  the published form, every layer at the resolution of the image;
  list of [N, K, M, H, W]  one array per attention layer, each at the layer's own resolution.
A network without attention has no maps; asking for its attention raises UserError.
"""

import numpy as np

from dnnlib.errors import UserError
from vis.channels import to_pictures
from vis.palette import component_colors
from vis.pictures import (
    cell_size,
    crop_to_ratio,
    fit_cells,
    grid_shape,
    legend,
    resize,
    save_picture,
    stack,
    text_line,
    tile,
    titled,
    with_margin,
)

GAP = 2  # pixels between the cells of one sample
SAMPLE_GAP = 14  # pixels between samples
BLENDING_ALPHA = 0.4  # weight of the image in a blend
TITLES = ["image", "attention", "strongest latent"]


def split_layers(maps):
    """Attention maps in any form, as a list of layers.

    Args:
      maps: see the module's docstring.

    Returns:
      list of [N, K, M, H, W] arrays in the network's order, from 4x4 upwards.

    Raises:
      UserError: there is no attention.
      ValueError: an array of another form.
    """
    if maps is None or (isinstance(maps, (list, tuple)) and not len(maps)):
        raise UserError("this network has no attention between latents and image to show")
    if isinstance(maps, (list, tuple)):
        layers = [np.asarray(layer) for layer in maps]
    elif maps.ndim == 6:
        layers = list(np.moveaxis(maps, 2, 0))
    elif maps.ndim == 4:
        layers = [maps[:, :, np.newaxis]]
    elif maps.ndim == 1:  # what published networks without attention return
        raise UserError("this network has no attention between latents and image to show")
    else:
        layers = [maps]
    for layer in layers:
        if layer.ndim != 5:
            raise ValueError(f"a layer's maps must be [N, K, M, H, W], got {list(layer.shape)}")
    return layers


def resize_maps(maps, height, width):
    """Nearest-neighbour resizing: [..., H, W] => [..., height, width]."""
    rows = np.arange(height) * maps.shape[-2] // height
    columns = np.arange(width) * maps.shape[-1] // width
    return maps[..., rows[:, np.newaxis], columns]


def join_maps(maps, height, width, layer=None, head=None):
    """One map per component: the mean over layers and heads, or one of them.

    Args:
      maps: see the module's docstring.
      height: H of the result.
      width: W of the result.
      layer: index of a layer, -1 is the last; None for the mean over all layers.
      head: index of a head; None for the mean over all heads.

    Returns:
      [N, K, H, W] float32. Where no gates are on, the K values of a pixel sum to one.

    Raises:
      UserError: no attention, or no such layer or head.
    """
    layers = split_layers(maps)
    layers = layers if layer is None else [_pick(layers, layer, "layer")]
    joined = 0.0
    for probs in layers:
        heads = np.moveaxis(probs, 2, 0).astype(np.float32)  # [M, N, K, H, W]
        one = heads.mean(axis=0) if head is None else _pick(heads, head, "head")
        joined = joined + resize_maps(one, height, width) / np.float32(len(layers))
    return joined


def _pick(items, idx, what):
    """items[idx], or an error that says what there is."""
    if not -len(items) <= idx < len(items):
        raise UserError(f"there is no {what} {idx}: this network has {what}s 0 to {len(items) - 1}")
    return items[idx]


def soft_segmentation(maps, colors=None):
    """Every pixel in the mean of the components' colours, weighted by their attention.

    Args:
      maps: [N, K, H, W] as from :func:`join_maps`.
      colors: [K, 3] uint8; the palette's by default.

    Returns:
      [N, H, W, 3] uint8.
    """
    colors = component_colors(maps.shape[1]) if colors is None else colors
    total = np.maximum(maps.sum(axis=1, keepdims=True), 1e-8)  # gated maps may sum to less than one
    mixed = np.tensordot(maps / total, colors.astype(np.float32), axes=(1, 0))  # [N, H, W, 3]
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def hard_segmentation(maps, colors=None):
    """Every pixel in the colour of the component with the strongest attention.

    Args:
      maps: [N, K, H, W] as from :func:`join_maps`.
      colors: [K, 3] uint8; the palette's by default.

    Returns:
      [N, H, W, 3] uint8.
    """
    colors = component_colors(maps.shape[1]) if colors is None else colors
    return colors[np.argmax(maps, axis=1)]


def blend(pictures, overlay, alpha=BLENDING_ALPHA):
    """alpha * pictures + (1 - alpha) * overlay, for uint8 arrays of one shape."""
    mixed = alpha * pictures.astype(np.float32) + (1 - alpha) * overlay.astype(np.float32)
    return np.rint(mixed).astype(np.uint8)


def attention_overlay(images, maps, *, layer=-1, head=None, alpha=BLENDING_ALPHA, ratio=1.0):
    """The pictures that show the attention of each sample.

    Args:
      images: [N, C, H, W] float in [-1, 1] or uint8.
      maps: see the module's docstring.
      layer: index of a layer, by default the last, which sees most detail; None for the mean.
      head: index of a head; None for the mean over all.
      alpha: weight of the image in the blend.
      ratio: height over width to keep of square images with black bars.

    Returns:
      [N, 3, H * ratio, W, 3] uint8: image, blend with the hard segmentation, hard segmentation.
    """
    joined = crop_to_ratio(join_maps(maps, *images.shape[2:], layer=layer, head=head), ratio)
    pictures = to_pictures(crop_to_ratio(images, ratio))
    regions = hard_segmentation(joined)
    return np.stack([pictures, blend(pictures, regions, alpha), regions], axis=1)


def overlay_sheet(images, maps, *, layer=-1, head=None, alpha=BLENDING_ALPHA, ratio=1.0):
    """A sheet with :func:`attention_overlay` of each sample, titles and a legend of the colours.

    Args and returns as there; the sheet is one [height, width, 3] uint8 picture.
    """
    cells = attention_overlay(images, maps, layer=layer, head=head, alpha=alpha, ratio=ratio)
    columns = grid_shape(len(cells), aspect=0.5)[0]
    body = _sheet_of_rows(cells, columns, TITLES)
    return _with_legend(body, split_layers(maps)[0].shape[1])


def save_attention_overlay(
    path, images, maps, *, layer=-1, head=None, alpha=BLENDING_ALPHA, ratio=1.0
):
    """Write :func:`overlay_sheet` to a file."""
    sheet = overlay_sheet(images, maps, layer=layer, head=head, alpha=alpha, ratio=ratio)
    save_picture(path, sheet)


def layer_regions(maps, height, width, *, head=None, ratio=1.0):
    """Where each layer divides the image among the components, from 4x4 upwards.

    Args:
      maps: see the module's docstring; the per-layer form keeps each layer's resolution visible.
      height: H of the image.
      width: W of the image.
      head: index of a head; None for the mean over all.
      ratio: see :func:`attention_overlay`.

    Returns:
      [N, layers, H * ratio, W, 3] uint8 hard segmentations, and the layers' titles.
    """
    layers = split_layers(maps)
    joined = [join_maps([layer], height, width, head=head) for layer in layers]
    regions = [hard_segmentation(crop_to_ratio(one, ratio)) for one in joined]
    titles = [f"layer {i}: {m.shape[-2]}x{m.shape[-1]}" for i, m in enumerate(layers)]
    return np.stack(regions, axis=1), titles


def layer_strips(images, maps, *, head=None, ratio=1.0):
    """A sheet with a row per sample: the image, then :func:`layer_regions`.

    Args:
      images: [N, C, H, W] float in [-1, 1] or uint8.
      maps: see the module's docstring.
      head: index of a head; None for the mean over all.
      ratio: see :func:`attention_overlay`.

    Returns:
      [height, width, 3] uint8.
    """
    regions, titles = layer_regions(maps, *images.shape[2:], head=head, ratio=ratio)
    pictures = to_pictures(crop_to_ratio(images, ratio))
    cells = np.concatenate([pictures[:, np.newaxis], regions], axis=1)
    body = _sheet_of_rows(cells, 1, ["image", *titles])
    return _with_legend(body, split_layers(maps)[0].shape[1])


def save_layer_strips(path, images, maps, *, head=None, ratio=1.0):
    """Write :func:`layer_strips` to a file."""
    save_picture(path, layer_strips(images, maps, head=head, ratio=ratio))


def spotlights(images, maps):
    """What each component attends to: the image, dark where the component does not look.

    Args:
      images: [N, C, H, W] float in [-1, 1] or uint8.
      maps: [N, K, H, W] as from :func:`join_maps`.

    Returns:
      [N, K, H, W, 3] uint8; a component's strongest pixel keeps its full colour.
    """
    peak = np.maximum(maps.max(axis=(2, 3), keepdims=True), 1e-8)
    light = (maps / peak)[..., np.newaxis]  # [N, K, H, W, 1]
    pictures = to_pictures(images)[:, np.newaxis].astype(np.float32)
    return np.rint(pictures * light).astype(np.uint8)


def attention_sheet(image, maps, *, layer=-1, head=None, alpha=BLENDING_ALPHA, ratio=1.0):
    """All about one sample: overlays, what each component looks at, and the layers from 4x4 up.

    Args:
      image: [1, C, H, W] float in [-1, 1] or uint8.
      maps: see the module's docstring, with N = 1.
      layer: index of a layer for overlays and components, by default the last; None for the mean.
      head: index of a head; None for the mean over all.
      alpha: weight of the image in the blend.
      ratio: see :func:`attention_overlay`.

    Returns:
      [height, width, 3] uint8.
    """
    choice = dict(layer=layer, head=head)
    overlays = attention_overlay(image, maps, alpha=alpha, ratio=ratio, **choice)[0]
    joined = crop_to_ratio(join_maps(maps, *image.shape[2:], **choice), ratio)
    overlays = np.concatenate([overlays, soft_segmentation(joined)])
    lights = spotlights(crop_to_ratio(image, ratio), joined)[0]
    regions, region_titles = layer_regions(maps, *image.shape[2:], head=head, ratio=ratio)
    groups = [
        (overlays, [*TITLES, "all latents"]),
        (lights, [f"latent {i}" for i in range(len(lights))]),
        (regions[0], region_titles),
    ]
    num = sum(len(titles) for _, titles in groups)
    columns = grid_shape(num)[0]
    size = cell_size(*overlays.shape[1:3], columns, -(-num // columns) + len(groups))
    body = [titled(resize(cells, *size), titles, columns) for cells, titles in groups]
    return _with_legend(stack(body, SAMPLE_GAP), len(lights))


def _sheet_of_rows(cells, columns, titles):
    """[N, F, H, W, 3] uint8 => a sheet with ``columns`` samples of F cells side by side."""
    num_samples, num_cells = cells.shape[:2]
    flat = fit_cells(cells.reshape(-1, *cells.shape[2:]), columns * num_cells)
    rows = [
        tile(flat[i * num_cells : (i + 1) * num_cells], num_cells, GAP) for i in range(num_samples)
    ]
    body = tile(rows, columns, SAMPLE_GAP)
    # One header per column of samples, laid out exactly as the samples are.
    header = tile([text_line(titles, rows[0].shape[1])] * columns, columns, SAMPLE_GAP)
    return stack([header, body])


def _with_legend(body, num_components):
    """Add the colours of all components and a margin."""
    colors = legend(component_colors(num_components), body.shape[1])
    return with_margin(stack([body, colors], GAP))
