"""Files by name or URL, from a server on this machine."""

import hashlib
import http.server
import json
import sys
import threading
from types import SimpleNamespace

import pytest

from dnnlib import UserError, download, fetch, model_names

CONTENTS = bytes(range(256)) * 5000
MD5 = hashlib.md5(CONTENTS).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        if "missing" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        kind = "text/html; charset=utf-8" if "page" in self.path else "application/octet-stream"
        self.send_header("Content-Type", kind)
        body = b"" if "empty" in self.path else CONTENTS
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:70000] if "cut" in self.path else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Base URL, with an empty cache."""
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "_FIRST_WAIT", 0.0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.requests = 0
        httpd.url = f"http://127.0.0.1:{httpd.server_port}"
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield httpd
        httpd.shutdown()
        thread.join()


def test_download_once(server, tmp_path, capsys):
    url = f"{server.url}/some/network.pkl?x=1"
    path = fetch.fetch(url, md5=MD5)
    assert path.read_bytes() == CONTENTS
    assert path.parent == tmp_path / "cache"
    assert path.name.endswith("-network.pkl")
    assert fetch.fetch(url) == path
    assert server.requests == 1
    assert fetch.fetch(f"{server.url}/other/network.pkl") != path
    assert "Downloading http" in capsys.readouterr().out


def _files(folder):
    return [path for path in folder.iterdir() if not path.name.endswith(".lock")]


def test_who_comes_at_the_same_time_waits(server):
    url = f"{server.url}/network.pkl"
    threads = [threading.Thread(target=fetch.fetch, args=[url]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.requests == 1
    assert fetch.fetch(url, MD5).read_bytes() == CONTENTS


def test_local_files_are_used_where_they_are(tmp_path):
    (tmp_path / "file").write_text("x")
    assert fetch.fetch(tmp_path / "file") == tmp_path / "file"
    assert fetch.fetch(str(tmp_path / "file")) == tmp_path / "file"


@pytest.mark.parametrize(
    "name, md5, message, left",
    [
        ("missing.pkl", None, r"the download failed \(the server says 404", []),
        ("page.pkl", None, "sends a web page instead of the file", []),
        ("cut.pkl", None, "the download failed.* the same command goes on", [".json", ".part"]),
        ("empty.pkl", None, "an empty file", []),
        ("file.pkl", "0" * 32, f"md5 {MD5} instead of 00000000", []),
    ],
)
def test_failures_are_one_line_and_leave_no_file(server, tmp_path, name, md5, message, left):
    with pytest.raises(UserError, match=message) as caught:
        fetch.fetch(f"{server.url}/{name}", md5)
    assert "\n" not in str(caught.value)
    assert sorted(path.suffix for path in _files(tmp_path / "cache")) == left


def test_nobody_answers(server):
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"the download failed \(ConnectionError\)"):
        fetch.fetch(f"{server.url}/file.pkl")


def test_google_drive_names(server, monkeypatch):
    monkeypatch.setattr(model_names, "GDRIVE_URL", server.url + "/download?id={id}")
    path = fetch.fetch("gdrive:clevr-snapshot.pkl")
    assert path.name.endswith("-clevr-snapshot.pkl")
    assert path.read_bytes() == CONTENTS
    assert fetch.to_url("gdrive:" + "A1_-" * 8) == f"{server.url}/download?id={'A1_-' * 8}"
    with pytest.raises(UserError, match=r"gdrive:clevr\.pkl: .*mean 'clevr-snapshot\.pkl'"):
        fetch.fetch("gdrive:clevr.pkl")
    with pytest.raises(UserError, match="must be one of bedrooms-snapshot"):
        fetch.fetch("gdrive:zzz")


COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEXT_COMMIT = "f" * 40


class Hub(Handler):
    """The hub: redirects to where the file is, and tells commit and checksum before."""

    def do_GET(self):
        if "/resolve/" not in self.path:
            super().do_GET()
            return
        self.server.asked.append(self.path)
        if "/absent" in self.path:
            self.send_error(401)
            return
        self.send_response(302)
        self.send_header("Location", "/cdn" + ("/cut" if "cut" in self.path else "/file"))
        self.send_header("X-Repo-Commit", self.server.commit)
        digest = "0" * 64 if "wrong" in self.path else hashlib.sha256(CONTENTS).hexdigest()
        self.send_header("X-Linked-ETag", f'"{digest}"')
        self.end_headers()


@pytest.fixture
def hub(server, monkeypatch):
    """The server as a hub, without huggingface_hub."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    server.RequestHandlerClass = Hub
    server.commit, server.asked = COMMIT, []
    monkeypatch.setenv("HF_ENDPOINT", server.url + "/")
    return server


