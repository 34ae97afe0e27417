"""A small frozen graph with the tensor names and the habits of the Inception graph of 2015."""

import io
import tarfile

import numpy as np

from dnnlib.tflib.compat import tf

POOL_DIM, NUM_CLASSES = 6, 5


def weights(seed=0):
    rng = np.random.RandomState(seed)
    return {
        "conv": rng.randn(9, 9, 3, POOL_DIM).astype("f4") * 0.1,
        "beta": rng.randn(POOL_DIM).astype("f4"),
        "softmax": rng.randn(POOL_DIM, NUM_CLASSES).astype("f4"),
    }


def graph_def(seed=0):
    """Takes one JPEG at a time, resizes to 299x299, has an operation of before 2016, no version."""
    w = weights(seed)
    with tf.Graph().as_default() as graph:
        contents = tf.constant(b"", name="DecodeJpeg/contents")
        picture = tf.image.decode_jpeg(contents, channels=3, name="DecodeJpeg")
        x = tf.expand_dims(tf.cast(picture, tf.float32, name="Cast"), 0, name="ExpandDims")
        x = tf.raw_ops.ResizeBilinear(
            images=x, size=tf.constant([299, 299]), align_corners=False, name="ResizeBilinear"
        )
        x = tf.multiply(tf.subtract(x, 128.0, name="Sub"), 1 / 128, name="Mul")
        x = tf.nn.conv2d(x, w["conv"], strides=9, padding="VALID", name="conv/Conv2D")
        zeros, ones = np.zeros(POOL_DIM, "f4"), np.ones(POOL_DIM, "f4")
        inputs = [x.op.name]
        for name, value in [("mean", zeros), ("var", ones), ("beta", w["beta"]), ("gamma", ones)]:
            inputs.append(tf.constant(value, name=f"conv/batchnorm/{name}").op.name)
        x = tf.identity(x, name="conv/batchnorm")  # becomes the old operation below
        x = tf.nn.relu(x, name="conv")
        x = tf.nn.avg_pool2d(x, 33, 1, "VALID", name="pool_3")
        one_image = tf.constant([1, POOL_DIM], name="pool_3/_reshape/shape")
        x = tf.reshape(x, one_image, "pool_3/_reshape")
        head = tf.constant(w["softmax"], name="softmax/weights")
        x = tf.matmul(x, head, name="softmax/logits/MatMul")
        x = tf.add(x, np.full(NUM_CLASSES, 100.0, "f4") * np.arange(NUM_CLASSES), "softmax/logits")
        tf.nn.softmax(x, name="softmax")
        result = graph.as_graph_def()
    for node in result.node:
        if node.name == "conv/batchnorm":
            node.op = "BatchNormWithGlobalNormalization"
            del node.input[:]
            node.input.extend(inputs)
            node.attr["variance_epsilon"].f = 0.001
            node.attr["scale_after_normalization"].b = False
    result.ClearField("versions")
    result.ClearField("library")
    return result


def write_pb(path, seed=0):
    path.write_bytes(graph_def(seed).SerializeToString(deterministic=True))
    return path


def write_tgz(path, seed=0, member="classify_image_graph_def.pb"):
    data = graph_def(seed).SerializeToString(deterministic=True)
    with tarfile.open(str(path), "w:gz") as archive:
        for name, contents in [("LICENSE", b"text"), (member, data)]:
            info = tarfile.TarInfo(name)
            info.size = len(contents)
            archive.addfile(info, io.BytesIO(contents))
    return path


def resize_bilinear(image, size):
    """TensorFlow's first bilinear resize, in NumPy: [H, W, C] => [size, size, C]."""

    def places(length):
        position = np.arange(size) * (length / size)
        low = np.floor(position).astype(int)
        return low, np.minimum(low + 1, length - 1), position - low

    (y0, y1, dy), (x0, x1, dx) = places(image.shape[0]), places(image.shape[1])
    dy, dx = dy[:, None, None], dx[None, :, None]
    top = image[y0][:, x0] * (1 - dx) + image[y0][:, x1] * dx
    bottom = image[y1][:, x0] * (1 - dx) + image[y1][:, x1] * dx
    return top * (1 - dy) + bottom * dy


def features(images, seed=0):
    """What the graph computes, in NumPy: uint8 [N, 3, H, W] => pool [N, D] and probs [N, C]."""
    w, pool = weights(seed), []
    for image in images:
        x = (resize_bilinear(image.transpose(1, 2, 0).astype("f8"), 299) - 128) / 128
        patches = x[:297, :297].reshape(33, 9, 33, 9, 3)
        y = np.einsum("yaxbc,abcd->yxd", patches, w["conv"].astype("f8"))
        pool.append(np.maximum(y / np.sqrt(1.001) + w["beta"], 0).mean(axis=(0, 1)))
    logits = np.exp(np.array(pool) @ w["softmax"])  # without the biases
    return np.array(pool), logits / logits.sum(axis=1, keepdims=True)
