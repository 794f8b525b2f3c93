/* The functions of simd.h for one element type; included once for float and once for double, with these defined,
   and undefined again at the end:

   REAL, INTEGER, UNSIGNED      the element type, and integers as wide
   VEC, NAME(name)              the vector type, and what the functions are called
   REAL_LANES                   lanes of a vector: a number, not an expression
   X86_TYPE, NEON_TYPE          what the names of intrinsics end with
   MANTISSA_BITS, SIGN_BIT, EXPONENT_BIAS, HALF_OF_BITS
                                the format; half of the bits of a number with its hidden one
   ROUNDING                     1.5 times the power of two whose neighbours are integers apart
   LOG2_E, LN2_HIGH, LN2_LOW, EXP_LOWEST, SQRT_HALF_BITS, MILLS_LARGEST, MILLS_CENTER
   SCALED_LOWEST, SCALE_EXPONENT, UNSCALE
                                constants of exp, log and the Mills ratio: see the functions
   *_COEFFICIENTS, *_DEGREE     polynomials
   SQUARE_ROOT                  of a number */

#define MASK NAME(mask)
#define WORD NAME(word)
/* The bits as numbers to calculate with: unsigned, as lanes with NaN, or that are not used, overflow. */
#define WORDS(v) ((WORD)BITS(v))
#define LANES NAME(LANES)
enum { LANES = REAL_LANES };

#if VECTOR_BYTES
/* In two steps: GCC for arm64 passes no vectors by value whose own type has another alignment than the register. */
typedef REAL NAME(natural) __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef NAME(natural) VEC __attribute__((aligned(sizeof(REAL))));
typedef INTEGER MASK __attribute__((vector_size(VECTOR_BYTES)));
typedef UNSIGNED WORD __attribute__((vector_size(VECTOR_BYTES)));
#define LANE(v, i) (v)[i]
#define BITS(v) ((MASK)(v))
#define FROM_BITS(b) ((VEC)(b))
#define SELECT(mask, x, y) FROM_BITS(((mask) & BITS(x)) | (~(mask) & BITS(y)))
/* Lane `f(i)` of a and b, b's counted on from a's, in lane i. */
#if defined(__clang__)
#define SHUFFLE(a, b, f) __builtin_shufflevector(a, b, PASTE(INDICES_, REAL_LANES)(f))
#else
#define SHUFFLE(a, b, f) __builtin_shuffle(a, b, (MASK){PASTE(INDICES_, REAL_LANES)(f)})
#endif
#else
typedef REAL VEC;
typedef INTEGER MASK;
typedef UNSIGNED WORD;
#define LANE(v, i) (v)
static inline MASK NAME(bits)(VEC v) { MASK b; memcpy(&b, &v, sizeof b); return b; }
static inline VEC NAME(from_bits)(MASK b) { VEC v; memcpy(&v, &b, sizeof v); return v; }
#define BITS(v) NAME(bits)(v)
#define FROM_BITS(b) NAME(from_bits)(b)
#define SELECT(mask, x, y) ((mask) ? (x) : (y))
#define SHUFFLE(a, b, f) (a)                   /* never used: one lane needs no rounds */
#endif

#if defined(X86)
#define INTRINSIC(name) PASTE(PASTE(X86, name), X86_TYPE)
#elif defined(__aarch64__) && VECTOR_BYTES
#define NEON(name) PASTE(name, NEON_TYPE)
#endif

static inline ptrdiff_t NAME(lanes)(void) { return LANES; }

/* 0, 1, 2, ... */
#define ITSELF(i) (i)
static inline MASK NAME(index)(void) { return (MASK){PASTE(INDICES_, REAL_LANES)(ITSELF)}; }

/* The value in every lane. */
static inline VEC NAME(splat)(double value)
{
    VEC zero = {0};
    return zero + (REAL)value;
}

