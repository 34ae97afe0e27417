"""Files by name or URL, from a server on this machine."""

import hashlib
import http.server
import threading

import pytest

from dnnlib import UserError, download, fetch

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
    monkeypatch.setattr(fetch, "GDRIVE_URL", server.url + "/download?id={id}")
    path = fetch.fetch("gdrive:clevr-snapshot.pkl")
    assert path.name.endswith("-clevr-snapshot.pkl")
    assert path.read_bytes() == CONTENTS
    assert fetch.to_url("gdrive:" + "A1_-" * 8) == f"{server.url}/download?id={'A1_-' * 8}"
    with pytest.raises(UserError, match=r"gdrive:clevr\.pkl: .*mean 'clevr-snapshot\.pkl'"):
        fetch.fetch("gdrive:clevr.pkl")
    with pytest.raises(UserError, match="must be one of bedrooms-snapshot"):
        fetch.fetch("gdrive:zzz")


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("DNNLIB_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetch.cache_dir() == tmp_path / "gansformer"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetch.cache_dir() == tmp_path / ".cache" / "gansformer"
