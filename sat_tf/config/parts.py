"""The settings of data, images and the network; `flags.py` makes their flags."""

from dataclasses import dataclass

from sat_tf.config.setting import Checked, setting


@dataclass(frozen=True)
class DataConfig(Checked):
    """Which images and captions, and which words of them."""

    dataset: str = setting(
        "shapes",
        "Data set: shapes (embedded), flickr8k, flickr30k, coco (as they are published; README has "
        "the layouts), files (own images).",
        choices=("shapes", "flickr8k", "flickr30k", "coco", "files"),
    )
    data_dir: str = setting("", "Folder that holds the data set.", mutable=True)
    captions_file: str = setting(
        "",
        "For files: CSV or JSON-lines file with image, caption and, if wished, split; "
        "captions.csv or captions.jsonl in --data_dir unless given.",
        mutable=True,
    )
    splits: str = setting(
        "",
        "Which image is in which split, not for shapes: Karpathy's JSON file (dataset_coco.json), "
        "whose captions are used too, or a folder of lists of one image name a line "
        "(coco_train.txt, coco_restval.txt, coco_val.txt, coco_test.txt); unless given, as the "
        "data set itself says, or dataset_DATASET.json or such lists in --data_dir.",
        mutable=True,
    )
    boxes: str = setting(
        "",
        "Where objects are, for scores and supervision of attention, not for shapes: the folder of "
        "Flickr30k Entities (with Annotations and Sentences) or a file of COCO's "
        "(instances_val2014.json).",
        mutable=True,
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
class ImageConfig(Checked):
    """From a decoded image to the square that the encoder sees."""

    image_size: int = setting(224, "Side of the square given to the encoder, pixels.", minimum=1)
    resize: str = setting(
        "crop",
        "crop: shorter side to --shorter_side, then the centre; stretch: both sides to the square.",
        choices=("crop", "stretch"),
    )
    shorter_side: int = setting(
        256, "For --resize=crop: the shorter side before cropping, pixels.", minimum=1
    )


@dataclass(frozen=True)
class EncoderConfig(Checked):
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
    cache_dir: str = setting("runs/features", "Folder of the caches of annotations.", mutable=True)


@dataclass(frozen=True)
class DecoderConfig(Checked):
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
        1,
        "Layers that project an annotation before h is added, tanh after all but the first.",
        minimum=1,
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
        1,
        "Layers below the words' logits: --output_activation after the first, then ReLU.",
        minimum=1,
    )
    output_activation: str = setting(
        "tanh",
        "After the first output layer: tanh (the authors' code), relu (the TensorFlow port), "
        "linear (equation 7 as it stands).",
        choices=("tanh", "relu", "linear"),
    )
    output_uses_embedding: bool = setting(True, "Whether the output layer reads the word before.")
    output_uses_context: bool = setting(True, "Whether the output layer reads the context.")
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
    attention_query: str = setting(
        "hidden",
        "What the attention's scores depend on beside the annotation: hidden (the paper's h_{t-1}, "
        "which has not read the word before) or hidden_and_word (that word too).",
        choices=("hidden", "hidden_and_word"),
    )
    lstm_encoder: bool = setting(
        False, "Reads the annotations with a bidirectional LSTM first, row by row."
    )
    null_location: bool = setting(False, "Adds an annotation of zeros, where attention may rest.")
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
    initializer: str = setting(
        "keras",
        "keras: Glorot uniform, recurrence orthogonal; authors: normal of 0.01, orthogonal where "
        "square; port: truncated normal of 1 / sqrt(fan-in), embeddings in (-1, 1).",
        choices=("keras", "authors", "port"),
    )
    pretrained_embeddings: str = setting(
        "",
        "Text file of word vectors (GloVe's format) of --embedding_size numbers, at which "
        "embeddings start; words that it lacks start as all others.",
        mutable=True,
    )
    freeze_embeddings: bool = setting(False, "Leaves the embeddings as they started.")
