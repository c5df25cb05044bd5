"""Scenes of the embedded data set: what is in them, where, and their pixels.

All geometry is a share of the scene's side, so that a scene of any side looks alike.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

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
# Width of an object, least and greatest, as a share of the side.
SIZES = {"small": (0.20, 0.235), "large": (0.31, 0.375)}
MOST_OBJECTS = 4
BACKGROUNDS = ("flat", "gradient", "noise", "stripes", "checks")

_SHADE_JITTER = 11  # levels a colour may stray, each channel
_GRAYS = (110, 160)  # a background's lightness: between black and white, away from both
_TINT = 14  # levels a background may stray from gray
_GAP = 0.03  # least distance between objects, share of the side
_MARGIN = 0.015  # least distance to the frame
_REPEAT = 0.25  # chance that an object takes shape and colour of an earlier one
_PLACING_TRIES = 30
_OVERSAMPLING = 4  # samples per pixel and axis that give edges their smoothness
_NOISE_KNOTS = 7  # random values per axis that soft noise runs through


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object: what it is and where.

    Attributes:
      shape: one of `SHAPES`.
      colour: one of `COLOURS`.
      size: "small" or "large".
      shade: the RGB levels it is drawn with, near its colour's own.
      box: left, top, right, bottom in pixels; right and bottom lie outside.
    """

    shape: str
    colour: str
    size: str
    shade: tuple[int, int, int]
    box: tuple[int, int, int, int]

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box, (x, y) in pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


@dataclass(frozen=True, slots=True)
class Background:
    """Two muted colours and how they mix.

    Attributes:
      kind: one of `BACKGROUNDS`.
      first: RGB levels.
      second: RGB levels.
      angle: direction of gradient and stripes, radians.
      period: width of a pair of stripes or checks, share of the side.
      seed: of the soft noise.
    """

    kind: str
    first: tuple[int, int, int]
    second: tuple[int, int, int]
    angle: float
    period: float
    seed: int


@dataclass(frozen=True, slots=True)
class Scene:
    """Objects over a background, in a square of `size` pixels a side."""

    size: int
    background: Background
    objects: tuple[SceneObject, ...]

    def to_json(self) -> str:
        """The scene as one line of JSON, the form it is stored in."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> "Scene":
        """The scene that `to_json` wrote."""
        value = json.loads(text)
        ground = value["background"]
        ground["first"], ground["second"] = tuple(ground["first"]), tuple(ground["second"])
        objects = tuple(
            SceneObject(
                thing["shape"],
                thing["colour"],
                thing["size"],
                tuple(thing["shade"]),
                tuple(thing["box"]),
            )
            for thing in value["objects"]
        )
        return cls(value["size"], Background(**ground), objects)


def make_scene(seed: int, index: int, size: int) -> Scene:
    """The scene of a number: a pure function of its arguments.

    Args:
      seed: of the whole data set.
      index: the scene's number, from 0.
      size: side in pixels.
    """
    rng = np.random.default_rng((seed, index))
    count = int(rng.integers(1, MOST_OBJECTS + 1))
    objects: tuple[SceneObject, ...] | None = None
    # Large objects may leave no room for the last one: then all are drawn anew.
    while objects is None:
        objects = _make_objects(rng, count, size)
    return Scene(size, _make_background(rng), objects)


def _make_objects(
    rng: np.random.Generator, count: int, side: int
) -> tuple[SceneObject, ...] | None:
    objects: list[SceneObject] = []
    for _ in range(count):
        if objects and rng.random() < _REPEAT:
            model = objects[int(rng.integers(len(objects)))]
            shape, colour = model.shape, model.colour
        else:
            shape, colour = _pick(rng, SHAPES), _pick(rng, tuple(COLOURS))
        size = _pick(rng, tuple(SIZES))
        least, most = (round(share * side) for share in SIZES[size])
        box = _find_room(rng, int(rng.integers(least, most + 1)), side, objects)
        if box is None:
            return None
        objects.append(SceneObject(shape, colour, size, _stray(rng, colour), box))
    return tuple(objects)


def _find_room(
    rng: np.random.Generator, width: int, side: int, objects: Sequence[SceneObject]
) -> tuple[int, int, int, int] | None:
    margin, gap = max(1, round(_MARGIN * side)), round(_GAP * side)
    corners = rng.integers(margin, side - margin - width + 1, size=(_PLACING_TRIES, 2))
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


def _pick(rng: np.random.Generator, items: Sequence[str]) -> str:
    return items[int(rng.integers(len(items)))]


def _stray(rng: np.random.Generator, colour: str) -> tuple[int, int, int]:
    jitter = rng.integers(-_SHADE_JITTER, _SHADE_JITTER + 1, size=3)
    red, green, blue = np.clip(np.array(COLOURS[colour]) + jitter, 0, 255).tolist()
    return red, green, blue


def _make_background(rng: np.random.Generator) -> Background:
    grays = rng.integers(_GRAYS[0], _GRAYS[1] + 1, size=(2, 1))
    colours = (grays + rng.integers(-_TINT, _TINT + 1, size=(2, 3))).tolist()
    return Background(
        kind=_pick(rng, BACKGROUNDS),
        first=tuple(colours[0]),
        second=tuple(colours[1]),
        angle=round(float(rng.uniform(0, 2 * np.pi)), 3),
        period=round(float(rng.uniform(0.12, 0.5)), 3),
        seed=int(rng.integers(2**31)),
    )


def draw_scene(scene: Scene) -> np.ndarray:
    """The scene's pixels, edges smoothed: uint8 [size, size, 3], RGB."""
    pixels = _draw_background(scene.background, scene.size)
    for thing in scene.objects:
        left, top, right, bottom = thing.box
        cover = _coverage(thing.shape, right - left)[..., None]  # [W, W, 1]
        under = pixels[top:bottom, left:right]
        pixels[top:bottom, left:right] = under + cover * (np.array(thing.shade, np.float32) - under)
    return np.rint(pixels).astype(np.uint8)


