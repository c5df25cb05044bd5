"""Backpropagation through the steps of a decoder of one layer with soft attention, written out.

Automatic differentiation of the loop gives the same gradient, but keeps the tanh of (4) of all
steps, [T, B, L, A], and adds up the gradient of each weight step by step. Here the tanh is
computed again, and the gradient of a weight is one product over the steps of all captions. With
d for the gradient of the loss, from the last step to the first:

    dc_t += dh_t * o_t (1 - tanh^2 c_t),  dc_{t-1} = f_t * dc_t                     (2), (3)
    dgates_t: those of i, f, o and g before their sigmoid or tanh                   (1) to (3)
    dz_t: through the gates, beta and the output layer                              (1), 4.2.1
    de_ti = alpha_ti (dalpha_ti - sum_j alpha_tj dalpha_tj), dalpha_ti += dz_t . a_i  (5), (6)
    ds_ti = de_ti w * (1 - tanh^2): dquery_t = sum_i ds_ti, dkey_i = sum_t ds_ti        (4)
    dh_{t-1} += [dquery_t, dgates_t, dbeta_t] [W_h, U, W_beta]^T
    d[W_h, U, W_beta] = sum_t h_{t-1}^T [dquery_t, dgates_t, dbeta_t]
"""

from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from sat_tf.model.decoder import (
        AttentionLSTMCell,
        AttentionMemory,
        AttentionOutput,
        DecoderStep,
        InputProjections,
        LSTMState,
    )


def with_written_gradient(
    cell: "AttentionLSTMCell",
    inputs: "InputProjections",
    initial: tuple["LSTMState", ...],
    memory: "AttentionMemory",
    taken: "DecoderStep",
) -> tuple[tf.Tensor, "AttentionOutput"]:
    """Return the outputs of all steps, with the gradient of this module.

    Args:
      cell: the only layer of its decoder; with soft attention and without `gate_mask`.
      inputs: of all steps, [T, B, ...].
      initial: h_0 and c_0.
      memory: of the B captions.
      taken: the steps, as `cell.step` took them from the above, [T, B, ...].

    Returns:
      h_t of all steps, [T, B, H], and their attention.
    """
    attention, dtype = cell.attention, memory.features.dtype
    taken = tf.nest.map_structure(tf.stop_gradient, taken)
    attended = taken.attended
    arguments = {
        "h_0": initial[0].hidden,
        "c_0": initial[0].cell,
        "features": memory.features,
        "keys": memory.keys[0],
        "gates": inputs.gates,
        "query_kernel": attention.query_projection.kernel,
        "recurrent_kernel": cell.recurrent_projection.kernel,
        "context_kernel": cell.context_projection.kernel,
        "score_kernel": attention.score.kernel,
        "score_bias": attention.score.bias,
    }
    if inputs.queries:
        arguments["queries"] = inputs.queries[0]
    if attention.gate_projection is not None:
        arguments["beta_kernel"] = attention.gate_projection.kernel
        arguments["beta_bias"] = attention.gate_projection.bias

    @tf.custom_gradient
    def attach(*values: tf.Tensor) -> Any:
        given = dict(zip(arguments, values, strict=True))

        def gradient(*d_outputs: tf.Tensor) -> list[tf.Tensor]:
            found = _gradients(given, taken, attention.temperature, *d_outputs)
            return [found[name] for name in arguments]

        outputs = (taken.states[0].hidden, attended.context, attended.alpha, attended.beta)
        return outputs, gradient

    hidden, context, alpha, beta = attach(*(tf.cast(x, dtype) for x in arguments.values()))
    return hidden, attended._replace(context=context, alpha=alpha, beta=beta)