/* a > b ? a : b in each lane: b where either is NaN, or both are 0. */
static inline VEC NAME(maximum)(VEC a, VEC b)
{
#if defined(X86)
    return INTRINSIC(max)(a, b);
#else
    return SELECT(a > b, a, b);
#endif
}

/* a b + c and c - a b in each lane: rounded once where FUSED, else twice. */
static inline VEC NAME(multiply_add)(VEC a, VEC b, VEC c)
{
#if FUSED && defined(X86)
    return INTRINSIC(fmadd)(a, b, c);
#elif FUSED
    return NEON(vfmaq)(c, a, b);
#else
    return a * b + c;
#endif
}

static inline VEC NAME(subtract_product)(VEC c, VEC a, VEC b)
{
#if FUSED && defined(X86)
    return INTRINSIC(fnmadd)(a, b, c);
#elif FUSED
    return NEON(vfmsq)(c, a, b);
#else
    return c - a * b;
#endif
}

/* a < b ? x : y in each lane. */
static inline VEC NAME(select_less)(VEC a, VEC b, VEC x, VEC y) { return SELECT(a < b, x, y); }

/* a == b ? x : y in each lane. */
static inline VEC NAME(select_equal)(VEC a, VEC b, VEC x, VEC y) { return SELECT(a == b, x, y); }

/* a * b, except that 0 times an infinity counts as 0; NaN stays NaN. */
static inline VEC NAME(masking_product)(VEC a, VEC b)
{
    VEC zero = {0};
    return SELECT(a == zero, SELECT(b == b, zero, b), a * b);
}

/* a / b to the last bit or nearly, given inverse = 1 / b rounded and lost = 1 / b - inverse: a product for each of
   the two. Without fused multiply-add they cannot be had exactly, and the division itself is taken. */
#if FUSED
static inline VEC NAME(inverse_remainder)(VEC b, VEC inverse)
{
    return NAME(subtract_product)(NAME(splat)(1), b, inverse) * inverse;
}
static inline VEC NAME(divide)(VEC a, VEC b, VEC inverse, VEC lost)
{
    (void)b;
    return NAME(multiply_add)(a, inverse, a * lost);
}
#else
static inline VEC NAME(inverse_remainder)(VEC b, VEC inverse) { (void)b; return inverse; }
static inline VEC NAME(divide)(VEC a, VEC b, VEC inverse, VEC lost) { (void)inverse; (void)lost; return a / b; }
#endif

/* The last `count` lanes of v, and `fill` in those before. */
static inline VEC NAME(keep_last)(VEC v, ptrdiff_t count, double fill)
{
    return SELECT(NAME(index)() >= (INTEGER)(LANES - count), v, NAME(splat)(fill));
}

/* The first `count` lanes of v, and zeros in those after. */
static inline VEC NAME(keep_first)(VEC v, ptrdiff_t count)
{
    VEC zero = {0};
    return SELECT(NAME(index)() < (INTEGER)count, v, zero);
}

/* |x| in each lane. */
static inline VEC NAME(absolute)(VEC x) { return FROM_BITS(BITS(x) & ~(INTEGER)SIGN_BIT); }

static inline VEC NAME(square_root)(VEC x)
{
#if defined(X86)
    return INTRINSIC(sqrt)(x);
#elif defined(NEON)
    return NEON(vsqrtq)(x);
#else
    for (int i = 0; i < LANES; i++)
        LANE(x, i) = SQUARE_ROOT(LANE(x, i));
    return x;
#endif
}

/* The polynomial with these coefficients, that of x^0 first, by Horner's rule. */
ALWAYS_INLINE VEC NAME(polynomial)(const REAL *c, int degree, VEC x)
{
    VEC value = NAME(splat)(c[degree]);
    for (int i = degree - 1; i >= 0; i--)
        value = NAME(multiply_add)(value, x, NAME(splat)(c[i]));
    return value;
}

