"""The equations of the paper in NumPy, one example and one step at a time, in float64.

Written from the equations alone, with the same names; it shares no code with the package.
"""

from typing import Any

import numpy as np

Weights = dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    shifted = np.exp(x - x.max())
    return shifted / shifted.sum()


def weights_of(cell: Any) -> Weights:
    """The weights of an `AttentionDecoderCell` under the symbols of the equations."""

    def dense(layer: Any, kernel: str, bias: str | None = None) -> Weights:
        values = [w.numpy().astype(np.float64) for w in layer.weights]
        return dict(zip([kernel] + ([bias] if bias else []), values, strict=True))

    attention = cell.attention
    weights = {
        "E": cell.embedding.embeddings.numpy().astype(np.float64),
        **dense(attention.annotation_projection, "W_a", "b_a"),
        **dense(attention.hidden_projection, "W_h"),
        **dense(attention.score, "w", "b_e"),
        **dense(cell.initial_hidden, "W_h0", "b_h0"),
        **dense(cell.initial_memory, "W_c0", "b_c0"),
        **dense(cell.gates_of_word, "G_y", "b_g"),
        **dense(cell.gates_of_hidden, "G_h"),
        **dense(cell.gates_of_context, "G_z"),
        **dense(cell.output_of_hidden, "L_h", "b_l"),
        **dense(cell.output_of_context, "L_z"),
        **dense(cell.output_words, "L_o", "b_o"),
    }
    if attention.beta is not None:
        weights |= dense(attention.beta, "w_beta", "b_beta")
    if cell.query_of_word is not None:
        weights |= dense(cell.query_of_word, "W_y")
    return weights


def attend(
    w: Weights, a: np.ndarray, h: np.ndarray, ey: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Equations (4) to (6) with the gate: a [L, D], h [H] -> context [D], alpha [L], beta."""
    query = h @ w["W_h"] + (ey @ w["W_y"] if "W_y" in w else 0.0)
    e = np.array([np.tanh(a_i @ w["W_a"] + w["b_a"] + query) @ w["w"][:, 0] for a_i in a])
    alpha = softmax(e + w["b_e"])
    beta = sigmoid(h @ w["w_beta"] + w["b_beta"])[0] if "w_beta" in w else 1.0
    return beta * sum(alpha_i * a_i for alpha_i, a_i in zip(alpha, a, strict=True)), alpha, beta


def initial_state(w: Weights, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = sum(a) / len(a)
    return np.tanh(mean @ w["W_h0"] + w["b_h0"]), np.tanh(mean @ w["W_c0"] + w["b_c0"])


def step(
    w: Weights, a: np.ndarray, previous: int | None, h: np.ndarray, c: np.ndarray
) -> dict[str, Any]:
    """Equations (1) to (7) for one word; `previous` None at step 0, whose embedding is zero."""
    ey = np.zeros(w["E"].shape[1]) if previous is None else w["E"][previous]
    z, alpha, beta = attend(w, a, h, ey)
    i, f, o, g = np.split(ey @ w["G_y"] + h @ w["G_h"] + z @ w["G_z"] + w["b_g"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    logits = np.tanh(ey + h @ w["L_h"] + w["b_l"] + z @ w["L_z"]) @ w["L_o"] + w["b_o"]
    return {"h": h, "c": c, "alpha": alpha, "beta": beta, "logits": logits}


def teacher_force(w: Weights, a: np.ndarray, caption: list[int]) -> dict[str, np.ndarray]:
    """A whole caption, its end included: logits [T, V], alphas [T, L], betas [T]."""
    h, c = initial_state(w, a)
    steps, previous = [], None
    for word in caption:
        out = step(w, a, previous, h, c)
        h, c, previous = out["h"], out["c"], word
        steps.append(out)
    return {
        "logits": np.array([out["logits"] for out in steps]),
        "alphas": np.array([out["alpha"] for out in steps]),
        "betas": np.array([out["beta"] for out in steps]),
    }


def caption_loss(
    w: Weights, a: np.ndarray, caption: list[int], doubly_stochastic_weight: float
) -> float:
    """Equation (14) of one caption."""
    out = teacher_force(w, a, caption)
    nll = -sum(np.log(softmax(out["logits"][t])[word]) for t, word in enumerate(caption))
    penalty = sum((1.0 - out["alphas"][:, i].sum()) ** 2 for i in range(len(a)))
    return nll + doubly_stochastic_weight * penalty
