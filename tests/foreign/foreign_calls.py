"""What networks of other code gave, as keys of the recorded samples, computed by ours."""

import numpy as np

INPUTS = {"z", "labels", "synthesis_ws_in", "D_images_in", "D_labels_in", "meta"}
INPUTS |= {"take_ws_in", "take_one_ws_in"}


def generator_outputs(G, Gs, data):
    """{key of the samples: our value}, for those that the generators give."""
    z, c = data["z"], data["labels"]

    def images(net, **options):
        found = net.run(z, c, **dict(dict(randomize_noise=False), **options))
        return found[0] if isinstance(found, (tuple, list)) else found

    found = {
        "Gs_psi1_images": images(Gs, truncation_psi=1),
        "Gs_psi07_images": images(Gs, truncation_psi=0.7),
        "Gs_psi05_cutoff3_images": images(Gs, truncation_psi=0.5, truncation_cutoff=3),
        "Gs_psi1_nonoise_images": images(
            Gs, truncation_psi=1, randomize_noise=None, noise_mode="none"
        ),
        "G_psi1_images": images(G, truncation_psi=1, minibatch_size=3),
        "Gs_default_psi_images": images(Gs),
        "Gs_validation_images": images(Gs, is_validation=True),
    }
    if "synthesis_ws_in" in data:
        w = Gs.components.mapping.run(z, c)
        assert np.all(w == w[:, :1])
        found["Gs_mapping_w"] = w[:, 0]
        found["synthesis_images"] = Gs.components.synthesis.run(
            data["synthesis_ws_in"], randomize_noise=False
        )
    if "take_ws_in" in data:
        *rest, ws = Gs.run(z, c, truncation_psi=1, randomize_noise=False, return_ws=True)
        assert np.all(ws == ws[:, :, :1])
        found["Gs_psi1_ws"] = ws[:, :, 0]
        if len(rest) == 2:
            found["Gs_psi1_maps"] = rest[1][:2]
        for key in ("take_ws", "take_one_ws"):
            given = Gs.run(data[f"{key}_in"], c, randomize_noise=False, take_ws=True)
            found[f"{key}_images"] = given[0] if isinstance(given, (tuple, list)) else given
    return found


def discriminator_outputs(D, data):
    """The same of the discriminator."""
    images, labels = data["D_images_in"], data["D_labels_in"]
    found = {f"D_scores_batch{n}": D.run(images[:n], labels[:n]) for n in (8, 4, 2)}
    found["D_scores_of_Gs_psi1"] = D.run(data["Gs_psi1_images"], data["labels"])
    return found


def errors(networks, data):
    """{key: largest difference} of all that was recorded."""
    G, D, Gs = networks
    found = {**generator_outputs(G, Gs, data), **discriminator_outputs(D, data)}
    recorded = set(data) - INPUTS
    assert recorded <= set(found), recorded - set(found)
    for key in recorded:
        assert found[key].shape == data[key].shape, key
    return {key: float(np.abs(found[key] - data[key]).max()) for key in sorted(recorded)}
