"""StyleGAN2's names of metrics => keyword dicts for :class:`metrics.metric_base.MetricGroup`."""

from dnnlib import EasyDict
from metrics import registry

METRIC = "metrics.metric_base.Metric"  # every protocol is measured by one class

metric_defaults = EasyDict(
    {
        name: EasyDict(name=name, func_name=METRIC)
        for name in [*registry.ALIASES, *registry.protocols()]
    }
)
