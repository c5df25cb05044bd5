"""Settings of the search for captions; a trained run takes other values too."""

from dataclasses import dataclass
from functools import partial

from sat_tf.config.setting import Section, setting

_decoding = partial(setting, mutable=True, commands=("evaluate", "caption", "export"))


@dataclass(frozen=True)
class DecodingConfig(Section):
    """Search method, constraints and ranking of captions."""

    search: str = _decoding(
        "beam",
        "beam: the best captions found; sample: captions sampled from the model.",
        choices=("beam", "sample"),
    )
    beam_size: int = _decoding(
        3,
        "K, hypotheses kept at each step; 1 is greedy search.",
        minimum=1,
        maximum=100,
        only_for={"search": "beam"},
    )
    num_samples: int = _decoding(
        1, "Captions sampled of each image.", minimum=1, maximum=100, only_for={"search": "sample"}
    )
    attention_inference: str = _decoding(
        "expectation",
        "The context is the expectation over locations, the most probable location (argmax) or a "
        "sampled one (sample).",
        choices=("expectation", "argmax", "sample"),
        only_for={"attention": "hard"},
    )
    max_length: int = _decoding(
        30,
        "Largest number of words in a caption.",
        minimum=1,
        commands=("evaluate", "caption", "export", "doctor"),
    )
    min_length: int = _decoding(1, "Smallest number of words in a caption.", minimum=0)
    length_normalization: str = _decoding(
        "none",
        "Captions are ranked by log probability: none (the sum), length (over n, the number of "
        "words and the end), gnmt (over ((5 + n) / 6)^--gnmt_exponent; Wu et al., 2016).",
        choices=("none", "length", "gnmt"),
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
    temperature: float = _decoding(
        1.0,
        "Divides the log probabilities; below 1 the distribution is sharper.",
        minimum=0.01,
        maximum=100,
        only_for={"search": "sample"},
    )
    top_k: int = _decoding(
        0,
        "Sample from this many most probable words; 0: from all.",
        minimum=0,
        only_for={"search": "sample"},
    )
    top_p: float = _decoding(
        1.0,
        "Sample from the fewest words whose probabilities sum to this.",
        minimum=0.001,
        maximum=1,
        only_for={"search": "sample"},
    )
    sampling_seed: int = _decoding(
        0, "Seed of sampled words and locations.", minimum=0, maximum=2**31 - 1
    )

    @property
    def num_captions(self) -> int:
        """The largest number of captions of one image."""
        return self.beam_size if self.search == "beam" else self.num_samples
