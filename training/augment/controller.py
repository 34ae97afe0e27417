"""The probability p of each transformation (ADA, Sec. 3).

Overfitting shows in r_t = E[sign(D(x))] over real images x: 0 for a D that does not know them, 1
for one that knows all. With losses that compare each real with a fake only the difference of scores
has a meaning; there r_t = E[sign(D(x) - D(G(z)))].
"""

import numpy as np

ADAPT_STEPS = 4  # iterations from one change of p to the next (ADA, Sec. 3)


def probability(options, state):
    """p of the next iteration.

    Args:
      options: AugmentOptions.
      state: LoopState.
    """
    if options.name == "ada" and state.augment_p is not None:
        return state.augment_p
    return options.p or 0.0


def adapt(options, state, mean_sign, batch_size):
    """Note the signs of an iteration and, every fourth one, move p.

    p rises if r_t is above the target and falls if it is below, by such steps that it could go from
    0 to 1 in ``options.kimg`` thousand images.

    Args:
      options: AugmentOptions; with a name other than "ada" nothing happens.
      state: LoopState, whose augment_p, augment_signs and augment_nimg are changed.
      mean_sign: mean over the batch of signs of scores.
      batch_size: images in the batch.
    """
    if options.name != "ada":
        return
    p = probability(options, state)
    # A sum of signs is a whole number: however the batch is split, the same.
    state.augment_signs += float(np.rint(mean_sign * batch_size))
    state.augment_nimg += batch_size
    if state.augment_nimg >= ADAPT_STEPS * batch_size:
        r_t = state.augment_signs / state.augment_nimg
        step = np.sign(r_t - options.target) * state.augment_nimg / (options.kimg * 1000)
        p = float(np.clip(p + step, 0.0, 1.0))
        state.augment_signs, state.augment_nimg = 0.0, 0
    state.augment_p = p
