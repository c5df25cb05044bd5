"""How weights start."""

import keras
import numpy as np
import pytest

from sat_tf.config import DecoderConfig
from sat_tf.model.decoder import AttentionDecoder
from sat_tf.model.initializers import zero_weights

V, D = 300, 48
SIZES = {"embedding_size": 48, "hidden_size": 64, "attention_size": 32, "lstm_layers": 2}


def start(name):
    keras.utils.set_random_seed(0)
    config = DecoderConfig(initializer=name, lstm_encoder=True, **SIZES)
    decoder = AttentionDecoder(V, config)
    decoder.build((None, None, D))
    return decoder


def is_orthogonal(matrix):
    return np.allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-5)


def biases(decoder):
    return {v.path: v.numpy() for v in decoder.trainable_variables if v.path.endswith("bias")}


def test_as_the_authors():
    decoder = start("authors")
    normal = decoder.embedding.embeddings.numpy()
    assert normal.std() == pytest.approx(0.01, rel=0.05)
    assert decoder.deep_output.output_projection.kernel.numpy().std() == pytest.approx(
        0.01, rel=0.05
    )
    # Gates are four matrices side by side; of h they are square, and so are they of h below.
    for lstm in decoder.cells:
        blocks = np.split(lstm.recurrent_projection.kernel.numpy(), 4, axis=1)
        assert all(map(is_orthogonal, blocks))
        assert not np.allclose(blocks[0], blocks[1])
    assert all(
        map(is_orthogonal, np.split(decoder.cells[1].input_projection.kernel.numpy(), 4, axis=1))
    )
    assert decoder.cells[0].input_projection.kernel.numpy().std() == pytest.approx(0.01, rel=0.05)
    assert not any(bias.any() for bias in biases(decoder).values())


def test_what_the_authors_read_annotations_with_is_normal_where_square_too():
    config = DecoderConfig(
        initializer="authors", embedding_size=64, hidden_size=64, attention_size=64
    )
    decoder = AttentionDecoder(V, config)
    decoder.build((None, None, 64))
    attention = decoder.cells[0].attention
    assert is_orthogonal(attention.query_projection.kernel.numpy())
    for layer in (attention.key_projection, decoder.cells[0].context_projection):
        assert layer.kernel.numpy().std() == pytest.approx(0.01, rel=0.05)


def test_as_the_port():
    decoder = start("port")
    embeddings = decoder.embedding.embeddings.numpy()
    assert -1 <= embeddings.min() < -0.98 and 0.98 < embeddings.max() <= 1
    for layer in (decoder.deep_output.output_projection, decoder.cells[0].recurrent_projection):
        kernel = layer.kernel.numpy()
        deviation = 1 / np.sqrt(len(kernel))
        assert kernel.std() == pytest.approx(deviation, rel=0.05)
        assert np.abs(kernel).max() < 2.5 * deviation  # truncated
    assert not any(bias.any() for bias in biases(decoder).values())


def test_as_keras():
    """The forget gate is open, all other biases are zero."""
    decoder = start("keras")
    opened = {path for path, bias in biases(decoder).items() if bias.any()}
    assert all("input_projection" in path or "lstm_cell" in path for path in opened)
    for lstm in decoder.cells:
        assert is_orthogonal(lstm.recurrent_projection.kernel.numpy())
        i, f, o, g = np.split(lstm.input_projection.bias.numpy(), 4)
        assert (f == 1).all() and not i.any() and not o.any() and not g.any()


@pytest.mark.parametrize("name", ["keras", "authors", "port"])
def test_the_seed_decides(name):
    one, other = (start(name).get_weights() for _ in range(2))
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)


def test_zero_weights_end_with_their_block():
    with pytest.raises(RuntimeError), zero_weights():
        kernels = [v for v in start("keras").trainable_variables if v.path.endswith("kernel")]
        assert kernels and not any(kernel.numpy().any() for kernel in kernels)
        raise RuntimeError
    for name in ("keras", "authors", "port"):
        assert all(v.numpy().any() for v in start(name).trainable_variables if "kernel" in v.path)
