"""Golden parameters of ten steps of each optimizer, in NumPy, from the papers' own formulas.

Run: python3 optimizers.py > optimizers.json (needs numpy).
Each case starts at `start` and sees gradients[t] at step t + 1; `parameters` has a row a step.
Written apart from kanbench's: moments are corrected each by itself, Nesterov's step is taken at the
point ahead, and decay is a separate line.
"""

import json

import numpy as np

STEPS, SIZE = 10, 5


def adam(w, gradients, rate, beta1, beta2, epsilon, weight_decay=0.0):
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        corrected = m / (1 - beta1**t), v / (1 - beta2**t)
        w = w - rate * weight_decay * w - rate * corrected[0] / (np.sqrt(corrected[1]) + epsilon)
        yield w


def lion(w, gradients, rate, beta1, beta2, weight_decay):
    m = np.zeros_like(w)
    for g in gradients:
        w = w - rate * (np.sign(beta1 * m + (1 - beta1) * g) + weight_decay * w)
        m = beta2 * m + (1 - beta2) * g
        yield w


def sgd(w, gradients, rate, momentum, nesterov):
    # Velocity in units of the parameter, as Sutskever et al. write it; Nesterov's gradient is taken
    # at the point ahead, so what is kept there is w + momentum * velocity.
    velocity, real = np.zeros_like(w), w
    for g in gradients:
        velocity = momentum * velocity - rate * g
        real = real + velocity
        yield real + momentum * velocity if nesterov else real


def main():
    t = np.arange(1, STEPS + 1)[:, None]
    i = np.arange(SIZE)[None, :]
    gradients = np.sin(1.7 * t + i) * 10.0 ** (-i) + (i == 4) * 0.25
    gradients[3, 2] = gradients[6, 0] = 0
    start = np.array([0.7, -1.3, 0.01, 2.5, 0.0])
    rate = 0.01
    cases = [
        ("adam", dict(beta1=0.9, beta2=0.999, epsilon=1e-9), adam),
        ("adamw", dict(beta1=0.8, beta2=0.95, epsilon=1e-6, weight_decay=0.1), adam),
        ("lion", dict(beta1=0.9, beta2=0.99, weight_decay=0.2), lion),
        ("sgd", dict(momentum=0.0, nesterov=False), sgd),
        ("sgd", dict(momentum=0.9, nesterov=False), sgd),
        ("sgd", dict(momentum=0.9, nesterov=True), sgd),
    ]
    out = [
        dict(
            optimizer=name,
            options=options,
            parameters=[w.tolist() for w in rule(start, gradients, rate, **options)],
        )
        for name, options, rule in cases
    ]
    file = dict(rate=rate, start=start.tolist(), gradients=gradients.tolist(), cases=out)
    print(json.dumps(file, indent=1))


if __name__ == "__main__":
    main()
