/* Numbers of 16 bits, IEEE half precision and bfloat16, from and to float: without branches, so that loops over
   them become vector instructions everywhere. Rounding is to the nearest, ties to even. */

#ifndef FASTSM_HALVES_H
#define FASTSM_HALVES_H

#include <stdint.h>
#include <string.h>

static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float float_of_half(uint16_t half)
{
    const uint32_t rebias = (uint32_t)(127 - 15) << 23, least = (uint32_t)1 << 23;
    uint32_t magnitude = ((uint32_t)half & 0x7fff) << 13;
    uint32_t normal = magnitude + rebias;
    /* Infinity and NaN have the largest exponent of both formats. */
    uint32_t special = magnitude + 2 * rebias;
    /* A subnormal: 2^-14 is added, so that it becomes normal, and subtracted again. */
    uint32_t subnormal = bits_of(float_of(normal + least) - float_of(rebias + least));
    uint32_t bits = magnitude >= ((uint32_t)31 << 23) ? special : magnitude < least ? subnormal : normal;
    return float_of(bits | ((uint32_t)half & 0x8000) << 16);
}

static inline uint16_t half_of_float(float x)
{
    const uint32_t infinity = (uint32_t)255 << 23, too_large = (uint32_t)(127 + 16) << 23;
    const uint32_t least = (uint32_t)(127 - 14) << 23;
    /* Its last bit is worth 2^-24, that of the subnormal halves: adding it rounds there. */
    const uint32_t magic = (uint32_t)(127 - 1) << 23;
    uint32_t bits = bits_of(x), magnitude = bits & 0x7fffffff;
    uint32_t subnormal = bits_of(float_of(magnitude) + float_of(magic)) - magic;
    uint32_t normal = (magnitude + ((magnitude >> 13) & 1) + 0xfff - ((uint32_t)(127 - 15) << 23)) >> 13;
    uint32_t special = magnitude > infinity ? 0x7e00 : 0x7c00;
    uint32_t half = magnitude >= too_large ? special : magnitude < least ? subnormal : normal;
    return (uint16_t)(half | (bits >> 16 & 0x8000));
}

static inline float float_of_bfloat(uint16_t half)
{
    return float_of((uint32_t)half << 16);
}

static inline uint16_t bfloat_of_float(float x)
{
    uint32_t bits = bits_of(x), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    /* A NaN must not become an infinity. */
    return (uint16_t)((bits & 0x7fffffff) > ((uint32_t)255 << 23) ? (bits >> 16) | 0x40 : rounded);
}

#endif
