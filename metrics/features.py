"""Which network gives the features for which purpose, and how the results are labelled."""

from __future__ import annotations

import numpy as np

from dnnlib.errors import UserError
from metrics import efficientnet, inception, random_network, scenes, trusted
from vis.channels import to_rgb

# What a metric may need:
#   pool         features of images whose distribution is compared (FID, KID)
#   clean        the same behind clean-fid's resize
#   probs        class probabilities (IS)
#   manifold     features whose distances mean something (precision, recall, density, coverage)
#   distance     perceptual distance of two images (PPL)
#   objects      numbers of objects, by segmentation, whatever --features says
#   layout       where they are, likewise
#   classifiers  answers about attributes (LS)
ROLES = ("pool", "clean", "probs", "manifold", "distance", "objects", "layout", "classifiers")
IMAGE_ROLES = ("pool", "clean", "probs", "manifold", "objects", "layout")

# Features that name their figures: kind => (function that opens the network, its roles).
NAMED = {
    "random": (random_network.load_random, ("pool", "manifold", "distance")),
    "efficientnet": (efficientnet.load_efficientnet, ("pool", "manifold")),
}
MAX_SIZE = 256  # pixels; larger images are averaged down before they are compared or classified

_WANTED_FILE = {
    "distance": "vgg16_zhang_perceptual.pkl",
    "classifiers": "40 celebahq-classifier-NN-*.pkl",
}
NUM_CLASSIFIERS = 40  # as LS is defined: its value grows with their number
_MEASURES = {"clean": "fid50k-clean", "probs": "is", "distance": "ppl", "classifiers": "ls"}
_NEEDS = {
    "clean": "the Inception network",
    "probs": "a network that knows classes",
    "distance": "a network that compares images",
    "classifiers": "networks that know attributes",
}


class Features:
    """The feature networks that this user has, opened when they are first needed.

    Args:
      inception_file: see ``--inception``; None downloads the Inception graph.
      trusted_files: see ``--trust-snapshot``.
    """

    def __init__(self, inception_file=None, trusted_files=()):
        self._inception_file = inception_file
        self._files = trusted.find_files(trusted_files)
        self._open = {}

    def find(self, role, kind="standard"):
        """The network for a role.

        Args:
          role: one of ROLES but "classifiers".
          kind: "standard", or a key of NAMED.

        Returns:
          (GraphNetwork, head, label): metrics by other features than those of the published
          protocol carry the label in their name.

        Raises:
          UserError: it cannot be had; says how to get it.
        """
        if role in ("objects", "layout"):
            return self._network("scenes", scenes.Segmenter), role, ""
        if kind in NAMED:
            load, roles = NAMED[kind]
            if role not in roles:
                raise UserError(
                    f"{_MEASURES[role]} needs {_NEEDS[role]}; --features {kind} is none: leave it "
                    "out, or use the standard features for it"
                )
            return self._network(kind, load), "pool", f"-{kind}"
        if role in self._files:
            (file, *_) = self._files[role]
            return self._network(file, lambda: trusted.load_trusted(file, role)), role, ""
        if role in _WANTED_FILE:
            raise UserError(_how_to_trust(role))
        is_clean = role == "clean"
        load = lambda: inception.load_inception(self._inception_file, is_clean)  # noqa: E731
        if is_clean:
            return self._network("clean", load), role, ""
        if role == "manifold":  # the published protocol has VGG-16
            return self._network("inception", load), "pool", "-inception"
        return self._network("inception", load), role, ""

    def classifiers(self):
        """The networks that tell attributes, list of GraphNetwork."""
        files = self._files.get("classifiers")
        if not files:
            raise UserError(_how_to_trust("classifiers"))
        found = len({trusted.classifier_number(file) for file in files})
        if not found == len(files) == NUM_CLASSIFIERS:
            raise UserError(
                f"ls is defined by {NUM_CLASSIFIERS} attributes, but --trust-snapshot gives "
                f"{len(files)} classifiers of {found}; name one folder with "
                f"{_WANTED_FILE['classifiers']}, each number once"
            )
        load = trusted.load_trusted
        return [self._network(file, lambda f=file: load(f, "classifiers")) for file in files]

    def require(self, protocol):
        """Open all that a protocol needs; returns the label of its features.

        Raises:
          UserError: something cannot be had.
        """
        labels = set()
        for role in protocol.roles:
            if role == "classifiers" and protocol.features not in NAMED:
                self.classifiers()
            else:
                labels.add(self.find(role, protocol.features)[2])
        return "".join(sorted(labels))

    def describe(self, protocol):
        """Names and checksums of the networks behind a protocol, for its record."""
        networks = []
        for role in protocol.roles:
            is_many = role == "classifiers"
            networks += self.classifiers() if is_many else [self.find(role, protocol.features)[0]]
        return ", ".join(f"{network.name}:{network.identity[:16]}" for network in networks)

    def distance(self, a, b, kind):
        """Perceptual distances [N] of two batches of images [N, C, H, W] float, [-1, 1]."""
        network = self.find("distance", kind)[0]
        return network.apply(*[(shrink(to_rgb(x)) + 1.0) * 127.5 for x in (a, b)])

    def classify(self, images):
        """Answers [N, A] of all classifiers about images [N, C, H, W] float, [-1, 1]."""
        images = shrink(to_rgb(images))
        answers = [network.apply(images) for network in self.classifiers()]
        return np.stack([answer.reshape(len(images)) for answer in answers], axis=1)

    def close(self):
        """Free the networks' memory."""
        for network in self._open.values():
            network.close()
        self._open.clear()

    def _network(self, key, load):
        """A network, opened once."""
        if key not in self._open:
            self._open[key] = load()
        return self._open[key]


def _how_to_trust(role):
    """What to say to those who do not have a network."""
    return (
        f"{_MEASURES[role]} needs NVIDIA's {_WANTED_FILE[role]}, which StyleGAN2's metrics use; "
        "--trust-snapshot FILE_OR_FOLDER gives them, and runs the code inside"
    )


def shrink(images):
    """Average images [N, C, H, W] down to a width of MAX_SIZE pixels, if they are wider."""
    factor = images.shape[3] // MAX_SIZE
    if factor <= 1:
        return images
    height, width = (size // factor for size in images.shape[2:])
    blocks = images[:, :, : height * factor, : width * factor]
    blocks = blocks.reshape(*images.shape[:2], height, factor, width, factor)
    return blocks.mean(axis=(3, 5))
