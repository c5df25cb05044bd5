"""The settings of training and of decoding; `flags.py` makes their flags."""

from dataclasses import dataclass

from sat_tf.config.setting import Checked, setting


@dataclass(frozen=True)
class TrainingConfig(Checked):
    """How the decoder learns."""

    seed: int = setting(0, "Seed of weights, order and dropout.", minimum=0)
    batch_size: int = setting(64, "Captions in a minibatch, over all devices.", minimum=1)
    batch_by: str = setting(
        "length",
        "length: captions of (nearly) equal length; image: all captions of an image together.",
        choices=("length", "image"),
    )
    doubly_stochastic_weight: float = setting(
        0.33,
        "Lambda of equation (14), per caption and summed over locations. It acts in hard attention "
        "too, for which the authors have none: 0.",
        minimum=0,
    )
    sampling_probability: float = setting(
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
        0.1,
        "For hard attention: lambda_r of equation (12). The authors' is B / 10 for --reward=mean "
        "and step.",
        minimum=0,
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
        "Share of the true word's weight in the loss that all V entries divide.",
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
    )
    self_critical_samples: int = setting(
        5, "For --self_critical: captions drawn of each image.", minimum=1
    )
    self_critical_temperature: float = setting(
        1.0,
        "For --self_critical: divides the log probabilities that words are drawn by; below 1 draws "
        "come closer to the greedy caption.",
        minimum=0.01,
        maximum=100,
    )
    start_from: str = setting(
        "",
        "Folder of a finished run whose best weights are the first ones of this run.",
        mutable=True,
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
    max_epochs: int = setting(30, "Epochs at most.", minimum=1, mutable=True)
    patience: int = setting(
        8,
        "Stop after this many epochs without a better score; 0: never.",
        minimum=0,
        mutable=True,
    )
    monitor: str = setting(
        "bleu_4",
        "Validation score that chooses the best checkpoint, such as bleu_4, cider, perplexity or "
        "pointing_accuracy; any other name is answered with the list of all.",
    )
    save_freq: int = setting(
        1_000,
        "Save the state after so many steps, beside the end of each epoch and Ctrl-C; 0: not.",
        minimum=0,
        mutable=True,
    )
    keep_checkpoints: bool = setting(False, "Keep a checkpoint of every epoch.", mutable=True)
    validation_beam_size: int = setting(
        1, "Beam of the search in validations; 1 is greedy search.", minimum=1, maximum=100
    )
    log_attention: int = setting(
        8,
        "Validation images whose attention is written for TensorBoard after each validation.",
        minimum=0,
        mutable=True,
    )
    log_captions: int = setting(
        4,
        "Captions shown beside their references after each validation.",
        minimum=0,
        mutable=True,
    )


@dataclass(frozen=True)
class DecodingConfig(Checked):
    """How captions are searched for; a finished run takes other values too."""

    search: str = setting(
        "beam",
        "beam: the best captions found; sample: captions drawn from the model's distribution.",
        choices=("beam", "sample"),
        mutable=True,
    )
    beam_size: int = setting(
        3,
        "K, hypotheses kept at each step, or captions drawn; 1 is greedy search.",
        minimum=1,
        maximum=100,
        mutable=True,
    )
    attention_inference: str = setting(
        "expectation",
        "For hard attention: the context is the expectation, the likeliest place (argmax) or a "
        "place drawn (sample).",
        choices=("expectation", "argmax", "sample"),
        mutable=True,
    )
    max_length: int = setting(30, "Words of a generated caption at most.", minimum=1, mutable=True)
    min_length: int = setting(1, "Words of a generated caption at least.", minimum=0, mutable=True)
    length_normalization: str = setting(
        "none",
        "Captions are ranked by log probability: none (the sum), length (over n, the number of "
        "words and the end), gnmt (over ((5 + n) / 6)^--gnmt_exponent; Wu et al., 2016).",
        choices=("none", "length", "gnmt"),
        mutable=True,
    )
    gnmt_exponent: float = setting(
        0.6, "Exponent of --length_normalization=gnmt.", minimum=0, maximum=5, mutable=True
    )
    no_repeat_ngram: int = setting(
        0,
        "No so many words in a row come twice in a caption; 0: they may.",
        minimum=0,
        mutable=True,
    )
    allow_unk: bool = setting(False, "Whether a generated caption may hold <unk>.", mutable=True)
    temperature: float = setting(
        1.0,
        "For sample: divides the log probabilities; below 1 the probable becomes more so.",
        minimum=0.01,
        maximum=100,
        mutable=True,
    )
    top_k: int = setting(
        0,
        "For sample: draw among so many of the most probable words; 0: all.",
        minimum=0,
        mutable=True,
    )
    top_p: float = setting(
        1.0,
        "For sample: draw among the fewest words that together are this probable.",
        minimum=0.001,
        maximum=1,
        mutable=True,
    )
    sampling_seed: int = setting(
        0,
        "For sample, of words or places: seed of the draws.",
        minimum=0,
        maximum=2**31 - 1,
        mutable=True,
    )
