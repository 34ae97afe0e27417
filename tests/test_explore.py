import io
import signal
import socket
import subprocess
import sys
import threading
from http.client import HTTPConnection

import numpy as np
import pytest
from PIL import Image
from serving import get, serving
from tiny_painter import CLASSES, SIZE, D, K, L, painter_network, shared_session

import explore
import generate
from dnnlib import cli, tflib
from vis.explorer import render, server
from vis.explorer.state import Limits, State, format_ranges, parse_name
from vis.palette import component_colors
from vis.sampler import Sampler, load_sampler

LAYER_SIZES = (4, SIZE)  # of the painter's attention


@pytest.fixture(scope="module", autouse=True)
def own_session():
    """A session of this file's own."""
    with shared_session():
        yield


@pytest.fixture(scope="module")
def sampler(own_session):
    """Sampler of a tiny network with attention; shared, since building graphs takes the time."""
    return Sampler(painter_network(), batch_size=1)


@pytest.fixture(scope="module")
def conditional():
    """Sampler of a tiny network with classes."""
    return Sampler(painter_network(c_dim=CLASSES), batch_size=1)


@pytest.fixture(scope="module")
def served(sampler):
    """A running server of the first of them."""
    with serving(sampler, "tiny.pkl") as running:
        yield running


@pytest.fixture
def models(sampler, conditional, monkeypatch):
    """The scripts find these networks under these names, without building them again."""
    known = {"tiny.pkl": sampler, "conditional.pkl": conditional}

    def load(path, batch_size=8, class_idx=None, ratio=None):
        known[path].class_idx, known[path].ratio = class_idx, ratio or 1.0
        return known[path]

    monkeypatch.setattr("vis.sampler.load_sampler", load)


def _arrays(served, name):
    status, body, _ = get(served, f"latents/{name}.npz")
    assert status == 200, body
    with np.load(io.BytesIO(body)) as arrays:
        return {key: arrays[key] for key in arrays}


def _generate(model, out, *flags):
    flags = ["--model", model, "--output-dir", out, "--batch-size", 1, *flags]
    assert cli.run_script(generate.run, list(map(str, flags))) == 0
    return sorted(path for path in out.iterdir() if path.suffix == ".png")


# ------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--truncation-psi", "0.35"],
        ["--truncation-psi", "-0.5", "--noise-mode", "none"],
        ["--noise-mode", "random"],
    ],
)
def test_the_name_of_a_generated_picture_gives_the_same_file(models, served, tmp_path, flags):
    for path in _generate("tiny.pkl", tmp_path / "a", "--seeds", "5,1234", *flags):
        status, body, headers = get(served, f"image/{path.name}")
        assert (status, headers["Content-Type"]) == (200, "image/png")
        assert body == path.read_bytes()


