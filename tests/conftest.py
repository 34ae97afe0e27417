"""Fixtures that every test may use."""

import contextlib
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # a test asks for a GPU by name: marker `gpu`

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

DATA = ROOT / "tests" / "data"


@pytest.fixture
def session():
    """A fresh graph and session with fixed seeds and two logical CPU devices; nothing leaks.

    TensorFlow's graph optimizers are off, which take longer than the small graphs of tests run.
    """
    with _session(optimize=False) as sess:
        yield sess


@pytest.fixture
def optimized_session():
    """The same with TensorFlow's graph optimizers, as in use."""
    with _session(optimize=True) as sess:
        yield sess


@contextlib.contextmanager
def _session(optimize):
    from dnnlib.tflib import compat  # noqa: PLC0415 - after the environment is set
    from dnnlib.tflib.compat import tf  # noqa: PLC0415

    compat.configure()
    config = tf.ConfigProto(device_count={"CPU": 2}, allow_soft_placement=True)
    config.graph_options.rewrite_options.disable_meta_optimizer = not optimize
    with tf.Graph().as_default():
        tf.set_random_seed(0)
        with tf.Session(config=config) as sess:
            yield sess


@pytest.fixture
def root():
    """The project's top folder."""
    return ROOT


@pytest.fixture
def data_dir():
    """Samples in the published formats, copied into the repository."""
    return DATA


# Cases that take longer than they are worth in `make test`; `make test-all` runs them.
SLOW_CASES = (
    "test_stylegan2_modules.py::test_generate[legacy__03",
    "test_stylegan2_modules.py::test_project_comes_closer",
    "test_run_eval.py::test_metrics_of_every_snapshot_while_training",
    "test_conformance.py::test_snapshot_gives_the_published_outputs[head__08b_simplex_gates_r32]",
    "test_conformance.py::test_snapshot_gives_the_published_outputs[head__24_kgan_resnet_r64]",
    "test_conformance.py::test_snapshot_gives_the_published_outputs[head__02_gansformer_ffhq_r32]",
    "test_conformance.py::test_snapshot_gives_the_published_outputs[stylegan2__config_f_r32]",
    "test_graph.py::test_path_length_sees_all_replicas",
    "test_graph.py::test_every_split_of_a_batch_does_the_same[1-2]",
    "test_resume.py::test_a_training_of_nothing_names_a_file_that_is_there",
    "test_loss.py::test_recorded_losses_and_gradients_of_d[head__02_gansformer_ffhq_r32]",
    "test_loss.py::test_recorded_losses_and_gradients_of_g[head__02_gansformer_ffhq_r32]",
    "test_discriminator.py::test_gradients_of_r1_exist_everywhere[aggregators_all]",
    "test_against_oracle.py::test_generator[iterative_kmeans2_heads@16]",
    "test_against_oracle.py::test_generator[legacy__08_simplex_everything:G@16]",
    "test_against_oracle.py::test_generator[head__08b_simplex_gates:G@16]",
    "test_against_oracle.py::test_a_published_network_stays_what_it_is[duplex_heads_gates]",
    "test_against_oracle.py::test_generator[head__02_gansformer_ffhq:G@16]",
    "test_synthesis.py::test_order_of_latents_does_not_matter[both_latent_steps]",
    "test_synthesis.py::test_second_derivatives_exist_everywhere[simplex_resnet_both]",
    "test_command.py::test_metrics_while_training",
    "test_native_cuda.py::",
    "test_generator.py::test_dropped_components_only_in_training",
    "test_synthesis.py::test_a_hidden_component_changes_nothing[duplex_latents]",
    "test_graph.py::test_labels_reach_both_networks",
    "test_loss.py::test_second_derivatives[aggregators-path_length]",
    "test_loss.py::test_recorded_regularizers_and_their_gradients[head__02_gansformer_ffhq_r32-gp]",
    "test_loss.py::test_recorded_regularizers_and_their_gradients[head__02_gansformer_ffhq_r32-r2]",
    "test_against_oracle.py::test_a_whole_file_keeps_its_three_networks_apart",
    "test_against_oracle.py::test_truncation_in_every_form[head__01_gansformer_clevr:G]",
    "test_against_oracle.py::test_sub_networks_run_on_their_own[head__15",
    "test_against_oracle.py::test_a_published_network_stays_what_it_is[legacy__24",
    "test_generator.py::test_both_spellings_of_every_option",
    "test_pretrained.py::test_published_snapshots_go_on_as_they_are[head__01",
    "test_sampler.py::test_published_snapshots_give_the_recorded_images[head__01",
)


def pytest_collection_modifyitems(items):
    """Mark the slow cases."""
    for item in items:
        if any(case in item.nodeid for case in SLOW_CASES):
            item.add_marker(pytest.mark.slow)