def _draw_background(ground: Background, side: int) -> np.ndarray:
    """Float32 [side, side, 3] in 0..255."""
    x, y = _grid(side)
    along = x * np.cos(ground.angle) + y * np.sin(ground.angle)
    if ground.kind == "flat":
        mix = np.zeros((side, side))
    elif ground.kind == "gradient":
        mix = (along - along.min()) / (along.max() - along.min())
    elif ground.kind == "noise":
        knots = np.random.default_rng(ground.seed).random((_NOISE_KNOTS, _NOISE_KNOTS))
        blend = _interpolation(side)
        mix = blend @ knots @ blend.T
    elif ground.kind == "stripes":
        mix = (np.floor(2 * along / ground.period) % 2).astype(float)
    else:
        cells = np.floor(2 * x / ground.period) + np.floor(2 * y / ground.period)
        mix = cells % 2
    first, second = np.array([ground.first, ground.second], np.float32)
    return first + mix[..., None].astype(np.float32) * (second - first)


@functools.lru_cache
def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels' centres as shares of the side: x [1, side] and y [side, 1]."""
    centres = (np.arange(side) + 0.5) / side
    return centres[None, :], centres[:, None]


@functools.lru_cache
def _interpolation(side: int) -> np.ndarray:
    """Weights [side, knots] of linear interpolation between evenly spaced knots."""
    at = np.linspace(0, _NOISE_KNOTS - 1, side)[:, None]
    return np.maximum(0.0, 1 - np.abs(at - np.arange(_NOISE_KNOTS)))


@functools.lru_cache(maxsize=1024)
def _coverage(shape: str, width: int) -> np.ndarray:
    """Share of each pixel that the shape covers, float32 [width, width].

    The shape fills its square box from edge to edge.
    """
    samples = width * _OVERSAMPLING
    at = (np.arange(samples) + 0.5) / samples * 2 - 1
    inside = _inside(shape, at[None, :], at[:, None])  # [samples, samples]
    parts = inside.reshape(width, _OVERSAMPLING, width, _OVERSAMPLING)
    return parts.mean(axis=(1, 3), dtype=np.float32)  # mean over samples -> [width, width]


def _inside(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points of the square -1..1 (y downwards) lie in the shape."""
    radius = np.hypot(x, y)
    if shape == "circle":
        return radius <= 1
    if shape == "ring":
        return (radius <= 1) & (radius >= 0.55)
    if shape == "square":
        return (np.abs(x) <= 1) & (np.abs(y) <= 1)
    if shape == "diamond":
        return np.abs(x) + np.abs(y) <= 1
    if shape == "cross":
        return (np.abs(x) <= 1 / 3) | (np.abs(y) <= 1 / 3)
    if shape == "heart":
        lobes = np.hypot(np.abs(x) - 0.5, y + 0.5) <= 0.5
        return lobes | ((y >= -0.5) & (np.abs(x) <= (1 - y) / 1.5))
    corners = _TRIANGLE if shape == "triangle" else _STAR
    return _inside_polygon(corners, x, y)


def _inside_polygon(corners: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Even-odd rule: a point lies inside when a ray from it crosses the outline oddly often."""
    inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def _star_corners() -> np.ndarray:
    """A five-pointed star's ten corners, stretched to fill the square; [10, 2]."""
    angles = np.pi * np.arange(10) / 5
    radii = np.where(np.arange(10) % 2 == 0, 1, 0.42)
    corners = np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)
    low, high = corners.min(axis=0), corners.max(axis=0)
    return (corners - low) / (high - low) * 2 - 1


_TRIANGLE = np.array([(0.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
_STAR = _star_corners()
