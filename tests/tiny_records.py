"""Small datasets in the published layout."""

import tracemalloc

import numpy as np

from dnnlib.records.tfrecord import encode_image, frame


def write_set(folder, images, shards=1, labels=None):
    """A set as the published tool writes it: image j in shard j mod shards."""
    folder.mkdir()
    level = images[0].shape[-1].bit_length() - 1
    for shard in range(shards):
        name = f"{folder.name}-r{level:02d}.tfrecords{shard + 1}of{shards}"
        data = b"".join(frame(encode_image(image)) for image in images[shard::shards])
        (folder / name).write_bytes(data)
    if labels is not None:
        with (folder / f"{folder.name}-rxx.labels").open("wb") as file:
            np.save(file, labels)
    return folder


def reading_peak(dataset, steps):
    """Most bytes that Python holds while batches of 8 are read, after a first one."""
    dataset.batch(0, 8)
    tracemalloc.start()
    for step in range(steps):
        dataset.batch(8 * step, 8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak
