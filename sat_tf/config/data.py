"""Settings of the data set and its vocabulary."""

from dataclasses import dataclass
from functools import partial

from sat_tf.config.setting import Not, Section, setting

# Where a data set is stored may differ on the machine that evaluates, exports or imports a run.
_stored = partial(setting, mutable=True, commands=("evaluate", "doctor", "import_arctic"))
_shapes = partial(
    setting, only_for={"dataset": "shapes"}, commands=("evaluate", "doctor", "import_arctic")
)


@dataclass(frozen=True)
class DataConfig(Section):
    """Images, captions and the words that are kept of them."""

    dataset: str = setting(
        "shapes",
        "Data set: shapes (embedded), flickr8k, flickr30k, coco (as published) or files (own "
        "images).",
        choices=("shapes", "flickr8k", "flickr30k", "coco", "files"),
        commands=("evaluate", "doctor", "import_arctic"),
    )
    data_dir: str = _stored(
        "", "Folder of the data set.", commands=("evaluate", "export", "doctor", "import_arctic")
    )
    captions_file: str = _stored(
        "",
        "Table (.csv, .tsv, .txt) or JSON-lines file (.jsonl) with image, caption and optionally "
        "split; default: captions.csv or another usual name in --data_dir.",
        only_for={"dataset": "files"},
        commands=("evaluate", "export", "doctor", "import_arctic"),
    )
    splits: str = _stored(
        "",
        "Assignment of images to splits: Karpathy's JSON file (dataset_coco.json), whose captions "
        "are used too, or a folder of lists of one image name a line (coco_train.txt, "
        "coco_restval.txt, coco_val.txt, coco_test.txt); default: such files in --data_dir, or "
        "the data set's own splits.",
        only_for={"dataset": Not("shapes")},
    )
    boxes: str = _stored(
        "",
        "Bounding boxes of objects, for scores and supervision of attention: the folder of "
        "Flickr30k Entities (with Annotations and Sentences), a COCO file "
        "(instances_val2014.json), several separated by commas, or their folder.",
        only_for={"dataset": Not("shapes")},
    )
    skip_unreadable: bool = setting(
        False,
        "Leave out images that can't be read, which are found before training and counted; "
        "otherwise they stop the command, which lists them.",
        mutable=True,
        only_for={"dataset": Not("shapes")},
        commands=("evaluate",),
    )
    vocabulary_size: int = setting(
        10_000, "Number of most frequent words to keep; 0 keeps all.", minimum=0, defines_model=True
    )
    min_word_count: int = setting(
        1, "Smallest count in the training captions of a kept word.", minimum=1, defines_model=True
    )
    max_caption_words: int = setting(
        0, "Leave out training captions of more words; 0 keeps all.", minimum=0
    )
    shapes_train: int = _shapes(8_000, "Number of training scenes.", minimum=1, maximum=10_000_000)
    shapes_dev: int = _shapes(300, "Number of validation scenes.", minimum=1, maximum=10_000_000)
    shapes_test: int = _shapes(500, "Number of test scenes.", minimum=1, maximum=10_000_000)
    shapes_size: int = _shapes(64, "Side of a scene, pixels.", minimum=48, maximum=10_000)
    shapes_seed: int = _shapes(0, "Seed of scenes and captions.", minimum=0)
    shapes_backgrounds: str = _shapes(
        "", "Folder of photographs to draw the scenes over, in place of plain backgrounds."
    )
