"""Every setting, declared once: default, help and limits; `flags.py` makes its flag."""

from dataclasses import dataclass

from sat_tf.setting import Checked, setting


@dataclass(frozen=True)
class DataSettings(Checked):
    """Which images and captions, and which words of them."""

    dataset: str = setting(
        "shapes",
        "Data set: shapes (embedded), flickr8k, flickr30k, coco (as they are published; README has "
        "the layouts), files (own images).",
        choices=("shapes", "flickr8k", "flickr30k", "coco", "files"),
    )
    data_dir: str = setting("", "Folder that holds the data set.", may_change=True)
    captions_file: str = setting(
        "",
        "For files: CSV or JSON-lines file with image, caption and, if wished, split; "
        "captions.csv or captions.jsonl in --data_dir unless given.",
        may_change=True,
    )
    splits: str = setting(
        "",
        "Which image is in which split, not for shapes: Karpathy's JSON file (dataset_coco.json), "
        "whose captions are used too, or a folder of lists of one image name a line "
        "(coco_train.txt, coco_restval.txt, coco_val.txt, coco_test.txt); unless given, as the "
        "data set itself says, or dataset_DATASET.json or such lists in --data_dir.",
        may_change=True,
    )
    vocabulary_size: int = setting(
        10_000, "Keep this many of the most frequent words; 0 keeps all.", minimum=0
    )
    min_word_count: int = setting(
        1, "Keep words that occur at least this often in the training captions.", minimum=1
    )
    max_caption_words: int = setting(
        0, "Leave training captions of more words out; 0 keeps all.", minimum=0
    )
    shapes_train: int = setting(8_000, "For shapes: training scenes.", minimum=1)
    shapes_dev: int = setting(300, "For shapes: validation scenes.", minimum=1)
    shapes_test: int = setting(500, "For shapes: test scenes.", minimum=1)
    shapes_size: int = setting(64, "For shapes: side of a scene in pixels.", minimum=48)
    shapes_seed: int = setting(0, "For shapes: seed of the scenes and captions.", minimum=0)


@dataclass(frozen=True)
class ImageSettings(Checked):
    """From a decoded image to the square that the encoder sees."""

    image_size: int = setting(224, "Side of the square given to the encoder, pixels.", minimum=1)
    resize: str = setting(
        "crop",
        "crop: shorter side to --shorter_side, then the centre; squash: both sides to the square.",
        choices=("crop", "squash"),
    )
    shorter_side: int = setting(
        256, "For --resize=crop: the shorter side before cropping, pixels.", minimum=1
    )


@dataclass(frozen=True)
class EncoderSettings(Checked):
    """From the square to annotations."""

    encoder: str = setting(
        "vgg16",
        "vgg16, vgg19, slim_vgg16, any Keras Applications model by name, or a .keras file's path.",
    )
    encoder_layer: str = setting(
        "", "Layer whose output is the annotations; empty: the encoder's own default."
    )
    encoder_weights: str = setting(
        "imagenet",
        "imagenet, none, or the path of a weights file; a .keras file brings its own.",
    )
    preprocessing: str = setting(
        "auto",
        "Pixel values: caffe (BGR less VGG's means), tf (-1 to 1), torch (ImageNet mean and "
        "deviation), none (0 to 255), auto (the encoder's own; caffe for files).",
        choices=("auto", "caffe", "tf", "torch", "none"),
    )
    finetune_from: str = setting(
        "",
        "Train the encoder from this layer on, together with the decoder; 'all' trains it whole.",
    )
    encoder_width: float = setting(
        0.25, "For slim_vgg16: channels as a share of VGG16's.", minimum=0.01, maximum=1
    )
    cache_features: bool = setting(True, "Encode each image once and keep its annotations on disk.")
    cache_dir: str = setting(
        "runs/features", "Folder of the caches of annotations.", may_change=True
    )


