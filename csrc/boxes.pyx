# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""How the boxes of two sets lie to each other, and which of them belong together.

A box is left, top, width, height. References in NumPy: `aunet_sdk.faces.boxes`.
"""

from libc.math cimport INFINITY, hypot

cdef enum:
    SIDES = 4

cdef double SMALLEST_PX = 1e-9   # a box without size counts as this large


cdef inline double larger(double a, double b) noexcept nogil:
    return b if b > a else a


cdef inline double smaller(double a, double b) noexcept nogil:
    return b if b < a else a


cdef inline double overlap_of(const double* a, const double* b) noexcept nogil:
    """Intersection over union, 0..1, without a branch; 0 where a number is NaN or infinite."""
    cdef double width = smaller(a[0] + a[2], b[0] + b[2]) - larger(a[0], b[0])
    cdef double height = smaller(a[1] + a[3], b[1] + b[3]) - larger(a[1], b[1])
    cdef double shared = width * height
    cdef double ratio = shared / (a[2] * a[3] + b[2] * b[3] - shared)
    cdef double sum = a[0] + a[1] + a[2] + a[3] + (b[0] + b[1] + b[2] + b[3])
    # sum - sum: NaN where a number is NaN or infinite
    return smaller(ratio, 1.0) if (width > 0.0) & (height > 0.0) & (ratio > 0.0) & (sum - sum == 0.0) else 0.0


cdef inline double gap_of(const double* a, const double* b) noexcept nogil:
    cdef double x = a[0] + a[2] / 2 - b[0] - b[2] / 2
    cdef double y = a[1] + a[3] / 2 - b[1] - b[3] / 2
    cdef double gap = hypot(x, y) / larger(SMALLEST_PX, smaller((a[2] + a[3]) / 2, (b[2] + b[3]) / 2))
    return gap if gap == gap else INFINITY


cdef void pair_up(const double* overlap, const double* gap, Py_ssize_t rows, Py_ssize_t columns, double least_overlap,
                  double most_gap, Py_ssize_t* partner, Py_ssize_t* taken) noexcept nogil:
    """The best pair of those left, again and again: larger overlap, then smaller gap, then row, then column."""
    cdef Py_ssize_t i, j, at, row, column
    for i in range(rows):
        partner[i] = -1
    for j in range(columns):
        taken[j] = 0
    while True:
        at = row = column = -1
        for i in range(rows):
            if partner[i] >= 0:
                continue
            for j in range(i * columns, (i + 1) * columns):
                if taken[j - i * columns] or not (overlap[j] >= least_overlap or gap[j] <= most_gap):
                    continue
                if at < 0 or overlap[j] > overlap[at] or (overlap[j] == overlap[at] and gap[j] < gap[at]):
                    at = j
                    row = i
                    column = j - i * columns
        if at < 0:
            return
        partner[row] = column
        taken[column] = 1


cdef inline int check(const double[:, ::1] a, const double[:, ::1] b, const double[:, ::1] out) except -1:
    """ValueError unless a is (N, 4), b (M, 4) and out (N, M)."""
    if a.shape[1] != SIDES or b.shape[1] != SIDES or out.shape[0] != a.shape[0] or out.shape[1] != b.shape[0]:
        raise ValueError("expected boxes (N, 4) and (M, 4) and a table (N, M), got other shapes")
    return 0


def overlaps(const double[:, ::1] a not None, const double[:, ::1] b not None, double[:, ::1] out not None):
    """Fill out (N, M) with the overlaps of boxes a (N, 4) and b (M, 4). The GIL is released. ValueError: shapes."""
    check(a, b, out)
    cdef Py_ssize_t i, j, rows = a.shape[0], columns = b.shape[0]
    if rows == 0 or columns == 0:
        return
    cdef const double* left
    cdef const double* right = &b[0, 0]
    cdef double* row
    with nogil:
        for i in range(rows):
            left = &a[i, 0]
            row = &out[i, 0]
            for j in range(columns):
                row[j] = overlap_of(left, right + SIDES * j)


def gaps(const double[:, ::1] a not None, const double[:, ::1] b not None, double[:, ::1] out not None):
    """Fill out (N, M) with the gaps between boxes a (N, 4) and b (M, 4). The GIL is released. ValueError: shapes."""
    check(a, b, out)
    cdef Py_ssize_t i, j, rows = a.shape[0], columns = b.shape[0]
    with nogil:
        for i in range(rows):
            for j in range(columns):
                out[i, j] = gap_of(&a[i, 0], &b[j, 0])


def match(const double[:, ::1] overlap not None, const double[:, ::1] gap not None, double least_overlap,
          double most_gap, Py_ssize_t[::1] partner not None, Py_ssize_t[::1] taken not None):
    """Fill partner (N,) with the column that each row of overlap and gap (N, M) is paired with, or -1.

    taken (M,) is working memory: 1 where a column has its row. The GIL is released. ValueError: shapes.
    """
    if (overlap.shape[0] != gap.shape[0] or overlap.shape[1] != gap.shape[1] or partner.shape[0] != overlap.shape[0]
            or taken.shape[0] != overlap.shape[1]):
        raise ValueError("expected two tables (N, M), partners (N,) and columns taken (M,), got other shapes")
    if overlap.shape[0] == 0:
        return
    if overlap.shape[1] == 0:
        partner[:] = -1
        return
    with nogil:
        pair_up(&overlap[0, 0], &gap[0, 0], overlap.shape[0], overlap.shape[1], least_overlap, most_gap, &partner[0],
                &taken[0])
