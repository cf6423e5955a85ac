/* The loops of the alignment kernel that a compiler turns into vector code: plain C, a constant length, no aliasing.
 *
 * No intrinsics: the same lines serve every machine. Where the compiler and the C library can choose a version when the
 * library is loaded (GCC on x86-64 Linux), each loop is compiled twice, for the baseline and for AVX2.
 */
#ifndef AUNET_BLOCK_H
#define AUNET_BLOCK_H

#include <limits.h> /* defines __GLIBC__ where it is */
#include <stdint.h>
#include <string.h>

#define AUNET_BLOCK 64

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
#define AUNET_VERSIONS __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define AUNET_VERSIONS
#endif

#if defined(_MSC_VER)
#define AUNET_RESTRICT __restrict
#else
#define AUNET_RESTRICT restrict
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define AUNET_LITTLE_ENDIAN 0
#else
#define AUNET_LITTLE_ENDIAN 1
#endif

typedef struct {
    int32_t offset[AUNET_BLOCK];   /* bytes from the block's origin to the upper left tap of a pixel */
    float fx[AUNET_BLOCK];         /* the place between the taps, in [0, 1) */
    float fy[AUNET_BLOCK];
    uint32_t top[2 * AUNET_BLOCK]; /* the two upper taps of a pixel: the bytes B G R B, G R and two of noise */
    uint32_t low[2 * AUNET_BLOCK]; /* the two lower taps */
    float r[AUNET_BLOCK];          /* the blended pixels */
    float g[AUNET_BLOCK];
    float b[AUNET_BLOCK];
    uint16_t half[AUNET_BLOCK];    /* one channel of them in the crop's number format */
    uint8_t byte[AUNET_BLOCK];
} aunet_block;

/* Sampling positions x + i dx, y + i dy, all >= 0, as offsets into dense BGR rows and the rest between the taps. */
AUNET_VERSIONS
static void aunet_positions(aunet_block *block, float x, float y, float dx, float dy, int32_t row)
{
    for (int i = 0; i < AUNET_BLOCK; i++) {
        float px = x + (float)i * dx, py = y + (float)i * dy;
        int32_t ix = (int32_t)px, iy = (int32_t)py;
        block->fx[i] = px - (float)ix;
        block->fy[i] = py - (float)iy;
        block->offset[i] = (int32_t)((uint32_t)iy * (uint32_t)row + 3u * (uint32_t)ix);
    }
}

/* Weigh the four taps. A byte is masked out and not shifted; the weights make good for its place in the word. */
AUNET_VERSIONS
static void aunet_blend(const aunet_block *AUNET_RESTRICT block, float scale, float *AUNET_RESTRICT red,
                        float *AUNET_RESTRICT green, float *AUNET_RESTRICT blue)
{
    const float back = 1.0f / 256.0f;
    for (int i = 0; i < AUNET_BLOCK; i++) {
        uint32_t a = block->top[2 * i], b = block->top[2 * i + 1];
        uint32_t c = block->low[2 * i], d = block->low[2 * i + 1];
        float fx = block->fx[i], fy = block->fy[i] * scale, rest = scale - fy;
        float w01 = fx * rest, w11 = fx * fy;
        float w00 = rest - w01, w10 = fy - w11;
        blue[i] = ((float)(int32_t)(a & 0xFF) * w00 + (float)(int32_t)(a >> 24) * w01)
                + ((float)(int32_t)(c & 0xFF) * w10 + (float)(int32_t)(c >> 24) * w11);
        w00 *= back;
        w10 *= back;
        green[i] = ((float)(int32_t)(a & 0xFF00) * w00 + (float)(int32_t)(b & 0xFF) * w01)
                 + ((float)(int32_t)(c & 0xFF00) * w10 + (float)(int32_t)(d & 0xFF) * w11);
        red[i] = (((float)(int32_t)(a & 0xFF0000) * w00 + (float)(int32_t)(b & 0xFF00) * w01)
                + ((float)(int32_t)(c & 0xFF0000) * w10 + (float)(int32_t)(d & 0xFF00) * w11)) * back;
    }
}

/* IEEE 754 binary16 of float32, round to nearest, ties to even; too large becomes infinity, NaN stays NaN. */
AUNET_VERSIONS
static void aunet_to_half(const float *AUNET_RESTRICT values, uint16_t *AUNET_RESTRICT out)
{
    for (int i = 0; i < AUNET_BLOCK; i++) {
        uint32_t bits, size, normal, small, half;
        float magnitude;
        memcpy(&bits, &values[i], 4);
        size = bits & 0x7FFFFFFFu;
        normal = (size - 0x38000000u + 0xFFFu + ((size >> 13) & 1u)) >> 13; /* exponent bias 127 to 15, rounded */
        memcpy(&magnitude, &size, 4);
        magnitude += 0.5f; /* the last bit of 0.5 is the smallest subnormal: the addition rounds */
        memcpy(&small, &magnitude, 4);
        half = size < 0x38800000u ? small - 0x3F000000u : normal;
        half = size >= 0x47800000u ? 0x7C00u : half;
        half = size > 0x7F800000u ? 0x7E00u : half;
        out[i] = (uint16_t)(half | ((bits >> 16) & 0x8000u));
    }
}

/* Nearest whole grey level, limited to 0 .. 255. */
AUNET_VERSIONS
static void aunet_to_byte(const float *AUNET_RESTRICT values, uint8_t *AUNET_RESTRICT out)
{
    for (int i = 0; i < AUNET_BLOCK; i++) {
        float value = values[i] > 0.0f ? values[i] : 0.0f; /* NaN, too, is 0: a cast of it is undefined */
        value = value > 255.0f ? 255.0f : value;
        out[i] = (uint8_t)(int32_t)(value + 0.5f);
    }
}

#endif
