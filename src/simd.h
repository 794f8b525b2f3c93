/* SIMD for the kernels: two vector types and some forty functions on them.

   `vf` and `vd` are vectors of float and double as wide as the registers of the instruction set that
   this file is compiled for; `+ - * /` on them are the compiler's own (GCC and Clang vector extensions).
   What the operators do not give is in simd_real.h, which is included once for each type. The macros at
   the end choose by the type of the argument, so that a kernel written once in Cython, with `vec`
   standing for either type, compiles for both.

   Each operator rounds. Where a product and a sum are to be rounded together the kernel says so with
   `multiply_add` or `subtract_product`: a compiler that chose for itself (-ffp-contract=fast) would choose
   differently in two copies of a loop, and the bits of a row would depend on the loop that it went through.
   Those two, the maximum and the square root are intrinsics, as not every compiler makes one instruction of them.

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

/* Numbers, so that they can be part of a macro's name. X86 is what the names of the intrinsics begin with. */
#if defined(FASTSM_ONE_LANE)
#define VECTOR_BYTES 0
#define FLOAT_LANES 1
#define DOUBLE_LANES 1
#elif defined(__AVX512F__)
#include <immintrin.h>
#define X86 _mm512_
#define VECTOR_BYTES 64
#define FLOAT_LANES 16
#define DOUBLE_LANES 8
#elif defined(__AVX2__)
#include <immintrin.h>
#define X86 _mm256_
#define VECTOR_BYTES 32
#define FLOAT_LANES 8
#define DOUBLE_LANES 4
#else
#if defined(__SSE2__)
#include <immintrin.h>
#define X86 _mm_
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#define VECTOR_BYTES 16
#define FLOAT_LANES 4
#define DOUBLE_LANES 2
#endif

/* Whether `multiply_add` rounds once. Tests define it as 0: what is fused even then is the compiler's own choice. */
#ifndef FUSED
#if !defined(FASTSM_ONE_LANE) && (defined(__FMA__) || defined(__aarch64__))
#define FUSED 1
#else
#define FUSED 0
#endif
#endif

/* Vectors side by side in a tile of a matrix product: 6 rows of them, one factor of each column and one of the row
   are to fit the registers. */
#if VECTOR_BYTES == 64 || defined(__aarch64__)
#define TILE_VECTORS 4
#else
#define TILE_VECTORS 2
#endif

/* Coefficients from fit_polynomials.py, which states the forms. EXP_* are doubled. */
/* relative error 1.0e-8 */
#define EXP_F {1.0, 0.33333155512809753, 0.08333311229944229, 0.01672634668648243, 0.0027852351777255535}
/* relative error 1.7e-11 */
#define LOG_F {0.6666666865348816, 0.4000012278556824, 0.2855082154273987, 0.2333046793937683}
/* relative error 2.5e-9 */
#define MILLS_F {0.472053200006485, -0.09670346975326538, 0.013999636285007, 0.02860003337264061, -0.03219781443476677, 0.017939450219273567, -0.005002140998840332, -0.0002999187563546002, 0.0006908448413014412, -6.673718598904088e-05, -7.437454769387841e-05}
/* relative error 1.7e-17 */
#define EXP_D {1.0000000000000002, 0.33333333333333337, 0.08333333333324833, 0.01666666666666013, 0.0027777777834393437, 0.0003968253972608109, 4.9603042644737384e-05, 5.511453696062005e-06, 5.524015175996673e-07, 5.020075166512247e-08}
/* relative error 4.5e-18 */
#define LOG_D {0.666666666666667, 0.39999999999899505, 0.28571428625975487, 0.2222221113479508, 0.18182889125261723, 0.15331721600556042, 0.14616449685043406}
/* relative error 1.4e-17 */
#define MILLS_D {0.46151582985003775, -0.0915522818340088, 0.03103036842596323, 0.01000235238520508, -0.026401042966294957, 0.024536963244459763, -0.015170415402485999, 0.006522000656244846, -0.0016760723488506491, 7.791691200143757e-06, 0.00018233420251531396, -5.360803814501582e-05, -9.89646889628134e-06, 9.061205795397122e-06, -6.89568345120625e-08, -1.3100089700228854e-06, 1.2471420099248941e-07, 1.9896232929933335e-07, -2.195811538892318e-08, -3.208575497095596e-08, 3.528157289739585e-10, 4.037645813495844e-09, 7.719462671584014e-10}

#if defined(__GNUC__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE static inline
#endif

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

/* Unroll the loop that follows, of at most 16 rounds. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 16")
#else
#define UNROLL
#endif

/* f(0), f(1), ...: the lanes that a shuffle takes, which have to be constants. */
#define INDICES_1(f) f(0)
#define INDICES_2(f) f(0), f(1)
#define INDICES_4(f) INDICES_2(f), f(2), f(3)
#define INDICES_8(f) INDICES_4(f), f(4), f(5), f(6), f(7)
#define INDICES_16(f) INDICES_8(f), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)

#define REAL float
#define INTEGER int32_t
#define UNSIGNED uint32_t
#define VEC vf
#define NAME(name) PASTE(name, _f)
#define REAL_LANES FLOAT_LANES
#define X86_TYPE _ps
#define NEON_TYPE _f32
#define MANTISSA_BITS 23
#define SIGN_BIT INT32_MIN
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
#define MILLS_COEFFICIENTS MILLS_F
#define MILLS_DEGREE 10
#define MILLS_CENTER 4
#define MILLS_LARGEST 15.0f                  /* x Phi(-x) is nearer to 0 than to any other number from here on, */
#define SCALED_LOWEST -110.0f                /* and so is x exp(x) below this */
#define SCALE_EXPONENT 64
#define UNSCALE 0x1p-64f
#define HALF_OF_BITS 12
#define SQUARE_ROOT sqrtf
#include "simd_real.h"

