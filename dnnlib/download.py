"""Downloads that recover: continued after a break, repeated with back-off, checked before use."""

from __future__ import annotations

import base64
import contextlib
import html.parser
import json
import os
import re
import shutil
import time
import urllib.parse
from collections import namedtuple

from dnnlib.errors import UserError
from dnnlib.files import explain_full_disk, file_digest, log

_NETWORK_BLOCK = 1 << 16  # what a break of the connection can cost
_TIMEOUT = (20, 60)  # seconds to connect, and without any data
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0  # seconds
TOLD = ("md5", "sha256", "commit")  # what servers may tell of a file
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)

# What is downloaded: title and way_out stand in errors, room is what to do about a full disk.
_Job = namedtuple("_Job", "url part title way_out room tries")


class _BrokenOffError(Exception):
    """A failure after which it makes sense to try again."""


def download(
    url: str,
    path: str | os.PathLike,
    md5: str | None = None,
    *,
    title: str | None = None,
    way_out: str = "give a path of the file instead",
    room: str = "free some space",
    tries: int = 6,
) -> dict[str, str | None]:
    """Download a file; what an earlier, interrupted call left is continued.

    The bytes go to ``path``.part, which is renamed once it is whole and its checksum is right. A
    wrong checksum makes it start over, once.

    Args:
      url: HTTP(S); Google Drive's confirmation page for large files is answered.
      path: where the file ends up.
      md5: its checksum, if known; else the one that the server tells, if it does.
      title: what errors call the file; the URL by default.
      way_out: how else the user can have the file.
      room: what the user can do when the disk has no room for it.
      tries: failures in a row, without a single byte, after which it gives up.

    Returns:
      What the server told of the file: {"md5", "sha256", "commit"}, None if it did not.

    Raises:
      UserError: it cannot be had, or it is not the file that was expected.
    """
    path = os.fspath(path)
    job = _Job(url, path + ".part", title or url, way_out, room, tries)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    for attempt in range(2):
        _fetch(job)
        told = {name: _read_note(job)[name] for name in TOLD}
        kind = "sha256" if told["sha256"] and not md5 else "md5"
        wanted = md5 or told[kind]
        found = file_digest(job.part, kind, job.title) if wanted else None
        if found == wanted and os.path.getsize(job.part):
            os.replace(job.part, path)
            _forget(job.part + ".json")
            return told
        is_empty = not os.path.getsize(job.part)
        _forget(job.part, job.part + ".json")
        if is_empty:
            raise UserError(f"{job.title}: the server sends an empty file; {way_out}")
        again = "; downloading it again" if attempt == 0 else ""
        log(f"{_name(job)}: {kind} {found} instead of {wanted}{again}")
    raise UserError(
        f"{job.title}: {kind} {found} instead of {wanted}, twice: not the file that is expected; "
        f"{way_out}"
    )


def _name(job):
    return os.path.basename(job.part)[: -len(".part")]


def _size(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


def _fetch(job):
    """Bring the part to its full length, in as many tries as it takes."""
    import requests  # noqa: PLC0415 - only those who download need it

    fruitless = 0
    with requests.Session() as session:
        while True:
            before = _size(job.part)
            try:
                return _continue(session, job)
            except (requests.RequestException, _BrokenOffError) as error:
                reason = str(error) if isinstance(error, _BrokenOffError) else type(error).__name__
            after = _size(job.part)
            fruitless = 0 if after > before else fruitless + 1
            if fruitless == job.tries:
                raise UserError(
                    f"{job.title}: the download failed ({reason}), {fruitless} times in a row; the "
                    f"same command goes on later, or {job.way_out}"
                )
            wait = min(_FIRST_WAIT * 2**fruitless, _LONGEST_WAIT)
            log(f"{_name(job)}: {reason} at {after / 1e6:.1f} MB; trying again in {wait:.0f} s")
            time.sleep(wait)


def _continue(session, job):
    """One request for what is missing of the part."""
    note = _read_note(job)
    have = _size(job.part) if note["is_ours"] else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if note["version"]:  # where the server tells none, the checksum finds a mixture
            headers["If-Range"] = note["version"]
    with _open_file(session, job, headers) as response:
        if response.status_code == 416:  # nothing is missing, or the file has changed
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return
            os.remove(job.part)
            raise _BrokenOffError("the file has changed on the server")
        _check_status(response, job)
        if response.status_code != 206:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        _check_room(job, total, have)
        _write_note(job, response)
        with explain_full_disk(
            f"{job.part}: the disk is full; free some space and run the same command again: the "
            "download goes on where it stopped"
        ):
            _write(response, job, have, total)
    if total is not None and os.path.getsize(job.part) < total:
        raise _BrokenOffError("the connection broke off")


def _write(response, job, have, total):
    """Append the response's body to the first ``have`` bytes of the part."""
    from tqdm import tqdm  # noqa: PLC0415 - as above

    bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=_name(job), disable=None)
    with open(job.part, "r+b" if have else "wb") as file, bar:  # noqa: PTH123
        file.seek(have)
        file.truncate()
        for block in response.iter_content(_NETWORK_BLOCK):
            file.write(block)
            bar.update(len(block))


