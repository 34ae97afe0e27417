"""Models for other programs: SavedModel and ONNX (frozen.py, onnx_file.py), PyTorch (torch_file.py,
ada_torch.py, ada_numpy.py); checked.py compares what they give with ours.

The fourth format, safetensors, is one of snapshots: dnnlib/tflib/snapshot/safetensors.py.
"""
