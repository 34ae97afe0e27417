"""Downloads and the catalogue, against a server on this machine that behaves badly on request."""

import hashlib
import http.server
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import prepare_data
from datasets_tool import catalogue
from datasets_tool.catalogue import ENTRIES
from dnnlib import cli, download
from dnnlib.errors import UserError
from training import dataset as dataset_module
from training.dataset import Dataset


class BadServer(http.server.ThreadingHTTPServer):
    """Serves ``files``; each request first takes its behaviour from ``plan`` (see Handler)."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.plan, self.requests, self.etag = {}, [], [], '"v1"'
        self.chunk_wait = 0.0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Plans: ("drop", n) closes after n bytes; ("status", code); ("wrong",) changes a byte."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        parsed = urllib.parse.urlparse(self.path)
        query = urllib.parse.parse_qs(parsed.query)
        server.requests.append((self.path, self.headers.get("Range")))
        if parsed.path == "/uc" and "confirm" not in query:
            return self.page(query["id"][0])
        name = query["id"][0] if "id" in query else parsed.path.lstrip("/")
        plan = server.plan.pop(0) if server.plan else ("serve",)
        if plan[0] == "status" or name not in server.files:
            code = plan[1] if plan[0] == "status" else 404
            self.send_response(code)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        return self.send_file(server.files[name], plan)

    def page(self, name):
        """Google Drive's question."""
        text = (
            '<html><form id="other" action="/wrong"><input name="x" value="y"></form>'
            '<form id="download-form" action="/uc" method="get">'
            f'<input type="hidden" name="id" value="{name}">'
            '<input type="hidden" name="confirm" value="t"></form></html>'
        ).encode()
        if name == "quota":
            text = b"<html>Sorry, too many users have downloaded this file recently.</html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def send_file(self, data, plan):
        start = 0
        match = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match and self.headers.get("If-Range", "") == self.server.etag:
            start = int(match.group(1))
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        body = data[start:]
        self.send_header("ETag", self.server.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if plan[0] == "wrong":
            body = body[:-1] + bytes([body[-1] ^ 1])
        if plan[0] == "drop":
            body = body[: plan[1]]
        for at in range(0, len(body), 1 << 16):
            self.wfile.write(body[at : at + (1 << 16)])
            time.sleep(self.server.chunk_wait)
        return self.wfile.flush()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "_FIRST_WAIT", 0.0)
    server = BadServer()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def blob(server):
    data = np.random.RandomState(0).bytes(3_000_000)
    server.files["blob"] = data
    return data


def md5(data):
    return hashlib.md5(data).hexdigest()


def test_a_plain_download(server, blob, tmp_path):
    download.download(server.url("blob"), str(tmp_path / "x/blob"), md5(blob))
    assert (tmp_path / "x/blob").read_bytes() == blob
    assert os.listdir(str(tmp_path / "x")) == ["blob"]


def test_dropped_connections_are_continued_not_repeated(server, blob, tmp_path):
    server.plan = [("drop", 1_000_000), ("drop", 700_000)]
    download.download(server.url("blob"), str(tmp_path / "blob"), md5(blob))
    assert (tmp_path / "blob").read_bytes() == blob
    starts = [int(re.findall(r"\d+", r)[0]) if r else 0 for _, r in server.requests]
    assert len(starts) == 3 and 0 < starts[1] < starts[2]


def test_busy_servers_are_asked_again(server, blob, tmp_path):
    server.plan = [("status", 503), ("status", 429), ("status", 500)]
    download.download(server.url("blob"), str(tmp_path / "blob"), md5(blob))
    assert (tmp_path / "blob").read_bytes() == blob


def test_giving_up_keeps_what_is_there(server, blob, tmp_path):
    server.plan = [("drop", 2_000_000)] + [("status", 503)] * 6
    with pytest.raises(UserError, match=r"the server says 503 .* 6 times in a row"):
        download.download(server.url("blob"), str(tmp_path / "blob"), md5(blob))
    kept = (tmp_path / "blob.part").stat().st_size
    assert 0 < kept <= 2_000_000 and not (tmp_path / "blob").exists()
    download.download(server.url("blob"), str(tmp_path / "blob"), md5(blob))
    assert (tmp_path / "blob").read_bytes() == blob
    assert server.requests[-1][1] == f"bytes={kept}-"


