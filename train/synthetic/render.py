"""One frame of one person: mesh, light, texture, furrows, mouth, the cut-out behind the head, a background; straight
into the crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from aunet_sdk.geometry import crop as alignment
from train.synthetic.accessories import NOTHING, Extras, beard_map, cheek_tone, lay_hand, put_on_glasses
from train.synthetic.fit import Fit, fit_head
from train.synthetic.furrows import furrow_maps
from train.synthetic.hand_mesh import MeshHand, lay_mesh_hand
from train.synthetic.ict import GUMS, SKIN, SOCKET, TEETH, Head
from train.synthetic.native import load_raster
from train.synthetic.portraits import Portrait, cut_out, cut_out_anywhere, skin_tone, tenths

# The cut-out (hair, ears, neck) stands this far in front of the head's origin, turned with the head.
PLANE_DEPTH_CM = 1.5
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Person:
    """A fitted portrait, ready to render: photo (h, w, 3) uint8 BGR, alpha (h, w) uint8, uv (n, 2) photo pixels per
    vertex, normals (n, 3) in the photo's pose, furrows (n, h/2, w/2) float16, tone as `portraits.skin_tone` says.
    """

    identity: str
    photo: np.ndarray
    alpha: np.ndarray
    fit: Fit
    uv: np.ndarray
    normals: np.ndarray
    furrows: np.ndarray
    tone: str


def prepare_person(head: Head, portrait: Portrait, cache: Path | None = None) -> Person:
    """Fit, cut out and paint the furrows of one neutral portrait; kept in ``cache`` (one .npz a person) where given."""
    file = cache / f"{portrait.identity}.npz" if cache else None
    if file and file.is_file():
        with np.load(file) as d:
            fit = Fit(d["vertices"], d["rotation"], float(d["scale"]), d["shift"], float(d["error"]))
            return Person(
                portrait.identity, d["photo"], d["alpha"], fit, d["uv"], d["normals"], d["furrows"], str(d["tone"])
            )
    photo, points = portrait.load()
    fit = fit_head(head, points)
    # The photo further than the person's own head reaches is never sampled: keep a window around the face.
    h, w = photo.shape[:2]
    centre, reach = points.mean(0), 3.6 * np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0))
    x0, y0 = (max(0, int(v)) for v in centre - reach)
    x1, y1 = min(w, int(centre[0] + reach)), min(h, int(centre[1] + reach))
    photo, points = np.ascontiguousarray(photo[y0:y1, x0:x1]), points - (x0, y0)
    fit = Fit(fit.vertices, fit.rotation, fit.scale, fit.shift - (x0, y0), fit.error)
    uv = np.ascontiguousarray(fit.project(fit.vertices)[:, :2])
    normals = load_raster().vertex_normals(fit.vertices, head.triangles) @ fit.rotation.T.astype(np.float32)
    rng = np.random.default_rng(hash_name(portrait.identity))
    furrows = furrow_maps((photo.shape[0] // 2, photo.shape[1] // 2), (points + 0.5) / 2 - 0.5, rng)
    tone = skin_tone(photo, points)[0]
    alpha = cut_out(photo, points) if portrait.plain else cut_out_anywhere(photo, points)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial.npz")
        np.savez(
            partial,
            photo=photo,
            alpha=alpha,
            uv=uv,
            normals=normals,
            furrows=furrows,
            tone=tone,
            vertices=fit.vertices,
            rotation=fit.rotation,
            scale=fit.scale,
            shift=fit.shift,
            error=fit.error,
        )
        partial.replace(file)
    return Person(portrait.identity, photo, alpha, fit, uv, normals, furrows, tone)


def hash_name(name: str) -> int:
    """A number that depends on the name alone (unlike ``hash``)."""
    return int.from_bytes(name.encode()[:32].ljust(32, b"\0"), "little") % (2**31)


@dataclass(frozen=True)
class Look:
    """What stays for a sequence: how this person looks and where they are."""

    offset: np.ndarray  # (n, 3) float32 cm, identity modes added to the person's shape
    second: Person | None  # whose skin is mixed in
    mix: float
    light: np.ndarray  # (3,) unit vector towards the light
    light_gain: float  # of the ratio of normals
    key_gain: float  # of a directional light on top
    tint: np.ndarray  # (3,) BGR factor of the light
    furrow_gain: np.ndarray  # (n,); 0: the AU moves without its furrows
    teeth_bgr: np.ndarray
    gums_bgr: np.ndarray
    background: np.ndarray  # (h, w, 3) uint8 of the output size
    camera_cm: float  # distance of the camera
    lines: np.ndarray | None = None  # (n,) furrows that are there without any movement


@dataclass(frozen=True)
class Camera:
    """Where the picture is taken: the canonical crop that follows the five points (``template``, drawn out by
    ``margin``), or, where ``fixed`` is given, a camera that stands still.

    ``fixed``: (2, 3), centimetres at the head's origin (x right, y down) to picture pixels.
    """

    width: int
    height: int
    template: np.ndarray | None = None
    margin: float = 1.0
    fixed: np.ndarray | None = None

    def matrix(self, marks: np.ndarray) -> np.ndarray:
        """(2, 3): picture centimetres to supersampled pixels; ``marks`` (68, 2) are the points in centimetres."""
        if self.fixed is not None:
            return self.fixed * SUPERSAMPLING + np.array(((0, 0, 0.5), (0, 0, 0.5))) * (SUPERSAMPLING - 1)
        if self.template is None:
            raise ValueError("Camera: expected a template or a fixed matrix, got neither")
        wide = 0.5 + (self.template - 0.5) / self.margin
        side = self.width * SUPERSAMPLING
        return alignment.similarity(alignment.five_points(marks), wide * side - 0.5)


@dataclass(frozen=True)
class Rendered:
    """``image`` (h, w, 3) uint8 BGR, ``points`` (68, 2) float32 normalised to it, ``lip_gap`` in inter-ocular
    distances, ``hidden`` (68,) bool: points behind a hand.
    """

    image: np.ndarray
    points: np.ndarray
    lip_gap: float
    hidden: np.ndarray


def _project(vertices: np.ndarray, rotation: np.ndarray, camera_cm: float) -> np.ndarray:
    """(n, 3) cm -> (n, 3): perspective picture coordinates in cm at the head's origin, y down, and depth."""
    turned = vertices @ rotation.T.astype(np.float32)
    factor = camera_cm / (camera_cm - turned[:, 2])
    return np.stack([turned[:, 0] * factor, -turned[:, 1] * factor, turned[:, 2]], axis=1)


