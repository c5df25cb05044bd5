"""The settings of a run: what contradicts what, to and from JSON.

The settings themselves are declared in `parts.py` and `training.py`. Standard
library only, so that `--help` answers at once.
"""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sat_tf.config.parts import DataConfig, DecoderConfig, EncoderConfig, ImageConfig
from sat_tf.config.training import DecodingConfig, TrainingConfig
from sat_tf.errors import UserError
from sat_tf.storage import read_json, write_json

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
# A greater image is refused before it is decoded: small files can claim sizes that fill all
# memory. Decoding takes 3 bytes a pixel for the result, and up to 6 more on the way.
MOST_PIXELS = 100_000_000
_OF_HARD_ATTENTION = (
    "sampling_probability",
    "sampling_by",
    "reward",
    "reinforce_weight",
    "entropy_weight",
    "baseline_decay",
)
_OF_DRAWN_CAPTIONS = ("self_critical_samples", "self_critical_temperature")
_OF_GIVEN_CAPTIONS = ("scheduled_sampling", "label_smoothing", "attention_supervision")


@dataclass(frozen=True)
class Config:
    """All settings of a run, by part."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    images: ImageConfig = dataclasses.field(default_factory=ImageConfig)
    encoder: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    decoding: DecodingConfig = dataclasses.field(default_factory=DecodingConfig)

    def __post_init__(self) -> None:
        encoder, data, images, training = self.encoder, self.data, self.images, self.training
        decoding = self.decoding
        if encoder.finetune_from and encoder.cache_features:
            raise UserError(
                f"--finetune_from={encoder.finetune_from} changes the annotations that "
                "--cache_features keeps: add --nocache_features"
            )
        if encoder.encoder_weights == "none" and not encoder.finetune_from:
            raise UserError(
                "--encoder_weights=none with an encoder that is not trained gives annotations "
                "of noise: add --finetune_from=all --nocache_features, or give weights"
            )
        if images.resize == "crop" and images.shorter_side < images.image_size:
            raise UserError(
                f"--shorter_side={images.shorter_side} is less than "
                f"--image_size={images.image_size}: the crop would not fit"
            )
        if data.dataset != "shapes" and not data.data_dir:
            raise UserError(f"--dataset={data.dataset} needs --data_dir")
        if data.captions_file and data.dataset != "files":
            raise UserError(f"--captions_file is for --dataset=files, not {data.dataset}")
        if data.splits and data.dataset == "shapes":
            raise UserError("--splits is not for --dataset=shapes, whose splits are drawn")
        if data.boxes and data.dataset == "shapes":
            raise UserError("--boxes is not for --dataset=shapes, which knows its objects")
        if training.attention_supervision and data.dataset != "shapes" and not data.boxes:
            raise UserError(
                f"--attention_supervision={training.attention_supervision} needs --boxes, or "
                "--dataset=shapes"
            )
        if decoding.search == "beam":
            _refuse_changed(decoding, ("temperature", "top_k", "top_p"), "is for --search=sample")
        if decoding.min_length > decoding.max_length:
            raise UserError(
                f"--min_length={decoding.min_length} is more than "
                f"--max_length={decoding.max_length}"
            )
        self._check_attention()
        self._check_objective()

    def _check_attention(self) -> None:
        decoder, training = self.decoder, self.training
        if decoder.attention == "soft":
            reason = "is for --attention=hard, not --attention=soft"
            _refuse_changed(decoder, ("attention_temperature",), reason)
            _refuse_changed(training, _OF_HARD_ATTENTION, reason)
            _refuse_changed(self.decoding, ("attention_inference",), reason)
        if training.reward == "step":
            _refuse_changed(
                training, ("baseline_decay",), "is for a baseline; --reward=step has none"
            )
        if training.sampling_probability == 0:
            reason = "is for places that are drawn; --sampling_probability=0.0 draws none"
            _refuse_changed(training, ("reinforce_weight", "reward", "baseline_decay"), reason)
        if training.sampling_probability in (0, 1):
            reason = f"decides nothing with --sampling_probability={training.sampling_probability}"
            _refuse_changed(training, ("sampling_by",), reason)
        if training.reinforce_weight == 0:
            reason = "is for places that teach; with --reinforce_weight=0.0 they do not"
            _refuse_changed(training, ("reward", "baseline_decay"), reason)

    def _check_objective(self) -> None:
        decoder, training = self.decoder, self.training
        if decoder.freeze_embeddings and not (decoder.pretrained_embeddings or training.start_from):
            raise UserError(
                "--freeze_embeddings would leave random ones: add --pretrained_embeddings"
            )
        if decoder.pretrained_embeddings and training.start_from:
            raise UserError(
                f"--pretrained_embeddings={decoder.pretrained_embeddings} is for a new model; "
                f"that of --start_from={training.start_from} has embeddings"
            )
        if training.self_critical == "none":
            reason = "is for captions that are drawn; --self_critical=none draws none"
            _refuse_changed(training, _OF_DRAWN_CAPTIONS, reason)
            return
        how = f"--self_critical={training.self_critical}"
        if not training.start_from:
            raise UserError(f"{how} needs --start_from: a run that has learned to speak")
        if decoder.attention == "hard":
            raise UserError(f"{how} draws words, --attention=hard places: give one of them")
        reason = f"is for captions that are given; {how} draws its own"
        _refuse_changed(training, _OF_GIVEN_CAPTIONS, reason)

    def save(self, workdir: str | os.PathLike[str]) -> None:
        """Writes `config.json` into the run's folder."""
        document = {"format_version": FORMAT_VERSION, "settings": dataclasses.asdict(self)}
        write_json(Path(workdir) / CONFIG_FILE, document)

    @classmethod
    def load(cls, workdir: str | os.PathLike[str]) -> "Config":
        """Reads a run's `config.json`; raises `UserError` on anything it does not know."""
        path = Path(workdir) / CONFIG_FILE
        if not path.exists():
            raise UserError(f"--workdir={workdir}: holds no run ({CONFIG_FILE} is missing)")
        document = read_json(path, "the settings of a run")
        if not isinstance(document, dict) or document.get("format_version") != FORMAT_VERSION:
            raise UserError(f"{path}: format_version must be {FORMAT_VERSION}")
        try:
            return _from_dict(document.get("settings"))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    def differences(self, other: "Config") -> list[str]:
        """Names of the settings that differ from `other`'s and may not change in a run."""
        return [
            field.name
            for part in dataclasses.fields(self)
            for field in dataclasses.fields(getattr(self, part.name))
            if not field.metadata["mutable"]
            and getattr(getattr(self, part.name), field.name)
            != getattr(getattr(other, part.name), field.name)
        ]