def test_a_wrong_checksum_is_downloaded_once_more(server, blob, tmp_path, capsys):
    server.plan = [("wrong",)]
    download.download(server.url("blob"), str(tmp_path / "blob"), md5(blob))
    assert (tmp_path / "blob").read_bytes() == blob
    assert f"instead of {md5(blob)}; downloading it again" in capsys.readouterr().out


def test_a_file_that_is_another_one_is_refused(server, blob, tmp_path):
    with pytest.raises(UserError, match="instead of 0123, twice: not the file that is expected"):
        download.download(server.url("blob"), str(tmp_path / "blob"), "0123")
    assert os.listdir(str(tmp_path)) == []


def test_a_file_that_changes_on_the_way_is_not_mixed(server, blob, tmp_path):
    server.plan = [("drop", 1_000_000)] + [("status", 503)] * 6
    with pytest.raises(UserError):
        download.download(server.url("blob"), str(tmp_path / "blob"))
    server.files["blob"], server.etag = blob[::-1], '"v2"'
    download.download(server.url("blob"), str(tmp_path / "blob"))
    assert (tmp_path / "blob").read_bytes() == blob[::-1]


def test_another_place_does_not_continue_the_first_ones_part(server, blob, tmp_path):
    server.plan = [("drop", 1_000_000)] + [("status", 503)] * 6
    with pytest.raises(UserError):
        download.download(server.url("blob"), str(tmp_path / "blob"))
    server.files["other"] = blob[::-1]
    download.download(server.url("other"), str(tmp_path / "blob"))
    assert (tmp_path / "blob").read_bytes() == blob[::-1]


def test_servers_that_name_no_version_are_continued_too(server, blob, tmp_path):
    server.etag = ""
    server.plan = [("drop", 1_000_000), ("drop", 700_000)]
    download.download(server.url("blob"), str(tmp_path / "blob"), md5(blob))
    assert (tmp_path / "blob").read_bytes() == blob
    assert server.requests[2][1] != server.requests[1][1] is not None


def test_missing_files_are_not_asked_for_again(server, tmp_path):
    with pytest.raises(UserError, match="the server says 404 Not Found"):
        download.download(server.url("none"), str(tmp_path / "none"))
    assert len(server.requests) == 1


def test_no_server_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_FIRST_WAIT", 0.0)
    with pytest.raises(UserError, match=r"download failed .*ConnectionError"):
        download.download("http://127.0.0.1:9/x", str(tmp_path / "x"))


def test_google_drives_question_is_answered(server, blob, tmp_path):
    server.plan = [("drop", 900_000)]
    download.download(server.url("uc?export=download&id=blob"), str(tmp_path / "b"), md5(blob))
    assert (tmp_path / "b").read_bytes() == blob
    with pytest.raises(UserError, match="a web page instead of the file"):
        download.download(server.url("uc?export=download&id=quota"), str(tmp_path / "q"))


def test_too_little_room_is_said_before_the_download(server, blob, tmp_path, monkeypatch):
    usage = shutil.disk_usage(str(tmp_path))
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"GB are missing, but only 0.0 GB are free"):
        download.download(server.url("blob"), str(tmp_path / "blob"))
    assert not (tmp_path / "blob.part").exists()


def test_killed_downloads_end_with_the_same_bytes(server, blob, tmp_path, root):
    """SIGKILL at random moments, run again, same file."""
    server.chunk_wait = 0.02
    code = "import sys; from dnnlib.download import download; download(*sys.argv[1:])"
    target = tmp_path / "blob"
    command = [sys.executable, "-c", code, server.url("blob"), str(target), md5(blob)]
    rng, partial = np.random.RandomState(int(time.time())), 0
    for _ in range(3):
        process = subprocess.Popen(command, cwd=str(root), stdout=subprocess.DEVNULL)
        deadline = time.time() + 60
        while process.poll() is None and time.time() < deadline:
            part = tmp_path / "blob.part"
            if part.exists() and part.stat().st_size > partial:
                break
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        partial = part.stat().st_size if part.exists() else 0
    server.chunk_wait = 0.0
    subprocess.run(command, cwd=str(root), stdout=subprocess.DEVNULL, check=True)
    assert target.read_bytes() == blob


