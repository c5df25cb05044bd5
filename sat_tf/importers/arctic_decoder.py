"""The decoder's weights, made of those of arctic-captions.

Left its names, right the paths of `AttentionDecoderCell`'s weights. Kernels are [in, out] in both.

Dropout. Theirs is not inverted: at test it halves what it acts on, ours leaves it whole. So the
weights that read a halved state are halved here, which gives the same logits at test, and in
further training the same distribution of logits.

Bidirectional LSTM over the annotations. The bias of each direction is added twice in their
graphs: it is doubled here. What is turned round for the second direction is, in the graph that
trained it, the order of the minibatch, and in the one that captions, the order of the locations.
It captions here as it did there: over the locations.

Vocabulary. Their tokens 0 and 1, end and unknown, are 1 and 2 here, words follow. Padding, which
they have not, gets a logit that is never chosen. Rows of tokens for which the dictionary has no
word are left out: they never occurred in training. The probability that they had, all but none,
is divided among the others in their proportions.
"""

import numpy as np

from sat_tf.importers.arctic_files import FIRST_WORD, ArcticModel
from sat_tf.importers.arctic_options import ArcticOptions

Weights = dict[str, np.ndarray]

# Logit of padding: e to its power is 0 in float32. No larger, for weight decay in further training
# would see its square alone.
_NEVER = -1000.0
_HALF = 0.5  # what their dropout keeps
_KERAS_ORDER = (0, 1, 3, 2)  # its LSTM has i, f, g, o; theirs i, f, o, g


def decoder_weights(model: ArcticModel) -> Weights:
    """By the weights' paths below the decoder's, float32."""
    options, w = model.options, model.weights
    known = FIRST_WORD + len(model.words)
    made = {"embedding/embeddings": np.pad(w["Wemb"][:known], [(1, 0), (0, 0)])}
    if options.lstm_encoder:
        made |= _annotation_lstm("forward", w, "encoder")
        made |= _annotation_lstm("backward", w, "encoder_rev")
    made |= _initial_states(options, w)
    for layer in range(options.n_layers_lstm):
        made |= _attention(f"lstm_{layer}/attention", options, w, _numbered("decoder", layer))
        made |= _gates(f"lstm_{layer}", options, w, _numbered("decoder", layer))
    return made | _deep_output(options, w, known)


def _numbered(name: str, layer: int) -> str:
    """The first of stacked layers goes without a number."""
    return f"{name}_{layer}" if layer else name


def _dense(path: str, w: Weights, name: str, kept: float) -> Weights:
    """A layer that reads `kept` of what it is given."""
    return {f"{path}/kernel": kept * w[f"{name}_W"], f"{path}/bias": w[f"{name}_b"]}


def _kept(options: ArcticOptions) -> float:
    return _HALF if options.use_dropout else 1.0


def _annotation_lstm(path: str, w: Weights, name: str) -> Weights:
    def ordered(gates: np.ndarray) -> np.ndarray:
        blocks = np.split(gates, 4, axis=-1)
        return np.concatenate([blocks[number] for number in _KERAS_ORDER], axis=-1)

    return {
        f"{path}/lstm_cell/kernel": ordered(w[f"{name}_W"]),
        f"{path}/lstm_cell/recurrent_kernel": ordered(w[f"{name}_U"]),
        f"{path}/lstm_cell/bias": 2 * ordered(w[f"{name}_b"]),
    }


def _initial_states(options: ArcticOptions, w: Weights) -> Weights:
    """The mean annotation is whole; what comes out of each ReLU layer was in_bfloat16."""
    made: Weights = {}
    deeper = options.n_layers_init - 1
    for layer in range(deeper):
        kept = _kept(options) if layer else 1.0
        made |= _dense(f"initial_states/deeper_{layer}", w, f"ff_init_{layer + 1}", kept)
    kept = _kept(options) if deeper else 1.0
    for layer in range(options.n_layers_lstm):
        for state, name in (("hidden", "ff_state"), ("memory", "ff_memory")):
            made |= _dense(f"initial_states/{state}_{layer}", w, _numbered(name, layer), kept)
    return made


def _attention(path: str, options: ArcticOptions, w: Weights, name: str) -> Weights:
    made = {
        f"{path}/annotation_projection/kernel": w[f"{name}_Wc_att"],
        f"{path}/annotation_projection/bias": w[f"{name}_b_att"],
        f"{path}/hidden_projection/kernel": w[f"{name}_Wd_att"],
        f"{path}/score/kernel": w[f"{name}_U_att"],
        f"{path}/score/bias": w[f"{name}_c_tt"],
    }
    for layer in range(1, options.n_layers_att):
        made[f"{path}/projection_{layer}/kernel"] = w[f"{name}_W_att_{layer}"]
        made[f"{path}/projection_{layer}/bias"] = w[f"{name}_b_att_{layer}"]
    if options.selector:
        made[f"{path}/beta/kernel"] = w[f"{name}_W_sel"]
        made[f"{path}/beta/bias"] = w[f"{name}_b_sel"].reshape(1)
    return made


def _gates(path: str, options: ArcticOptions, w: Weights, name: str) -> Weights:
    """Their dropout halves the sums under i, f and o, bias included, and leaves g whole."""
    kept = np.ones([4, options.dim], np.float32)  # i, f, o, g
    if options.use_dropout_lstm:
        kept[:3] = _HALF
    kept = kept.ravel()
    return {
        f"{path}/gates_of_input/kernel": kept * w[f"{name}_W"],
        f"{path}/gates_of_input/bias": kept * w[f"{name}_b"],
        f"{path}/gates_of_hidden/kernel": kept * w[f"{name}_U"],
        f"{path}/gates_of_context/kernel": kept * w[f"{name}_Wc"],
    }


def _deep_output(options: ArcticOptions, w: Weights, known: int) -> Weights:
    """Their dropout halved h and what follows the tanh, not the context nor the word before."""
    kept = _kept(options)
    made = _dense("of_hidden", w, "ff_logit_lstm", kept)
    if options.ctx2out:
        made["of_context/kernel"] = w["ff_logit_ctx_W"]
        made["of_hidden/bias"] = made["of_hidden/bias"] + w["ff_logit_ctx_b"]
    for layer in range(1, options.n_layers_out):
        made |= _dense(f"deeper_{layer}", w, f"ff_logit_h{layer}", kept)
    made["words/kernel"] = np.pad(kept * w["ff_logit_W"][:, :known], [(0, 0), (1, 0)])
    made["words/bias"] = np.pad(w["ff_logit_b"][:known], (1, 0), constant_values=_NEVER)
    return {f"deep_output/{path}": value for path, value in made.items()}
