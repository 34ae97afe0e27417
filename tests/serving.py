"""An explorer that tests ask: served from a thread, by a tiny network."""

import contextlib
import threading
import urllib.error
import urllib.request

from vis.explorer.render import Explorer
from vis.explorer.server import ExplorerServer


@contextlib.contextmanager
def serving(sampler, path="model.pkl"):
    """A running ExplorerServer of a Sampler, at any free port."""
    with ExplorerServer(port=0) as server:
        server.explorer = Explorer(sampler, path)
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def get(server, path, **headers):
    """(status, body, headers) of a request."""
    request = urllib.request.Request(f"{server.url}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers
