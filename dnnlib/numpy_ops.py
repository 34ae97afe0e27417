"""What the native operations compute, and convolutions, in NumPy: the oracle of every device.

Maps are [N, H, W, C] or [N, P, C]; in float64 where the arguments are. Needs no TensorFlow.
"""

import numpy as np


def conv2d(x, w, dy):
    """3x3 convolution with zeros around the map: (y, dx, dw).

    Args:
      x: [N, H, W, I].
      w: [3, 3, I, O].
      dy: [N, H, W, O], the gradient of the result.
    """
    height, width = x.shape[1:3]
    border = [(0, 0), (1, 1), (1, 1), (0, 0)]
    padded = np.pad(x, border, "constant")
    y, dpadded, dw = np.zeros(dy.shape), np.zeros(padded.shape), np.zeros(w.shape)
    for i in range(3):
        for j in range(3):
            part = np.s_[:, i : i + height, j : j + width]
            y += padded[part] @ w[i, j]
            dpadded[part] += dy @ w[i, j].T
            dw[i, j] = np.tensordot(padded[part], dy, axes=[(0, 1, 2)] * 2)
    return y, dpadded[:, 1:-1, 1:-1], dw


def upfirdn(x, kernel, up, down, pads):
    """[N, H, W, C]; kernel [kh, kw]; up, down (y, x); pads ((y0, y1), (x0, x1)), not negative."""
    size, height, width, channels = x.shape
    zeros = np.zeros([size, height * up[0], width * up[1], channels])
    zeros[:, :: up[0], :: up[1]] = x
    zeros = np.pad(zeros, [(0, 0), *pads, (0, 0)], "constant")
    kh, kw = kernel.shape
    out_h, out_w = zeros.shape[1] - kh + 1, zeros.shape[2] - kw + 1
    out = np.zeros([size, out_h, out_w, channels])
    for i in range(kh):
        for j in range(kw):
            out += zeros[:, i : i + out_h, j : j + out_w] * kernel[kh - 1 - i, kw - 1 - j]
    return out[:, :: down[0], :: down[1]]


def activate(act, t, alpha):
    """Value and derivative of an activation."""
    with np.errstate(over="ignore"):
        s = 1 / (1 + np.exp(-t))
        scale, slope = 1.0507009873554805, 1.6732632423543772
        return {
            "linear": lambda: (t, np.ones_like(t)),
            "relu": lambda: (np.maximum(t, 0), (t > 0) * 1.0),
            "lrelu": lambda: (np.where(t > 0, t, t * alpha), np.where(t > 0, 1.0, alpha)),
            "tanh": lambda: (np.tanh(t), 1 - np.tanh(t) ** 2),
            "sigmoid": lambda: (s, s * (1 - s)),
            "elu": lambda: (np.where(t > 0, t, np.expm1(t)), np.where(t > 0, 1.0, np.exp(t))),
            "selu": lambda: (
                scale * np.where(t > 0, t, slope * np.expm1(t)),
                scale * np.where(t > 0, 1.0, slope * np.exp(t)),
            ),
            "softplus": lambda: (np.log1p(np.exp(t)), s),
            "swish": lambda: (t * s, s * (1 + t * (1 - s))),
        }[act]()


def bias_act(inputs, dy, act, alpha, gain, clamp):
    """Value and gradients: inputs dict of x [N, P, C], scale [N, C], noise [N, P], bias [C]."""
    x, scale = inputs["x"], inputs.get("scale")
    t = x if scale is None else x * scale[:, np.newaxis]
    if inputs.get("noise") is not None:
        t = t + inputs["noise"][:, :, np.newaxis]
    if inputs.get("bias") is not None:
        t = t + inputs["bias"]
    y, slope = activate(act, t, alpha)
    y = y * gain
    g = dy * slope * gain
    if clamp is not None:
        g = np.where(np.abs(y) < clamp, g, 0.0)
        y = np.clip(y, -clamp, clamp)
    dx = g if scale is None else g * scale[:, np.newaxis]
    return dict(y=y, dx=dx, dbias=g.sum((0, 1)), dscale=(g * x).sum(1), dnoise=g.sum(2))


