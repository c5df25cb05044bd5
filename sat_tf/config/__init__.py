"""The config of a run: all settings by section, their conflicts, flat and JSON forms.

Each setting is declared once, in `settings.py`, with all that the package needs to know of it
(`setting.py`). Standard library only, so that `--help` starts without TensorFlow.
"""

import dataclasses
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sat_tf.config.setting import Section, Setting, as_flag
from sat_tf.config.settings import (
    DataConfig,
    DecoderConfig,
    DecodingConfig,
    EncoderConfig,
    ImageConfig,
    TrainingConfig,
)
from sat_tf.errors import UserError, in_current_folder
from sat_tf.storage import read_json, write_json

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
# Larger images are rejected before they are decoded: small files can claim sizes that fill all
# memory. Decoding takes 3 bytes a pixel for the result, and up to 6 more on the way, 13 with
# transparent parts.
MOST_PIXELS = 100_000_000


@dataclass(frozen=True)
class Config:
    """All settings of a run, by section.

    Raises:
      UserError: two settings conflict; names both.
    """

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    images: ImageConfig = dataclasses.field(default_factory=ImageConfig)
    encoder: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    decoding: DecodingConfig = dataclasses.field(default_factory=DecodingConfig)

    def __post_init__(self) -> None:
        if conflict := next(self._conflicts(), ""):
            raise UserError(conflict)

    def _conflicts(self) -> Iterator[str]:
        values = to_flat(self)
        for name, declared in settings().items():
            yield from declared.conflicts(name, values)
        # What `only_for` can't express.
        data, images, encoder, decoder = self.data, self.images, self.encoder, self.decoder
        training, decoding = self.training, self.decoding
        if data.dataset != "shapes" and not data.data_dir:
            yield f"--dataset={data.dataset} needs --data_dir"
        # A file has weights of its own, which `build_encoder` says.
        is_random = encoder.encoder_weights == "none" and not encoder.encoder.endswith(".keras")
        if is_random and not encoder.finetune_from:
            yield (
                "--encoder_weights=none leaves the encoder random: name weights, or train it from "
                "scratch with --finetune_from=all --nocache_features (sat_tf.train)"
            )
        if images.resize == "crop" and images.shorter_side < images.image_size:
            yield (
                f"--shorter_side={images.shorter_side} is less than "
                f"--image_size={images.image_size}: the crop would not fit"
            )
        if decoding.min_length > decoding.max_length:
            yield (
                f"--min_length={decoding.min_length} is more than "
                f"--max_length={decoding.max_length}"
            )
        supervision = training.attention_supervision
        if supervision and data.dataset != "shapes" and not data.boxes:
            yield f"--attention_supervision={supervision} needs --boxes or --dataset=shapes"
        if decoder.freeze_embeddings and not (decoder.pretrained_embeddings or training.start_from):
            yield "--freeze_embeddings would keep random embeddings: add --pretrained_embeddings"
        if training.self_critical != "none" and not training.start_from:
            yield f"--self_critical={training.self_critical} needs --start_from: a trained run"

    def save(self, workdir: str | os.PathLike[str]) -> None:
        """Write `config.json` into the run's folder."""
        document = {"format_version": FORMAT_VERSION, "settings": dataclasses.asdict(self)}
        write_json(Path(workdir) / CONFIG_FILE, document)

    @classmethod
    def load(cls, workdir: str | os.PathLike[str], flag: str = "workdir") -> "Config":
        """Read a run's `config.json`.

        Args:
          workdir: folder of the run.
          flag: that names it, for the error if it is no run.

        Raises:
          UserError: the file is missing or damaged, or has an unknown or conflicting setting.
        """
        path = Path(workdir) / CONFIG_FILE
        if not path.exists():
            why = f"{CONFIG_FILE} is missing"
            if not Path(workdir).exists():
                why = f"no such folder{in_current_folder(workdir)}"
            raise UserError(f"--{flag}={workdir}: holds no run ({why})")
        document = read_json(path, "the settings of a run")
        if not isinstance(document, dict) or document.get("format_version") != FORMAT_VERSION:
            raise UserError(f"{path}: format_version must be {FORMAT_VERSION}")
        try:
            return from_flat(_flatten(document.get("settings")))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    def differences(self, other: "Config") -> list[str]:
        """Return the names of the settings that differ although they may not change in a run."""
        return [name for name in self._differing(other) if not settings()[name].mutable]

    def model_differences(self, other: "Config") -> list[str]:
        """Return the names of the settings that differ and that the weights depend on."""
        return [name for name in self._differing(other) if settings()[name].defines_model]

    def _differing(self, other: "Config") -> list[str]:
        values = to_flat(other)
        return [name for name, value in to_flat(self).items() if value != values[name]]


@functools.cache
def sections() -> dict[str, type[Section]]:
    """Return the sections by name, in order: data, images, encoder, decoder, training, decoding."""
    made: Any = {field.name: field.default_factory for field in dataclasses.fields(Config)}
    return made


@functools.cache
def settings() -> dict[str, Setting]:
    """Return all settings by name; names are unique over the sections."""
    return {
        name: declared
        for section in sections().values()
        for name, declared in section.settings().items()
    }


def to_flat(config: Config) -> dict[str, Any]:
    """Return all settings as `{name: value}`."""
    return {
        name: value
        for section in dataclasses.asdict(config).values()
        for name, value in section.items()
    }


def from_flat(values: dict[str, Any]) -> Config:
    """Return the config of `{name: value}`; settings that are absent keep their defaults.

    Raises:
      UserError: a setting is unknown, a value is invalid, or two conflict.
    """
    unknown = sorted(values.keys() - settings().keys())
    if unknown:
        raise UserError(f"unknown setting: {', '.join(unknown)}")
    made: dict[str, Any] = {
        section: declared(**{name: values[name] for name in declared.settings() if name in values})
        for section, declared in sections().items()
    }
    return Config(**made)


def to_arguments(config: Config) -> list[str]:
    """Return the settings that are not the defaults as command-line arguments."""
    declared = settings()
    return [
        as_flag(name, value)
        for name, value in to_flat(config).items()
        if value != declared[name].default
    ]


def override(config: Config, **values: Any) -> Config:
    """Return the config of a trained run with other values of mutable settings.

    Mutable settings of the run that have no effect with these values, such as its beam size with
    `search="sample"`, get their defaults.

    Raises:
      UserError: a setting is unknown or may not change in a run, or a value is invalid.
    """
    merged = {**to_flat(config), **values}
    for name, declared in settings().items():
        is_kept = declared.mutable and name not in values
        if is_kept and any(declared.conflicts(name, merged)):
            merged[name] = declared.default
    made = from_flat(merged)
    fixed = config.differences(made)
    if fixed:
        kept = as_flag(fixed[0], to_flat(config)[fixed[0]])
        raise UserError(f"--{fixed[0]} can't be changed in a trained run; it has {kept}")
    return made


def _flatten(document: Any) -> dict[str, Any]:
    """Return the settings of a JSON document, which has them by section, as `{name: value}`."""
    if not isinstance(document, dict):
        raise UserError("settings must be an object")
    known, flat = sections(), {}
    for section, values in document.items():
        if section not in known:
            raise UserError(f"unknown section {section!r}; must be one of {', '.join(known)}")
        if not isinstance(values, dict):
            raise UserError(f"section {section} must be an object")
        unknown = sorted(values.keys() - known[section].settings().keys())
        if unknown:
            raise UserError(f"unknown setting {section}.{unknown[0]}")
        flat.update(values)
    return flat