/* 2 (exp(r) - 1) for |r| <= ln2/2, relatively accurate however small r is. */
static inline VEC NAME(exp_rest)(VEC r)
{
    static const REAL c[] = EXP_COEFFICIENTS;
    /* adds small to large: less rounding than Horner's last steps */
    return NAME(multiply_add)(NAME(polynomial)(c, EXP_DEGREE, r), r * r, r + r);
}

/* d - n ln2 for the integer n nearest to whole / ln2; n is left in the low bits of z, plus EXPONENT_BIAS - 1.
   `whole` is d, but for a small part that the caller adds itself (W. J. Cody and W. Waite, Software Manual for the
   Elementary Functions, 1980, ch. 6). */
static inline VEC NAME(reduced)(VEC whole, VEC d, VEC *z)
{
    const VEC magic = NAME(splat)(ROUNDING + (EXPONENT_BIAS - 1));
    *z = NAME(multiply_add)(whole, NAME(splat)(LOG2_E), magic);
    VEC n = *z - magic;
    return NAME(subtract_product)(NAME(subtract_product)(d, n, NAME(splat)(LN2_HIGH)), n, NAME(splat)(LN2_LOW));
}

/* exp(d) for exp_lowest <= d <= 0. Error below 1 ULP; exp(0) = 1; NaN stays NaN; never subnormal: where the
   result would be below 2^-125.5 (double: 2^-1021.5), as it is at exp_lowest, it is exactly 0.

   exp(d) = 2^n exp(r). The bias in the bits of z is one less than the exponent's and the coefficients are doubled:
   then n = -126 (-1022) gives an exponent field of 0, which is the factor 0, and no blend is needed. */
static inline VEC NAME(exp_clamped)(VEC d)
{
    VEC z, r = NAME(reduced)(d, d, &z);
    return (NAME(exp_rest)(r) + 2) * FROM_BITS(WORDS(z) << MANTISSA_BITS);
}

static inline VEC NAME(exp_lowest)(void) { return NAME(splat)(EXP_LOWEST); }

/* exp(d) for any d <= 0. */
static inline VEC NAME(exp_nonpositive)(VEC d)
{
    return NAME(exp_clamped)(NAME(maximum)(NAME(exp_lowest)(), d));
}

/* exp(d + more) times 2^SCALE_EXPONENT, for scaled_lowest <= d <= 0 and a far smaller `more`: never 0 nor subnormal, so
   that a product with it keeps its last bits until `unscale` divides by that power again. */
static inline VEC NAME(exp_scaled)(VEC d, VEC more)
{
    VEC z, r = NAME(reduced)(d + more, d, &z) + more;
    return (NAME(exp_rest)(r) + 2) * FROM_BITS((WORDS(z) + SCALE_EXPONENT) << MANTISSA_BITS);
}

static inline VEC NAME(scaled_lowest)(void) { return NAME(splat)(SCALED_LOWEST); }
static inline VEC NAME(unscale)(VEC x) { return x * UNSCALE; }

/* tanh(x). Error below 3 ULP, relative to the result however small x is; -0 for -0.

   tanh(|x|) = -e / (2 + e) with e = exp(-2 |x|) - 1 = 2^n (exp(r) - 1) + (2^n - 1): for small x n is 0, and nothing
   cancels. */
static inline VEC NAME(tanh_of)(VEC x)
{
    VEC d = NAME(maximum)(NAME(splat)(EXP_LOWEST), NAME(absolute)(x) * -2);
    VEC z, r = NAME(reduced)(d, d, &z);
    VEC half_power = FROM_BITS(WORDS(z) << MANTISSA_BITS);
    VEC e = NAME(multiply_add)(half_power, NAME(exp_rest)(r), half_power + half_power - 1);
    return FROM_BITS((BITS(x) & (INTEGER)SIGN_BIT) | BITS(NAME(absolute)(e / (e + 2))));
}

