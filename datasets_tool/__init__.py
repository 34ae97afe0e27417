"""Preparation of datasets: sources of pictures, and the writer of TFRecord sets."""
