"""What the published networks compute, as a float64 NumPy program written from the formulas.

Nothing here imports TensorFlow or this project's networks: it is the other witness. The layout is
the published one throughout: images and feature maps [N, C, H, W], convolutions [k, k, I, O].

    variables.py      a network's variables: given by a snapshot, or made in creation order
    ops.py            dense, convolution, resampling, activation, minibatch statistics
    attention.py      positional encodings and the attention layer
    options.py        static keywords of the three code bases -> one set of options
    generator.py      mapping, synthesis and the network around them
    discriminator.py  discriminators
    snapshot.py       reads and writes files in the published layout, without running them
"""
