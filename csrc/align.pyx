# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One fused pass from frame to crop: bilinear warp, BGR to RGB, layout, scale, number format.

The crop is worked through in blocks of `BLOCK` pixels of one row. For a block the sampling positions are computed, the
four taps of every pixel are collected as words that hold B, G and R, and the words are blended (block.h). A block that
lies inside a frame of dense rows takes its taps straight from memory; any other goes through the path that checks each
tap, and there a tap outside the frame is 0.

The reference in NumPy is `aunet_sdk.alignment.warp_crop_reference`.
"""

from libc.math cimport floor, isfinite
from libc.stdint cimport INT32_MAX, int32_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

cdef extern from "block.h":
    enum: BLOCK "AUNET_BLOCK"
    bint LITTLE_ENDIAN "AUNET_LITTLE_ENDIAN"
    ctypedef struct Block "aunet_block":
        int32_t offset[1]
        float fx[1]
        float fy[1]
        uint32_t top[1]
        uint32_t low[1]
        float r[1]
        float g[1]
        float b[1]
        uint16_t half[1]
        uint8_t byte[1]
    void positions "aunet_positions"(Block* block, float x, float y, float dx, float dy, int32_t row) noexcept nogil
    void blend "aunet_blend"(const Block* block, float scale, float* r, float* g, float* b) noexcept nogil
    void to_half "aunet_to_half"(const float* values, uint16_t* out) noexcept nogil
    void to_byte "aunet_to_byte"(const float* values, uint8_t* out) noexcept nogil

ctypedef fused Pixel:
    uint8_t
    uint16_t
    float

cdef enum:
    BAND = 8                 # rows of the crop that are worked through block column by block column
    LARGEST = 32768          # side of a frame up to which float32 holds a position in a block to 0.01 px


cdef struct Image:
    const uint8_t* data      # the channel B of the pixel (0, 0)
    Py_ssize_t height
    Py_ssize_t width
    Py_ssize_t row           # strides in bytes
    Py_ssize_t column
    Py_ssize_t channel


cdef inline void taps_inside(Block* block, const uint8_t* origin, Py_ssize_t row, int n) noexcept nogil:
    """Collect the taps of n pixels, all of them inside the frame, from dense BGR rows."""
    cdef int i
    cdef const uint8_t* below = origin + row
    for i in range(n):
        memcpy(&block.top[2 * i], origin + block.offset[i], 8)
        memcpy(&block.low[2 * i], below + block.offset[i], 8)


cdef inline uint32_t tap(const Image* image, Py_ssize_t x, Py_ssize_t y) noexcept nogil:
    """The pixel (x, y) with B in bits 0-7, G in 8-15, R in 16-23; 0 outside the frame."""
    cdef const uint8_t* p
    if x < 0 or y < 0 or x >= image.width or y >= image.height:
        return 0
    p = image.data + y * image.row + x * image.column
    return p[0] | (<uint32_t>p[image.channel] << 8) | (<uint32_t>p[2 * image.channel] << 16)


cdef inline void pair(uint32_t* words, const Image* image, Py_ssize_t x, Py_ssize_t y) noexcept nogil:
    """The taps (x, y) and (x + 1, y) in the byte order of `Block.top`."""
    cdef uint32_t right = tap(image, x + 1, y)
    words[0] = tap(image, x, y) | (right << 24)
    words[1] = right >> 8


cdef inline double within(double value, double low, double high) noexcept nogil:
    """value, limited; low for NaN, which a cast to an integer must not meet."""
    if not value > low:
        return low
    return high if value > high else value


cdef inline void taps_checked(Block* block, const Image* image, double x, double y, double dx, double dy,
                              int n) noexcept nogil:
    """Positions and taps of n pixels that may lie anywhere, with any strides."""
    cdef int i
    cdef double px, py, left, upper
    cdef Py_ssize_t ix, iy
    for i in range(n):
        px = within(x + i * dx, -2.0, <double>image.width + 1.0)
        py = within(y + i * dy, -2.0, <double>image.height + 1.0)
        left = floor(px)
        upper = floor(py)
        block.fx[i] = <float>(px - left)
        block.fy[i] = <float>(py - upper)
        ix = <Py_ssize_t>left
        iy = <Py_ssize_t>upper
        pair(&block.top[2 * i], image, ix, iy)
        pair(&block.low[2 * i], image, ix, iy + 1)


cdef inline void store(Block* block, const float* values, Pixel* out, Py_ssize_t step, int n) noexcept nogil:
    """Write n values in the crop's number format, `step` elements apart."""
    cdef int i
    cdef const Pixel* source
    if Pixel is float:
        source = values
    elif Pixel is uint16_t:
        to_half(values, block.half)
        source = block.half
    else:
        to_byte(values, block.byte)
        source = block.byte
    if step == 1:
        memcpy(out, source, n * sizeof(Pixel))
    else:
        for i in range(n):
            out[i * step] = source[i]


cdef inline bint inside(const Image* image, double x, double y) noexcept nogil:
    """Whether two rows of eight bytes from the upper left tap of (x, y) on lie in the frame, float32 rounding included."""
    return x >= 0.0 and y >= 0.0 and x < image.width - 2.01 and y < image.height - 1.01