def test_classes_and_ratio(models, conditional, tmp_path):
    with serving(conditional, "conditional.pkl") as served:
        flags = ["--seeds", "8,9", "--ratio", "0.5"]
        in_turn = _generate("conditional.pkl", tmp_path / "a", *flags)
        assert [file.name for file in in_turn] == ["seed0008_class1.png", "seed0009_class2.png"]
        chosen = _generate("conditional.pkl", tmp_path / "b", *flags, "--class", 4)
        assert chosen[0].name == "seed0008_class4.png"
        for file in [*in_turn, *chosen]:
            assert get(served, f"image/{file.name}")[1] == file.read_bytes()
        _, body, _ = get(served, "image/seed0009.png")  # its turn
        assert body == in_turn[1].read_bytes()
        with Image.open(io.BytesIO(body)) as image:
            assert image.size == (SIZE, SIZE // 2)
        # A latent of another seed is drawn for the picture's class, not for that seed's turn.
        got = _arrays(served, "seed0009_latent1-8")["ws"][0, 1]
        np.testing.assert_array_equal(got, _arrays(served, "seed0008_class2")["ws"][0, 1])
        assert (got != _arrays(served, "seed0008")["ws"][0, 1]).any()


def test_a_new_latent_leaves_the_others_bit_equal(served):
    before, other = _arrays(served, "seed0005"), _arrays(served, "seed0017")
    names = served.explorer.limits.latent_names()
    assert names == [*[f"latent{i}" for i in range(K)], "global"]
    for latent, name in enumerate(names):
        after = _arrays(served, f"seed0005_{name}-17")
        rest = [i for i in range(K + 1) if i != latent]
        for key in ("z", "ws"):
            np.testing.assert_array_equal(after[key][0, rest], before[key][0, rest])
            np.testing.assert_array_equal(after[key][0, latent], other[key][0, latent])
            assert (after[key][0, latent] != before[key][0, latent]).any()


def test_layers_of_a_second_seed_spare_the_replaced_latents(served):
    before, second, third = [_arrays(served, f"seed000{i}")["ws"] for i in (5, 6, 7)]
    after = _arrays(served, "seed0005_latent1-7_mix6-layers0-1,4")["ws"]
    assert after.shape == (1, K + 1, L, D)
    kept = [0, *range(2, K + 1)]
    for layer in range(L):
        want = second if layer in {0, 1, 4} else before
        np.testing.assert_array_equal(after[:, kept, layer], want[:, kept, layer])
    np.testing.assert_array_equal(after[:, 1], third[:, 1])


def test_saved_latents_are_what_generate_takes(models, served, tmp_path):
    name = "seed0005_psi0.9_latent2-3_global-4_mix6-layers2"
    _, body, headers = get(served, f"latents/{name}.npz")
    assert headers["Content-Disposition"] == f'attachment; filename="{name}.npz"'
    (tmp_path / "latents.npz").write_bytes(body)
    (path,) = _generate("tiny.pkl", tmp_path / "a", "--latents", tmp_path / "latents.npz")
    _, picture, _ = get(served, f"image/{name}.png")
    with Image.open(io.BytesIO(picture)) as got, Image.open(path) as want:
        assert got.text == {"model": "tiny.pkl", "picture": name}
        np.testing.assert_array_equal(np.asarray(got), np.asarray(want))


# ------------------------------------------------------------------------------------ attention


def _attention(served, name, query):
    status, body, headers = get(served, f"attention/{name}.f32{query}")
    assert status == 200, body
    return np.frombuffer(body, "<f4").reshape([int(x) for x in headers["X-Shape"].split(",")])


def test_attention_sums_to_one_in_every_layer(served):
    for layer, size in enumerate(LAYER_SIZES):
        maps = _attention(served, "seed0005", f"?layer={layer}")
        assert maps.shape == (K, size, size)
        np.testing.assert_allclose(maps.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(_attention(served, "seed0005", ""), maps)  # the last
    np.testing.assert_array_equal(_attention(served, "seed0005", "?layer=1&head=0"), maps)
    assert (_attention(served, "seed0005_latent1-3", "") != maps).any()


def test_regions_of_all_layers_stand_side_by_side(served):
    status, body, _ = get(served, "regions/seed0005.png?head=0")
    assert status == 200
    with Image.open(io.BytesIO(body)) as image:
        sheet = np.asarray(image)
    assert sheet.shape == (render.CELL, render.CELL * len(LAYER_SIZES), 3)
    for layer, size in enumerate(LAYER_SIZES):
        owner = _attention(served, "seed0005", f"?layer={layer}").argmax(axis=0)
        step = render.CELL // size
        cells = sheet[step // 2 :: step, layer * render.CELL + step // 2 :: step][:, :size]
        np.testing.assert_array_equal(cells, component_colors(K)[owner])


def test_large_maps_shrink_to_the_mean_and_still_sum_to_one():
    maps = np.random.RandomState(0).rand(3, 8, 8).astype(np.float32)
    maps /= maps.sum(axis=0)
    small = render.shrink(maps, 4)
    assert small.shape == (3, 4, 4) and small.dtype == np.float32
    np.testing.assert_allclose(small[1, 2, 3], maps[1, 4:6, 6:8].mean(), rtol=1e-6)
    np.testing.assert_allclose(small.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(render.shrink(maps, 8), maps)
    np.testing.assert_array_equal(render.shrink(maps, 64), maps)


# ---------------------------------------------------------------------------------------- names

LIMITS = Limits(num_latents=4, has_global=True, num_layers=9, num_classes=5)


@pytest.mark.parametrize(
    "name, state",
    [
        ("seed0005_class0", State(5, 0)),
        ("seed12345_class4", State(12345, 4)),
        ("seed0005_class2_psi0.5", State(5, 2, 0.5)),
        ("seed0000_class2_psi-1.25", State(0, 2, -1.25)),
        ("seed0005_class0_latent2-17_global-4", State(5, 0, rerolls=((2, 17), (3, 4)))),
        (
            "seed0005_class0_mix9-layers0-3,6",
            State(5, 0, mix_seed=9, mix_layers=(0, 1, 2, 3, 6)),
        ),
        ("seed0005_class0_noise-random", State(5, 0, noise_mode="random")),
    ],
)
def test_states_and_names(name, state):
    assert parse_name(name, LIMITS) == state
    assert state.name(LIMITS) == name


@pytest.mark.parametrize(
    "name, want",
    [
        ("seed5", "seed0005_class0"),
        ("seed8_psi0.70", "seed0008_class3"),
        ("seed1_psi0.123456789", "seed0001_class1_psi0.123457"),
        ("seed5_global-4_latent2-17", "seed0005_class0_latent2-17_global-4"),
        ("seed5_latent1-2_latent1-3", "seed0005_class0_latent1-3"),
        ("seed5_mix9-layers6,1,0-2", "seed0005_class0_mix9-layers0-2,6"),
    ],
)
def test_a_state_has_one_name(name, want):
    state = parse_name(name, LIMITS)
    assert state.name(LIMITS) == want
    assert parse_name(want, LIMITS) == state  # the name loses nothing


def test_ranges():
    assert format_ranges([]) == ""
    assert format_ranges([3]) == "3"
    assert format_ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"


# --------------------------------------------------------------------------------- the interface


def test_the_page_and_the_facts(served):
    status, body, headers = get(served, "")
    assert status == 200 and b'id="picture"' in body
    assert headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    for path in ("page.css", "page.js", "controls.js", "overlay.js"):
        assert get(served, path)[0] == 200
    facts = served.explorer.facts()
    assert facts["latents"] == ["latent0", "latent1", "latent2", "global"]
    assert facts["colors"] == ["#0072b2", "#e69f00", "#009e73"]
    assert facts["attention"] == [dict(size=size, heads=1) for size in LAYER_SIZES]
    assert len(facts["layers"]) == L


@pytest.mark.parametrize(
    "path, line",
    [
        ("image/5.png", "'5': a picture's name begins with its seed"),
        ("image/seed.png", "begins with its seed"),
        ("image/seed4294967296.png", "seeds go from 0 to 4294967295, got 4294967296"),
        ("image/seed5_seed6.png", "'seed6' is no part of a picture's name"),
        ("image/seed5_psi3.png", "psi goes from -2 to 2, got 3"),
        ("image/seed5_psi1.2.3.png", "psi must be a number, got '1.2.3'"),
        ("image/seed5_psinan.png", "no part of a picture's name"),
        ("image/seed5_class1.png", "this model has no classes, got class 1"),
        ("image/seed5_latent3-1.png", "this model has the latents 0 to 2, got 3"),
        ("image/seed5_latent0-99999999999.png", "seeds go from 0"),
        ("image/seed5_mix3-layers6.png", "this model has the layers 0 to 5, got 6"),
        ("image/seed5_mix3-layers2-1.png", "layers 0 to 5, got 2-1"),
        ("image/seed5_mix3-layers1,,2.png", "'' is no layer"),
        ("image/seed5_noise-loud.png", "unknown noise mode 'loud'; there are const, random, none"),
        ("image/seed5_" + "x" * 3000 + ".png", "at most 2000 characters"),
        ("image/seed5.png?layer=1", "unknown parameter 'layer'; there are none here"),
        ("image/%FF%0Aseed5.png", "begins with its seed"),
        ("attention/seed5.f32?layer=2", "there is no layer 2: this network has layers 0 to 1"),
        ("attention/seed5.f32?head=1", "there is no head 1"),
        ("attention/seed5.f32?layer=-1", "layer must be an integer from 0 up, got '-1'"),
        ("attention/seed5.f32?layer=", "layer must be an integer from 0 up, got ''"),
        ("attention/seed5.f32?size=9", "unknown parameter 'size'; there are layer, head"),
        ("regions/seed5.png?head=9", "there is no head 9"),
    ],
)
def test_bad_requests_get_one_line_and_status_400(served, path, line):
    status, body, headers = get(served, path)
    assert status == 400 and line in body.decode()
    assert body.count(b"\n") == 1 and headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    "path",
    ["favicon.ico", "image/seed5.jpg", "image/", "page.html", "server.py", "../server.py", "a/b/c"],
)
def test_there_is_nothing_else(served, path):
    status, body, _ = get(served, path)
    assert status == 404 and body.decode().startswith("there is no ") and body.count(b"\n") == 1


def _raw(served, method, path, host):
    connection = HTTPConnection(server.HOST, served.server_port, timeout=60)
    connection.putrequest(method, path, skip_host=True)
    for value in host:
        connection.putheader("Host", value)
    connection.endheaders()
    answer = connection.getresponse()
    status, body = answer.status, answer.read()
    connection.close()
    return status, body


def test_only_local_host_names_are_answered(served):
    port = served.server_port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        assert _raw(served, "GET", "/model.json", [host])[0] == 200
    for host in (
        ["evil.example"],
        [f"evil.example:{port}"],
        ["127.0.0.1:1"],
        [f"[::1]:{port}"],
        [],
    ):
        for path in ("/", "/model.json", "/image/seed5.png"):
            status, body = _raw(served, "GET", path, host)
            assert status == 403 and b"unknown host" in body and body.count(b"\n") == 1
    status, body = _raw(served, "POST", "/", [f"127.0.0.1:{port}"])
    assert status == 501 and body.count(b"\n") == 1


def test_it_listens_on_this_machine_alone(served):
    assert served.server_address[0] == "127.0.0.1"
    assert served.socket.getsockname()[0] == "127.0.0.1"


def test_one_request_at_a_time_uses_the_network(served, sampler, monkeypatch):
    inside, most = 0, 0
    run = tflib.run

    def watch(*args):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        result = run(*args)
        inside -= 1
        return result

    monkeypatch.setattr(tflib, "run", watch)
    bodies = {}

    def ask(seed):
        bodies[seed] = get(served, f"image/seed{seed}.png")[1]

    threads = [threading.Thread(target=ask, args=[seed]) for seed in range(70, 78)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and len(set(bodies.values())) == 8
    for seed, body in bodies.items():
        with Image.open(io.BytesIO(body)) as image:
            got = np.asarray(image)
        want = sampler.pictures(sampler.images(sampler.ws_of_seeds([seed], 0.7)))[0]
        np.testing.assert_array_equal(got, want)


def test_a_network_that_fails_is_an_answer_too(served, sampler, monkeypatch, capsys):
    def fail(*args):
        raise ValueError("the images hold values\nthat are not a number")

    monkeypatch.setattr(sampler, "images", fail)
    status, body, _ = get(served, "image/seed987.png")
    assert status == 500 and body == b"the images hold values that are not a number\n"
    assert "seed987" in capsys.readouterr().out
    monkeypatch.undo()
    assert get(served, "image/seed987.png")[0] == 200


def test_a_network_without_attention_has_none_to_show():
    with serving(Sampler(painter_network(attention=False), batch_size=1)) as plain:
        facts = plain.explorer.facts()
        assert (facts["attention"], facts["colors"]) == ([], [])
        assert facts["latents"] == [f"latent{i}" for i in range(K + 1)]  # none is global
        assert get(plain, "image/seed5_latent3-1.png")[0] == 200
        for path in ("attention/seed5.f32", "regions/seed5.png", "image/seed5_global-1.png"):
            status, body, _ = get(plain, path)
            assert status == 400 and b"this model has no" in body


@pytest.mark.parametrize(
    "num_layers, size, first, want",
    [
        (9, 32, "GANsformer", [4, 4, 8, 8, 16, 16, 32, 32, 32]),
        (8, 32, "StyleGAN2", [4, 8, 8, 16, 16, 32, 32, 32]),
    ],
)
def test_layers_are_named_by_the_resolution_where_they_act(num_layers, size, first, want):
    assert render.layer_sizes(num_layers, size) == want, first


# --------------------------------------------------------------------------------- command line


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--port", "0"], "--port=0: ports go from 1 to 65535"),
        (["--port", "http"], "--port: invalid int value: 'http'"),
        (["--ratio", "0"], "--ratio: must be above 0, got 0"),
        (["--brwser"], "--brwser: no such flag"),
        (["--gpus", "5"], "--gpus=5: this machine has no GPU"),
        (["--model", "none.pkl"], "none.pkl"),
    ],
)
def test_bad_flags_get_one_line_and_status_2(capsys, monkeypatch, flags, message):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert cli.run_script(explore.run, ["--model", "tiny.pkl", "--no-browser", *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_port_in_use(capsys):
    with socket.socket() as taken:
        taken.bind((server.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = ["--model", "tiny.pkl", "--no-browser", "--port", str(port)]
        assert cli.run_script(explore.run, flags) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"--port={port}: address already in use; choose another")
        assert error.count("\n") == 1


def test_without_a_port_the_next_free_one_is_taken(monkeypatch):
    with server.open_server() as first, server.open_server() as second:
        assert server.DEFAULT_PORT <= first.server_port < second.server_port
        monkeypatch.setattr(server, "DEFAULT_PORT", second.server_port)
        monkeypatch.setattr(server, "PORTS_TRIED", 1)
        with pytest.raises(server.UserError, match="are all in use; choose one with --port"):
            server.open_server()


def test_every_option_has_a_help_text():
    for action in explore.build_parser()._actions:
        assert action.help, action.option_strings


def test_ctrl_c_ends_it_cleanly(models, monkeypatch, capsys):
    def interrupt(self):
        raise KeyboardInterrupt

    def note(self):
        explorers.append(self)

    explorers = []
    close = render.Explorer.close
    monkeypatch.setattr(server.ExplorerServer, "serve_forever", interrupt)
    monkeypatch.setattr(render.Explorer, "close", note)
    assert cli.run_script(explore.run, ["--model", "tiny.pkl", "--no-browser"]) == 0
    captured = capsys.readouterr()
    assert "http://127.0.0.1:" in captured.out and captured.out.endswith("explorer is closed\n")
    assert captured.err == ""
    # Closing waits for the picture that is being made, and lets no other one begin.
    (explorer,) = explorers
    order = []
    with explorer._network():
        closing = threading.Thread(target=lambda: (close(explorer), order.append("closed")))
        closing.start()
        closing.join(0.1)
        order.append("made")
    closing.join()
    assert order == ["made", "closed"] and explorer._lock.locked()


@pytest.mark.slow
def test_the_script_serves_a_published_network_until_ctrl_c(root, data_dir):
    path = data_dir / "conformance" / "networks" / "stylegan2__config_f_r32.pkl"
    command = [sys.executable, str(root / "explore.py"), "--model", str(path), "--no-browser"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
    )
    try:
        lines = iter(process.stdout.readline, "")
        url = next(line for line in lines if "http://" in line).split()[4]
        port = int(url.rstrip("/").rpartition(":")[2])
        connection = HTTPConnection(server.HOST, port, timeout=120)
        connection.request("GET", "/state/seed0005_mix3-layers0-3.json")
        assert connection.getresponse().read().startswith(b'{"name": "seed0005_mix3-layers0-3"')
        connection.request("GET", "/image/seed0005_mix3-layers0-3.png")
        assert connection.getresponse().read(4) == b"\x89PNG"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, errors) == (0, "") and output.endswith("explorer is closed\n")


@pytest.mark.slow
def test_a_network_with_a_single_latent(session, data_dir):
    path = data_dir / "conformance" / "networks" / "stylegan2__config_f_r32.pkl"
    explorer = render.Explorer(load_sampler(path, batch_size=1), path)
    facts = explorer.facts()
    assert facts["latents"] == ["latent0"] and not facts["attention"]
    state = explorer.parse("seed0005_mix3-layers1")
    with np.load(io.BytesIO(explorer.latents(state))) as arrays:
        ws = arrays["ws"]
    sampler = explorer._sampler
    want = sampler.ws_of_seeds([5, 3], 0.7)
    want[0, 1] = want[1, 1]
    np.testing.assert_array_equal(ws, want[:1])
    with pytest.raises(server.UserError, match="a single latent"):
        explorer.parse("seed5_latent0-3")