@dataclass(frozen=True)
class DecoderSettings(Checked):
    """From annotations to words (equations 1 to 7)."""

    embedding_size: int = setting(512, "E, size of a word's embedding.", minimum=1)
    hidden_size: int = setting(512, "H, size of the LSTM's state.", minimum=1)
    attention_size: int = setting(512, "A, size of the attention's hidden layer.", minimum=1)
    attention: str = setting(
        "soft",
        "soft: the context is the expectation over places (section 4.2); hard: a place is drawn "
        "(section 4.1).",
        choices=("soft", "hard"),
    )
    attention_temperature: float = setting(
        1.0,
        "For hard attention: multiplies the scores; above 1 the likely places become more so.",
        minimum=0.01,
        maximum=100,
    )
    attention_layers: int = setting(
        1, "Layers from an annotation to its score, tanh after each but the first.", minimum=1
    )
    lstm_layers: int = setting(
        1, "LSTMs on top of each other, each with attention of its own.", minimum=1
    )
    initial_layers: int = setting(
        1,
        "Layers from the mean annotation to h_0 and c_0, ReLU in between.",
        minimum=1,
    )
    output_layers: int = setting(
        1, "Layers from h_t to the words' logits, ReLU after each but the first.", minimum=1
    )
    output_activation: str = setting(
        "tanh",
        "After the first output layer: tanh (the authors' code), relu (the TensorFlow port), "
        "linear (equation 7 as it stands).",
        choices=("tanh", "relu", "linear"),
    )
    output_of_word: bool = setting(True, "Whether the output layer reads the word before.")
    output_of_context: bool = setting(True, "Whether the output layer reads the context.")
    output_bias: str = setting(
        "frequencies",
        "How the bias of the words' logits starts: frequencies (log of each word's share) or zero.",
        choices=("frequencies", "zero"),
    )
    gate: str = setting(
        "scalar",
        "Gate beta on the context (section 4.2.1): none, scalar, or one for each channel.",
        choices=("none", "scalar", "channel"),
    )
    query: str = setting(
        "hidden",
        "What the attention's scores depend on beside the annotation: hidden (the paper's h_{t-1}, "
        "which has not read the word before) or hidden_and_word (that word too).",
        choices=("hidden", "hidden_and_word"),
    )
    annotation_lstm: bool = setting(
        False, "Reads the annotations with a bidirectional LSTM first, row by row."
    )
    zero_annotation: bool = setting(False, "Adds an annotation of zeros, where attention may rest.")
    position: str = setting(
        "none",
        "Adds the place to each annotation: none (the paper's model) or coordinates.",
        choices=("none", "coordinates"),
    )
    dropout: float = setting(
        0.5,
        "Dropout on h_t, after the output layer's tanh and after the ReLU layers.",
        minimum=0,
        maximum=0.95,
    )
    lstm_dropout: float = setting(
        0.0, "Dropout on the sums under the LSTM's gates i, f and o.", minimum=0, maximum=0.95
    )
    initial_weights: str = setting(
        "keras",
        "keras: Glorot uniform, recurrence orthogonal; authors: normal of 0.01, orthogonal where "
        "square; port: truncated normal of 1 / sqrt(fan-in), embeddings in (-1, 1).",
        choices=("keras", "authors", "port"),
    )
    word_vectors: str = setting(
        "",
        "Text file of word vectors (GloVe's format) of --embedding_size numbers, at which "
        "embeddings start; words that it lacks start as all others.",
        may_change=True,
    )
    freeze_word_vectors: bool = setting(False, "Leaves the embeddings as they started.")


