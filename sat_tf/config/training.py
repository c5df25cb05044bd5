"""Settings of training."""

from dataclasses import dataclass
from functools import partial

from sat_tf.config.setting import Not, Section, setting

_hard = partial(setting, only_for={"attention": "hard"})
# REINFORCE learns from sampled locations alone.
_reinforce = {"attention": "hard", "sampling_probability": Not(0), "reinforce_weight": Not(0)}


@dataclass(frozen=True)
class TrainingConfig(Section):
    """Minibatches, loss, optimizer, schedule, validation and logging."""

    seed: int = setting(0, "Seed of weights, order of captions and dropout.", minimum=0)
    batch_size: int = setting(64, "Captions in a minibatch, over all devices.", minimum=1)
    batch_by: str = setting(
        "length",
        "length: captions of (nearly) equal length; image: all captions of an image together.",
        choices=("length", "image"),
    )
    doubly_stochastic_weight: float = setting(
        0.33,
        "Lambda of equation (14), per caption and summed over locations. It applies to hard "
        "attention too, where the authors use 0.",
        minimum=0,
    )
    sampling_probability: float = _hard(
        0.5,
        "Probability that a location is sampled; otherwise the context is the expectation.",
        minimum=0,
        maximum=1,
    )
    sampling_by: str = setting(
        "caption",
        "Whether to sample is decided for each caption (the paper) or each minibatch (batch; the "
        "authors' code).",
        choices=("caption", "batch"),
        only_for={"attention": "hard", "sampling_probability": Not(0, 1)},
    )
    reward: str = setting(
        "sum",
        "Log p of the caption (sum, the paper), of it over T (mean, the authors' RL_sumCost), or "
        "of each word without a baseline (step, the authors' without RL_sumCost).",
        choices=("sum", "mean", "step"),
        only_for=_reinforce,
    )
    reinforce_weight: float = setting(
        0.1,
        "Lambda_r of equation (12). The authors' is B / 10 for --reward=mean and step.",
        minimum=0,
        only_for={"attention": "hard", "sampling_probability": Not(0)},
    )
    entropy_weight: float = _hard(0.1, "Lambda_e of equation (12), per word.", minimum=0)
    baseline_decay: float = setting(
        0.9,
        "b_k = decay b_{k-1} + (1 - decay) reward_k; 1 keeps the baseline at 0.",
        minimum=0,
        maximum=1,
        only_for={**_reinforce, "reward": Not("step")},
    )
    label_smoothing: float = setting(
        0.0,
        "Fraction of the target probability that is spread evenly over all V words.",
        minimum=0,
        maximum=0.9,
        only_for={"self_critical": "none"},
    )
    scheduled_sampling: float = setting(
        0.0,
        "Probability at the end of training, rising from 0 over --max_epochs, that a step reads "
        "the model's own previous word (Bengio et al., 2015).",
        minimum=0,
        maximum=1,
        only_for={"self_critical": "none"},
    )
    weight_decay: float = setting(
        0.0, "Factor on the sum of squares of all weights, added to the loss.", minimum=0
    )
    self_critical: str = setting(
        "none",
        "Score to maximize in place of the likelihood, of sampled captions relative to the greedy "
        "one (Rennie et al., 2017): cider or bleu_4. Needs --start_from.",
    )
    self_critical_samples: int = setting(
        5, "Captions sampled of each image.", minimum=1, only_for={"self_critical": Not("none")}
    )
    self_critical_temperature: float = setting(
        1.0,
        "Divides the log probabilities that words are sampled by; below 1 samples are closer to "
        "the greedy caption.",
        minimum=0.01,
        maximum=100,
        only_for={"self_critical": Not("none")},
    )
    start_from: str = setting(
        "", "Folder of a trained run whose best weights initialize this run.", mutable=True
    )
    attention_supervision: float = setting(
        0.0,
        "Weight of -log of the attention inside the object's boxes, at words that name an object "
        "(Liu et al., 2017); 0: attention is not supervised, as in the paper.",
        minimum=0,
        only_for={"self_critical": "none"},
    )
    optimizer: str = setting("adam", "Optimizer.", choices=("sgd", "rmsprop", "adadelta", "adam"))
    learning_rate: float = setting(4e-4, "Initial learning rate.", minimum=0)
    learning_rate_schedule: str = setting(
        "plateau",
        "constant; plateau: times --plateau_factor after --plateau_patience epochs without a "
        "better score; cosine: falls to zero over --max_epochs.",
        choices=("constant", "plateau", "cosine"),
    )
    warmup_steps: int = setting(0, "Steps over which the learning rate rises from 0.", minimum=0)
    plateau_factor: float = setting(
        0.5,
        "Factor of the plateau schedule.",
        minimum=0.01,
        maximum=1,
        only_for={"learning_rate_schedule": "plateau"},
    )
    plateau_patience: int = setting(
        2,
        "Patience of the plateau schedule, epochs.",
        minimum=1,
        only_for={"learning_rate_schedule": "plateau"},
    )
    clip_norm: float = setting(
        5.0, "Largest global norm of the gradient; 0: no clipping.", minimum=0
    )
    precision: str = setting(
        "float32",
        "Compute dtype of what is trained, while it is trained; the weights stay float32, and "
        "float16 scales the loss. A frozen encoder has --encoder_precision.",
        choices=("float32", "bfloat16", "float16"),
    )
    max_epochs: int = setting(30, "Largest number of epochs.", minimum=1, mutable=True)
    patience: int = setting(
        8, "Stop after this many epochs without a better score; 0: never.", minimum=0, mutable=True
    )
    monitor: str = setting(
        "bleu_4",
        "Validation score that selects the best checkpoint, such as bleu_4, cider, perplexity or "
        "pointing_accuracy; an error lists all scores.",
    )
    save_freq: int = setting(
        1_000,
        "Save the state every this many steps, beside the end of each epoch and Ctrl-C; 0: not.",
        minimum=0,
        mutable=True,
    )
    log_every: int = setting(
        10,
        "Read the losses from the device every this many steps; training stops at most as many "
        "steps after a loss that is not finite.",
        minimum=1,
        mutable=True,
    )
    keep_checkpoints: bool = setting(False, "Keep a checkpoint of every epoch.", mutable=True)
    validation_beam_size: int = setting(
        1, "Beam size of validation; 1 is greedy search.", minimum=1, maximum=100
    )
    log_attention: int = setting(
        8,
        "Validation images whose attention is logged for TensorBoard after each validation.",
        minimum=0,
        mutable=True,
    )
    log_captions: int = setting(
        4,
        "Captions printed beside their references after each validation.",
        minimum=0,
        mutable=True,
    )
