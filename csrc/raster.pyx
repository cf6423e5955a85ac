# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Z-buffer triangle raster of the synthetic-data renderer (train/synthetic)."""
from libc.math cimport ceilf, fabsf, floorf, fmaxf, fminf

import numpy as np

cdef enum:
    LARGEST = 1 << 24        # side up to which float32 tells neighbouring pixels apart


cdef void _visibility(const float[:, ::1] xyz, const int[:, ::1] triangles, float[:, ::1] depth,
                      int[:, ::1] index, float[:, :, ::1] weights) noexcept nogil:
    cdef Py_ssize_t height = depth.shape[0], width = depth.shape[1], t
    cdef int a, b, c, x0, x1, y0, y1, x, y
    cdef float ax, ay, bx, by, cx, cy, area, inverse, l0, l1, l2, z, px, py
    for t in range(triangles.shape[0]):
        a = triangles[t, 0]; b = triangles[t, 1]; c = triangles[t, 2]
        ax = xyz[a, 0]; ay = xyz[a, 1]; bx = xyz[b, 0]; by = xyz[b, 1]; cx = xyz[c, 0]; cy = xyz[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if fabsf(area) < 1e-9:
            continue
        inverse = 1.0 / area
        # Limited at both ends before the cast: a whole number that an int cannot hold would begin far outside the picture.
        x0 = <int>ceilf(fminf(width, fmaxf(0, fminf(ax, fminf(bx, cx)))))
        x1 = <int>floorf(fmaxf(-1, fminf(width - 1, fmaxf(ax, fmaxf(bx, cx)))))
        y0 = <int>ceilf(fminf(height, fmaxf(0, fminf(ay, fminf(by, cy)))))
        y1 = <int>floorf(fmaxf(-1, fminf(height - 1, fmaxf(ay, fmaxf(by, cy)))))
        for y in range(y0, y1 + 1):
            py = <float>y
            for x in range(x0, x1 + 1):
                px = <float>x
                l1 = ((px - ax) * (cy - ay) - (py - ay) * (cx - ax)) * inverse
                l2 = ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) * inverse
                l0 = 1 - l1 - l2
                if l0 < -1e-4 or l1 < -1e-4 or l2 < -1e-4:
                    continue
                z = l0 * xyz[a, 2] + l1 * xyz[b, 2] + l2 * xyz[c, 2]
                if z > depth[y, x]:
                    depth[y, x] = z
                    index[y, x] = <int>t
                    weights[y, x, 0] = l1
                    weights[y, x, 1] = l2


cdef void _interpolate(const float[:, ::1] attributes, const int[:, ::1] triangles, const int[:, ::1] index,
                       const float[:, :, ::1] weights, float[:, :, ::1] out) noexcept nogil:
    cdef Py_ssize_t y, x, k, channels = attributes.shape[1]
    cdef int t, a, b, c
    cdef float l0, l1, l2
    for y in range(index.shape[0]):
        for x in range(index.shape[1]):
            t = index[y, x]
            if t < 0:
                for k in range(channels):
                    out[y, x, k] = 0
                continue
            a = triangles[t, 0]; b = triangles[t, 1]; c = triangles[t, 2]
            l1 = weights[y, x, 0]; l2 = weights[y, x, 1]; l0 = 1 - l1 - l2
            for k in range(channels):
                out[y, x, k] = l0 * attributes[a, k] + l1 * attributes[b, k] + l2 * attributes[c, k]


cdef int check(const float[:, ::1] xyz, const int[:, ::1] triangles, Py_ssize_t vertices) except -1:
    """ValueError where an index or a shape leads outside the arrays."""
    if xyz.shape[1] != 3 or triangles.shape[1] != 3:
        raise ValueError("expected xyz (n, 3) and triangles (m, 3), got other shapes")
    if triangles.shape[0] and (np.min(triangles) < 0 or np.max(triangles) >= vertices):
        raise ValueError(f"triangles: expected vertex indices in [0, {vertices}), got others")
    return 0


def rasterise(float[:, ::1] xyz not None, float[:, ::1] attributes not None, int[:, ::1] triangles not None,
              int height, int width):
    """Draw a triangle mesh into a z-buffer and interpolate per-vertex attributes.

    Args:
        xyz: (n, 3) float32, x and y in pixels (centres at integers, y down), z larger = nearer.
        attributes: (n, k) float32, interpolated affinely over each triangle.
        triangles: (m, 3) int32 vertex indices, either winding.
        height, width: size of the picture, pixels.

    Returns:
        (height, width, k) float32 attributes (0 where nothing was drawn) and (height, width) int32 triangle index (-1 there).
    """
    if not (0 <= height <= LARGEST and 0 <= width <= LARGEST):
        raise ValueError(f"expected a picture of 0 to {LARGEST} px a side, got {width} x {height}")
    check(xyz, triangles, min(xyz.shape[0], attributes.shape[0]))
    depth = np.full((height, width), -1e30, np.float32)
    index = np.full((height, width), -1, np.int32)
    weights = np.empty((height, width, 2), np.float32)
    out = np.empty((height, width, attributes.shape[1]), np.float32)
    cdef float[:, ::1] depth_view = depth
    cdef int[:, ::1] index_view = index
    cdef float[:, :, ::1] weights_view = weights, out_view = out
    with nogil:
        _visibility(xyz, triangles, depth_view, index_view, weights_view)
        _interpolate(attributes, triangles, index_view, weights_view, out_view)
    return out, index


def vertex_normals(float[:, ::1] xyz not None, int[:, ::1] triangles not None):
    """Area-weighted unit normals, (n, 3) float32, of a mesh: xyz (n, 3) float32, triangles (m, 3) int32 (counter-clockwise seen from outside)."""
    check(xyz, triangles, xyz.shape[0])
    normals = np.zeros((xyz.shape[0], 3), np.float32)
    cdef float[:, ::1] n = normals
    cdef Py_ssize_t t
    cdef int a, b, c, k, v
    cdef float ux, uy, uz, wx, wy, wz, x, y, z
    with nogil:
        for t in range(triangles.shape[0]):
            a = triangles[t, 0]; b = triangles[t, 1]; c = triangles[t, 2]
            ux = xyz[b, 0] - xyz[a, 0]; uy = xyz[b, 1] - xyz[a, 1]; uz = xyz[b, 2] - xyz[a, 2]
            wx = xyz[c, 0] - xyz[a, 0]; wy = xyz[c, 1] - xyz[a, 1]; wz = xyz[c, 2] - xyz[a, 2]
            x = uy * wz - uz * wy; y = uz * wx - ux * wz; z = ux * wy - uy * wx
            for k in range(3):
                v = triangles[t, k]
                n[v, 0] += x; n[v, 1] += y; n[v, 2] += z
    length = np.sqrt(np.einsum("ij,ij->i", normals, normals))
    normals /= np.maximum(length, 1e-9)[:, None]
    return normals