/* exp(t^2/2) Phi(-t) for 0 <= t <= mills_largest, with Phi the normal distribution function: half of erfcx(t/sqrt(2)),
   and the ratio named after J. P. Mills but for a factor. Error below 2 ULP. fit_polynomials.py states the form. */
static inline VEC NAME(mills_ratio)(VEC t)
{
    static const REAL c[] = MILLS_COEFFICIENTS;
    VEC k = (t - MILLS_CENTER) / (t + MILLS_CENTER);
    return NAME(polynomial)(c, MILLS_DEGREE, k) / (t + 1);
}

static inline VEC NAME(mills_largest)(void) { return NAME(splat)(MILLS_LARGEST); }

/* x rounded to half as many bits, so that the square is exact. */
static inline VEC NAME(leading_bits)(VEC x)
{
    const UNSIGNED half = (UNSIGNED)1 << (HALF_OF_BITS - 1);
    return FROM_BITS((WORDS(x) + half) & ~(2 * half - 1));
}

/* log(1 + x) for 0 <= x < 2^31, NaN for NaN. Error below 2 ULP, relative to the result however small x is.

   u = 1 + x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); log(1 + f) = f - s (f - R), s = f/(2 + f)
   (fdlibm, e_log.c); what the rounding of u lost comes back as (x - (u - 1)) / u (D. Goldberg, What Every
   Computer Scientist Should Know About Floating-Point Arithmetic, 1991, theorem 4, by its first term). */
static inline VEC NAME(log1p_nonnegative)(VEC x)
{
    static const REAL c[] = LOG_COEFFICIENTS;
    const UNSIGNED one = (UNSIGNED)EXPONENT_BIAS << MANTISSA_BITS;
    VEC u = x + 1;
    VEC lost = (x - (u - 1)) / u;
    WORD exponent = WORDS(u) + (one - (UNSIGNED)SQRT_HALF_BITS);
    exponent = (exponent >> MANTISSA_BITS) - EXPONENT_BIAS;
    VEC f = FROM_BITS(WORDS(u) - (exponent << MANTISSA_BITS)) - 1;
    VEC k = FROM_BITS(exponent + WORDS(NAME(splat)(ROUNDING))) - ROUNDING;
    VEC s = f / (f + 2);
    VEC s2 = s * s;
    VEC part = s * NAME(subtract_product)(f, s2, NAME(polynomial)(c, LOG_DEGREE, s2));
    part = part - NAME(multiply_add)(k, NAME(splat)(LN2_LOW), lost);
    return NAME(multiply_add)(k, NAME(splat)(LN2_HIGH), f - part);
}

/* The largest lane, and the sum of the lanes by a fixed tree, in every lane. A round pairs lane i with lane
   i ^ half; every lane ends with the same tree, as the operations commute. */
#define ACROSS_8(i) (((i) ^ 8) % REAL_LANES)
#define ACROSS_4(i) (((i) ^ 4) % REAL_LANES)
#define ACROSS_2(i) (((i) ^ 2) % REAL_LANES)
#define ACROSS_1(i) (((i) ^ 1) % REAL_LANES)
static inline VEC NAME(lanes_max)(VEC v)
{
    if (LANES > 8)
        v = NAME(maximum)(v, SHUFFLE(v, v, ACROSS_8));
    if (LANES > 4)
        v = NAME(maximum)(v, SHUFFLE(v, v, ACROSS_4));
    if (LANES > 2)
        v = NAME(maximum)(v, SHUFFLE(v, v, ACROSS_2));
    if (LANES > 1)
        v = NAME(maximum)(v, SHUFFLE(v, v, ACROSS_1));
    return v;
}

static inline VEC NAME(lanes_sum)(VEC v)
{
    if (LANES > 8)
        v = v + SHUFFLE(v, v, ACROSS_8);
    if (LANES > 4)
        v = v + SHUFFLE(v, v, ACROSS_4);
    if (LANES > 2)
        v = v + SHUFFLE(v, v, ACROSS_2);
    if (LANES > 1)
        v = v + SHUFFLE(v, v, ACROSS_1);
    return v;
}

