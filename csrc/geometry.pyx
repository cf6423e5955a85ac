# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The small geometry of every face and frame: five points, similarity, drift, pose.

A few hundred operations each, for which NumPy spends its time on calls. Every function gives False or None where its
input is odd (NaN, points that coincide, a plane instead of a face); the caller then runs the NumPy reference, which says
what is wrong. The GIL is released. References: `aunet_sdk.alignment`, `aunet_sdk.network`, `aunet_sdk.pose`.
"""

from libc.limits cimport INT_MAX
from libc.math cimport atan2, cos, fabs, hypot, isfinite, sin, sqrt

cdef enum:
    POINTS = 68
    STEPS = 10               # of Gauss-Newton

cdef double DEGREES = 57.29577951308232
cdef double DONE_RAD = 1e-4

ctypedef fused Number:
    float
    double


cdef inline void five_of(const Number* points, double* five) noexcept nogil:
    """Eye centres, nose tip, mouth corners, (5, 2), of (68, 2)."""
    cdef int i, axis
    cdef double left, right
    for axis in range(2):
        left = 0.0
        right = 0.0
        for i in range(6):
            left += points[2 * (36 + i) + axis]
            right += points[2 * (42 + i) + axis]
        five[axis] = left / 6
        five[2 + axis] = right / 6
        five[4 + axis] = points[2 * 30 + axis]
        five[6 + axis] = points[2 * 48 + axis]
        five[8 + axis] = points[2 * 54 + axis]


cdef inline bint finite(const double* values, int count) noexcept nogil:
    cdef int i
    for i in range(count):
        if not isfinite(values[i]):
            return False
    return True


cdef bint fit(const double* points, const double* target, int count, double* m) noexcept nogil:
    """The least-squares similarity (2, 3) from points to target; False where there is none."""
    cdef double cx = 0, cy = 0, gx = 0, gy = 0, size = 0, a = 0, b = 0, px, py, qx, qy
    cdef int i
    for i in range(count):
        cx += points[2 * i]
        cy += points[2 * i + 1]
        gx += target[2 * i]
        gy += target[2 * i + 1]
    cx /= count
    cy /= count
    gx /= count
    gy /= count
    for i in range(count):
        px = points[2 * i] - cx
        py = points[2 * i + 1] - cy
        qx = target[2 * i] - gx
        qy = target[2 * i + 1] - gy
        size += px * px + py * py
        a += px * qx + py * qy
        b += px * qy - py * qx
    if not (size > 1e-12 * count and hypot(a, b) > 1e-12 * size and isfinite(size) and isfinite(a) and isfinite(b)):
        return False
    a /= size
    b /= size
    m[0] = a
    m[1] = -b
    m[2] = gx - a * cx + b * cy
    m[3] = b
    m[4] = a
    m[5] = gy - b * cx - a * cy
    return True


cdef inline int check(bint good) except -1:
    """ValueError where shapes are not those of the docstring: nothing behind the end of an array is read or written."""
    if not good:
        raise ValueError("expected arrays of the shapes in the docstring, got others")
    return 0


def five_points(const double[:, ::1] landmarks not None, double[:, ::1] out not None):
    """Fill out (5, 2) from landmarks (68, 2). False: not finite."""
    cdef bint good
    check(landmarks.shape[0] == POINTS and landmarks.shape[1] == 2 and out.shape[0] == 5 and out.shape[1] == 2)
    with nogil:
        good = finite(&landmarks[0, 0], 2 * POINTS)
        if good:
            five_of(&landmarks[0, 0], &out[0, 0])
    return good


def similarity(const double[:, ::1] points not None, const double[:, ::1] target not None,
               double[:, ::1] out not None):
    """Fill out (2, 3) with the similarity from points (N, 2) to target (N, 2), N >= 1. False: there is none."""
    cdef bint good
    check(0 < points.shape[0] < INT_MAX and points.shape[0] == target.shape[0] and points.shape[1] == 2
          and target.shape[1] == 2 and out.shape[0] == 2 and out.shape[1] == 3)
    with nogil:
        good = fit(&points[0, 0], &target[0, 0], <int>points.shape[0], &out[0, 0])
    return good


def canonical(const double[:, ::1] landmarks not None, const double[:, ::1] target not None,
              double[:, ::1] out not None):
    """Fill out (2, 3) with the similarity from the five points of landmarks (68, 2) to target (5, 2)."""
    cdef double five[10]
    cdef bint good
    check(landmarks.shape[0] == POINTS and landmarks.shape[1] == 2 and target.shape[0] == 5 and target.shape[1] == 2
          and out.shape[0] == 2 and out.shape[1] == 3)
    with nogil:
        good = finite(&landmarks[0, 0], 2 * POINTS)
        if good:
            five_of(&landmarks[0, 0], five)
            good = fit(five, &target[0, 0], 5, &out[0, 0])
    return good


cdef bint to_frame(const float* points, const double* m, double* landmarks) noexcept nogil:
    """Landmarks (68, 2) from points (68, 2) by the inverse of m (2, 3); False where it has none."""
    cdef double determinant = m[0] * m[4] - m[1] * m[3], f, x, y
    cdef int i
    if determinant == 0.0 or not isfinite(1.0 / determinant):
        return False
    f = 1.0 / determinant
    for i in range(POINTS):
        x = points[2 * i] - m[2]
        y = points[2 * i + 1] - m[5]
        landmarks[2 * i] = (m[4] * x - m[1] * y) * f
        landmarks[2 * i + 1] = (m[0] * y - m[3] * x) * f
    return True


cdef void drift_of(const float* points, double resolution, const double* template, double* drift) noexcept nogil:
    """Shift, scale, rotation in degrees and misfit of the five points of (68, 2) against the template (5, 2)."""
    cdef double five[10]
    cdef double cx = 0, cy = 0, gx = 0, gy = 0, norm = 0, p = 0, q = 0, left = 0, ax, ay, bx, by
    cdef int i
    five_of(points, five)
    for i in range(5):
        five[2 * i] = (five[2 * i] + 0.5) / resolution
        five[2 * i + 1] = (five[2 * i + 1] + 0.5) / resolution
        cx += five[2 * i] / 5
        cy += five[2 * i + 1] / 5
        gx += template[2 * i] / 5
        gy += template[2 * i + 1] / 5
    for i in range(5):
        ax = five[2 * i] - cx
        ay = five[2 * i + 1] - cy
        bx = template[2 * i] - gx
        by = template[2 * i + 1] - gy
        norm += bx * bx + by * by
        p += ax * bx + ay * by
        q += bx * ay - by * ax
    p /= norm
    q /= norm
    for i in range(5):
        bx = template[2 * i] - gx
        by = template[2 * i + 1] - gy
        ax = five[2 * i] - cx - (p * bx - q * by)
        ay = five[2 * i + 1] - cy - (q * bx + p * by)
        left += ax * ax + ay * ay
    drift[0] = hypot(cx - gx, cy - gy)
    drift[1] = hypot(p, q)
    drift[2] = DEGREES * atan2(q, p)
    drift[3] = sqrt(left / 5)


def place(const float[:, ::1] points not None, const float[::1] confidences not None,
          const double[:, ::1] matrix not None, double resolution, const double[:, ::1] template not None,
          double[:, ::1] landmarks not None):
    """From the crop back to the frame, and what the crop is worth.

    Fills landmarks (68, 2), frame pixels, from points (68, 2), crop pixels, and the matrix (2, 3) from frame to crop.
    Returns the mean of confidences (68,), and shift, scale, rotation in degrees and misfit of the five points against
    the template (5, 2), normalised to the crop; None where the matrix has no inverse.
    """
    cdef double drift[4]
    cdef double mean = 0
    cdef bint good
    cdef int i
    check(points.shape[0] == POINTS and points.shape[1] == 2 and confidences.shape[0] == POINTS
          and matrix.shape[0] == 2 and matrix.shape[1] == 3 and template.shape[0] == 5 and template.shape[1] == 2
          and landmarks.shape[0] == POINTS and landmarks.shape[1] == 2)
    with nogil:
        good = to_frame(&points[0, 0], &matrix[0, 0], &landmarks[0, 0])
        if good:
            for i in range(POINTS):
                mean += confidences[i]
            mean /= POINTS
            drift_of(&points[0, 0], resolution, &template[0, 0], drift)
    if not good:
        return None
    return mean, drift[0], drift[1], drift[2], drift[3]


cdef bint cholesky(const double* matrix, int n, double* root) noexcept nogil:
    """The lower root (n, n) of a symmetric matrix; False where it is not positive."""
    cdef int i, j, k
    cdef double value
    for i in range(n * n):
        root[i] = 0.0
    for i in range(n):
        for j in range(i + 1):
            value = matrix[i * n + j]
            for k in range(j):
                value -= root[i * n + k] * root[j * n + k]
            if i == j:
                if not value > 0.0:
                    return False
                root[i * n + i] = sqrt(value)
            else:
                root[i * n + j] = value / root[j * n + j]
    return True


cdef void solve(const double* root, int n, double* values) noexcept nogil:
    """Solve root root^T x = values in place."""
    cdef int i, k
    for i in range(n):
        for k in range(i):
            values[i] -= root[i * n + k] * values[k]
        values[i] /= root[i * n + i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            values[i] -= root[k * n + i] * values[k]
        values[i] /= root[i * n + i]


cdef inline void third_row(double* r) noexcept nogil:
    r[6] = r[1] * r[5] - r[2] * r[4]
    r[7] = r[2] * r[3] - r[0] * r[5]
    r[8] = r[0] * r[4] - r[1] * r[3]


cdef void turn(const double* w, double* r) noexcept nogil:
    """r <- the rotation by the vector w, radians, times r."""
    cdef double angle = sqrt(w[0] * w[0] + w[1] * w[1] + w[2] * w[2]), x, y, z, s, c
    cdef double t[9]
    cdef double old[9]
    cdef int i, j
    if angle < 1e-12:
        return
    x = w[0] / angle
    y = w[1] / angle
    z = w[2] / angle
    s = sin(angle)
    c = 1 - cos(angle)
    t[0] = 1 - c * (y * y + z * z)
    t[1] = c * x * y - s * z
    t[2] = c * x * z + s * y
    t[3] = c * x * y + s * z
    t[4] = 1 - c * (x * x + z * z)
    t[5] = c * y * z - s * x
    t[6] = c * x * z - s * y
    t[7] = c * y * z + s * x
    t[8] = 1 - c * (x * x + y * y)
    for i in range(9):
        old[i] = r[i]
    for i in range(3):
        for j in range(3):
            r[3 * i + j] = t[3 * i] * old[j] + t[3 * i + 1] * old[3 + j] + t[3 * i + 2] * old[6 + j]


cdef bint refine(const double* free, const double* root, double* r, double scale) noexcept nogil:
    """Gauss-Newton over turn and scale: r (3, 3) ends at the least-squares turn. See `aunet_sdk.pose._fit`."""
    cdef double best[9]
    cdef double rows[9]      # r times root
    cdef double residual[6]
    cdef double jacobian[24]
    cdef double normal[16]
    cdef double lower[16]
    cdef double step[4]
    cdef double cost = -1.0, now
    cdef int round_, i, j, k
    for round_ in range(STEPS):
        now = 0.0
        for i in range(3):
            for j in range(3):
                rows[3 * i + j] = 0.0
                for k in range(3):
                    rows[3 * i + j] += r[3 * i + k] * root[3 * k + j]
        for i in range(2):
            for j in range(3):
                residual[3 * i + j] = scale * rows[3 * i + j]
                for k in range(3):
                    residual[3 * i + j] -= free[3 * i + k] * root[3 * k + j]
                now += residual[3 * i + j] * residual[3 * i + j]
        if cost >= 0.0 and now > cost:
            for i in range(9):
                r[i] = best[i]
            return True
        cost = now
        for i in range(9):
            best[i] = r[i]
        for i in range(24):
            jacobian[i] = 0.0
        for j in range(3):
            jacobian[3 + j] = -scale * rows[6 + j]
            jacobian[6 + j] = scale * rows[6 + j]
            jacobian[12 + j] = -scale * rows[3 + j]
            jacobian[15 + j] = scale * rows[j]
            jacobian[18 + j] = rows[j]
            jacobian[21 + j] = rows[3 + j]
        for i in range(4):
            step[i] = 0.0
            for k in range(6):
                step[i] -= jacobian[6 * i + k] * residual[k]
            for j in range(4):
                normal[4 * i + j] = 0.0
                for k in range(6):
                    normal[4 * i + j] += jacobian[6 * i + k] * jacobian[6 * j + k]
        if not cholesky(normal, 4, lower):
            return False
        solve(lower, 4, step)
        turn(step, r)
        scale += step[3]
        if max(fabs(step[0]), max(fabs(step[1]), fabs(step[2]))) < DONE_RAD:
            return True
    for i in range(9):
        r[i] = best[i]
    return True


cdef bint rotation(const double* image, const double* points3d, const double* weights, double* r) noexcept nogil:
    """The rotation (3, 3) of the model that brings it closest to the image points; False where there is none."""
    cdef double total = 0, extent = 0, x, y, w, determinant, trace, both
    cdef double centre[5]    # of the model, x y z, and of the image, x y
    cdef double moved[5]
    cdef double spread[9]
    cdef double root[9]
    cdef double free[6]      # (2, 3), without conditions
    cdef double s[3]         # free times its transpose: xx, xy, yy
    cdef double f
    cdef int i, j, k
    for i in range(5):
        centre[i] = 0.0
    for i in range(9):
        spread[i] = 0.0
    for i in range(6):
        free[i] = 0.0
    for i in range(POINTS):
        total += weights[i]
        for j in range(3):
            centre[j] += weights[i] * points3d[3 * i + j]
        centre[3] += weights[i] * image[2 * i]
        centre[4] -= weights[i] * image[2 * i + 1]
    for i in range(5):
        centre[i] /= total
    for i in range(POINTS):
        w = weights[i] / total
        for j in range(3):
            moved[j] = points3d[3 * i + j] - centre[j]
        x = image[2 * i] - centre[3]
        y = -image[2 * i + 1] - centre[4]
        extent += w * (x * x + y * y)
        for j in range(3):
            free[j] += w * moved[j] * x
            free[3 + j] += w * moved[j] * y
            for k in range(3):
                spread[3 * j + k] += w * moved[j] * moved[k]
    trace = spread[0] + spread[4] + spread[8]
    if not cholesky(spread, 3, root):
        return False
    determinant = (root[0] * root[4] * root[8]) * (root[0] * root[4] * root[8])
    if not determinant > 1e-9 * (trace / 3) * (trace / 3) * (trace / 3) or not extent > 1e-12:
        return False
    solve(root, 3, free)
    solve(root, 3, &free[3])
    s[0] = free[0] * free[0] + free[1] * free[1] + free[2] * free[2]
    s[1] = free[0] * free[3] + free[1] * free[4] + free[2] * free[5]
    s[2] = free[3] * free[3] + free[4] * free[4] + free[5] * free[5]
    determinant = s[0] * s[2] - s[1] * s[1]
    if not determinant > 1e-12 * (s[0] + s[2]) * (s[0] + s[2]):
        return False
    # The nearest rows that are orthogonal and of length one: (s)^-1/2 times free, by the 2 x 2 root in closed form.
    both = sqrt(determinant)
    f = sqrt(s[0] + s[2] + 2 * both)     # trace of the root of s
    for j in range(3):
        x = free[j]
        y = free[3 + j]
        r[j] = ((s[2] + both) * x - s[1] * y) / (f * both)
        r[3 + j] = ((s[0] + both) * y - s[1] * x) / (f * both)
    third_row(r)
    return refine(free, root, r, f / 2)


def head_pose(const double[:, ::1] landmarks not None, const double[:, ::1] points3d not None,
              const double[::1] weights not None):
    """Yaw, pitch and roll in degrees of landmarks (68, 2) against the model (68, 3), each point with its weight (68,);
    None where there is no answer.
    """
    cdef double r[9]
    cdef double yaw, pitch, along, across, ux, uy, uz
    cdef bint good
    check(landmarks.shape[0] == POINTS and landmarks.shape[1] == 2 and points3d.shape[0] == POINTS
          and points3d.shape[1] == 3 and weights.shape[0] == POINTS)
    with nogil:
        good = (finite(&landmarks[0, 0], 2 * POINTS) and finite(&points3d[0, 0], 3 * POINTS)
                and rotation(&landmarks[0, 0], &points3d[0, 0], &weights[0], r))
    if not good:
        return None
    yaw = atan2(r[2], r[8])
    pitch = atan2(r[5], hypot(r[2], r[8]))
    # level = (cos yaw, 0, -sin yaw); upright = forward x level
    ux = r[5] * -sin(yaw)
    uy = r[8] * cos(yaw) + r[2] * sin(yaw)
    uz = -r[5] * cos(yaw)
    across = r[0] * ux + r[3] * uy + r[6] * uz
    along = r[0] * cos(yaw) - r[6] * sin(yaw)
    return DEGREES * yaw, DEGREES * pitch, DEGREES * -atan2(across, along)
