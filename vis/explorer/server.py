"""The explorer's local web server: one page, and pictures, attention and latents by name.

    GET /                        the page, with its style and scripts beside it
    GET /model.json              what the model has
    GET /state/NAME.json         the parts of a picture's name, see state.py
    GET /image/NAME.png          the picture
    GET /latents/NAME.npz        its latents
    GET /attention/NAME.f32      attention of ?layer=I and ?head=M: little-endian float32 [K, H, W],
                                 the shape in the header X-Shape
    GET /regions/NAME.png        the regions of all layers side by side; ?head=M

It listens on 127.0.0.1 only, answers only requests for a local host name (so that no foreign page
reaches it through a name of its own), reads no file after its start, and changes nothing. Whatever
is wrong with a request is answered with a status and one line.
"""

from __future__ import annotations

import json
import socketserver
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from dnnlib.errors import UserError
from dnnlib.util import log

HOST = "127.0.0.1"
LOCAL_NAMES = (HOST, "localhost")
DEFAULT_PORT = 8765
PORTS_TRIED = 20  # without --port
IDLE_SECONDS = 60  # after which a connection is closed

_FOLDER = Path(__file__).resolve().parent
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/controls.js": ("controls.js", "text/javascript; charset=utf-8"),
    "/overlay.js": ("overlay.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    "Cache-Control": "no-store",  # the next server here may have another model
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
}


class RequestError(Exception):
    """A request that gets another answer than 200 or 400: status and one line."""

    def __init__(self, status, line):
        super().__init__(line)
        self.status = status


class ExplorerServer(ThreadingHTTPServer):
    """Serves an Explorer.

    Args:
      port: TCP port; 0 for any that is free.

    Attributes:
      explorer: has to be set before requests are served; the port is taken at once, so that nobody
        waits for a model to load only to read that the port is in use.

    Raises:
      OSError: the port cannot be had.
    """

    daemon_threads = True  # an idle connection keeps nobody waiting

    def __init__(self, port):
        self.explorer = None
        self.files = {
            path: ((_FOLDER / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()
        }
        super().__init__((HOST, port), _Handler)

    def server_bind(self):
        """Bind without asking a name server who we are."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request, client_address):
        """Say nothing when the browser lost interest before the answer came."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{HOST}:{self.server_port}/"


def open_server(port: int | None = None) -> ExplorerServer:
    """A server at the given port; without one, at the first free from DEFAULT_PORT upwards.

    Raises:
      UserError: no port can be had.
    """
    if port is not None:
        try:
            return ExplorerServer(port)
        except OSError as error:
            way_out = "choose another, or leave --port out to take the next free one"
            raise UserError(f"--port={port}: {error.strerror.lower()}; {way_out}") from None
    last = DEFAULT_PORT + PORTS_TRIED - 1
    for candidate in range(DEFAULT_PORT, last + 1):
        try:
            return ExplorerServer(candidate)
        except OSError:
            continue
    raise UserError(f"the ports {DEFAULT_PORT} to {last} are all in use; choose one with --port")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    error_message_format = "%(message)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def do_GET(self):
        """Answer a request."""
        try:
            self._check_host()
            body, kind, headers = self._answer()
        except UserError as error:
            self._fail(HTTPStatus.BAD_REQUEST, error)
        except RequestError as error:
            self._fail(error.status, error)
        except Exception as error:  # noqa: BLE001 - the page has to say what went wrong
            log(f"{self.path}: {error!r}")
            self._fail(HTTPStatus.INTERNAL_SERVER_ERROR, error)
        else:
            self._send(HTTPStatus.OK, body, kind, headers)

    def _check_host(self):
        """Refuse foreign host names: a page elsewhere may point a name of its own at us."""
        host = self.headers.get("Host", "")
        known = [f"{name}:{self.server.server_port}" for name in LOCAL_NAMES]
        if host not in known:
            line = f"unknown host {host[:100]!r}; this server is {known[0]}"
            raise RequestError(HTTPStatus.FORBIDDEN, line)

    def _answer(self):
        """Body, its type and further headers."""
        url = urlsplit(self.path)
        if url.path in self.server.files:
            return (*self.server.files[url.path], {})
        explorer = self.server.explorer
        if url.path == "/model.json":
            return _as_json(explorer.facts())
        kind, name = self._split(url.path)
        state = explorer.parse(name)
        options = _options(url.query, allowed=_OPTIONS.get(kind, ()))
        return _ANSWERS[kind](explorer, state, options)

    @staticmethod
    def _split(path):
        """Kind and name of a path /KIND/NAME.ENDING."""
        _, _, rest = path.partition("/")
        kind, _, file = rest.partition("/")
        ending = _ENDINGS.get(kind)
        if ending is None or not file.endswith(ending):
            raise RequestError(HTTPStatus.NOT_FOUND, f"there is no {path[:100]!r} here")
        return kind, unquote(file[: -len(ending)], errors="replace")

    def _fail(self, status, error):
        """Answer with one line of text."""
        line = " ".join(str(error).split()) or type(error).__name__
        self._send(status, f"{line}\n".encode(), self.error_content_type, {})

    def _send(self, status, body, kind, headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for key, value in {**_HEADERS, **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def version_string(self):
        """Tell nobody what versions run here."""
        return "explorer"

    def log_message(self, format, *args):
        """Keep quiet: a line for each picture would bury the lines that matter."""


def _options(query, allowed):
    """The integers of a query string.

    Raises:
      UserError: not integers, or not allowed here.
    """
    options = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in allowed:
            known = f"there are {', '.join(allowed)}" if allowed else "there are none here"
            raise UserError(f"unknown parameter {key[:100]!r}; {known}")
        if not (value.isdigit() and value.isascii() and len(value) < 9):
            raise UserError(f"{key} must be an integer from 0 up, got {value[:100]!r}")
        options[key] = int(value)
    return options


def _as_json(value):
    return json.dumps(value).encode(), "application/json", {}


def _state(explorer, state, _options):
    """The parts of a name, and its one right spelling."""
    return _as_json(
        dict(
            name=state.name(explorer.limits),
            seed=state.seed,
            class_idx=state.class_idx,
            psi=state.psi,
            rerolls=dict(state.rerolls),
            mix_seed=state.mix_seed,
            mix_layers=state.mix_layers,
            noise_mode=state.noise_mode,
        )
    )


def _image(explorer, state, _options):
    return explorer.picture(state), "image/png", {}


def _latents(explorer, state, _options):
    name = state.name(explorer.limits)
    headers = {"Content-Disposition": f'attachment; filename="{name}.npz"'}
    return explorer.latents(state), "application/octet-stream", headers


def _attention(explorer, state, options):
    maps = explorer.attention(state, **options)
    shape = ",".join(map(str, maps.shape))
    return maps.astype("<f4").tobytes(), "application/octet-stream", {"X-Shape": shape}


def _regions(explorer, state, options):
    return explorer.regions(state, **options), "image/png", {}


_ANSWERS = {
    "state": _state,
    "image": _image,
    "latents": _latents,
    "attention": _attention,
    "regions": _regions,
}
_ENDINGS = {
    "state": ".json",
    "image": ".png",
    "latents": ".npz",
    "attention": ".f32",
    "regions": ".png",
}
_OPTIONS = {"attention": ("layer", "head"), "regions": ("head",)}
