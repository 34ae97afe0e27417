"""Downloads that recover: continued after a break, repeated with back-off, checked before use."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import html.parser
import json
import os
import shutil
import time
import urllib.parse

from tqdm import tqdm

from dnnlib.errors import UserError
from dnnlib.util import log

_BLOCK = 1 << 20
_NETWORK_BLOCK = 1 << 16  # what a break of the connection can cost
_TIMEOUT = (20, 60)  # seconds to connect, and without any data
_FRUITLESS_TRIES = 6  # in a row, without a single byte
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0  # seconds
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)


class _BrokenOffError(Exception):
    """A failure after which it makes sense to try again."""


def file_md5(path, title=""):
    """MD5 of a file, in hexadecimal, with a progress bar for large ones."""
    digest, size = hashlib.md5(), os.path.getsize(path)
    bar = tqdm(total=size, unit="B", unit_scale=True, desc=f"checking {title}", disable=None)
    with open(path, "rb") as file, bar:  # noqa: PTH123
        for block in iter(lambda: file.read(_BLOCK), b""):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def download(url, path, md5=None):
    """Download a file; what an earlier, interrupted call left is continued.

    The bytes go to ``path``.part, which is renamed once it is whole and its checksum is right. A
    wrong checksum makes it start over, once.

    Args:
        url: HTTP(S); Google Drive's confirmation page for large files is answered.
        path: where the file ends up.
        md5: its checksum, if known.

    Raises:
        UserError: it cannot be had, or it is not the file that was expected.
    """
    name = os.path.basename(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    for attempt in range(2):
        _fetch(url, path + ".part", name)
        found = file_md5(path + ".part", name) if md5 else None
        if found == md5:
            os.replace(path + ".part", path)
            _forget(path + ".part.json")
            return
        os.remove(path + ".part")
        again = "; downloading it again" if attempt == 0 else ""
        log(f"{name}: md5 {found} instead of {md5}{again}")
    raise UserError(
        f"{url}: md5 {found} instead of {md5}, twice: not the file that is expected; give another "
        "place with --source"
    )


def _fetch(url, part, name):
    """Bring ``part`` to its full length, in as many tries as it takes."""
    import requests  # noqa: PLC0415 - only those who download need it

    fruitless = 0
    with requests.Session() as session:
        while True:
            before = os.path.getsize(part) if os.path.exists(part) else 0
            try:
                return _continue(session, url, part, name)
            except (requests.RequestException, _BrokenOffError) as error:
                reason = str(error) if isinstance(error, _BrokenOffError) else type(error).__name__
            after = os.path.getsize(part) if os.path.exists(part) else 0
            fruitless = 0 if after > before else fruitless + 1
            if fruitless == _FRUITLESS_TRIES:
                raise UserError(
                    f"{url}: the download failed ({reason}), {fruitless} times in a row; the same "
                    "command goes on later, or give another place with --source"
                )
            wait = min(_FIRST_WAIT * 2**fruitless, _LONGEST_WAIT)
            log(f"{name}: {reason} at {after / 1e6:.1f} MB; trying again in {wait:.0f} s")
            time.sleep(wait)


def _continue(session, url, part, name):
    """One request for what is missing of ``part``."""
    have, version = _what_is_there(part, url)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if version:  # where the server tells none, the checksum finds a mixture
            headers["If-Range"] = version
    with _open_file(session, url, headers) as response:
        if response.status_code == 416:  # nothing is missing, or the file has changed
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return
            os.remove(part)
            raise _BrokenOffError("the file has changed on the server")
        _check_status(response, url)
        if response.status_code != 206:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        _check_room(part, total, have)
        _note_version(part, url, response.headers)
        with _disk_full_explained(part):
            _write(response, part, have, total, name)
    if total is not None and os.path.getsize(part) < total:
        raise _BrokenOffError("the connection broke off")


def _write(response, part, have, total, name):
    """Append the response's body to the first ``have`` bytes of ``part``."""
    bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=name, disable=None)
    with open(part, "r+b" if have else "wb") as file, bar:  # noqa: PTH123
        file.seek(have)
        file.truncate()
        for block in response.iter_content(_NETWORK_BLOCK):
            file.write(block)
            bar.update(len(block))


