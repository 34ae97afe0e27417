import base64
import gzip
import hashlib
import http.server
import threading

import numpy as np
import pytest
import tiny_inception

from dnnlib.errors import UserError
from metrics import inception, registry
from metrics.features import Features
from metrics.random_network import load_random


def pictures(num=5, channels=3, height=20, width=24, seed=0):
    return np.random.RandomState(seed).randint(0, 256, [num, channels, height, width], np.uint8)


@pytest.fixture(params=["pb", "tgz"])
def inception_file(request, tmp_path):
    path = tmp_path / f"graph.{request.param}"
    return {"pb": tiny_inception.write_pb, "tgz": tiny_inception.write_tgz}[request.param](path)


def test_the_inception_graph_takes_batches(inception_file):
    network = inception.load_inception(inception_file)
    images = pictures()
    found = network.extract(images, ["pool", "probs"])
    pool, probs = tiny_inception.features(images)
    np.testing.assert_allclose(found["pool"], pool, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["probs"], probs, rtol=1e-4, atol=1e-5)
    assert network.heads == {"pool": tiny_inception.POOL_DIM, "probs": tiny_inception.NUM_CLASSES}


def test_identity_is_that_of_the_graph_not_of_its_wrapping(tmp_path):
    pb = inception.load_inception(tiny_inception.write_pb(tmp_path / "a.pb"))
    tgz = inception.load_inception(tiny_inception.write_tgz(tmp_path / "b.tgz"))
    other = inception.load_inception(tiny_inception.write_pb(tmp_path / "c.pb", seed=1))
    assert pb.identity == tgz.identity != other.identity


def test_grey_images_are_taken_as_rgb(tmp_path):
    network = inception.load_inception(tiny_inception.write_pb(tmp_path / "a.pb"))
    grey = pictures(channels=1)
    np.testing.assert_array_equal(
        network.extract(grey, ["pool"])["pool"],
        network.extract(np.repeat(grey, 3, axis=1), ["pool"])["pool"],
    )
    with pytest.raises(ValueError, match="1, 3 or 4"):
        network.extract(pictures(channels=2), ["pool"])


def test_transparent_images_are_seen_on_white(tmp_path):
    network = inception.load_inception(tiny_inception.write_pb(tmp_path / "a.pb"))
    images = pictures(channels=4)
    alpha = images[:, 3:] / 255
    on_white = np.rint(images[:, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    np.testing.assert_array_equal(
        network.extract(images, ["pool"])["pool"], network.extract(on_white, ["pool"])["pool"]
    )


def bicubic_weights(length, size):
    """[size, length]: Keys' kernel with a = -0.5, widened where it shrinks, normalised."""
    scale = length / size
    width = max(scale, 1.0)
    x = np.abs(np.arange(length) + 0.5 - (np.arange(size)[:, None] + 0.5) * scale) / width
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("height, width", [(20, 24), (410, 350)])
def test_the_clean_resize_is_antialiased_and_not_rounded(height, width):
    image = pictures(1, height=height, width=width)[0]
    rows, cols = bicubic_weights(height, 299), bicubic_weights(width, 299)
    expected = np.clip(rows @ image.astype("f8") @ cols.T, 0, 255)
    found = inception.resize_clean(image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.abs(found - np.rint(found)).max() > 0.4


def test_the_clean_network_sees_the_clean_resize(tmp_path):
    network = inception.load_inception(tiny_inception.write_pb(tmp_path / "a.pb"), is_clean=True)
    images = pictures(3, height=310, width=330)
    resized = np.stack([inception.resize_clean(image) for image in images])
    expected, _ = tiny_inception.features(resized)  # its own resize leaves them as they are
    found = network.extract(images, ["clean"])["clean"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    other = inception.load_inception(tmp_path / "a.pb")
    assert network.identity != other.identity
    assert np.abs(other.extract(images, ["pool"])["pool"] - found).max() > 1e-3


def test_fid_clean_takes_the_clean_network_only(tmp_path):
    features = Features(tiny_inception.write_pb(tmp_path / "a.pb"))
    (protocol,) = registry.find("fid50k-clean", 1000)
    assert protocol.name == "fid1k-clean" and features.require(protocol) == ""
    assert features.describe(protocol).startswith(f"{inception.NAME}-clean:")
    (protocol,) = registry.find("fid50k-clean", features="efficientnet")
    with pytest.raises(UserError, match="fid50k-clean needs the Inception network"):
        features.require(protocol)


@pytest.mark.parametrize(
    "name, data",
    [
        ("text.pb", b"hello, this is not a graph"),
        ("empty.pb", b""),
        ("cut.tgz", gzip.compress(b"x" * 5000)[:20]),
        ("other.tgz", gzip.compress(b"no tar archive")),
    ],
    ids=["text", "empty", "cut", "other"],
)
def test_other_files_are_refused_in_one_line(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UserError, match="--inception FILE") as error:
        inception.load_inception(path)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_missing_file_and_missing_member(tmp_path):
    with pytest.raises(UserError, match=r"--inception: .*no such file"):
        inception.load_inception(tmp_path / "missing.tgz")
    path = tiny_inception.write_tgz(tmp_path / "a.tgz", member="other.pb")
    with pytest.raises(UserError, match=inception.MEMBER):
        inception.load_inception(path)


def test_download_happens_once_and_is_checked_ever_after(tmp_path, monkeypatch):
    file = tiny_inception.write_tgz(tmp_path / "cached.tgz")
    asked = []
    monkeypatch.setattr(inception.fetch, "fetch", lambda name: asked.append(name) or file)
    first = inception.load_inception()
    assert inception.load_inception().identity == first.identity
    assert asked == [inception.URL] * 2 and asked[0].startswith("https://")
    assert (tmp_path / "cached.tgz.sha256").read_text().strip() == first.identity
    tiny_inception.write_tgz(file, seed=1)
    with pytest.raises(UserError, match="has changed since it was downloaded"):
        inception.load_inception()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves one file the way Google's storage does."""

    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.data)))
        self.send_header("x-goog-hash", "crc32c=AAAAAA==")
        self.send_header("x-goog-hash", f"md5={self.server.md5}")
        self.end_headers()
        self.wfile.write(self.server.data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        server.data = tiny_inception.write_tgz(tmp_path / "served.tgz").read_bytes()
        server.md5 = base64.b64encode(hashlib.md5(server.data).digest()).decode()
        server.asked = []
        url = f"http://127.0.0.1:{server.server_port}/inception-2015-12-05.tgz"
        monkeypatch.setattr(inception, "URL", url)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_download_is_kept(server, tmp_path, capsys):
    first = inception.load_inception()
    assert inception.load_inception().identity == first.identity
    assert server.asked == ["/inception-2015-12-05.tgz"]
    assert capsys.readouterr().out.count("Downloading") == 1


def test_a_download_that_differs_from_the_servers_checksum_is_refused(server, tmp_path):
    server.md5 = base64.b64encode(b"0" * 16).decode()
    with pytest.raises(UserError, match=r"md5 .* instead of .*--inception FILE"):
        inception.load_inception()
    assert not list((tmp_path / "cache").glob("[!.]*"))


def test_without_a_network_one_line_says_how_to_get_it(monkeypatch):
    def fail(name):
        raise UserError(f"{name}: the download failed (ConnectionError)")

    monkeypatch.setattr(inception.fetch, "fetch", fail)
    with pytest.raises(UserError, match=r"download failed.*--inception FILE") as error:
        inception.load_inception()
    assert "\n" not in str(error.value)


def test_random_features_are_always_the_same():
    network, images = load_random(), pictures(3, height=32, width=32)
    pool = network.extract(images, ["pool"])["pool"]
    assert pool.shape == (3, 960) and network.heads == {"pool": 960}
    expected = [0.304343, -0.122878, -0.030429, 0.127536]
    np.testing.assert_allclose(pool[0, [0, 300, 600, 959]], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(pool[1:2], network.extract(images[1:2], ["pool"])["pool"])
    assert load_random().identity == network.identity


def test_random_distance():
    network = load_random()
    a, b = (pictures(3, height=32, width=32, seed=seed).astype("f4") for seed in (0, 1))
    np.testing.assert_array_equal(network.apply(a, a), 0)
    far, near = network.apply(a, b), network.apply(a, a + 1)
    assert (far > 10 * near).all() and (near > 0).all()
    np.testing.assert_allclose(network.apply(b, a), far, rtol=1e-5)