@dataclass(frozen=True)
class TrainingSettings(Checked):
    """How the decoder learns."""

    seed: int = setting(0, "Seed of weights, order and dropout.", minimum=0)
    batch_size: int = setting(64, "Captions in a minibatch, over all devices.", minimum=1)
    batch_by: str = setting(
        "length",
        "length: captions of (nearly) equal length; image: all captions of an image together.",
        choices=("length", "image"),
    )
    doubly_stochastic_weight: float = setting(
        0.33, "Lambda of equation (14), per caption and summed over locations.", minimum=0
    )
    sampling_share: float = setting(
        0.5,
        "For hard attention: how often a place is drawn; else the expectation takes its place.",
        minimum=0,
        maximum=1,
    )
    sampling_by: str = setting(
        "caption",
        "For hard attention: whether to draw is decided for each caption (the paper) or for the "
        "minibatch (the authors' code).",
        choices=("caption", "batch"),
    )
    reward: str = setting(
        "sum",
        "For hard attention: log p of the caption (sum, the paper), of it over T (mean, the "
        "authors' RL_sumCost), or of each word, without a baseline (step, theirs without it).",
        choices=("sum", "mean", "step"),
    )
    reinforce_weight: float = setting(
        0.1, "For hard attention: lambda_r of equation (12).", minimum=0
    )
    entropy_weight: float = setting(
        0.1, "For hard attention: lambda_e of equation (12), per word.", minimum=0
    )
    baseline_decay: float = setting(
        0.9,
        "For hard attention: b_k = decay b_{k-1} + (1 - decay) reward_k; 1 leaves it at zero.",
        minimum=0,
        maximum=1,
    )
    label_smoothing: float = setting(
        0.0,
        "Share of the true word's weight in the loss that all words divide.",
        minimum=0,
        maximum=0.9,
    )
    scheduled_sampling: float = setting(
        0.0,
        "How often a step reads the model's own last word, not the caption's: rises from 0 to this "
        "over --max_epochs (Bengio et al., 2015).",
        minimum=0,
        maximum=1,
    )
    weight_decay: float = setting(
        0.0, "Times the sum of the squares of all weights, added to the loss.", minimum=0
    )
    self_critical: str = setting(
        "none",
        "Trains for a score of the captions drawn, less that of the greedy one (Rennie et al., "
        "2017), in place of the likelihood: cider or bleu_4. Give --start_from.",
        choices=("none", "cider", "bleu_4"),
    )
    start_from: str = setting(
        "",
        "Folder of a finished run whose best weights are the first ones of this run.",
        may_change=True,
    )
    attention_supervision: float = setting(
        0.0,
        "Weight of -log of attention's mass in the object's box, at words whose object is known "
        "(Liu et al., 2017); 0: attention is not taught, as in the paper.",
        minimum=0,
    )
    optimizer: str = setting("adam", "Optimizer.", choices=("sgd", "rmsprop", "adadelta", "adam"))
    learning_rate: float = setting(4e-4, "Learning rate at the start.", minimum=0)
    learning_rate_schedule: str = setting(
        "plateau",
        "constant; plateau: times --plateau_factor after --plateau_patience epochs without a "
        "better score; cosine: falls to zero over --max_epochs.",
        choices=("constant", "plateau", "cosine"),
    )
    warmup_steps: int = setting(0, "Steps over which the learning rate rises from 0.", minimum=0)
    plateau_factor: float = setting(0.5, "Factor of the plateau schedule.", minimum=0.01, maximum=1)
    plateau_patience: int = setting(2, "Patience of the plateau schedule, epochs.", minimum=1)
    clip_norm: float = setting(5.0, "Largest global norm of the gradient; 0: any.", minimum=0)
    precision: str = setting(
        "float32", "Arithmetic of the network in training.", choices=("float32", "bfloat16")
    )
    max_epochs: int = setting(30, "Epochs at most.", minimum=1, may_change=True)
    patience: int = setting(
        8,
        "Stop after this many epochs without a better score; 0: never.",
        minimum=0,
        may_change=True,
    )
    best_by: str = setting(
        "bleu_4",
        "Validation score that chooses the best checkpoint.",
        choices=("bleu_1", "bleu_2", "bleu_3", "bleu_4", "cider", "perplexity", "true_captions"),
    )
    keep_every_epoch: bool = setting(False, "Keep a checkpoint of every epoch.", may_change=True)
    validation_beam_size: int = setting(
        1, "Beam of the search in validations; 1 is greedy search.", minimum=1, maximum=100
    )
    inspect_images: int = setting(
        8,
        "Validation images whose attention is written for TensorBoard after each validation.",
        minimum=0,
        may_change=True,
    )
    samples: int = setting(
        4,
        "Captions shown beside their references after each validation.",
        minimum=0,
        may_change=True,
    )


@dataclass(frozen=True)
class DecodingSettings(Checked):
    """How captions are searched for; a finished run takes other values too."""

    search: str = setting(
        "beam",
        "beam: the best captions found; sample: captions drawn from the model's distribution.",
        choices=("beam", "sample"),
        may_change=True,
    )
    beam_size: int = setting(
        3,
        "K, hypotheses kept at each step, or captions drawn; 1 is greedy search.",
        minimum=1,
        maximum=100,
        may_change=True,
    )
    hard_context: str = setting(
        "expectation",
        "For hard attention: the context is the expectation, the likeliest place (argmax) or a "
        "place drawn (sample).",
        choices=("expectation", "argmax", "sample"),
        may_change=True,
    )
    max_decode_words: int = setting(
        30, "Words of a generated caption at most.", minimum=1, may_change=True
    )
    min_decode_words: int = setting(
        1, "Words of a generated caption at least.", minimum=0, may_change=True
    )
    length_normalization: str = setting(
        "none",
        "Captions are ranked by log probability: none (the sum), length (over n, the number of "
        "words and the end), gnmt (over ((5 + n) / 6)^--gnmt_exponent; Wu et al., 2016).",
        choices=("none", "length", "gnmt"),
        may_change=True,
    )
    gnmt_exponent: float = setting(
        0.6, "Exponent of --length_normalization=gnmt.", minimum=0, maximum=5, may_change=True
    )
    no_repeat_ngram: int = setting(
        0,
        "No so many words in a row come twice in a caption; 0: they may.",
        minimum=0,
        may_change=True,
    )
    unknown_words: bool = setting(
        False, "Whether a generated caption may hold <unk>.", may_change=True
    )
    temperature: float = setting(
        1.0,
        "For sample: divides the log probabilities; below 1 the probable becomes more so.",
        minimum=0.01,
        maximum=100,
        may_change=True,
    )
    top_k: int = setting(
        0,
        "For sample: draw among so many of the most probable words; 0: all.",
        minimum=0,
        may_change=True,
    )
    top_p: float = setting(
        1.0,
        "For sample: draw among the fewest words that together are this probable.",
        minimum=0.001,
        maximum=1,
        may_change=True,
    )
    sampling_seed: int = setting(
        0,
        "For sample, of words or places: seed of the draws.",
        minimum=0,
        maximum=2**31 - 1,
        may_change=True,
    )
