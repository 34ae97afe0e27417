"""What networks of other code gave, as keys of the recorded samples, computed by ours.

A record may hold the first samples of a batch only.
"""

import numpy as np

INPUTS = {"z", "labels", "synthesis_ws_in", "D_images_in", "D_labels_in", "meta"}
INPUTS |= {"take_ws_in", "take_one_ws_in"}

# key: options of a call of the moving average (of G for the last).
CALLS = {
    "Gs_psi1_images": dict(truncation_psi=1, randomize_noise=False),
    "Gs_psi07_images": dict(truncation_psi=0.7, randomize_noise=False),
    "Gs_psi05_cutoff3_images": dict(truncation_psi=0.5, truncation_cutoff=3, randomize_noise=False),
    "Gs_psi1_nonoise_images": dict(truncation_psi=1, noise_mode="none"),
    "Gs_default_psi_images": dict(randomize_noise=False),
    "Gs_validation_images": dict(is_validation=True, randomize_noise=False),
    "G_psi1_images": dict(truncation_psi=1, randomize_noise=False, minibatch_size=3),
}


def first(outputs):
    return outputs[0] if isinstance(outputs, (tuple, list)) else outputs


def outputs(networks, data, keys):
    """{key: our value} of those keys."""
    G, D, Gs = networks
    z, c = data["z"], data["labels"]
    found = {
        key: first((G if key.startswith("G_") else Gs).run(z, c, **CALLS[key]))
        for key in keys
        if key in CALLS
    }
    if "Gs_mapping_w" in keys:
        w = Gs.components.mapping.run(z, c)
        assert np.all(w == w[:, :1])
        found["Gs_mapping_w"] = w[:, 0]
    if "synthesis_images" in keys:
        ws = data["synthesis_ws_in"]
        found["synthesis_images"] = Gs.components.synthesis.run(ws, randomize_noise=False)
    if "Gs_psi1_ws" in keys:
        _, maps, ws = Gs.run(z, c, truncation_psi=1, randomize_noise=False, return_ws=True)
        assert np.all(ws == ws[:, :, :1])
        found.update(Gs_psi1_ws=ws[:, :, 0], Gs_psi1_maps=maps)
    for key in ("take_ws", "take_one_ws"):
        if f"{key}_images" in keys:
            ws = data[f"{key}_in"]
            labels = c[: len(ws)]
            found[f"{key}_images"] = first(Gs.run(ws, labels, randomize_noise=False, take_ws=True))
    images, labels = data["D_images_in"], data["D_labels_in"]
    for n in (8, 4, 2):
        if f"D_scores_batch{n}" in keys:
            found[f"D_scores_batch{n}"] = D.run(images[:n], labels[:n])
    if "D_scores_of_Gs_psi1" in keys:
        found["D_scores_of_Gs_psi1"] = D.run(data["Gs_psi1_images"], c)
    return found


def errors(networks, data, keys=None):
    """{key: largest difference} of what was recorded, or of some of it."""
    recorded = set(data) - INPUTS
    keys = recorded if keys is None else recorded & set(keys)
    found = outputs(networks, data, keys)
    assert keys <= set(found), keys - set(found)
    worst = {}
    for key in sorted(keys):
        want = data[key]
        assert found[key].shape[1:] == want.shape[1:] and len(want) >= 1, key
        worst[key] = float(np.abs(found[key][: len(want)] - want).max())
    return worst