# The catalogue


@pytest.fixture
def originals(tmp_path):
    """A folder of ten pictures of 48x32, as CLEVR's archive holds them."""
    rng = np.random.RandomState(1)
    folder = tmp_path / "originals"
    for index in range(10):
        path = folder / f"CLEVR_v1.0/images/{'train' if index < 6 else 'val'}/{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.randint(0, 256, [32, 48, 3]).astype(np.uint8)).save(str(path))
    return folder


def zip_of(folder):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(str(path), str(path.relative_to(folder)))
        archive.writestr("CLEVR_v1.0/scenes/picture.png", b"not below images")
    return file.getvalue()


def offer(monkeypatch, server, flag, data, **changes):
    """Let a catalogue entry point at the server."""
    server.files[ENTRIES[flag].file] = data
    entry = replace(ENTRIES[flag], url=server.url(ENTRIES[flag].file), md5=md5(data), **changes)
    monkeypatch.setitem(ENTRIES, flag, entry)


def run(*argv):
    argv = [str(arg) for arg in argv]
    return cli.run_script(
        prepare_data.main, argv if "--workers" in argv else [*argv, "--workers", "1"]
    )


def stored(folder, resolution=None):
    dataset = Dataset(folder, resolution)
    return np.stack([dataset.image(index) for index in range(dataset.num_images)])


def shards(folder):
    return {p.name.split("-r")[1]: p.read_bytes() for p in folder.glob("*.tfrecords*")}


def test_clevrs_archive_over_a_bad_line_equals_the_folder(
    server, originals, tmp_path, monkeypatch, capsys
):
    """Two drops and one wrong checksum; the set is bit-equal to one from a folder."""
    data = zip_of(originals)
    offer(monkeypatch, server, "clevr-original", data)
    server.plan = [("drop", 9000), ("drop", 9000), ("wrong",), ("drop", 20000)]
    flags = ("--data-dir", tmp_path / "sets", "--resolution", 64, "--workers", 2)
    assert run("--clevr-original", *flags) == 0
    assert "downloading it again" in capsys.readouterr().out
    run(
        *("--task", "mine", "--images-dir", originals, "--ratio", "2/3", "--shards-num", 5),
        *flags,
    )
    assert shards(tmp_path / "sets/clevr") == shards(tmp_path / "sets/mine")
    dataset = Dataset(tmp_path / "sets/clevr")
    assert dataset.ratio == pytest.approx(2 / 3) and dataset.num_images == 10
    assert not (tmp_path / "sets/.archives").exists()
    requests = len(server.requests)
    assert run("--clevr-original", *flags) == 0  # ready: nothing is downloaded again
    assert len(server.requests) == requests


def test_archives_are_kept_on_request_and_used_again(server, originals, tmp_path, monkeypatch):
    offer(monkeypatch, server, "clevr-original", zip_of(originals))
    flags = ("--clevr-original", "--data-dir", tmp_path / "sets", "--keep-archives")
    assert run(*flags, "--resolution", 32) == 0
    assert os.listdir(str(tmp_path / "sets/.archives")) == ["CLEVR_v1.0.zip"]
    requests = len(server.requests)
    assert run(*flags, "--resolution", 16, "--overwrite") == 0
    assert len(server.requests) == requests and Dataset(tmp_path / "sets/clevr").resolution == 16


@pytest.mark.parametrize("kind", ["url", "file", "folder"])
def test_source_replaces_the_usual_place(server, originals, tmp_path, monkeypatch, kind):
    data = zip_of(originals)
    offer(monkeypatch, server, "clevr-original", data)
    server.files["mirror.zip"] = data
    (tmp_path / "local.zip").write_bytes(data)
    place = {
        "url": server.url("mirror.zip"),
        "file": tmp_path / "local.zip",
        "folder": originals,
    }[kind]
    flags = ("--clevr-original", "--data-dir", tmp_path / "sets", "--resolution", 32)
    assert run(*flags, "--source", place) == 0
    assert Dataset(tmp_path / "sets/clevr").num_images == 10
    assert all(ENTRIES["clevr-original"].file not in path for path, _ in server.requests)
    assert (tmp_path / "local.zip").exists()