def sections() -> dict[str, Any]:
    """The settings' parts by name, in order: data, images, encoder, decoder, training, decoding."""
    return {field.name: field.default_factory for field in dataclasses.fields(Config)}


def from_flat(values: dict[str, Any]) -> Config:
    """Config from `{field: value}`; what is absent keeps its default.

    Raises:
      UserError: an unknown field, or a value that is refused.
    """
    made: dict[str, Any] = {}
    left = dict(values)
    for name, part in sections().items():
        known = [field.name for field in dataclasses.fields(part)]
        made[name] = part(**{field: left.pop(field) for field in known if field in left})
    if left:
        raise UserError(f"unknown setting: {', '.join(sorted(left))}")
    return Config(**made)


def to_flat(config: Config) -> dict[str, Any]:
    """`{field: value}` of all settings; field names are unique over the parts."""
    return {
        field: value
        for part in dataclasses.asdict(config).values()
        for field, value in part.items()
    }


def to_arguments(config: Config) -> list[str]:
    """The settings that are not the defaults, as a command line has them."""
    default = to_flat(Config())
    return [
        f"--{'' if value else 'no'}{name}" if isinstance(value, bool) else f"--{name}={value}"
        for name, value in to_flat(config).items()
        if value != default[name]
    ]


def field_names(part: str) -> list[str]:
    """The settings of a part."""
    return [field.name for field in dataclasses.fields(sections()[part])]


def override(config: Config, **values: Any) -> Config:
    """The settings of a finished run with other values for those that may change.

    Raises:
      UserError: an unknown setting, one that made the run what it is, or a value that is refused.
    """
    made = from_flat({**to_flat(config), **values})
    fixed = config.differences(made)
    if fixed:
        raise UserError(f"--{fixed[0]} belongs to the run and can't be changed in it")
    return made


def _refuse_changed(part: Any, names: Sequence[str], reason: str) -> None:
    """Refuses a value that is not the default where it would do nothing."""
    for name in names:
        value = getattr(part, name)
        if value != getattr(type(part), name):
            raise UserError(f"--{name}={value} {reason}")


def _from_dict(document: Any) -> Config:
    if not isinstance(document, dict):
        raise UserError("settings must be an object")
    flat: dict[str, Any] = {}
    for name, fields in document.items():
        if name not in sections() or not isinstance(fields, dict):
            raise UserError(f"unknown part {name!r}; the parts are {', '.join(sections())}")
        known = {field.name for field in dataclasses.fields(sections()[name])}
        unknown = sorted(set(fields) - known)
        if unknown:
            raise UserError(f"unknown setting {name}.{unknown[0]}")
        flat.update(fields)
    return from_flat(flat)