def test_files_of_the_hub(hub, tmp_path, capsys):
    path = fetch.fetch("hf:someone/models/nets/clevr.pkl")
    assert path == tmp_path / "cache" / "hf" / "someone--models" / "main" / "nets--clevr.pkl"
    assert path.read_bytes() == CONTENTS
    assert hub.asked == ["/someone/models/resolve/main/nets/clevr.pkl"]
    assert f"hf:someone/models/nets/clevr.pkl is of commit {COMMIT}" in capsys.readouterr().out
    note = json.loads((path.parent / "nets--clevr.pkl.json").read_text())
    assert note["commit"] == COMMIT and note["sha256"] == hashlib.sha256(CONTENTS).hexdigest()
    hub.commit = NEXT_COMMIT
    assert fetch.fetch("hf:someone/models/nets/clevr.pkl") == path
    assert len(hub.asked) == 1  # the branch has moved; the cache keeps to what it has


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"other")])
def test_a_lost_file_comes_back_as_it_was(hub, capsys, damage):
    path = fetch.fetch("hf:someone/models/clevr.pkl")
    damage(path)
    assert fetch.fetch("hf:someone/models/clevr.pkl") == path
    assert path.read_bytes() == CONTENTS
    assert hub.asked[1] == f"/someone/models/resolve/{COMMIT}/clevr.pkl"


def test_a_commit_that_gives_another_file(hub):
    path = fetch.fetch("hf:someone/models/clevr.pkl")
    note = path.with_name("clevr.pkl.json")
    note.write_text(note.read_text().replace('"sha256": "', '"sha256": "0'))
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"another file than before; .* remove .*clevr\.pkl\.json"
        ):
            fetch.fetch("hf:someone/models/clevr.pkl")
    note.unlink()
    assert fetch.fetch("hf:someone/models/clevr.pkl").read_bytes() == CONTENTS


def test_revisions_are_files_of_their_own(hub):
    paths = [fetch.fetch(f"hf:o/m/a.pkl{end}") for end in ("", "@v1.0", "@refs/pr/3")]
    assert len(set(paths)) == 3
    assert hub.asked == [f"/o/m/resolve/{r}/a.pkl" for r in ("main", "v1.0", "refs%2Fpr%2F3")]


@pytest.mark.parametrize(
    "name, message",
    [
        ("hf:someone/clevr.pkl", "write hf:owner/repo/file"),
        ("hf:a/b/../../c", "write hf:owner/repo/file"),
        ("hf:a/b/c@", "write hf:owner/repo/file"),
        ("hf:someone/absent/clevr.pkl", r"says 401 .*huggingface_hub"),
        ("hf:someone/wrong/clevr.pkl", r"sha256 [0-9a-f]{64} instead of 0000000"),
        ("hf:someone/models/cut.pkl", "the same command goes on later"),
    ],
)
def test_files_that_the_hub_does_not_give(hub, tmp_path, name, message):
    with pytest.raises(UserError, match=message) as caught:
        fetch.fetch(name)
    assert "\n" not in str(caught.value) and name in str(caught.value)
    left = [p.name for p in (tmp_path / "cache").rglob("*.pkl") if p.is_file()]
    assert [name for name in left if not name.startswith(".")] == []


@pytest.mark.parametrize("has_links", [True, False])
def test_by_the_hubs_own_library(server, tmp_path, monkeypatch, has_links):
    blob = tmp_path / "models" / "snapshots" / COMMIT / "clevr.pkl"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(CONTENTS)
    calls = []

    def hf_hub_download(repo_id, filename, revision):
        calls.append((repo_id, filename, revision))
        if filename == "absent":
            raise FileNotFoundError("404 Client Error\nmore")
        return str(blob)

    library = SimpleNamespace(hf_hub_download=hf_hub_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    if not has_links:
        monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError("no links")))
    path = fetch.fetch("hf:someone/models/clevr.pkl")
    assert path.read_bytes() == CONTENTS and path != blob
    path.unlink()
    fetch.fetch("hf:someone/models/clevr.pkl")
    ends = ("main", COMMIT)
    assert calls == [("someone/models", "clevr.pkl", revision) for revision in ends]
    with pytest.raises(UserError, match=r"the download failed \(404 Client Error\); see that"):
        fetch.fetch("hf:someone/models/absent")


@pytest.mark.parametrize(
    "name, where",
    [
        ("gansformer-clevr.pkl", "gdrive:clevr-snapshot.pkl"),
        ("models/ffhq-snapshot-1024.pkl", "gdrive:ffhq-snapshot-1024.pkl"),
        ("stylegan2-ffhq-config-f.pkl", "gdrive:networks/stylegan2-ffhq-config-f.pkl"),
    ],
)
def test_published_names_that_are_not_on_disk(name, where, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"{name}: no such file; it is published: {where} in its"):
        fetch.fetch(name)
    assert model_names.to_url(where).startswith("https://")
    with pytest.raises(UserError, match=r"no such file; give a path, a URL, a gdrive: or hf: name"):
        fetch.fetch("other-" + name.replace("/", "-"))


def test_names_of_stylegan2():
    url = "https://nvlabs-fi-cdn.nvidia.com/stylegan2/networks/"
    for name in ("stylegan2-car-config-e.pkl", "table2/stylegan2-ffhq-config-e-Gskip-Dresnet.pkl"):
        assert model_names.to_url(f"gdrive:networks/{name}") == url + name
    assert len(model_names.STYLEGAN2_FILES) == len(set(model_names.STYLEGAN2_FILES)) == 36
    with pytest.raises(UserError, match=r"mean 'networks/stylegan2-cat-config-f\.pkl'"):
        model_names.to_url("gdrive:networks/stylegan2-cat-config-e.pkl")


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("DNNLIB_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetch.cache_dir() == tmp_path / "gansformer"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetch.cache_dir() == tmp_path / ".cache" / "gansformer"