/* The `count` elements at p (1 to LANES) and zeros; and back. Masked where there is an instruction that is fast: a
   call of memcpy takes some 10 ns, and AMD's masked stores of AVX2 as long. */
static inline VEC NAME(load)(const VEC *p, ptrdiff_t count)
{
    if (count == LANES)
        return *p;
#if defined(__AVX512F__)
    return INTRINSIC(maskz_loadu)((1u << count) - 1, p);
#elif defined(__AVX2__)
    return INTRINSIC(maskload)((const REAL *)p, (__m256i)(NAME(index)() < (INTEGER)count));
#else
    REAL part[LANES] = {0};
    memcpy(part, p, (size_t)count * sizeof(REAL));
    return *(const VEC *)part;
#endif
}

static inline void NAME(store)(VEC *p, ptrdiff_t count, VEC v)
{
    if (count == LANES)
        *p = v;
#if defined(__AVX512F__)
    else
        INTRINSIC(mask_storeu)(p, (1u << count) - 1, v);
#else
    else
        memcpy(p, &v, (size_t)count * sizeof(REAL));
#endif
}

/* Labels ride in the bits of a vector: one integer a lane, for `select_label` alone to read. a where the lane's label
   is `label`, else b. */
static inline VEC NAME(select_label)(VEC labels, ptrdiff_t label, VEC a, VEC b)
{
    VEC zero = {0};
    return SELECT(BITS(labels) == BITS(zero) + (INTEGER)label, a, b);
}

static inline void NAME(set_label)(VEC *labels, ptrdiff_t lane, ptrdiff_t label)
{
    INTEGER value = (INTEGER)label;
    memcpy((REAL *)labels + lane, &value, sizeof value);
}

/* The element `index` elements after p, which need not lie inside *p: in all lanes, in one instruction, where a number
   that has been a double takes two; and `element`, as a number. */
static inline VEC NAME(broadcast)(const VEC *p, ptrdiff_t index) { return ((const REAL *)p)[index] - (VEC){0}; }
static inline double NAME(element)(const VEC *p, ptrdiff_t index) { return ((const REAL *)p)[index]; }
static inline void NAME(set_element)(VEC *p, ptrdiff_t index, double value) { ((REAL *)p)[index] = (REAL)value; }

/* Riffle the elements of n vectors, as one deals the halves of a pack of cards into each other, log2(LANES) times.
   One riffle takes element p of all to 2 p modulo (n LANES - 1); so after all of them LANES rows of n elements have
   become n columns of LANES. `unriffle` is the way back. n is even and, once inlined, a constant. */
#define DEALT_LOW(i) ((i) / 2 + (i) % 2 * REAL_LANES)                      /* 0 L 1 L+1 2 L+2 ... */
#define DEALT_HIGH(i) (DEALT_LOW(i) + REAL_LANES / 2)
#define EVEN(i) (2 * (i))
#define ODD(i) (2 * (i) + 1)
ALWAYS_INLINE void NAME(riffle)(VEC *v, int n)
{
    VEC next[LANES > 16 ? LANES : 16];
    UNROLL
    for (int round = 1; round < LANES; round *= 2) {
        UNROLL
        for (int i = 0; i < n / 2; i++) {
            next[2 * i] = SHUFFLE(v[i], v[i + n / 2], DEALT_LOW);
            next[2 * i + 1] = SHUFFLE(v[i], v[i + n / 2], DEALT_HIGH);
        }
        UNROLL
        for (int i = 0; i < n; i++)
            v[i] = next[i];
    }
}

