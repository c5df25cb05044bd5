"""The equations of the paper in NumPy, one example and one step at a time, in float64.

Written from the equations alone, with the same names; it shares no code with the package.
"""

from typing import Any

import numpy as np

Weights = dict[str, Any]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    shifted = np.exp(x - x.max())
    return shifted / shifted.sum()


ACTIVATIONS = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0.0), "linear": lambda x: x}


def variables_of(decoder: Any) -> dict[str, Any]:
    """The variables of an `AttentionDecoder` under the symbols of the equations.

    Those of further layers carry their number: G_h/1 is the second LSTM's.
    """
    variables = {"E": decoder.embedding.embeddings}

    def add(layer: Any, kernel: str, bias: str | None = None) -> None:
        if layer is not None:
            names = [kernel] + ([bias] if bias else [])
            variables.update(zip(names, layer.weights, strict=True))

    states, output = decoder.initial_states, decoder.deep_output
    for n, layer in enumerate(states.hidden_layers):
        add(layer, f"W_0/{n}", f"b_0/{n}")
    for n, lstm in enumerate(decoder.cells):
        attention = lstm.attention
        add(attention.key_projection, f"W_a/{n}", f"b_a/{n}")
        for deeper, layer in enumerate(attention.key_layers):
            add(layer, f"W_l/{n}/{deeper}", f"b_l/{n}/{deeper}")
        add(attention.query_projection, f"W_h/{n}")
        if decoder.query_projections:
            add(decoder.query_projections[n], f"W_y/{n}")
        add(attention.score, f"w/{n}", f"b_e/{n}")
        add(attention.gate_projection, f"w_beta/{n}", f"b_beta/{n}")
        add(states.hidden[n], f"W_h0/{n}", f"b_h0/{n}")
        add(states.cell[n], f"W_c0/{n}", f"b_c0/{n}")
        add(lstm.input_projection, f"G_x/{n}", f"b_g/{n}")
        add(lstm.recurrent_projection, f"G_h/{n}")
        add(lstm.context_projection, f"G_z/{n}")
    add(output.hidden_projection, "L_h", "b_l")
    add(output.context_projection, "L_z")
    for n, layer in enumerate(output.hidden_layers):
        add(layer, f"L_d/{n}", f"b_d/{n}")
    add(output.output_projection, "L_o", "b_o")
    for layer in decoder.lstm_encoder:
        names = (f"A_x/{layer.name}", f"A_h/{layer.name}", f"A_b/{layer.name}")
        variables.update(zip(names, layer.weights, strict=True))
    return variables


def weights_of(decoder: Any) -> Weights:
    return {name: v.numpy().astype(np.float64) for name, v in variables_of(decoder).items()}


def count(w: Weights, prefix: str) -> int:
    """How many weights there are of a name: prefix/0, prefix/1 …"""
    return sum(name.rpartition("/")[0] == prefix for name in w)