def attend(inputs, dy, heads, integration, normalise, alpha, gain):
    """Value and gradients; inputs as in attend.h, absent ones None."""
    raw, keys, values = inputs["x"], inputs["keys"], inputs["values"]
    size, _, channels = raw.shape
    scale, keep = inputs.get("scale"), inputs.get("keep")
    x = raw if scale is None else raw * scale[:, np.newaxis]
    scores = x @ np.broadcast_to(keys, [size, *keys.shape[1:]]).transpose(0, 2, 1)
    probs = _softmax(_plus(scores, inputs.get("logits")), heads)
    kept = probs if keep is None else probs * keep
    control = _plus(kept @ values, inputs.get("bias"))
    centre, divide = (normalise and integration != other for other in ("mul", "add"))
    normal, back = _normalise(x, centre, divide)
    first, second = control[:, :, :channels], control[:, :, channels:]
    out = normal + first if integration == "add" else normal * first
    out = out + second if integration == "both" else out
    noise = inputs.get("noise")
    out = _plus(out, None if noise is None else noise[:, :, np.newaxis])
    out = _plus(out, inputs.get("act_bias"))

    dout = dy * gain * np.where(out > 0, 1.0, alpha)
    dcontrol = dout if integration == "add" else dout * normal
    dnormal = dout if integration == "add" else dout * first
    if integration == "both":
        dcontrol = np.concatenate([dcontrol, dout], axis=2)
    dkept = dcontrol @ np.broadcast_to(values, [size, *values.shape[1:]]).transpose(0, 2, 1)
    dscores = _softmax_grad(probs, dkept if keep is None else dkept * keep, heads)
    dx = dscores @ keys + back(dnormal)
    results = dict(
        y=gain * np.where(out > 0, out, alpha * out),
        x=dx if scale is None else dx * scale[:, np.newaxis],
        scale=(dx * raw).sum(1),
        keys=dscores.transpose(0, 2, 1) @ x,
        logits=dscores,
        keep=dkept * probs,
        values=kept.transpose(0, 2, 1) @ dcontrol,
        bias=dcontrol.sum((0, 1)),
        noise=dout.sum(2),
        act_bias=dout.sum((0, 1)),
    )
    for name in ("keys", "logits", "values"):  # sums over what shares an input
        for axis in (0, 1):
            if inputs.get(name) is not None and inputs[name].shape[axis] == 1:
                results[name] = results[name].sum(axis, keepdims=True)
    return results


def _plus(x, other):
    return x if other is None else x + other


def _by_head(x, heads):
    """[N, P, S] => [N, P, heads, slots of a head]."""
    return x.reshape(*x.shape[:2], heads, x.shape[2] // heads)


def _softmax(scores, heads):
    """[N, P, S], over the slots of each head."""
    by_head = _by_head(scores, heads)
    e = np.exp(by_head - by_head.max(3, keepdims=True))
    return (e / e.sum(3, keepdims=True)).reshape(scores.shape)


def _softmax_grad(probs, dprobs, heads):
    p, d = (_by_head(t, heads) for t in (probs, dprobs))
    return (p * (d - (p * d).sum(3, keepdims=True))).reshape(probs.shape)


def _normalise(x, centre, divide):
    """Over channels; returns the result, and the function from its gradient to that of x."""
    normal = x - x.mean(2, keepdims=True) if centre else x
    inverse = 1 / np.sqrt((normal**2).mean(2, keepdims=True) + 1e-8) if divide else 1.0
    normal = normal * inverse

    def back(d):
        if divide:
            d = inverse * (d - normal * (d * normal).mean(2, keepdims=True))
        return d - d.mean(2, keepdims=True) if centre else d

    return normal, back
