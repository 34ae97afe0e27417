"""Measures of generated images, and the machinery to compute them.

Each measure is a NumPy algorithm in a file of its own; ``registry.py`` names the protocols (how
many images, which features), ``features.py`` and its neighbours turn images into features, and
``evaluate.py`` brings them together.
"""