#define REAL double
#define INTEGER int64_t
#define UNSIGNED uint64_t
#define VEC vd
#define NAME(name) PASTE(name, _d)
#define REAL_LANES DOUBLE_LANES
#define X86_TYPE _pd
#define NEON_TYPE _f64
#define MANTISSA_BITS 52
#define SIGN_BIT INT64_MIN
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
#define MILLS_COEFFICIENTS MILLS_D
#define MILLS_DEGREE 22
#define MILLS_CENTER 5
#define MILLS_LARGEST 39.0
#define SCALED_LOWEST -760.0
#define SCALE_EXPONENT 512
#define UNSCALE 0x1p-512
#define HALF_OF_BITS 27
#define SQUARE_ROOT sqrt
#include "simd_real.h"

/* As many elements at p as a vector of doubles has, as doubles. */
#if VECTOR_BYTES
typedef float half_natural_f __attribute__((vector_size(VECTOR_BYTES / 2), may_alias));
typedef half_natural_f half_vf __attribute__((aligned(sizeof(float))));
static inline vd load_as_doubles_f(const vf *p) { return __builtin_convertvector(*(const half_vf *)p, vd); }
#else
static inline vd load_as_doubles_f(const vf *p) { return *p; }
#endif
static inline vd load_as_doubles_d(const vd *p) { return *p; }

#define CHOOSE(value, name) _Generic((value), vf: name##_f, vd: name##_d)
#define CHOOSE_BY_POINTER(pointer, name) _Generic(&(pointer)[0], vf *: name##_f, vd *: name##_d)

#if defined(__GNUC__) || defined(__clang__)
#define prefetch(p) __builtin_prefetch(p)
#else
#define prefetch(p) ((void)(p))
#endif
#define splat(like, value) CHOOSE(like, splat)(value)
#define maximum(a, b) CHOOSE(a, maximum)(a, b)
#define multiply_add(a, b, c) CHOOSE(a, multiply_add)(a, b, c)
#define subtract_product(c, a, b) CHOOSE(c, subtract_product)(c, a, b)
#define select_less(a, b, x, y) CHOOSE(x, select_less)(a, b, x, y)
#define select_equal(a, b, x, y) CHOOSE(x, select_equal)(a, b, x, y)
#define masking_product(a, b) CHOOSE(a, masking_product)(a, b)
#define inverse_remainder(b, inverse) CHOOSE(b, inverse_remainder)(b, inverse)
#define divide(a, b, inverse, lost) CHOOSE(a, divide)(a, b, inverse, lost)
#define keep_last(v, count, fill) CHOOSE(v, keep_last)(v, count, fill)
#define exp_clamped(d) CHOOSE(d, exp_clamped)(d)
#define exp_lowest(like) CHOOSE(like, exp_lowest)()
#define exp_nonpositive(d) CHOOSE(d, exp_nonpositive)(d)
#define log1p_nonnegative(x) CHOOSE(x, log1p_nonnegative)(x)
#define absolute(x) CHOOSE(x, absolute)(x)
#define square_root(x) CHOOSE(x, square_root)(x)
#define exp_scaled(d, more) CHOOSE(d, exp_scaled)(d, more)
#define scaled_lowest(like) CHOOSE(like, scaled_lowest)()
#define unscale(x) CHOOSE(x, unscale)(x)
#define tanh_of(x) CHOOSE(x, tanh_of)(x)
#define mills_ratio(t) CHOOSE(t, mills_ratio)(t)
#define mills_largest(like) CHOOSE(like, mills_largest)()
#define leading_bits(x) CHOOSE(x, leading_bits)(x)
#define keep_first(v, count) CHOOSE(v, keep_first)(v, count)
#define load_as_doubles(pointer) CHOOSE_BY_POINTER(pointer, load_as_doubles)(pointer)
#define lanes_max(v) CHOOSE(v, lanes_max)(v)
#define lanes_sum(v) CHOOSE(v, lanes_sum)(v)
#define lanes(pointer) CHOOSE_BY_POINTER(pointer, lanes)()
#define load(pointer, count) CHOOSE_BY_POINTER(pointer, load)(pointer, count)
#define store(pointer, count, v) CHOOSE_BY_POINTER(pointer, store)(pointer, count, v)
#define select_label(labels, label, a, b) CHOOSE(a, select_label)(labels, label, a, b)
#define set_label(labels, lane, label) CHOOSE_BY_POINTER(labels, set_label)(labels, lane, label)
#define element(pointer, index) CHOOSE_BY_POINTER(pointer, element)(pointer, index)
#define broadcast(pointer, index) CHOOSE_BY_POINTER(pointer, broadcast)(pointer, index)
#define set_element(pointer, index, value) CHOOSE_BY_POINTER(pointer, set_element)(pointer, index, value)
#define rows_to_columns(from, to, n) CHOOSE_BY_POINTER(from, rows_to_columns)(from, to, n)
#define columns_to_rows(from, to, n) CHOOSE_BY_POINTER(from, columns_to_rows)(from, to, n)
#define transpose(from, from_step, to, to_step) \
    CHOOSE_BY_POINTER(from, transpose)(from, from_step, to, to_step)

#endif
