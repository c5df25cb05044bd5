"""All settings by section, each declared once with what the package needs to know of it."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from sat_tf.config.setting import Not, Section, setting

_count = partial(setting, minimum=0)
_positive = partial(setting, minimum=1)
_fraction = partial(setting, minimum=0, maximum=1)

# Where a data set is stored may differ on the machine that evaluates, exports or imports a run.
_WITH_DATA = ("evaluate", "doctor", "import_arctic")
_data = partial(setting, commands=_WITH_DATA)
_stored = partial(_data, mutable=True)
_stored_images = partial(_stored, commands=("export", *_WITH_DATA))
_shapes = partial(_data, only_for={"dataset": "shapes"})
_scenes = partial(_shapes, minimum=1, maximum=10_000_000)
_not_shapes = partial(_stored, only_for={"dataset": Not("shapes")})


@dataclass(frozen=True)
class DataConfig(Section):
    """Images, captions and the words that are kept of them."""

    dataset: Literal["shapes", "flickr8k", "flickr30k", "coco", "files"] = _data(
        "shapes",
        "Data set: shapes (embedded), flickr8k, flickr30k, coco (as published) or files (own "
        "images).",
    )
    data_dir: str = _stored_images("", "Folder of the data set.")
    captions_file: str = _stored_images(
        "",
        "Table (.csv, .tsv, .txt) or JSON-lines file (.jsonl) with image, caption and optionally "
        "split; default: captions.csv or another usual name in --data_dir.",
        only_for={"dataset": "files"},
    )
    splits: str = _not_shapes(
        "",
        "Assignment of images to splits: Karpathy's JSON file (dataset_coco.json), whose captions "
        "are used too, or a folder of lists of one image name a line (coco_train.txt, "
        "coco_restval.txt, coco_val.txt, coco_test.txt); default: such files in --data_dir, or "
        "the data set's own splits.",
    )
    boxes: str = _not_shapes(
        "",
        "Bounding boxes of objects, for scores and supervision of attention: the folder of "
        "Flickr30k Entities (with Annotations and Sentences), a COCO file "
        "(instances_val2014.json), several separated by commas, or their folder.",
    )
    skip_unreadable: bool = _not_shapes(
        False,
        "Leave out images that can't be read, which are found before training and counted; "
        "otherwise they stop the command, which lists them.",
        commands=("evaluate",),
    )
    vocabulary_size: int = _count(
        10_000, "Number of most frequent words to keep; 0 keeps all.", defines_model=True
    )
    min_word_count: int = _positive(
        1, "Smallest count in the training captions of a kept word.", defines_model=True
    )
    max_caption_words: int = _count(0, "Leave out training captions of more words; 0 keeps all.")
    shapes_train: int = _scenes(8_000, "Number of training scenes.")
    shapes_dev: int = _scenes(300, "Number of validation scenes.")
    shapes_test: int = _scenes(500, "Number of test scenes.")
    shapes_size: int = _shapes(64, "Side of a scene, pixels.", minimum=48, maximum=10_000)
    shapes_seed: int = _shapes(0, "Seed of scenes and captions.", minimum=0)
    shapes_backgrounds: str = _shapes(
        "", "Folder of photographs to draw the scenes over, in place of plain backgrounds."
    )


# The weights of a run depend on most settings of the model.
_decoder = partial(setting, defines_model=True)
_size = partial(_decoder, minimum=1, maximum=32_768)  # of a matrix that fits memory
_layers = partial(_decoder, minimum=1, maximum=100)
_encoder = partial(_decoder, commands=("import_arctic",))
_side = partial(_encoder, minimum=1, maximum=10_000)  # as of the largest image that is decoded


@dataclass(frozen=True)
class ImageConfig(Section):
    """Preprocessing of a decoded image to the encoder's square input."""

    image_size: int = _side(224, "S, side of the encoder's input, pixels.")
    resize: Literal["crop", "stretch"] = _encoder(
        "crop",
        "crop: shorter side to --shorter_side, then the centre; stretch: both sides to the square.",
    )
    shorter_side: int = _side(
        256, "Shorter side of the image before the crop, pixels.", only_for={"resize": "crop"}
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
    preprocessing: Literal["auto", "caffe", "tf", "torch", "none"] = _encoder(
        "auto",
        "Pixel values: caffe (BGR less VGG's means), tf (-1 to 1), torch (ImageNet mean and "
        "deviation), none (0 to 255), auto (the encoder's own; caffe for files).",
    )
    finetune_from: str = setting(
        "",
        "First encoder layer to train with the decoder; 'all' trains the whole encoder.",
        only_for={"cache_features": False},
    )
    encoder_width: float = _encoder(
        0.25,
        "Channels as a fraction of VGG16's.",
        minimum=0.01,
        maximum=1,
        only_for={"encoder": "slim_vgg16"},
    )
    encoder_precision: Literal["float32", "bfloat16"] = setting(
        "float32",
        "Compute dtype of a frozen encoder; one that is trained has that of the decoder.",
        only_for={"finetune_from": ""},
        commands=("import_arctic",),
    )
    cache_features: bool = setting(
        True, "Encode each image once and cache its features.", commands=("import_arctic",)
    )
    cache_dir: str = _stored("runs/features", "Folder of the feature caches.")


@dataclass(frozen=True)
class DecoderConfig(Section):
    """The LSTM decoder with attention (equations 1 to 7)."""

    embedding_size: int = _size(512, "E, size of a word's embedding.")
    hidden_size: int = _size(512, "H, size of the LSTM's state.")
    attention_size: int = _size(512, "A, size of the attention's hidden layer.")
    attention: Literal["soft", "hard"] = setting(
        "soft",
        "soft: the context is the expectation over locations (section 4.2); hard: a location is "
        "sampled (section 4.1).",
    )
    attention_temperature: float = setting(
        1.0,
        "Factor on the attention scores; above 1 the distribution is sharper.",
        minimum=0.01,
        maximum=100,
        only_for={"attention": "hard"},
    )
    attention_layers: int = _layers(
        1, "Layers that project the features before h is added; tanh after all but the first."
    )
    lstm_layers: int = _layers(1, "Stacked LSTM layers, each with its own attention.")
    initial_layers: int = _layers(
        1, "Layers from the mean feature vector to h_0 and c_0, ReLU in between."
    )
    output_layers: int = _layers(
        1, "Layers below the logits: --output_activation after the first, ReLU after the others."
    )
    output_activation: Literal["tanh", "relu", "linear"] = _decoder(
        "tanh",
        "Activation of the first output layer: tanh (the authors' code), relu (the TensorFlow "
        "port) or linear (equation 7).",
    )
    output_uses_embedding: bool = _decoder(True, "Whether the output reads the previous word.")
    output_uses_context: bool = _decoder(True, "Whether the output reads the context.")
    output_bias: Literal["frequencies", "zero"] = _decoder(
        "frequencies",
        "Initial bias of the logits: frequencies (log of each word's frequency) or zero.",
    )
    gate: Literal["none", "scalar", "channel"] = _decoder(
        "scalar",
        "Gate beta on the context (section 4.2.1): none, scalar, or one for each channel.",
    )
    attention_query: Literal["hidden", "hidden_and_word"] = _decoder(
        "hidden",
        "What the attention scores depend on beside the features: hidden (the paper's h_{t-1}, "
        "which has not read the previous word) or hidden_and_word.",
    )
    lstm_encoder: bool = _decoder(
        False, "Pass the features through a bidirectional LSTM first, row by row."
    )
    null_location: bool = _encoder(False, "Add a location whose features are zero.")
    position: Literal["none", "coordinates"] = _decoder(
        "none", "Position encoding added to the features: none (the paper's model) or coordinates."
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
    initializer: Literal["keras", "authors", "port"] = _decoder(
        "keras",
        "keras: Glorot uniform, recurrent weights orthogonal; authors: normal of 0.01, orthogonal "
        "where square; port: truncated normal of 1 / sqrt(fan-in), embeddings in (-1, 1).",
    )
    pretrained_embeddings: str = setting(
        "",
        "Text file of word vectors (GloVe's format) of --embedding_size numbers to initialize the "
        "embeddings; words it lacks are initialized like all others.",
        mutable=True,
        only_for={"start_from": ""},
    )
    freeze_embeddings: bool = setting(False, "Do not train the embeddings.")


_HARD = {"attention": "hard"}
_SAMPLED = {**_HARD, "sampling_probability": Not(0)}
# REINFORCE learns from sampled locations alone.
_REINFORCE = {**_SAMPLED, "reinforce_weight": Not(0)}
_likelihood = partial(setting, only_for={"self_critical": "none"})
_self_critical = partial(setting, only_for={"self_critical": Not("none")})
_plateau = partial(setting, only_for={"learning_rate_schedule": "plateau"})
_mutable_count = partial(_count, mutable=True)


@dataclass(frozen=True)
class TrainingConfig(Section):
    """Minibatches, loss, optimizer, schedule, validation and logging."""

    seed: int = _count(0, "Seed of weights, order of captions and dropout.")
    batch_size: int = _positive(64, "Captions in a minibatch, over all devices.")
    batch_by: Literal["length", "image"] = setting(
        "length",
        "length: captions of (nearly) equal length; image: all captions of an image together.",
    )
    doubly_stochastic_weight: float = _count(
        0.33,
        "Lambda of equation (14), per caption and summed over locations. It applies to hard "
        "attention too, where the authors use 0.",
    )
    sampling_probability: float = _fraction(
        0.5,
        "Probability that a location is sampled; otherwise the context is the expectation.",
        only_for=_HARD,
    )
    sampling_by: Literal["caption", "batch"] = setting(
        "caption",
        "Whether to sample is decided for each caption (the paper) or each minibatch (batch; the "
        "authors' code).",
        only_for={**_HARD, "sampling_probability": Not(0, 1)},
    )
    reward: Literal["sum", "mean", "step"] = setting(
        "sum",
        "Log p of the caption (sum, the paper), of it over T (mean, the authors' RL_sumCost), or "
        "of each word without a baseline (step, the authors' without RL_sumCost).",
        only_for=_REINFORCE,
    )
    reinforce_weight: float = _count(
        0.1,
        "Lambda_r of equation (12). The authors' is B / 10 for --reward=mean and step.",
        only_for=_SAMPLED,
    )
    entropy_weight: float = _count(0.1, "Lambda_e of equation (12), per word.", only_for=_HARD)
    baseline_decay: float = _fraction(
        0.9,
        "b_k = decay b_{k-1} + (1 - decay) reward_k; 1 keeps the baseline at 0.",
        only_for={**_REINFORCE, "reward": Not("step")},
    )
    label_smoothing: float = _likelihood(
        0.0,
        "Fraction of the target probability that is spread evenly over all V words.",
        minimum=0,
        maximum=0.9,
    )
    scheduled_sampling: float = _likelihood(
        0.0,
        "Probability at the end of training, rising from 0 over --max_epochs, that a step reads "
        "the model's own previous word (Bengio et al., 2015).",
        minimum=0,
        maximum=1,
    )
    weight_decay: float = _count(
        0.0, "Factor on the sum of squares of all weights, added to the loss."
    )
    self_critical: str = setting(
        "none",
        "Score to maximize in place of the likelihood, of sampled captions relative to the greedy "
        "one (Rennie et al., 2017): cider or bleu_4. Needs --start_from.",
        only_for={"attention": "soft"},
    )
    self_critical_samples: int = _self_critical(5, "Captions sampled of each image.", minimum=1)
    self_critical_temperature: float = _self_critical(
        1.0,
        "Divides the log probabilities that words are sampled by; below 1 samples are closer to "
        "the greedy caption.",
        minimum=0.01,
        maximum=100,
    )
    start_from: str = setting(
        "", "Folder of a trained run whose best weights initialize this run.", mutable=True
    )
    attention_supervision: float = _likelihood(
        0.0,
        "Weight of -log of the attention inside the object's boxes, at words that name an object "
        "(Liu et al., 2017); 0: attention is not supervised, as in the paper.",
        minimum=0,
    )
    optimizer: Literal["sgd", "rmsprop", "adadelta", "adam"] = setting("adam", "Optimizer.")
    learning_rate: float = _count(4e-4, "Initial learning rate.")
    learning_rate_schedule: Literal["constant", "plateau", "cosine"] = setting(
        "plateau",
        "constant; plateau: times --plateau_factor after --plateau_patience epochs without a "
        "better score; cosine: falls to zero over --max_epochs.",
    )
    warmup_steps: int = _count(0, "Steps over which the learning rate rises from 0.")
    plateau_factor: float = _plateau(
        0.5, "Factor of the plateau schedule.", minimum=0.01, maximum=1
    )
    plateau_patience: int = _plateau(2, "Patience of the plateau schedule, epochs.", minimum=1)
    clip_norm: float = _count(5.0, "Largest global norm of the gradient; 0: no clipping.")
    precision: Literal["float32", "bfloat16", "float16"] = setting(
        "float32",
        "Compute dtype of what is trained, while it is trained; the weights stay float32, and "
        "float16 scales the loss. A frozen encoder has --encoder_precision.",
    )
    jit_compile: bool = setting(
        False,
        "Compile the training step by XLA: many times as fast on one GPU, slower on processors. "
        "Captions are padded to few lengths, each of which takes up to half a minute to compile. "
        "Dropout and sampling draw other numbers than without it.",
        only_for={"batch_by": "length", "self_critical": "none", "cache_features": True},
    )
    max_epochs: int = _positive(30, "Largest number of epochs.", mutable=True)
    patience: int = _mutable_count(
        8, "Stop after this many epochs without a better score; 0: never."
    )
    monitor: str = setting(
        "bleu_4",
        "Validation score that selects the best checkpoint, such as bleu_4, cider, perplexity or "
        "pointing_accuracy; an error lists all scores.",
    )
    save_freq: int = _mutable_count(
        1_000,
        "Save the state every this many steps, beside the end of each epoch and Ctrl-C; 0: not.",
    )
    log_every: int = _positive(
        10,
        "Read the losses from the device every this many steps; training stops at most as many "
        "steps after a loss that is not finite.",
        mutable=True,
    )
    keep_checkpoints: bool = setting(False, "Keep a checkpoint of every epoch.", mutable=True)
    validation_beam_size: int = _positive(
        1, "Beam size of validation; 1 is greedy search.", maximum=100
    )
    log_attention: int = _mutable_count(
        8, "Validation images whose attention is logged for TensorBoard after each validation."
    )
    log_captions: int = _mutable_count(
        4, "Captions printed beside their references after each validation."
    )


_decoding = partial(setting, mutable=True, commands=("evaluate", "caption", "export"))
_beam = partial(_decoding, only_for={"search": "beam"}, minimum=1, maximum=100)
_sample = partial(_decoding, only_for={"search": "sample"})


@dataclass(frozen=True)
class DecodingConfig(Section):
    """Search method, constraints and ranking of captions; a trained run takes other values too."""

    search: Literal["beam", "sample"] = _decoding(
        "beam", "beam: the best captions found; sample: captions sampled from the model."
    )
    beam_size: int = _beam(3, "K, hypotheses kept at each step; 1 is greedy search.")
    num_samples: int = _sample(1, "Captions sampled of each image.", minimum=1, maximum=100)
    attention_inference: Literal["expectation", "argmax", "sample"] = _decoding(
        "expectation",
        "The context is the expectation over locations, the most probable location (argmax) or a "
        "sampled one (sample).",
        only_for=_HARD,
    )
    max_length: int = _decoding(
        30,
        "Largest number of words in a caption.",
        minimum=1,
        commands=("evaluate", "caption", "export", "doctor"),
    )
    min_length: int = _decoding(1, "Smallest number of words in a caption.", minimum=0)
    length_normalization: Literal["none", "length", "gnmt"] = _decoding(
        "none",
        "Captions are ranked by log probability: none (the sum), length (over n, the number of "
        "words and the end), gnmt (over ((5 + n) / 6)^--gnmt_exponent; Wu et al., 2016).",
    )
    gnmt_exponent: float = _decoding(
        0.6,
        "Exponent of the length normalization.",
        minimum=0,
        maximum=5,
        only_for={"length_normalization": "gnmt"},
    )
    no_repeat_ngram: int = _decoding(
        0, "Block repeated n-grams of this size; 0 blocks none.", minimum=0
    )
    allow_unk: bool = _decoding(False, "Whether a caption may contain <unk>.")
    temperature: float = _sample(
        1.0,
        "Divides the log probabilities; below 1 the distribution is sharper.",
        minimum=0.01,
        maximum=100,
    )
    top_k: int = _sample(0, "Sample from this many most probable words; 0: from all.", minimum=0)
    top_p: float = _sample(
        1.0,
        "Sample from the fewest words whose probabilities sum to this.",
        minimum=0.001,
        maximum=1,
    )
    sampling_seed: int = _decoding(0, "Seed of sampled words and locations.", minimum=0)

    @property
    def num_captions(self) -> int:
        """The largest number of captions of one image."""
        return self.beam_size if self.search == "beam" else self.num_samples