def _check_status(response, job):
    """Sort the server's refusals into temporary and final ones."""
    if response.status_code in _TEMPORARY:
        raise _BrokenOffError(f"the server says {response.status_code} {response.reason}")
    if response.status_code not in (200, 206):
        raise UserError(
            f"{job.title}: the download failed (the server says {response.status_code} "
            f"{response.reason}); {job.way_out}"
        )


def _check_room(job, total, have):
    """Refuse a download that the disk cannot hold before it starts."""
    free = shutil.disk_usage(os.path.dirname(job.part) or ".").free
    if total is not None and total - have > free:
        raise UserError(
            f"{job.part}: {(total - have) / 1e9:.1f} GB are missing, but only {free / 1e9:.1f} GB "
            f"are free; {job.room}"
        )


# Beside a part lies what is known of the file: which version it is, as only that one may be
# continued, and its checksum.


def _read_note(job):
    """What is known: version, TOLD, and is_ours, whether the part is of this file at all."""
    names = ("version", *TOLD)
    try:
        with open(job.part + ".json", encoding="utf-8") as file:  # noqa: PTH123
            note = json.load(file)
        return dict({name: note[name] for name in names}, is_ours=note["url"] == job.url)
    except (OSError, ValueError, KeyError):
        return dict(dict.fromkeys(names), is_ours=False)


def _write_note(job, response):
    """Remember what the server says of the file that it sends."""
    headers = response.headers
    etag = headers.get("ETag", "")
    version = headers.get("Last-Modified", "") if etag.startswith("W/") else etag
    version = version or headers.get("Last-Modified", "")
    with open(job.part + ".json", "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump({"url": job.url, "version": version, **_told(response)}, file)


def _told(response):
    """{name in TOLD: what the server tells, if it does}."""

    def header(name):  # the Hugging Face hub tells before it redirects to where the file is
        answers = [*response.history, response]
        return next((answer.headers[name] for answer in answers if name in answer.headers), None)

    sha256 = re.fullmatch(r'"?([0-9a-f]{64})"?', header("X-Linked-ETag") or "")
    return {
        "md5": _told_md5(response.headers),
        "sha256": sha256 and sha256.group(1),
        "commit": header("X-Repo-Commit"),
    }


def _told_md5(headers):
    """The checksum that Google's storage tells of a file, if it does."""
    told = re.search(r"\bmd5=([A-Za-z0-9+/]+=*)", headers.get("x-goog-hash", ""))
    if told is None or "Content-Encoding" in headers:
        return None
    return base64.b64decode(told.group(1)).hex()


def _forget(*paths):
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


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


def _open_file(session, job, headers):
    """The response that carries the file, behind a confirmation page if there is one."""
    response = session.get(job.url, headers=headers, stream=True, timeout=_TIMEOUT)
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
        f"{job.title}: the server sends a web page instead of the file (on Google Drive often: too "
        f"many downloads today); try again tomorrow, or {job.way_out}"
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
