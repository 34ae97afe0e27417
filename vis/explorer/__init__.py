"""The explorer: a local page on which to try out the latents of a model."""