@pytest.mark.parametrize("flag, ratio", [("clevr", 0.75), ("cityscapes", 0.5), ("ffhq", 1.0)])
def test_raw_pictures_of_a_folder_are_cut_to_the_entrys_ratio(originals, tmp_path, flag, ratio):
    """Whose own archive has records, which were cut before."""
    argv = ("--resolution", 32, "--data-dir", tmp_path / "sets")
    assert run(f"--{flag}", "--source", originals, "--shards-num", 1, *argv) == 0
    run("--task", "mine", "--images-dir", originals, "--ratio", ratio, *argv)
    assert (stored(tmp_path / "sets" / flag) == stored(tmp_path / "sets/mine")).all()
    assert Dataset(tmp_path / "sets" / flag).ratio == ratio
    assert run(f"--{flag}", "--source", originals, "--ratio", "1", "--overwrite", *argv) == 0
    assert Dataset(tmp_path / "sets" / flag).ratio == 1
    assert run(f"--{flag}", "--source", originals, "--crop", "none", "--overwrite", *argv) == 0
    assert Dataset(tmp_path / "sets" / flag).ratio == 1  # all of the picture is kept: no false cut


def test_a_folder_of_records_keeps_its_own_ratio(tmp_path, monkeypatch):
    folder, images = make_published(tmp_path, monkeypatch)
    argv = ("--resolution", 16, "--data-dir", tmp_path / "sets", "--source", folder)
    assert run("--clevr", *argv) == 0
    assert (stored(tmp_path / "sets/clevr") == images).all()
    assert Dataset(tmp_path / "sets/clevr").ratio == 0.75
    (folder / "dataset.json").write_text(json.dumps({"ratio": 0.625}))
    assert run("--clevr", *argv, "--overwrite") == 0
    assert Dataset(tmp_path / "sets/clevr").ratio == 0.625


def test_bad_sources_are_refused(server, originals, tmp_path, monkeypatch, capsys):
    offer(monkeypatch, server, "clevr-original", zip_of(originals))
    (tmp_path / "other.zip").write_bytes(b"another file")
    flags = ("--clevr-original", "--data-dir", tmp_path / "sets")
    for place, message in (
        (tmp_path / "other.zip", "not the file that is expected; prepare it as your own: --task"),
        (tmp_path / "none.zip", "there is no such file or folder"),
    ):
        assert run(*flags, "--source", place) == 2
        assert message in capsys.readouterr().err


def make_published(tmp_path, monkeypatch, count=11, shards_num=3):
    """A set in the published layout, and its images."""
    rng = np.random.RandomState(2)
    images = rng.randint(0, 256, [count, 3, 16, 16]).astype(np.uint8)
    np.save(str(tmp_path / "images.npy"), images)
    argv = ("--task", "pub", "--images-dir", tmp_path / "images.npy", "--data-dir", tmp_path)
    assert run(*argv, "--shards-num", shards_num, "--workers", 1) == 0
    (tmp_path / "pub/dataset.json").unlink()
    return tmp_path / "pub", images


@pytest.mark.parametrize("flag, ratio, shards_num", [("clevr", 0.75, 5), ("cityscapes", 0.5, 16)])
def test_zips_of_records(server, tmp_path, monkeypatch, flag, ratio, shards_num):
    folder, images = make_published(tmp_path, monkeypatch)
    offer(monkeypatch, server, flag, zip_of(folder))
    argv = (f"--{flag}", "--data-dir", tmp_path / "sets", "--resolution", 16)
    assert run(*argv) == 0
    assert (stored(tmp_path / "sets" / flag) == images).all()
    dataset = Dataset(tmp_path / "sets" / flag)
    assert dataset.ratio == ratio and dataset.info["shards"] == shards_num
    assert run(*argv, "--max-images", 4, "--shards-num", 2, "--overwrite") == 0
    assert (stored(tmp_path / "sets" / flag) == images[:4]).all()


