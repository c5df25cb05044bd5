"""Scenes of the embedded data set: coloured shapes over a background, and their pixels.

Lengths are fractions of the scene's side, so that scenes of all sizes have the same proportions.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

_T = TypeVar("_T")

SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "ring", "heart")
COLOURS = {
    "red": (215, 30, 35),
    "green": (20, 170, 45),
    "blue": (35, 75, 225),
    "yellow": (245, 220, 30),
    "orange": (250, 130, 15),
    "purple": (140, 35, 190),
    "white": (244, 244, 244),
    "black": (22, 22, 22),
}
# Width of an object: least and greatest fraction of the side.
SIZES = {"small": (0.20, 0.235), "large": (0.31, 0.375)}
MAX_OBJECTS = 4
BACKGROUNDS = ("flat", "gradient", "noise", "stripes", "checks")

_SHADE_JITTER = 11  # greatest deviation from a colour, levels of each channel
_GRAYS = (110, 160)  # lightness of backgrounds: distinct from black and white
_TINT = 14  # greatest deviation of a background from gray, levels
_GAP = 0.03  # least distance between objects, fraction of the side
_MARGIN = 0.015  # least distance to the frame
_REPEAT = 0.25  # probability that an object has the shape and colour of an earlier one
_ATTEMPTS = 30  # random positions tried for an object
_OVERSAMPLING = 4  # antialiasing: samples per pixel and axis
_NOISE_KNOTS = 7  # random values per axis that soft noise interpolates

RGB = tuple[int, int, int]  # 0..255


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object of a scene."""

    shape: str  # one of `SHAPES`
    colour: str  # one of `COLOURS`
    size: str  # one of `SIZES`
    shade: RGB  # near that of its colour
    box: tuple[int, int, int, int]  # left, top, right, bottom, pixels; the last two are exclusive

    @property
    def kind(self) -> tuple[str, str]:
        """Shape and colour."""
        return self.shape, self.colour

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box, (x, y) in pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


@dataclass(frozen=True, slots=True)
class Background:
    """Two muted colours and the pattern that mixes them."""

    kind: str  # one of `BACKGROUNDS`
    first: RGB
    second: RGB
    angle: float  # direction of gradient and stripes, radians
    period: float  # width of a pair of stripes or checks, fraction of the side
    seed: int  # of the soft noise


