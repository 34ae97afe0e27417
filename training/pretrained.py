"""Fine-tuning: a new run whose networks begin with the values of a snapshot.

The flags say what is built; the snapshot gives values wherever names and shapes agree. It is read
without executing or building anything, so any snapshot that opens will do: ours, GANsformer's,
StyleGAN2's; a tuple or a single network.
"""

from __future__ import annotations

import pathlib

from config.flags import FIXED, FLAGS
from config.options import RunOptions
from dnnlib import tflib, util
from dnnlib.errors import UserError
from dnnlib.submission.run_dir import CONFIG_NAME, LOG_NAME, latest_run, load_config
from dnnlib.tflib.builders import find_builder
from dnnlib.tflib.options import option_parameters, part_builders
from dnnlib.tflib.snapshot import read_snapshot
from training import checkpoint
from training.fitting import (
    GENERATORS,
    PARTS,
    details,
    has_weights,
    layers_taken,
    match,
    variables_by_path,
)
from training.freeze import trained_variables
from training.model.quirks import with_quirks

DISCRIMINATORS = ("discriminator", "stylegan2_discriminator")

# Options that act on sampling or on the training's random choices, not on what is learned.
PASSING = (
    "truncation_psi",
    "style_mixing",
    "component_mixing",
    "component_dropout",
    "attention_dropout",
)

# Options of D that matter to its aggregators only.
AGGREGATION = ("a_dim", "components_num")

# Options without a flag that other code's networks have: a training computes what those do.
WAYS = {
    "mapping": ("embed_labels", "label_fmaps"),
    "synthesis": ("conv_clamp",),
    "D": (
        "conv_clamp",
        "epilogue_nonlinearity",
        "hidden_dim",
        "embed_labels",
        "label_fmaps",
        "cmap_dim",
        "mapping_num_layers",
        "mapping_fmaps",
        "mapping_lrmul",
        "mapping_nonlinearity",
    ),
}


# Flags that say how networks are built.
ARCHITECTURE = [
    flag.name
    for flag in FLAGS.values()
    if flag.role == FIXED
    and any(
        consumer in ("G", "mapping", "synthesis", "D") and parameter not in PASSING
        for consumer, parameter in flag.destinations()
    )
]
PRESETS = ("gansformer-default", "baseline")


class NothingFitsError(UserError):
    """A snapshot that has nothing for the networks of this run, or for their frozen layers."""


def architecture_flags(given):
    """Values of the flags that build networks, from the snapshot that a training begins with.

    Args:
      given: the flags on the command line, {name: value}.

    Returns:
      {name: value}; {} if there is no snapshot, or if a flag says what to build.

    Raises:
      UserError: the snapshot cannot be read, or holds no network of use.
    """
    name = given.get("pretrained-pkl")
    if name is None or any(given.get(flag) for flag in (*ARCHITECTURE, *PRESETS)):
        return {}
    defaults = RunOptions()
    run = latest_run(
        given.get("result-dir", defaults.result_dir), given.get("expname", defaults.expname)
    )
    if run is not None and not given.get("restart"):
        known = load_config(run)["flags"]
        if known.get("pretrained-pkl") == name:  # a run that is resumed does not need the file
            return {flag: known[flag] for flag in ARCHITECTURE if flag in known}
    util.log(f"No flag says what to build: the networks are those of {name}")
    return Pretrained(name).flags()


def prepare(run_dir, config):
    """Decide what the networks of a run begin with; call before they are built.

    A run that was begun keeps to the snapshot that it was begun with, even if it is not named
    again; and if there is a checkpoint, the run goes on from that, without the snapshot.

    Args:
      run_dir: of the run.
      config: resolved configuration; "run" and the quirks of G and D may change.

    Returns:
      Pretrained; None if there is nothing to load.

    Raises:
      UserError: the snapshot cannot be read, or holds no network of use.
    """
    run_dir = pathlib.Path(run_dir)
    if (run_dir / CONFIG_NAME).exists():
        old = load_config(run_dir)
        name = old["run"].get("pretrained_pkl")
        config["run"]["pretrained_pkl"] = config["flags"]["pretrained-pkl"] = name
        for net in ("G", "D"):
            options = with_quirks(old[net])
            if "quirks" in options:
                config[net]["quirks"] = options["quirks"]
            _adopt(options, config, net)
    name = config["run"]["pretrained_pkl"]
    if name is None or checkpoint.read_progress(run_dir) is not None:
        return None
    source = Pretrained(name)
    source.adopt_ways(config)
    return source


class Pretrained:
    """The networks of a snapshot that a run begins with.

    Args:
      name: path, URL, or ``gdrive:`` name.

    Attributes:
      networks: {"G", "D" or "Gs": StoredNetwork}, those that the file has. The first generator in
        it is G, the last is Gs; a single one is both, and so is a part of one.

    Raises:
      UserError: the snapshot cannot be read, or holds no network of use.
    """

    def __init__(self, name):
        self.name = name
        stored, _ = read_snapshot(name)
        generators = [net for net in stored if net.builder in (*GENERATORS, *PARTS)]
        discriminators = [net for net in stored if net.builder in DISCRIMINATORS]
        self.networks = {}
        if generators:
            self.networks.update(G=generators[0], Gs=generators[-1])
        if discriminators:
            self.networks["D"] = discriminators[0]
        if not self.networks:
            found = ", ".join(net.builder for net in stored)
            raise UserError(
                f"--pretrained-pkl={name} holds {found}; a training begins with a generator, "
                "a discriminator, or both"
            )

    def adopt_ways(self, config):
        """Let networks of the snapshot's kind compute what the snapshot's do.

        Published networks have quirks (see :mod:`training.model.quirks`); their values would mean
        something else in a network without them.

        Args:
          config: resolved configuration; gets G.quirks and D.quirks where they matter.
        """
        for side in ("G", "D"):
            options = self.networks[side].static_kwargs if side in self.networks else {}
            if options.get("quirks") and _is_same_kind(options, config[side]):
                config[side]["quirks"] = options["quirks"]
            _adopt(options, config, side)

    def flags(self):
        """Values of the flags that build the networks, as far as flags can say it."""
        found = {}
        for name in ARCHITECTURE:
            for consumer, parameter in FLAGS[name].destinations():
                if name not in found and self._has_options_of(consumer):
                    found[name] = self._stored_option(consumer, parameter)
        if "components-num" in found and "latent-size" in found:  # a flag says the whole's width
            found["latent-size"] *= found["components-num"]
        return found

    def start(self, graph, config, run_dir):
        """Give the networks of a training the snapshot's values, and say what fitted.

        Args:
          graph: TrainingGraph; its first replica gets the values.
          config: resolved configuration, with "facts".
          run_dir: of the run; the names of what did not fit go into its log.txt.

        Raises:
          NothingFitsError: no filter and no matrix has a name and shape of the snapshot, or none
            of a layer that is going to be frozen.
        """
        fits = {}
        for name in self.networks:
            fits[name] = match(getattr(graph, name), self.networks[name])
        if not any(has_weights(fit) for fit in fits.values()):
            raise NothingFitsError(
                f"--pretrained-pkl={self.name} fits nowhere: none of its weights has the name and "
                f"shape of one of this run's, of resolution {config['facts']['resolution']}; give "
                "the flags that it was trained with, see python -m dnnlib.tflib.snapshot FILE"
            )
        freeze_d = config["loop"]["freeze_d"]
        trained = trained_variables(graph.D.trainables, freeze_d)
        taken = fits["D"].values if "D" in fits else {}
        lacking = [name for name in graph.D.trainables if name not in {**trained, **taken}]
        if lacking:
            raise NothingFitsError(
                f"--freeze-d={freeze_d} would keep {lacking[0]} at its initial values, which "
                f"{self.name} has no others for; leave --freeze-d out"
            )
        for name, fit in fits.items():
            net = getattr(graph, name)
            variables = variables_by_path(net)
            tflib.set_vars({variables[path]: value for path, value in fit.values.items()})
        self._report(graph, fits, config)
        log = pathlib.Path(run_dir) / LOG_NAME
        with util.drop_if_full(), log.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in details(fits))

    def _report(self, graph, fits, config):
        """One line about what fitted, if not all did one about layers, one about what differs."""
        counts, is_whole = [], True
        for name in ("G", "D", "Gs"):
            total = len(getattr(graph, name).vars)
            num = len(fits[name].values) if name in fits else 0
            counts.append(f"{num} of {total} variables of {name}")
            is_whole = is_whole and num == total and not fits[name].unused
        rest = "" if is_whole else "; the others keep their initial values, see log.txt"
        util.log(f"Beginning with {self.name}: {', '.join(counts)}{rest}")
        if not is_whole:
            taken = [f"{name} {layers_taken(fits[name])}" for name in ("G", "D") if name in fits]
            util.log(f"Taken from it: {'; '.join(taken)}{self._resolutions(config)}")
        if any(config[side].get("quirks") for side in "GD"):
            util.log("Published networks: this run's compute what the published ones do")
        differing = self.differing_options(config)
        if differing:
            util.log(f"Options that are not the snapshot's (ours hold): {', '.join(differing)}")

    def _resolutions(self, config):
        """The end of a line: between which resolutions layers are taken; "" if there is one."""
        its = {
            options["resolution"]
            for options in (net.static_kwargs for net in self.networks.values())
            if "resolution" in options
        } - {config["facts"]["resolution"]}
        return f"; from resolution {min(its)} to {config['facts']['resolution']}" if its else ""

    def differing_options(self, config):
        """Flags whose value is not that of the snapshot's networks: ["--flag=ours (its: x)"]."""
        found = []
        for flag in FLAGS.values():
            if not flag.matters(config["flags"]):
                continue
            for consumer, parameter in flag.destinations():
                side = "D" if consumer == "D" else "G"
                if parameter in PASSING or not self._has_options_of(consumer):
                    continue
                if consumer == "D" and parameter in AGGREGATION and not config["D"]["transformer"]:
                    continue
                ours = _option(config[side], consumer, parameter)
                its = self._stored_option(consumer, parameter)
                if ours != its:
                    found.append(f"--{flag.name}: {consumer}.{parameter} {ours} (its: {its})")
        return found

    def _has_options_of(self, consumer):
        """Whether the snapshot has the network, or part, that takes the options of a consumer."""
        if consumer == "D":
            return "D" in self.networks
        if consumer not in ("G", "mapping", "synthesis") or "G" not in self.networks:
            return False
        return PARTS.get(self.networks["G"].builder, consumer) == consumer

    def _stored_option(self, consumer, parameter):
        """Value of an option in the snapshot, or the default that was in force there."""
        net = self.networks["D" if consumer == "D" else "G"]
        options = net.static_kwargs
        if net.builder not in PARTS:
            options = options if consumer in ("G", "D") else options.get(consumer, {})
        if parameter in options:
            return options[parameter]
        own = part_builders(find_builder(net.builder)).get(consumer, net.builder)
        ours = {"G": "generator", "D": "discriminator"}.get(consumer, consumer)
        for builder in (own, ours):
            parameters = option_parameters(find_builder(builder))
            if parameter in parameters:
                return parameters[parameter].default
        raise KeyError(parameter)


def _is_same_kind(stored, ours):
    """Whether the quirks of a stored network matter to one of ours; both are options."""
    kinds = ("transformer", "merge")
    if any(stored.get(key) and ours.get(key) for key in kinds):
        return True
    has_own_layers = "extra_layer_always" in stored["quirks"]
    return has_own_layers and not any(stored.get(key) or ours.get(key) for key in kinds)


def _adopt(options, config, side):
    """Take over the options in WAYS of a network, "G" or "D", as far as it has them."""
    for consumer, names in WAYS.items():
        if (consumer == "D") != (side == "D"):
            continue
        source = options if consumer == "D" else options.get(consumer, {})
        target = config[side] if consumer == "D" else config[side][consumer]
        target.update({name: source[name] for name in names if name in source})


def _option(options, consumer, parameter):
    """Value of an option in a configuration of G or D."""
    return (options if consumer in ("G", "D") else options[consumer])[parameter]