def encode(w: Weights, a: np.ndarray) -> np.ndarray:
    """The annotations as a bidirectional LSTM leaves them, if there is one."""
    if "A_x/forward" not in w:
        return a

    def read(side: str, rows: np.ndarray) -> np.ndarray:
        size = w[f"A_h/{side}"].shape[0]
        h, c, seen = np.zeros(size), np.zeros(size), []
        for x in rows:
            i, f, g, o = np.split(x @ w[f"A_x/{side}"] + h @ w[f"A_h/{side}"] + w[f"A_b/{side}"], 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            seen.append(h)
        return np.array(seen)

    return np.concatenate([read("forward", a), read("backward", a[::-1])[::-1]], axis=1)


def attend(
    w: Weights,
    n: int,
    a: np.ndarray,
    h: np.ndarray,
    ey: np.ndarray,
    temperature: float,
    location: int | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Equations (4) to (6) with the gate: a [L, D], h [H] -> context [D], alpha [L], beta [1 or D].

    `location` is the sampled location; None for the expectation.
    """
    query = h @ w[f"W_h/{n}"] + (ey @ w[f"W_y/{n}"] if f"W_y/{n}" in w else 0.0)
    scores = []
    for a_i in a:
        projected = a_i @ w[f"W_a/{n}"] + w[f"b_a/{n}"]
        for layer in range(count(w, f"W_l/{n}")):
            projected = np.tanh(projected @ w[f"W_l/{n}/{layer}"] + w[f"b_l/{n}/{layer}"])
        scores.append(np.tanh(projected + query) @ w[f"w/{n}"][:, 0])
    alpha = softmax(temperature * (np.array(scores) + w[f"b_e/{n}"]))
    seen = sum(alpha_i * a_i for alpha_i, a_i in zip(alpha, a, strict=True))
    if location is not None:
        seen = a[location]
    beta = sigmoid(h @ w[f"w_beta/{n}"] + w[f"b_beta/{n}"]) if f"w_beta/{n}" in w else np.ones(1)
    return beta * seen, alpha, beta


def initial_states(w: Weights, a: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    mean = sum(a) / len(a)
    for layer in range(count(w, "W_0")):
        mean = np.maximum(mean @ w[f"W_0/{layer}"] + w[f"b_0/{layer}"], 0.0)
    return [
        (
            np.tanh(mean @ w[f"W_h0/{n}"] + w[f"b_h0/{n}"]),
            np.tanh(mean @ w[f"W_c0/{n}"] + w[f"b_c0/{n}"]),
        )
        for n in range(count(w, "W_h0"))
    ]


def step(
    w: Weights,
    a: np.ndarray,
    previous: int | None,
    states: list[tuple[np.ndarray, np.ndarray]],
    config: Any,
    locations: tuple[int, ...] | None = None,
) -> dict[str, Any]:
    """Equations (1) to (7) for one word; `previous` None at step 0, whose embedding is zero."""
    ey = np.zeros(w["E"].shape[1]) if previous is None else w["E"][previous]
    moved, log_prob, entropy = [], 0.0, 0.0
    x = ey
    for n, (h, c) in enumerate(states):
        location = None if locations is None else locations[n]
        z, alpha, beta = attend(w, n, a, h, ey, config.attention_temperature, location)
        gates = x @ w[f"G_x/{n}"] + h @ w[f"G_h/{n}"] + z @ w[f"G_z/{n}"] + w[f"b_g/{n}"]
        i, f, o, g = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        x = sigmoid(o) * np.tanh(c)
        moved.append((x, c))
        log_prob += 0.0 if location is None else np.log(alpha[location])
        entropy -= (alpha * np.log(alpha)).sum()
    joined = x @ w["L_h"] + w["b_l"]
    if config.output_uses_embedding:
        joined = joined + ey
    if config.output_uses_context:
        joined = joined + z @ w["L_z"]
    inner = ACTIVATIONS[config.output_activation](joined)
    for layer in range(count(w, "L_d")):
        inner = np.maximum(inner @ w[f"L_d/{layer}"] + w[f"b_d/{layer}"], 0.0)
    logits = inner @ w["L_o"] + w["b_o"]
    return {
        "states": moved,
        "alphas": alpha,
        "betas": beta.mean(),
        "logits": logits,
        "log_probs": log_prob,
        "entropies": entropy,
    }


def teacher_force(
    w: Weights,
    a: np.ndarray,
    caption: list[int],
    config: Any,
    path: list[tuple[int, ...]] | None = None,
) -> dict[str, np.ndarray]:
    """A whole caption, its end included: logits [T, V], alphas [T, L], betas, choices … [T].

    `path` holds, for each step, the location that each LSTM layer drew.
    """
    a = encode(w, a)
    states = initial_states(w, a)
    steps, previous = [], None
    for t, word in enumerate(caption):
        out = step(w, a, previous, states, config, path[t] if path else None)
        states, previous = out.pop("states"), word
        steps.append(out)
    return {name: np.array([out[name] for out in steps]) for name in steps[0]}


def log_likelihood(out: dict[str, np.ndarray], caption: list[int]) -> np.ndarray:
    """log p of each word: [T]."""
    return np.array([np.log(softmax(out["logits"][t])[word]) for t, word in enumerate(caption)])


def caption_loss(
    w: Weights, a: np.ndarray, caption: list[int], config: Any, doubly_stochastic_weight: float
) -> float:
    """Equation (14) of one caption."""
    out = teacher_force(w, a, caption, config)
    penalty = sum((1.0 - out["alphas"][:, i].sum()) ** 2 for i in range(out["alphas"].shape[1]))
    return -log_likelihood(out, caption).sum() + doubly_stochastic_weight * penalty