@dataclass(frozen=True, slots=True)
class Scene:
    """Objects over a background, in a square of `size` pixels a side."""

    size: int
    background: Background
    objects: tuple[SceneObject, ...]

    def to_json(self) -> str:
        """Return the scene as one line of JSON, as it is stored."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> "Scene":
        """Return the scene that `to_json` wrote."""

        def with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
            return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}

        value = json.loads(text, object_hook=with_tuples)
        objects = tuple(SceneObject(**thing) for thing in value["objects"])
        return cls(value["size"], Background(**value["background"]), objects)


def choose(items: Sequence[_T], rng: np.random.Generator) -> _T:
    """Return one of the items, all equally likely; a single item takes no random number."""
    return items[int(rng.integers(len(items)))]


def make_scene(seed: int, index: int, size: int) -> Scene:
    """Generate a scene of the data set of that seed; `index` is its number, from 0."""
    rng = np.random.default_rng((seed, index))
    count = int(rng.integers(1, MAX_OBJECTS + 1))
    objects: list[SceneObject] | None = None
    # Large objects may leave no room for the last one: then start again.
    while objects is None:
        objects = _make_objects(rng, count, size)
    return Scene(size, _make_background(rng), tuple(objects))


def _make_objects(rng: np.random.Generator, count: int, side: int) -> list[SceneObject] | None:
    objects: list[SceneObject] = []
    for _ in range(count):
        if objects and rng.random() < _REPEAT:
            shape, colour = choose(objects, rng).kind
        else:
            shape, colour = choose(SHAPES, rng), choose(tuple(COLOURS), rng)
        size = choose(tuple(SIZES), rng)
        least, most = (round(fraction * side) for fraction in SIZES[size])
        box = _find_room(rng, int(rng.integers(least, most + 1)), side, objects)
        if box is None:
            return None
        jitter = rng.integers(-_SHADE_JITTER, _SHADE_JITTER + 1, size=3)
        shade = tuple(np.clip(np.array(COLOURS[colour]) + jitter, 0, 255).tolist())
        objects.append(SceneObject(shape, colour, size, shade, box))
    return objects


def _find_room(
    rng: np.random.Generator, width: int, side: int, objects: Sequence[SceneObject]
) -> tuple[int, int, int, int] | None:
    margin, gap = max(1, round(_MARGIN * side)), round(_GAP * side)
    corners = rng.integers(margin, side - margin - width + 1, size=(_ATTEMPTS, 2))
    for left, top in corners.tolist():
        right, bottom = left + width, top + width
        if all(
            right + gap <= other.box[0]
            or other.box[2] + gap <= left
            or bottom + gap <= other.box[1]
            or other.box[3] + gap <= top
            for other in objects
        ):
            return left, top, right, bottom
    return None


def _make_background(rng: np.random.Generator) -> Background:
    grays = rng.integers(_GRAYS[0], _GRAYS[1] + 1, size=(2, 1))
    first, second = (grays + rng.integers(-_TINT, _TINT + 1, size=(2, 3))).tolist()
    return Background(
        kind=choose(BACKGROUNDS, rng),
        first=tuple(first),
        second=tuple(second),
        angle=round(float(rng.uniform(0, 2 * np.pi)), 3),
        period=round(float(rng.uniform(0.12, 0.5)), 3),
        seed=int(rng.integers(2**31)),
    )


def draw_scene(scene: Scene, photograph: np.ndarray | None = None) -> np.ndarray:
    """Render a scene with antialiasing: uint8 [size, size, 3], RGB.

    Args:
      scene: to draw.
      photograph: in place of its background, uint8 [size, size, 3].
    """
    if photograph is None:
        pixels = _draw_background(scene.background, scene.size)
    else:
        pixels = photograph.astype(np.float32)
    for thing in scene.objects:
        left, top, right, bottom = thing.box
        cover = _coverage(thing.shape, right - left)[..., None]  # [W, W, 1]
        under = pixels[top:bottom, left:right]
        under += cover * (np.array(thing.shade, np.float32) - under)
    return np.rint(pixels).astype(np.uint8)


def _draw_background(ground: Background, side: int) -> np.ndarray:
    """Render a background: float32 [side, side, 3], 0..255."""
    x = (np.arange(side) + 0.5) / side
    y = x[:, None]
    along = x * np.cos(ground.angle) + y * np.sin(ground.angle)
    mix = np.zeros((side, side))
    if ground.kind == "gradient":
        mix = (along - along.min()) / (along.max() - along.min())
    elif ground.kind == "noise":
        knots = np.random.default_rng(ground.seed).random((_NOISE_KNOTS, _NOISE_KNOTS))
        at = np.linspace(0, _NOISE_KNOTS - 1, side)[:, None]
        # Weights of linear interpolation between evenly spaced knots: [side, knots].
        blend = np.maximum(0.0, 1 - np.abs(at - np.arange(_NOISE_KNOTS)))
        mix = blend @ knots @ blend.T
    elif ground.kind == "stripes":
        mix = np.floor(2 * along / ground.period) % 2
    elif ground.kind == "checks":
        mix = (np.floor(2 * x / ground.period) + np.floor(2 * y / ground.period)) % 2
    first, second = np.array([ground.first, ground.second], np.float32)
    return first + mix[..., None].astype(np.float32) * (second - first)


@functools.lru_cache(maxsize=1024)
def _coverage(shape: str, width: int) -> np.ndarray:
    """Return the fraction of each pixel that a shape covers, which touches all sides of its box."""
    samples = width * _OVERSAMPLING
    at = (np.arange(samples) + 0.5) / samples * 2 - 1
    inside = _INSIDE[shape](at[None, :], at[:, None])  # [samples, samples]
    parts = inside.reshape(width, _OVERSAMPLING, width, _OVERSAMPLING)
    return parts.mean(axis=(1, 3), dtype=np.float32)  # mean over samples -> [width, width]


def _in_heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    lobes = np.hypot(np.abs(x) - 0.5, y + 0.5) <= 0.5
    return lobes | ((y >= -0.5) & (np.abs(x) <= (1 - y) / 1.5))


def _in_star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Five points, stretched to all sides of the square.

    Even-odd rule: a ray from a point inside crosses the outline an odd number of times.
    """
    angles = np.pi * np.arange(10) / 5
    radii = np.where(np.arange(10) % 2 == 0, 1, 0.42)
    corners = np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)
    low, high = corners.min(axis=0), corners.max(axis=0)
    corners = (corners - low) / (high - low) * 2 - 1
    inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


# Whether points of the square -1..1 (y downwards) are in a shape.
_INSIDE = {
    "circle": lambda x, y: np.hypot(x, y) <= 1,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) <= 1,
    "triangle": lambda x, y: np.abs(x) <= (1 + y) / 2,
    "diamond": lambda x, y: np.abs(x) + np.abs(y) <= 1,
    "star": _in_star,
    "cross": lambda x, y: np.minimum(np.abs(x), np.abs(y)) <= 1 / 3,
    "ring": lambda x, y: (np.hypot(x, y) <= 1) & (np.hypot(x, y) >= 0.55),
    "heart": _in_heart,
}