cdef void warp(const Image* image, const double* inverse, Pixel* out, Py_ssize_t plane, Py_ssize_t row,
               Py_ssize_t step, Py_ssize_t resolution, float scale) noexcept nogil:
    """Fill a crop of resolution x resolution; `inverse` maps crop pixels to frame pixels; strides in elements."""
    cdef Block block
    cdef Py_ssize_t i, j
    cdef int n
    cdef double x, y, x_end, y_end, left, upper
    cdef double dx = inverse[0]
    cdef double dy = inverse[3]
    cdef bint dense = (LITTLE_ENDIAN and image.channel == 1 and image.column == 3
                       and image.width < LARGEST and image.height < LARGEST
                       and (image.row if image.row > 0 else -image.row) < INT32_MAX // image.height)
    cdef Pixel* target
    memset(&block, 0, sizeof(Block))
    cdef Py_ssize_t tile, tiles = (resolution + BLOCK - 1) // BLOCK
    for tile in range(tiles * ((resolution + BAND - 1) // BAND)):  # blocks below each other: they share the frame's rows
        j = BLOCK * (tile % tiles)
        n = <int>min(<Py_ssize_t>BLOCK, resolution - j)
        for i in range(BAND * (tile // tiles), min(BAND * (tile // tiles) + BAND, resolution)):
            x = inverse[0] * j + inverse[1] * i + inverse[2]
            y = inverse[3] * j + inverse[4] * i + inverse[5]
            x_end = x + (n - 1) * dx
            y_end = y + (n - 1) * dy
            if dense and n > 1 and inside(image, x, y) and inside(image, x_end, y_end):
                left = floor(min(x, x_end))
                upper = floor(min(y, y_end))
                positions(&block, <float>(x - left), <float>(y - upper), <float>dx, <float>dy, <int32_t>image.row)
                taps_inside(&block, image.data + <Py_ssize_t>upper * image.row + 3 * <Py_ssize_t>left, image.row, n)
            else:
                taps_checked(&block, image, x, y, dx, dy, n)
            target = out + i * row + j * step
            if Pixel is float and step == 1 and n == BLOCK:
                blend(&block, scale, target, target + plane, target + 2 * plane)
            else:
                blend(&block, scale, block.r, block.g, block.b)
                store(&block, block.r, target, step, n)
                store(&block, block.g, target + plane, step, n)
                store(&block, block.b, target + 2 * plane, step, n)


cdef inline Image frame_of(const uint8_t[:, :, :] image) noexcept:
    """Where the pixels of a frame lie."""
    cdef Image source
    source.data = &image[0, 0, 0]
    source.height = image.shape[0]
    source.width = image.shape[1]
    source.row = image.strides[0]
    source.column = image.strides[1]
    source.channel = image.strides[2]
    return source


cdef inline bint fits(const uint8_t[:, :, :] image, Py_ssize_t planes, Py_ssize_t rows, Py_ssize_t columns,
                      Py_ssize_t strides, Py_ssize_t size) noexcept:
    """Whether a picture has pixels of three channels, and a crop three square planes of whole elements."""
    return (image.shape[2] == 3 and image.shape[0] > 0 and image.shape[1] > 0 and planes == 3 and rows == columns
            and rows > 0 and strides % size == 0)


def warp_crop(const uint8_t[:, :, :] image not None, tuple inverse, Pixel[:, :, :] out not None, float scale):
    """Fill `out` (3, R, R), RGB, of uint8, float32 or float16 (given as its uint16 bits) from a BGR image.

    The caller, `aunet_sdk.geometry.crop.warp_crop`, has checked that `inverse`, crop to frame, is six finite numbers.
    A channel-last crop comes as a view with the channel axis in front. The GIL is released. ValueError: shapes.
    """
    cdef Py_ssize_t size = sizeof(Pixel)
    cdef double numbers[6]
    if not fits(image, out.shape[0], out.shape[1], out.shape[2], out.strides[0] | out.strides[1] | out.strides[2],
                size):
        raise ValueError("expected an image (H, W, 3) and a crop (3, R, R) of whole elements, got other shapes")
    cdef Image source = frame_of(image)
    numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5] = inverse
    with nogil:
        warp(&source, numbers, &out[0, 0, 0], out.strides[0] // size, out.strides[1] // size,
             out.strides[2] // size, out.shape[1], scale)


def warp_crop_float(const uint8_t[:, :, :] image not None, const double[:, :] matrix not None,
                    float[:, :, :] out not None, float scale):
    """The usual call in one step: `warp_crop` with a planar float32 crop and the matrix itself, frame to crop.

    Checks what the caller of `warp_crop` checks. Returns False, with nothing written, where something is amiss; the
    caller then finds out what.
    """
    cdef double a, b, x, c, d, y, determinant, f
    if (not fits(image, out.shape[0], out.shape[1], out.shape[2], out.strides[0] | out.strides[1] | out.strides[2], 4)
            or matrix.shape[0] != 2 or matrix.shape[1] != 3 or out.shape[1] < 4 or not isfinite(scale)):
        return False
    a, b, x = matrix[0, 0], matrix[0, 1], matrix[0, 2]
    c, d, y = matrix[1, 0], matrix[1, 1], matrix[1, 2]
    determinant = a * d - b * c
    if not isfinite(a + b + c + d + x + y) or determinant == 0.0 or not isfinite(1.0 / determinant):
        return False
    f = 1.0 / determinant
    cdef Image source = frame_of(image)
    cdef double[6] numbers = [d * f, -b * f, (b * y - d * x) * f, -c * f, a * f, (c * x - a * y) * f]
    with nogil:
        warp(&source, numbers, &out[0, 0, 0], out.strides[0] // 4, out.strides[1] // 4, out.strides[2] // 4,
             out.shape[1], scale)
    return True
