"""Settings of the model: from a decoded image to the logits of words."""

from dataclasses import dataclass
from functools import partial

from sat_tf.config.setting import Section, setting

# The weights of a run depend on these settings; exceptions say so.
_decoder = partial(setting, defines_model=True)
_encoder = partial(setting, defines_model=True, commands=("import_arctic",))
# Of an image as large as any that is decoded; of matrices that fit memory.
_LARGEST_SIDE, _LARGEST_LAYER, _MOST_LAYERS = 10_000, 32_768, 100


@dataclass(frozen=True)
class ImageConfig(Section):
    """Preprocessing of a decoded image to the encoder's square input."""

    image_size: int = _encoder(
        224, "S, side of the encoder's input, pixels.", minimum=1, maximum=_LARGEST_SIDE
    )
    resize: str = _encoder(
        "crop",
        "crop: shorter side to --shorter_side, then the centre; stretch: both sides to the square.",
        choices=("crop", "stretch"),
    )
    shorter_side: int = _encoder(
        256,
        "Shorter side of the image before the crop, pixels.",
        minimum=1,
        maximum=_LARGEST_SIDE,
        only_for={"resize": "crop"},
    )


@dataclass(frozen=True)
class EncoderConfig(Section):
    """The network that computes features [L, D] of an image."""

    encoder: str = _encoder(
        "vgg16",
        "vgg16, vgg19, slim_vgg16, any Keras Applications model by name, or the path of a .keras "
        "file.",
    )
    encoder_layer: str = _encoder(
        "", "Layer whose output is used as features; default: the encoder's own."
    )
    encoder_weights: str = _encoder(
        "imagenet",
        "imagenet, none, or the path of a weights file; a .keras file has its own weights.",
    )
    preprocessing: str = _encoder(
        "auto",
        "Pixel values: caffe (BGR less VGG's means), tf (-1 to 1), torch (ImageNet mean and "
        "deviation), none (0 to 255), auto (the encoder's own; caffe for files).",
        choices=("auto", "caffe", "tf", "torch", "none"),
    )
    finetune_from: str = setting(
        "", "First encoder layer to train with the decoder; 'all' trains the whole encoder."
    )
    encoder_width: float = _encoder(
        0.25,
        "Channels as a fraction of VGG16's.",
        minimum=0.01,
        maximum=1,
        only_for={"encoder": "slim_vgg16"},
    )
    encoder_precision: str = setting(
        "float32",
        "Compute dtype of a frozen encoder; one that is trained has that of the decoder.",
        choices=("float32", "bfloat16"),
        only_for={"finetune_from": ""},
        commands=("import_arctic",),
    )
    cache_features: bool = setting(
        True, "Encode each image once and cache its features.", commands=("import_arctic",)
    )
    cache_dir: str = setting(
        "runs/features",
        "Folder of the feature caches.",
        mutable=True,
        commands=("evaluate", "doctor", "import_arctic"),
    )


@dataclass(frozen=True)
class DecoderConfig(Section):
    """The LSTM decoder with attention (equations 1 to 7)."""

    embedding_size: int = _decoder(
        512, "E, size of a word's embedding.", minimum=1, maximum=_LARGEST_LAYER
    )
    hidden_size: int = _decoder(
        512, "H, size of the LSTM's state.", minimum=1, maximum=_LARGEST_LAYER
    )
    attention_size: int = _decoder(
        512, "A, size of the attention's hidden layer.", minimum=1, maximum=_LARGEST_LAYER
    )
    attention: str = setting(
        "soft",
        "soft: the context is the expectation over locations (section 4.2); hard: a location is "
        "sampled (section 4.1).",
        choices=("soft", "hard"),
    )
    attention_temperature: float = setting(
        1.0,
        "Factor on the attention scores; above 1 the distribution is sharper.",
        minimum=0.01,
        maximum=100,
        only_for={"attention": "hard"},
    )
    attention_layers: int = _decoder(
        1,
        "Layers that project the features before h is added; tanh after all but the first.",
        minimum=1,
        maximum=_MOST_LAYERS,
    )
    lstm_layers: int = _decoder(
        1, "Stacked LSTM layers, each with its own attention.", minimum=1, maximum=_MOST_LAYERS
    )
    initial_layers: int = _decoder(
        1,
        "Layers from the mean feature vector to h_0 and c_0, ReLU in between.",
        minimum=1,
        maximum=_MOST_LAYERS,
    )
    output_layers: int = _decoder(
        1,
        "Layers below the logits: --output_activation after the first, ReLU after the others.",
        minimum=1,
        maximum=_MOST_LAYERS,
    )
    output_activation: str = _decoder(
        "tanh",
        "Activation of the first output layer: tanh (the authors' code), relu (the TensorFlow "
        "port) or linear (equation 7).",
        choices=("tanh", "relu", "linear"),
    )
    output_uses_embedding: bool = _decoder(True, "Whether the output reads the previous word.")
    output_uses_context: bool = _decoder(True, "Whether the output reads the context.")
    output_bias: str = _decoder(
        "frequencies",
        "Initial bias of the logits: frequencies (log of each word's frequency) or zero.",
        choices=("frequencies", "zero"),
    )
    gate: str = _decoder(
        "scalar",
        "Gate beta on the context (section 4.2.1): none, scalar, or one for each channel.",
        choices=("none", "scalar", "channel"),
    )
    attention_query: str = _decoder(
        "hidden",
        "What the attention scores depend on beside the features: hidden (the paper's h_{t-1}, "
        "which has not read the previous word) or hidden_and_word.",
        choices=("hidden", "hidden_and_word"),
    )
    lstm_encoder: bool = _decoder(
        False, "Pass the features through a bidirectional LSTM first, row by row."
    )
    null_location: bool = _decoder(
        False, "Add a location whose features are zero.", commands=("import_arctic",)
    )
    position: str = _decoder(
        "none",
        "Position encoding added to the features: none (the paper's model) or coordinates.",
        choices=("none", "coordinates"),
    )
    dropout: float = setting(
        0.5,
        "Dropout on h_t, after the first output layer and after the ReLU layers.",
        minimum=0,
        maximum=0.95,
    )
    lstm_dropout: float = setting(
        0.0, "Dropout on the preactivations of the gates i, f and o.", minimum=0, maximum=0.95
    )
    initializer: str = _decoder(
        "keras",
        "keras: Glorot uniform, recurrent weights orthogonal; authors: normal of 0.01, orthogonal "
        "where square; port: truncated normal of 1 / sqrt(fan-in), embeddings in (-1, 1).",
        choices=("keras", "authors", "port"),
    )
    pretrained_embeddings: str = setting(
        "",
        "Text file of word vectors (GloVe's format) of --embedding_size numbers to initialize the "
        "embeddings; words it lacks are initialized like all others.",
        mutable=True,
    )
    freeze_embeddings: bool = setting(False, "Do not train the embeddings.")