def _check_status(response, url):
    """Sort the server's refusals into temporary and final ones."""
    if response.status_code in _TEMPORARY:
        raise _BrokenOffError(f"the server says {response.status_code} {response.reason}")
    if response.status_code not in (200, 206):
        raise UserError(
            f"{url}: the server says {response.status_code} {response.reason}; "
            "give another place with --source"
        )


def _check_room(part, total, have):
    """Refuse a download that the disk cannot hold before it starts."""
    free = shutil.disk_usage(os.path.dirname(part) or ".").free
    if total is not None and total - have > free:
        raise UserError(
            f"{part}: {(total - have) / 1e9:.1f} GB are missing, but only {free / 1e9:.1f} GB are "
            "free; free some space, or choose another --data-dir"
        )


# Which version of the file a part belongs to: only that one may be continued.


def _what_is_there(part, url):
    """Length of ``part`` and the version it belongs to; 0 if it cannot be continued."""
    try:
        with open(part + ".json", encoding="utf-8") as file:  # noqa: PTH123
            note = json.load(file)
        if note["url"] == url:
            return os.path.getsize(part), note["version"]
    except (OSError, ValueError, KeyError):
        pass
    return 0, None


def _note_version(part, url, headers):
    """Remember what the server calls the version that it sends."""
    etag = headers.get("ETag", "")
    version = headers.get("Last-Modified", "") if etag.startswith("W/") else etag
    note = {"url": url, "version": version or headers.get("Last-Modified", "")}
    with open(part + ".json", "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(note, file)


def _forget(path):
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


@contextlib.contextmanager
def _disk_full_explained(part):
    """Turn a full disk into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"{part}: the disk is full; free some space and run the same command again: the "
            "download goes on where it stopped"
        ) from error


# Google Drive asks before it sends a file that is too large for its virus scan.


class _ConfirmationForm(html.parser.HTMLParser):
    """Finds the form ``download-form`` and its hidden fields."""

    def __init__(self, page):
        super().__init__()
        self.action, self.fields, self._is_inside = None, {}, False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        """Note the form's address and its fields."""
        attrs = dict(attrs)
        if tag == "form" and attrs.get("id") == "download-form":
            self.action, self._is_inside = attrs.get("action", ""), True
        elif tag == "input" and self._is_inside and attrs.get("name"):
            self.fields[attrs["name"]] = attrs.get("value", "")

    def handle_endtag(self, tag):
        """Leave the form."""
        self._is_inside = self._is_inside and tag != "form"


def _open_file(session, url, headers):
    """The response that carries the file, behind a confirmation page if there is one."""
    response = session.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
    if not _is_page(response):
        return response
    with response:
        next_url = _confirmed_url(response)
    if next_url:
        response = session.get(next_url, headers=headers, stream=True, timeout=_TIMEOUT)
        if not _is_page(response):
            return response
        response.close()
    raise UserError(
        f"{url}: the server sends a web page instead of the file (on Google Drive often: too many "
        "downloads today); try again tomorrow, or give another place with --source"
    )


def _is_page(response):
    """Whether a successful response is a web page."""
    kind = response.headers.get("Content-Type", "")
    return response.status_code == 200 and kind.startswith("text/html")


def _confirmed_url(response):
    """Where a confirmation page leads; None if it is none."""
    form = _ConfirmationForm(response.text)
    if form.action is not None:
        action = urllib.parse.urljoin(response.url, form.action)
        return f"{action}?{urllib.parse.urlencode(form.fields)}"
    for name, token in response.cookies.items():  # an older form of the page
        if name.startswith("download_warning"):
            return f"{response.url}&{urllib.parse.urlencode({'confirm': token})}"
    return None