def test_one_file_of_records(server, tmp_path, monkeypatch):
    folder, images = make_published(tmp_path, monkeypatch, shards_num=1)
    (path,) = folder.iterdir()
    offer(monkeypatch, server, "ffhq", path.read_bytes())
    assert run("--ffhq", "--data-dir", tmp_path / "sets", "--resolution", 16) == 0
    assert (stored(tmp_path / "sets/ffhq") == images).all()


def make_lmdb_zip(folder, tmp_path):
    """LSUN's layout: a zip with one folder that holds an LMDB of encoded pictures."""
    lmdb = pytest.importorskip("lmdb")
    database = lmdb.open(str(tmp_path / "bedroom_train_lmdb"), map_size=1 << 24)
    with database, database.begin(write=True) as transaction:
        for path in sorted(folder.rglob("*.png")):
            transaction.put(path.name.encode(), path.read_bytes())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("data.mdb", "lock.mdb"):
            archive.write(str(tmp_path / "bedroom_train_lmdb" / name), f"bedroom_train_lmdb/{name}")
    return file.getvalue()


def test_a_zipped_lmdb(server, originals, tmp_path, monkeypatch):
    offer(monkeypatch, server, "bedrooms", make_lmdb_zip(originals, tmp_path))
    flags = ("--data-dir", tmp_path / "sets", "--resolution", 32, "--workers", 2)
    assert run("--bedrooms", *flags) == 0
    run(
        *("--task", "mine", "--images-dir", originals, "--ratio", "188/256"),
        *("--shards-num", 64, *flags),
    )
    assert shards(tmp_path / "sets/bedrooms") == shards(tmp_path / "sets/mine")
    assert not (tmp_path / "sets/.archives").exists()


def test_several_sets_in_one_command(server, originals, tmp_path, monkeypatch):
    folder, _ = make_published(tmp_path, monkeypatch)
    offer(monkeypatch, server, "clevr", zip_of(folder))
    offer(monkeypatch, server, "cityscapes", zip_of(folder))
    argv = ("--clevr", "--cityscapes", "--scenes", "--images-num", 3, "--resolution", 16)
    assert run(*argv, "--data-dir", tmp_path / "sets", "--workers", 1) == 0
    for name, count in (("clevr", 11), ("cityscapes", 11), ("scenes", 3)):
        assert Dataset(tmp_path / "sets" / name).num_images == count


def test_unpacking_stays_in_its_folder(tmp_path):
    with zipfile.ZipFile(str(tmp_path / "evil.zip"), "w") as archive:
        archive.writestr("../../../outside/data.mdb", b"contents")
    catalogue.unpack_member(str(tmp_path / "evil.zip"), "data.mdb", str(tmp_path / "in"))
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("data.mdb")] == ["in/data.mdb"]
    with zipfile.ZipFile(str(tmp_path / "two.zip"), "w") as archive:
        archive.writestr("a/data.mdb", b"1")
        archive.writestr("b/data.mdb", b"2")
    with pytest.raises(UserError, match=r"holds 2 files data\.mdb, not one"):
        catalogue.unpack_member(str(tmp_path / "two.zip"), "data.mdb", str(tmp_path / "in"))


def test_the_reader_knows_the_catalogues_flags():
    flags = {flag for flag, entry in ENTRIES.items() if flag == entry.name}
    assert set(dataset_module.CATALOGUE) == flags | {"scenes"}


def test_the_catalogue_is_the_published_one():
    table = {flag: (e.md5, e.ratio, e.shards_num) for flag, e in ENTRIES.items()}
    assert json.loads(json.dumps(table)) == {
        "ffhq": ["74de4f07dc7bfb07c0ad4471fdac5e67", 1.0, 1],
        "bedrooms": ["f2c5d904a82a6295dbdccb322b4b0a99", 188 / 256, 64],
        "cityscapes": ["953d231046275120dc1f73a5aebc9087", 0.5, 16],
        "clevr": ["3040bb20a29cd2f0e1e9231aebddf2a1", 0.75, 5],
        "clevr-original": ["b11922020e72d0cd9154779b2d3d07d2", 320 / 480, 5],
    }
