/* SIMD for the kernels: two vector types and a dozen functions on them, without intrinsics.

   `vf` and `vd` are vectors of float and double as wide as the registers of the instruction set that
   this file is compiled for; `+ - * /` on them are the compiler's own (GCC and Clang vector extensions).
   What the operators do not give is in simd_real.h, which is included once for each type. The macros at
   the end choose by the type of the argument, so that a kernel written once in Cython, with `vec`
   standing for either type, compiles for both.

   A `vf *` may point at any float: the types promise no more alignment than their elements have.

   Other compilers (MSVC) get vectors of one lane: plain floats, correct and slow. Define
   FASTSM_ONE_LANE to test that path with any compiler. */

#ifndef FASTSM_SIMD_H
#define FASTSM_SIMD_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__FAST_MATH__)
#error "fastsm needs NaN, infinities and the order of additions: do not compile it with -ffast-math"
#endif

#if !defined(__GNUC__) && !defined(__clang__)
#define FASTSM_ONE_LANE
#endif

#if defined(FASTSM_ONE_LANE)
#define VECTOR_BYTES 0
#elif defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

/* Coefficients from fit_polynomials.py, which states the forms. EXP_* are doubled. */
/* relative error 1.0e-8 */
#define EXP_F {1.0, 0.33333155512809753, 0.08333311229944229, 0.01672634668648243, 0.0027852351777255535}
/* relative error 1.7e-11 */
#define LOG_F {0.6666666865348816, 0.4000012278556824, 0.2855082154273987, 0.2333046793937683}
/* relative error 1.7e-17 */
#define EXP_D {1.0000000000000002, 0.33333333333333337, 0.08333333333324833, 0.01666666666666013, 0.0027777777834393437, 0.0003968253972608109, 4.9603042644737384e-05, 5.511453696062005e-06, 5.524015175996673e-07, 5.020075166512247e-08}
/* relative error 4.5e-18 */
#define LOG_D {0.666666666666667, 0.39999999999899505, 0.28571428625975487, 0.2222221113479508, 0.18182889125261723, 0.15331721600556042, 0.14616449685043406}

#if defined(__GNUC__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE static inline
#endif

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

#define REAL float
#define INTEGER int32_t
#define VEC vf
#define NAME(name) PASTE(name, _f)
#define REAL_LANES ((VECTOR_BYTES + 3) / 4 + !VECTOR_BYTES)
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define ROUNDING 12582912.0f                 /* 1.5 * 2^23: adding it rounds to an integer */
#define LOG2_E 1.4426950408889634f
#define LN2_HIGH 0.693145751953125f          /* 16 bits: its products with an exponent are exact */
#define LN2_LOW 1.428606820309417e-06f
#define EXP_LOWEST -87.33f
#define SQRT_HALF_BITS 0x3f3504f3
#define EXP_COEFFICIENTS EXP_F
#define EXP_DEGREE 4
#define LOG_COEFFICIENTS LOG_F
#define LOG_DEGREE 3
#include "simd_real.h"

#define REAL double
#define INTEGER int64_t
#define VEC vd
#define NAME(name) PASTE(name, _d)
#define REAL_LANES ((VECTOR_BYTES + 7) / 8 + !VECTOR_BYTES)
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define ROUNDING 6755399441055744.0          /* 1.5 * 2^52 */
#define LOG2_E 1.4426950408889634
#define LN2_HIGH 0.6931471803691238          /* 33 bits */
#define LN2_LOW 1.9082149292705877e-10
#define EXP_LOWEST -708.39
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcdLL
#define EXP_COEFFICIENTS EXP_D
#define EXP_DEGREE 9
#define LOG_COEFFICIENTS LOG_D
#define LOG_DEGREE 6
#include "simd_real.h"

#define CHOOSE(value, name) _Generic((value), vf: name##_f, vd: name##_d)
#define CHOOSE_BY_POINTER(pointer, name) _Generic(&(pointer)[0], vf *: name##_f, vd *: name##_d)

#define prefetch(p) __builtin_prefetch(p)
#define splat(like, value) CHOOSE(like, splat)(value)
#define maximum(a, b) CHOOSE(a, maximum)(a, b)
#define select_less(a, b, x, y) CHOOSE(x, select_less)(a, b, x, y)
#define select_equal(a, b, x, y) CHOOSE(x, select_equal)(a, b, x, y)
#define product(a, b) CHOOSE(a, product)(a, b)
#define inverse_remainder(b, inverse) CHOOSE(b, inverse_remainder)(b, inverse)
#define divide(a, b, inverse, lost) CHOOSE(a, divide)(a, b, inverse, lost)
#define keep_last(v, count, fill) CHOOSE(v, keep_last)(v, count, fill)
#define exp_clamped(d) CHOOSE(d, exp_clamped)(d)
#define exp_lowest(like) CHOOSE(like, exp_lowest)()
#define exp_nonpositive(d) CHOOSE(d, exp_nonpositive)(d)
#define log1p_nonnegative(x) CHOOSE(x, log1p_nonnegative)(x)
#define lanes_max(v) CHOOSE(v, lanes_max)(v)
#define lanes_sum(v) CHOOSE(v, lanes_sum)(v)
#define lanes(pointer) CHOOSE_BY_POINTER(pointer, lanes)()
#define load(pointer, count) CHOOSE_BY_POINTER(pointer, load)(pointer, count)
#define store(pointer, count, v) CHOOSE_BY_POINTER(pointer, store)(pointer, count, v)
#define select_label(labels, label, a, b) CHOOSE(a, select_label)(labels, label, a, b)
#define set_label(labels, lane, label) CHOOSE_BY_POINTER(labels, set_label)(labels, lane, label)
#define element(pointer, index) CHOOSE_BY_POINTER(pointer, element)(pointer, index)
#define set_element(pointer, index, value) CHOOSE_BY_POINTER(pointer, set_element)(pointer, index, value)
#define columns(from, to, n, back) CHOOSE_BY_POINTER(from, columns)(from, to, n, back)
#define transpose(from, from_step, to, to_step) \
    CHOOSE_BY_POINTER(from, transpose)(from, from_step, to, to_step)

#endif
