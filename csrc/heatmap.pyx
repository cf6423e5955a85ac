# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""From heatmaps to points: the peak, and the centroid of the positive values around it.

The reference in NumPy is `aunet_sdk.heatmap.decode_reference`.
"""

from libc.float cimport FLT_MAX
from libc.math cimport INFINITY

cdef enum:
    LANES = 16               # running maxima, so that the search becomes vector code
    CHUNK = 256              # values between two looks at the maximum
    REACH = 2                # the window reaches this far from the peak: 5 x 5


cdef inline float largest(const float* values, Py_ssize_t count) noexcept nogil:
    """The maximum; NaN counts as minus infinity."""
    cdef float lanes[LANES]
    cdef float best = -INFINITY
    cdef Py_ssize_t i
    cdef int k
    for k in range(LANES):
        lanes[k] = -INFINITY
    for i in range(count // LANES):
        for k in range(LANES):
            lanes[k] = values[i * LANES + k] if values[i * LANES + k] > lanes[k] else lanes[k]
    for k in range(LANES):
        best = lanes[k] if lanes[k] > best else best
    for i in range(count - count % <Py_ssize_t>LANES, count):
        best = values[i] if values[i] > best else best
    return best


cdef inline Py_ssize_t peak(const float* values, Py_ssize_t count, float* value) noexcept nogil:
    """Index and value of the first maximum; NaN counts as minus infinity. Only the chunk that holds it is searched."""
    cdef float best = -INFINITY, here
    cdef Py_ssize_t start = 0, at = 0, i
    while start < count:
        here = largest(values + start, min(<Py_ssize_t>CHUNK, count - start))
        if here > best:
            best = here
            at = start
        start += CHUNK
    value[0] = best
    if best == -INFINITY:
        return 0
    for i in range(at, count):
        if values[i] == best:
            return i
    return 0


cdef void decode_one(const float* values, Py_ssize_t height, Py_ssize_t width, float* point,
                     float* confidence) noexcept nogil:
    cdef float best
    cdef Py_ssize_t at = peak(values, height * width, &best)
    cdef Py_ssize_t i0 = at // width, j0 = at % width, i, j
    cdef double total = 0.0, x = 0.0, y = 0.0, value
    confidence[0] = min(max(best, <float>0.0), <float>1.0)
    for i in range(max(i0 - REACH, 0), min(i0 + REACH + 1, height)):
        for j in range(max(j0 - REACH, 0), min(j0 + REACH + 1, width)):
            value = values[i * width + j]
            if value > 0.0:
                value = min(value, <double>FLT_MAX)
                total += value
                x += value * (j - j0)
                y += value * (i - i0)
    if total > 0.0:
        x = x / total
        y = y / total
    point[0] = <float>(4.0 * (j0 + x) + 1.5)
    point[1] = <float>(4.0 * (i0 + y) + 1.5)


def decode(const float[:, :, :, ::1] heatmaps not None, float[:, :, ::1] points not None,
           float[:, ::1] confidence not None):
    """Fill points (B, K, 2) and confidence (B, K) from heatmaps (B, K, h, w). The GIL is released. ValueError: shapes."""
    cdef Py_ssize_t i, k, batch = heatmaps.shape[0], count = heatmaps.shape[1]
    if (heatmaps.shape[2] == 0 or heatmaps.shape[3] == 0 or points.shape[0] != batch or points.shape[1] != count
            or points.shape[2] != 2 or confidence.shape[0] != batch or confidence.shape[1] != count):
        raise ValueError("expected heatmaps (B, K, h, w), points (B, K, 2) and confidence (B, K), got other shapes")
    with nogil:
        for i in range(batch):
            for k in range(count):
                decode_one(&heatmaps[i, k, 0, 0], heatmaps.shape[2], heatmaps.shape[3], &points[i, k, 0],
                           &confidence[i, k])