def _plane_matrix(person: Person, rotation: np.ndarray, camera_cm: float, to_picture: np.ndarray) -> np.ndarray:
    """Homography from photo pixels to picture pixels of the cut-out's plane."""
    h, w = person.photo.shape[:2]
    corners = np.array([(0, 0), (w, 0), (w, h), (0, h)], np.float32)
    fit = person.fit
    frontal = np.stack(
        [
            (corners[:, 0] - fit.shift[0]) / fit.scale,
            -(corners[:, 1] - fit.shift[1]) / fit.scale,
            np.full(4, PLANE_DEPTH_CM),
        ],
        axis=1,
    )
    points = _project((frontal @ fit.rotation).astype(np.float32), rotation, camera_cm)[:, :2]
    return cv2.getPerspectiveTransform(corners, (points @ to_picture[:, :2].T + to_picture[:, 2]).astype(np.float32))


def landmarks(head: Head, person: Person, look: Look, weights: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """(68, 2) float32: where the points fall, y down, in tenths of the eye distance about the middle between the eye
    centres, which lie at (-5, 0) and (5, 0); arguments as those of `render`."""
    shape = person.fit.vertices[head.landmarks] + look.offset[head.landmarks]
    shape = shape + np.tensordot(weights.astype(np.float32), head.shapes[:, head.landmarks], 1)
    rotation = cv2.Rodrigues(np.asarray(turn, float))[0] @ person.fit.rotation
    return tenths(_project(shape, rotation, look.camera_cm)[:, :2])


def render(
    head: Head,
    person: Person,
    look: Look,
    weights: np.ndarray,
    intensity: np.ndarray,
    turn: np.ndarray,
    camera: Camera,
    extras: Extras = NOTHING,
    frame: int = 0,
) -> Rendered:
    """Render one frame.

    Args:
        weights: (57,) blendshape weights.  intensity: (n,) AU intensities for the furrows.  turn: (3,) rotation
            vector added to the photo's pose (x nods, y turns, z tilts; radians).
        extras: what is worn or held before the face.  frame: of the sequence, for the hand.
    """
    raster = load_raster()
    vertices = person.fit.vertices + look.offset
    calm = vertices[head.landmarks]
    used = np.flatnonzero(weights)
    for k in used:
        vertices += np.float32(weights[k]) * head.shapes[k]
    rotation = cv2.Rodrigues(np.asarray(turn, float))[0] @ person.fit.rotation
    picture = _project(vertices, rotation, look.camera_cm)
    width, height = camera.width * SUPERSAMPLING, camera.height * SUPERSAMPLING
    to_picture = camera.matrix(picture[head.landmarks, :2].astype(np.float64))
    xyz = picture.astype(np.float32)
    xyz[:, :2] = picture[:, :2] @ to_picture[:, :2].T + to_picture[:, 2]

    normals = raster.vertex_normals(vertices, head.triangles) @ rotation.T.astype(np.float32)
    ratio = 1 + look.light_gain * ((normals - person.normals) @ look.light.astype(np.float32))
    key = 1 + look.key_gain * (np.clip(normals @ look.light.astype(np.float32), 0, None) - 0.5)
    lip_depth = picture[head.landmarks[[62, 66]], 2].mean()
    inside = np.clip(1.15 - (lip_depth - picture[:, 2]) / 3.2, 0.12, 1.0)  # the mouth darkens inwards
    second_uv = person.uv if look.second is None else look.second.uv
    attributes = np.column_stack(
        [person.uv, second_uv, np.clip(ratio, 0.45, 1.6), np.clip(key, 0.3, 1.8), inside]
    ).astype(np.float32)
    drawn, index = raster.rasterise(xyz, np.ascontiguousarray(attributes), head.triangles, height, width)
    material = np.where(index >= 0, head.material[index], 255)

    skin = cv2.remap(
        person.photo, drawn[..., 0], drawn[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    ).astype(np.float32)
    if look.second is not None:
        other = cv2.remap(
            look.second.photo, drawn[..., 2], drawn[..., 3], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        skin += look.mix * (other.astype(np.float32) - skin)
    if extras.beard is not None:
        grown = beard_map(person.photo.shape[:2], person.uv[head.landmarks], extras.beard)
        hair = cv2.remap(grown, drawn[..., 0], drawn[..., 1], cv2.INTER_LINEAR)[..., None]
        skin += hair * (extras.beard.hair_bgr.astype(np.float32) - skin)
    strength = intensity * look.furrow_gain
    if look.lines is not None:
        strength = np.maximum(strength, look.lines)
    active = np.flatnonzero(strength > 0.02)
    shade = drawn[..., 4] * drawn[..., 5]
    if len(active):
        furrow = np.tensordot(strength[active].astype(np.float32), person.furrows[active].astype(np.float32), 1)
        shade *= np.exp(cv2.remap(furrow, drawn[..., 0] * 0.5 - 0.25, drawn[..., 1] * 0.5 - 0.25, cv2.INTER_LINEAR))
    image = skin * shade[..., None]
    lit = (drawn[..., 5] * drawn[..., 6])[..., None]
    for kind, colour in ((TEETH, look.teeth_bgr), (GUMS, look.gums_bgr), (SOCKET, look.gums_bgr * 0.35)):
        where = material == kind
        image[where] = colour * lit[where]
    # The mesh is a bald head: where the photo shows no person (beside hair and ears), it is glass.
    there = cv2.remap(person.alpha, drawn[..., 0], drawn[..., 1], cv2.INTER_LINEAR)
    person_alpha = ((material != 255) & ((material != SKIN) | (there > 128))).astype(np.float32)

    plane = _plane_matrix(person, rotation, look.camera_cm, to_picture)
    behind = cv2.warpPerspective(person.photo, plane, (width, height), borderMode=cv2.BORDER_REPLICATE).astype(
        np.float32
    )
    behind_alpha = (
        cv2.warpPerspective(person.alpha, plane, (width, height), borderValue=0).astype(np.float32)[..., None] / 255
    )
    background = cv2.resize(look.background, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    behind = background + behind_alpha * (behind * (1 + look.key_gain * (look.light[2] - 0.5)) - background)
    soft = cv2.GaussianBlur(cv2.erode(person_alpha, np.ones((3, 3))), (0, 0), 1.2)[..., None] * person_alpha[..., None]
    image = behind + soft * (image - behind)
    marks = xyz[head.landmarks, :2].astype(np.float64)
    if extras.glasses is not None:

        def project(points: np.ndarray) -> np.ndarray:
            return (
                _project(points.astype(np.float32), rotation, look.camera_cm)[:, :2] @ to_picture[:, :2].T
                + (to_picture[:, 2])
            )

        put_on_glasses(image, extras.glasses, calm, project)
    hidden = np.zeros(len(marks), bool)
    if extras.hand is not None:
        scale = float(np.sqrt(abs(np.linalg.det(to_picture[:, :2]))))
        tone = cheek_tone(person.photo, person.uv[head.landmarks])
        if isinstance(extras.hand, MeshHand):
            hidden = lay_mesh_hand(image, extras.hand, frame, marks, scale, tone, look.light, look.camera_cm)
        else:
            hidden = lay_hand(image, extras.hand, frame, marks, scale, tone)
    image = cv2.resize(
        image * look.tint.astype(np.float32), (camera.width, camera.height), interpolation=cv2.INTER_AREA
    )
    points = (xyz[head.landmarks, :2] + 0.5) / (width, height)
    eye = np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0))
    gap = float(np.linalg.norm(points[[61, 62, 63]] - points[[67, 66, 65]], axis=1).mean() / max(eye, 1e-6))
    return Rendered(np.clip(image, 0, 255).astype(np.uint8), points.astype(np.float32), gap, hidden)


__all__ = ["Camera", "Look", "Person", "Rendered", "landmarks", "prepare_person", "render"]