def _gradients(
    given: dict[str, tf.Tensor],
    taken: "DecoderStep",
    temperature: float,
    d_hidden: tf.Tensor,
    d_context: tf.Tensor,
    d_alpha: tf.Tensor,
    d_beta: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Return the gradients of what is `given`, from those of the outputs of all steps."""
    (states,), attended, (gates,) = taken
    features, keys, dtype = given["features"], given["keys"], given["features"].dtype
    before, cells_before = (
        tf.concat([first[tf.newaxis], values[:-1]], axis=0)
        for first, values in ((given["h_0"], states.hidden), (given["c_0"], states.cell))
    )  # h_{t-1} and c_{t-1}, [T, B, H]
    queries = tf.matmul(before, given["query_kernel"]) + given.get("queries", 0.0)  # [T, B, A]
    alphas = tf.transpose(tf.cast(attended.alpha, dtype), [1, 0, 2])  # [B, T, L]
    kernels, betas = [given["query_kernel"], given["recurrent_kernel"]], None
    if "beta_kernel" in given:
        kernels.append(given["beta_kernel"])
        betas = tf.sigmoid(tf.matmul(before, given["beta_kernel"]) + given["beta_bias"])
        contexts = tf.transpose(tf.matmul(alphas, features), [1, 0, 2])  # without beta
    kernel = tf.concat(kernels, axis=1)  # of all that is linear in h_{t-1}

    def back(t: tf.Tensor, dh: tf.Tensor, dc: tf.Tensor, d_keys: tf.Tensor, arrays: Any) -> Any:
        dh += d_hidden[t]
        d_gates, dc = _lstm_gradients(gates[t], states.cell[t], cells_before[t], dh, dc)
        linear = [d_gates]
        dz = d_context[t] + tf.matmul(d_gates, given["context_kernel"], transpose_b=True)
        if betas is not None:
            db = dz * contexts[t]  # [B, D]
            if betas.shape[-1] == 1:
                db = tf.reduce_sum(db, axis=1, keepdims=True)
            db += tf.cast(d_beta[t] / betas.shape[-1], dtype)  # that of the mean over D
            linear.append(db * betas[t] * (1.0 - betas[t]))
            dz *= betas[t]
        alpha = attended.alpha[t]
        da = d_alpha[t] + tf.cast(tf.linalg.matvec(features, dz), tf.float32)
        de = temperature * alpha * (da - tf.reduce_sum(alpha * da, axis=1, keepdims=True))
        de = tf.cast(de, dtype)[..., tf.newaxis]  # [B, L, 1]
        ds, d_score = _score_gradients(keys, queries[t], given["score_kernel"], de)
        linear = tf.concat([tf.reduce_sum(ds, axis=1), *linear], axis=1)
        arrays = [a.write(t, x) for a, x in zip(arrays, (linear, dz, de, d_score), strict=True)]
        return t - 1, tf.matmul(linear, kernel, transpose_b=True), dc, d_keys + ds, arrays

    steps = tf.shape(gates)[0]
    zeros = tf.nest.map_structure(tf.zeros_like, (given["h_0"], given["c_0"], keys))
    arrays = [tf.TensorArray(dtype, steps) for _ in range(4)]
    _, dh, dc, d_keys, arrays = tf.while_loop(
        lambda t, *_: t >= 0,
        back,
        (steps - 1, *zeros, arrays),
        parallel_iterations=1,  # more would compute the tanh of several steps ahead
    )
    linear, dz, de, d_score = (array.stack() for array in arrays)  # [T, B, ...]
    sizes = [kernel.shape[1] for kernel in kernels]
    d_queries, d_gates, *_ = tf.split(linear, sizes, axis=2)
    d_kernels = tf.split(_sum_of_products(before, linear), sizes, axis=1)
    names = ("query_kernel", "recurrent_kernel", "beta_kernel")
    return {
        "h_0": dh,
        "c_0": dc,
        "features": tf.matmul(alphas, tf.transpose(dz, [1, 0, 2]), transpose_a=True),
        "keys": d_keys,
        "gates": d_gates,
        "queries": d_queries,
        "context_kernel": _sum_of_products(attended.context, d_gates),
        "score_kernel": tf.reduce_sum(d_score, axis=0),
        "score_bias": tf.reduce_sum(de)[tf.newaxis],
        "beta_bias": tf.reduce_sum(linear[..., sum(sizes[:2]) :], axis=[0, 1]),
        **dict(zip(names, d_kernels, strict=False)),
    }


def _lstm_gradients(
    gates: tf.Tensor, cell: tf.Tensor, cell_before: tf.Tensor, dh: tf.Tensor, dc: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the gradients of the gates before their sigmoid or tanh, [B, 4H], and of c_{t-1}.

    Args:
      gates: i, f, o, g, [B, 4H].
      cell: c_t, [B, H].
      cell_before: c_{t-1}, [B, H].
      dh: of h_t, [B, H].
      dc: of c_t, but for what reaches it from h_t, [B, H].
    """
    i, f, o, g = tf.split(gates, 4, axis=1)
    tanh = tf.tanh(cell)
    dc += dh * o * (1.0 - tanh * tanh)
    d_gates = [
        dc * g * i * (1.0 - i),
        dc * cell_before * f * (1.0 - f),
        dh * tanh * o * (1.0 - o),
        dc * i * (1.0 - g * g),
    ]
    return tf.concat(d_gates, axis=1), dc * f


def _score_gradients(
    keys: tf.Tensor, query: tf.Tensor, kernel: tf.Tensor, de: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the gradients of s_i = key_i + query, [B, L, A], and of w, [A, 1], from those of (4).

    Args:
      keys: [B, L, A].
      query: [B, A].
      kernel: w, [A, 1].
      de: of the scores, [B, L, 1].
    """
    tanh = tf.tanh(keys + tf.expand_dims(query, 1))  # [B, L, A]
    rows = tf.reshape(tanh, [-1, keys.shape[-1]])
    d_kernel = tf.matmul(rows, tf.reshape(de, [-1, 1]), transpose_a=True)
    return tf.raw_ops.TanhGrad(y=tanh, dy=de * kernel[:, 0]), d_kernel


def _sum_of_products(inputs: tf.Tensor, d_outputs: tf.Tensor) -> tf.Tensor:
    """Return the gradient of a kernel, [T, B, N] and [T, B, M] -> [N, M], summed over T and B."""
    inputs, d_outputs = (tf.reshape(x, [-1, x.shape[-1]]) for x in (inputs, d_outputs))
    return tf.matmul(inputs, d_outputs, transpose_a=True)