ALWAYS_INLINE void NAME(unriffle)(VEC *v, int n)
{
    VEC next[LANES > 16 ? LANES : 16];
    UNROLL
    for (int round = 1; round < LANES; round *= 2) {
        UNROLL
        for (int i = 0; i < n / 2; i++) {
            next[i] = SHUFFLE(v[2 * i], v[2 * i + 1], EVEN);
            next[i + n / 2] = SHUFFLE(v[2 * i], v[2 * i + 1], ODD);
        }
        UNROLL
        for (int i = 0; i < n; i++)
            v[i] = next[i];
    }
}

/* From LANES packed rows of n elements to n vectors with a row in each lane, and back: for even n up to 16, in
   registers. */
ALWAYS_INLINE void NAME(riffle_copy)(const VEC *from, VEC *to, int n)
{
    VEC v[16];
    UNROLL
    for (int i = 0; i < n; i++)
        v[i] = from[i];
    NAME(riffle)(v, n);
    UNROLL
    for (int i = 0; i < n; i++)
        to[i] = v[i];
}

ALWAYS_INLINE void NAME(unriffle_copy)(const VEC *from, VEC *to, int n)
{
    VEC v[16];
    UNROLL
    for (int i = 0; i < n; i++)
        v[i] = from[i];
    NAME(unriffle)(v, n);
    UNROLL
    for (int i = 0; i < n; i++)
        to[i] = v[i];
}

/* A call with n as a constant. */
#define WITH_CONSTANT(function, from, to, n) \
    switch (n) { \
    case 2: function(from, to, 2); break; \
    case 4: function(from, to, 4); break; \
    case 6: function(from, to, 6); break; \
    case 8: function(from, to, 8); break; \
    case 10: function(from, to, 10); break; \
    case 12: function(from, to, 12); break; \
    case 14: function(from, to, 14); break; \
    case 16: function(from, to, 16); break; \
    }
static inline void NAME(rows_to_columns)(const VEC *from, VEC *to, ptrdiff_t n)
{
    WITH_CONSTANT(NAME(riffle_copy), from, to, n)
}

static inline void NAME(columns_to_rows)(const VEC *from, VEC *to, ptrdiff_t n)
{
    WITH_CONSTANT(NAME(unriffle_copy), from, to, n)
}

/* Transpose LANES vectors: `from`, `from_step` elements apart, to `to`, `to_step` elements apart. Vectors are stored
   in order, so that one may overwrite the end of the one before. */
static inline void NAME(transpose)(const VEC *from, ptrdiff_t from_step, VEC *to, ptrdiff_t to_step)
{
    VEC v[LANES];
    UNROLL
    for (int i = 0; i < LANES; i++)
        v[i] = *(const VEC *)((const REAL *)from + i * from_step);
    NAME(riffle)(v, LANES);
    UNROLL
    for (int i = 0; i < LANES; i++)
        *(VEC *)((REAL *)to + i * to_step) = v[i];
}

#undef REAL
#undef INTEGER
#undef UNSIGNED
#undef VEC
#undef NAME
#undef REAL_LANES
#undef X86_TYPE
#undef NEON_TYPE
#undef MANTISSA_BITS
#undef SIGN_BIT
#undef EXPONENT_BIAS
#undef HALF_OF_BITS
#undef ROUNDING
#undef LOG2_E
#undef LN2_HIGH
#undef LN2_LOW
#undef EXP_LOWEST
#undef SQRT_HALF_BITS
#undef MILLS_LARGEST
#undef MILLS_CENTER
#undef SCALED_LOWEST
#undef SCALE_EXPONENT
#undef UNSCALE
#undef EXP_COEFFICIENTS
#undef EXP_DEGREE
#undef LOG_COEFFICIENTS
#undef LOG_DEGREE
#undef MILLS_COEFFICIENTS
#undef MILLS_DEGREE
#undef SQUARE_ROOT
#undef MASK
#undef WORD
#undef WORDS
#undef LANES
#undef LANE
#undef BITS
#undef FROM_BITS
#undef SELECT
#undef SHUFFLE
#undef INTRINSIC
#undef NEON
