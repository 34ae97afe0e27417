"""Names of published models, and where they can be had."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections import namedtuple

from dnnlib.errors import UserError, must_be_one_of

# Snapshots that the authors of GANsformer published on Google Drive (no checksums are published).
GDRIVE_FILES = {
    "clevr-snapshot.pkl": "1sYtuNEi0HGBH1F8GW2JlF4mCRGGrtZa9",
    "cityscapes-snapshot.pkl": "1iL8S26IYCNAQmUS-6GYCVheKFtCE4ktQ",
    "ffhq-snapshot.pkl": "1-b0vwevUQs6LI_EybdO8XJ5uYSx63vEa",
    "bedrooms-snapshot.pkl": "1lrB4t3hOOpn8YiwHEduIZYzndHrsKX8z",
    "cityscapes-snapshot-2048.pkl": "1lJlbIuxF89-owG7vQSBYXc8y2RqqP_bP",
    "ffhq-snapshot-1024.pkl": "1OcsibUthk2y8y0slf2lQnrYBAtmdJYCQ",
}
GDRIVE_URL = "https://drive.usercontent.google.com/download?id={id}&export=download&confirm=t"

# Snapshots that NVIDIA published with StyleGAN2; "gdrive:networks/NAME" is what its scripts say.
STYLEGAN2_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2/"
STYLEGAN2_CONFIGS = {"car": "abcdef", "cat": "af", "church": "af", "ffhq": "abcdef", "horse": "af"}
_ARCHITECTURES = ("orig", "resnet", "skip")
STYLEGAN2_FILES = [
    *(
        f"networks/stylegan2-{dataset}-config-{config}.pkl"
        for dataset, configs in STYLEGAN2_CONFIGS.items()
        for config in configs
    ),
    *(
        f"networks/table2/stylegan2-{dataset}-config-e-G{g}-D{d}.pkl"
        for dataset in ("car", "ffhq")
        for g in _ARCHITECTURES
        for d in _ARCHITECTURES
    ),
]

# What people call the published files => a name that downloads them.
PUBLISHED = {
    f"gansformer-{name}".replace("-snapshot", ""): f"gdrive:{name}" for name in GDRIVE_FILES
}
PUBLISHED.update((name, f"gdrive:{name}") for name in GDRIVE_FILES)
PUBLISHED.update((name.rsplit("/", 1)[-1], f"gdrive:{name}") for name in STYLEGAN2_FILES)

HUB = "https://huggingface.co"  # or $HF_ENDPOINT, as its own library has it


class HubFile(namedtuple("HubFile", "repo path revision")):
    """A file in a repository of the Hugging Face hub.

    Args:
      repo: "owner/name".
      path: in the repository.
      revision: branch, tag or commit.
    """

    @classmethod
    def of(cls, name: str) -> HubFile:
        """Read "hf:owner/repo/file" or "hf:owner/repo/file@revision".

        Raises:
          UserError: it is not of that form.
        """
        part = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
        form = rf"hf:({part}/{part})/((?:{part}/)*{part})(?:@({part}(?:/{part})*))?"
        match = re.fullmatch(form, name)
        if match is None or ".." in name:
            raise UserError(f"{name}: write hf:owner/repo/file, or hf:owner/repo/file@revision")
        return cls(*match.groups("main"))

    @property
    def url(self) -> str:
        """Where the file is."""
        hub = os.environ.get("HF_ENDPOINT") or HUB
        revision = urllib.parse.quote(self.revision, safe="")
        return f"{hub.rstrip('/')}/{self.repo}/resolve/{revision}/{self.path}"


def is_remote(name: str) -> bool:
    """Whether a name means something to download rather than a path."""
    return name.startswith(("gdrive:", "hf:", "http://", "https://"))


def to_url(name: str) -> str:
    """URL of a ``gdrive:`` or ``hf:`` name; other names stay as they are.

    Args:
      name: for instance "gdrive:clevr-snapshot.pkl", "gdrive:networks/stylegan2-ffhq-config-f.pkl",
        "gdrive:" and any file id, "hf:owner/repo/file@revision".

    Raises:
      UserError: there is no such name.
    """
    if name.startswith("hf:"):
        return HubFile.of(name).url
    if not name.startswith("gdrive:"):
        return name
    key = name[len("gdrive:") :]
    if key in STYLEGAN2_FILES:
        return STYLEGAN2_URL + key
    file_id = GDRIVE_FILES.get(key)
    if file_id is None and re.fullmatch(r"[A-Za-z0-9_-]{25,}", key):
        file_id = key
    if file_id is None:
        known = STYLEGAN2_FILES if key.startswith("networks/") else sorted(GDRIVE_FILES)
        raise UserError(f"{name}: what follows gdrive: {must_be_one_of(key, known)}")
    return GDRIVE_URL.format(id=file_id)


def where_to_have(path: str) -> str:
    """What to do about a file that is not there: "" unless it is called like a published one."""
    name = PUBLISHED.get(re.split(r"[/\\]", path)[-1])
    return f"it is published: {name} in its place downloads it" if name else ""
