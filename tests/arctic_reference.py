"""What arctic-captions computes at test time, in NumPy: one image, one step, float64.

Written from its `build_sampler`, whose dropout is switched off, which there halves states; it
shares no code with the package. Weights and options have the names of its files. Where its
training graph computes something else, an argument chooses.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Weights = Mapping[str, np.ndarray]
Options = Mapping[str, Any]
# (alpha [L], step, layer) -> the weights [L] that make the context of it: SPEC's s or alpha.
Weighting = Callable[[np.ndarray, int, int], np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    shifted = np.exp(x - x.max())
    return shifted / shifted.sum()


def dense(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    return x @ w[f"{name}_W"] + w[f"{name}_b"]


def at_expectation(alpha: np.ndarray, step: int, layer: int) -> np.ndarray:
    """`sampling=False`, which `generate_caps.py` takes by default."""
    return alpha


def at_argmax(alpha: np.ndarray, step: int, layer: int) -> np.ndarray:
    """`argmax=True` of its decoder layer; no command of theirs reaches it."""
    return np.eye(len(alpha))[alpha.argmax()]


def at_locations(locations: Sequence[Sequence[int | None]]) -> Weighting:
    """Given locations [T][layer] instead of sampled ones; None where alpha itself is taken."""

    def weighting(alpha: np.ndarray, step: int, layer: int) -> np.ndarray:
        location = locations[step][layer]
        return alpha if location is None else np.eye(len(alpha))[location]

    return weighting


def at_samples(random: np.random.Generator, semi_sampling_p: float) -> Weighting:
    """`sampling=True`: at each step, each layer first draws whether it samples.

    (The training graph draws that once for all steps and captions of a minibatch.)
    """

    def weighting(alpha: np.ndarray, step: int, layer: int) -> np.ndarray:
        if random.random() >= semi_sampling_p:
            return alpha
        return np.eye(len(alpha))[random.choice(len(alpha), p=alpha)]

    return weighting


def run_encoder(w: Weights, name: str, a: np.ndarray) -> np.ndarray:
    """An LSTM over features in the order given: [L, D'] -> [L, H]. Its bias counts twice."""
    hidden, memory, states = *np.zeros((2, len(w[f"{name}_U"]))), []
    for a_i in a:
        gates = a_i @ w[f"{name}_W"] + hidden @ w[f"{name}_U"] + 2 * w[f"{name}_b"]
        i, f, o, g = np.split(gates, 4)
        memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(memory)
        states.append(hidden)
    return np.array(states)


def encode(w: Weights, options: Options, a: np.ndarray, graph: str = "sampler") -> np.ndarray:
    """What the decoder attends to: [L, ctx_dim] -> [L, D].

    The sampler's second LSTM reads the features backwards. That of the training graph, which
    made its weights, reads them forwards: what is turned round there is the order of the batch.
    """
    if not options["lstm_encoder"]:
        return a
    order = {"sampler": -1, "training": 1}[graph]
    second = run_encoder(w, "encoder_rev", a[::order])[::order]
    return np.concatenate([run_encoder(w, "encoder", a), second], axis=1)


def halve(options: Options, x: np.ndarray) -> np.ndarray:
    return 0.5 * x if options["use_dropout"] else x


def layer_names(options: Options, name: str) -> list[str]:
    """The first of stacked layers goes without a number."""
    return [name] + [f"{name}_{layer}" for layer in range(1, options["n_layers_lstm"])]


def initial_states(w: Weights, options: Options, a: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """h and c of each layer from features [L, D]."""
    x = a.mean(axis=0)
    for layer in range(1, options["n_layers_init"]):
        x = halve(options, np.maximum(dense(w, f"ff_init_{layer}", x), 0))
    names = zip(layer_names(options, "ff_state"), layer_names(options, "ff_memory"), strict=True)
    return [(np.tanh(dense(w, state, x)), np.tanh(dense(w, memory, x))) for state, memory in names]


def attend(
    w: Weights, name: str, options: Options, a: np.ndarray, h: np.ndarray
) -> tuple[np.ndarray, float]:
    """alpha [L] and beta of one layer."""
    projected = a @ w[f"{name}_Wc_att"] + w[f"{name}_b_att"]
    for layer in range(1, options["n_layers_att"]):
        projected = np.tanh(projected @ w[f"{name}_W_att_{layer}"] + w[f"{name}_b_att_{layer}"])
    mixed = np.tanh(projected + h @ w[f"{name}_Wd_att"])
    scores = mixed @ w[f"{name}_U_att"][:, 0] + w[f"{name}_c_tt"]
    if options["attn_type"] == "stochastic":
        scores = scores * options["temperature"]
    beta = 1.0
    if options["selector"]:
        beta = sigmoid(h @ w[f"{name}_W_sel"][:, 0] + w[f"{name}_b_sel"])
    return softmax(scores), float(beta)


def run_layer(
    w: Weights,
    name: str,
    options: Options,
    x: np.ndarray,
    z: np.ndarray,
    h: np.ndarray,
    c: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """h and c after one step of an LSTM that reads x and the context z."""
    affine = x @ w[f"{name}_W"] + h @ w[f"{name}_U"] + z @ w[f"{name}_Wc"] + w[f"{name}_b"]
    i, f, o, g = np.split(affine, 4)
    kept = 0.5 if options["use_dropout_lstm"] else 1.0  # of gates, not of the candidate
    c = sigmoid(kept * f) * c + sigmoid(kept * i) * np.tanh(g)
    return sigmoid(kept * o) * np.tanh(c), c


def word_probabilities(
    w: Weights, options: Options, ey: np.ndarray, h: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """[V] of the last layer's h and context and the word before."""
    x = dense(w, "ff_logit_lstm", halve(options, h))
    if options["prev2out"]:
        x = x + ey
    if options["ctx2out"]:
        x = x + dense(w, "ff_logit_ctx", z)
    x = halve(options, np.tanh(x))
    for layer in range(1, options["n_layers_out"]):
        x = halve(options, np.maximum(dense(w, f"ff_logit_h{layer}", x), 0))
    return softmax(dense(w, "ff_logit", x))


def predict(
    weights: Weights,
    options: Options,
    features: np.ndarray,
    tokens: Sequence[int],
    weighting: Weighting = at_expectation,
    graph: str = "sampler",
) -> dict[str, np.ndarray]:
    """Each step's probabilities [T, V] given the tokens before it; alphas [T, L] and betas [T].

    alpha and beta are the last layer's; beta is 1 without a selector. Soft attention
    (`deterministic`) ignores `weighting`.
    """
    w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    a = encode(w, options, np.asarray(features, np.float64), graph)
    if options["attn_type"] == "deterministic":
        weighting = at_expectation
    states = initial_states(w, options, a)
    ey = np.zeros(options["dim_word"])
    rows: dict[str, list[Any]] = {"probabilities": [], "alphas": [], "betas": []}
    for step, token in enumerate(tokens):
        x = ey
        for layer, name in enumerate(layer_names(options, "decoder")):
            h, c = states[layer]
            alpha, beta = attend(w, name, options, a, h)
            z = beta * (weighting(alpha, step, layer) @ a)
            x, c = run_layer(w, name, options, x, z, h, c)
            states[layer] = x, c
        rows["probabilities"].append(word_probabilities(w, options, ey, x, z))
        rows["alphas"].append(alpha)
        rows["betas"].append(beta)
        ey = w["Wemb"][token]
    return {name: np.array(values) for name, values in rows.items()}
