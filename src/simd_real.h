/* The functions of simd.h for one element type; included once for float and once for double, with
   REAL, INTEGER, UNSIGNED, VEC, NAME, REAL_LANES and the constants below defined, and undefined again at the end. */

#define MASK NAME(mask)
#define WORD NAME(word)
/* The bits as numbers to calculate with: unsigned, as lanes with NaN, or that are not used, overflow. */
#define WORDS(v) ((WORD)BITS(v))
#define LANES NAME(LANES)
enum { LANES = REAL_LANES };

#if VECTOR_BYTES
typedef REAL VEC __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
typedef INTEGER MASK __attribute__((vector_size(VECTOR_BYTES)));
typedef UNSIGNED WORD __attribute__((vector_size(VECTOR_BYTES)));
#define LANE(v, i) (v)[i]
#define BITS(v) ((MASK)(v))
#define FROM_BITS(b) ((VEC)(b))
#define SELECT(mask, x, y) FROM_BITS(((mask) & BITS(x)) | (~(mask) & BITS(y)))
#if defined(__clang__)
static inline VEC NAME(shuffle)(VEC a, VEC b, MASK from)
{
    VEC r;
    for (int i = 0; i < LANES; i++)
        r[i] = from[i] < LANES ? a[from[i]] : b[from[i] - LANES];
    return r;
}
#define SHUFFLE(a, b, from) NAME(shuffle)(a, b, from)
#else
#define SHUFFLE(a, b, from) __builtin_shuffle(a, b, from)
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
#define SHUFFLE(a, b, from) (a)                /* never used: one lane needs no rounds */
#endif

static inline ptrdiff_t NAME(lanes)(void) { return LANES; }

/* 0, 1, 2, ... */
static inline MASK NAME(index)(void)
{
    MASK index;
    for (int i = 0; i < LANES; i++)
        LANE(index, i) = i;
    return index;
}

/* The value in every lane. */
static inline VEC NAME(splat)(double value)
{
    VEC zero = {0};
    return zero + (REAL)value;
}

/* a > b ? a : b in each lane: b where a is NaN. The compilers make one instruction of the loop. */
static inline VEC NAME(maximum)(VEC a, VEC b)
{
    VEC r;
#pragma GCC unroll 1
    for (int i = 0; i < LANES; i++)
        LANE(r, i) = LANE(a, i) > LANE(b, i) ? LANE(a, i) : LANE(b, i);
    return r;
}

/* a < b ? x : y in each lane. */
static inline VEC NAME(select_less)(VEC a, VEC b, VEC x, VEC y) { return SELECT(a < b, x, y); }

/* a == b ? x : y in each lane. */
static inline VEC NAME(select_equal)(VEC a, VEC b, VEC x, VEC y) { return SELECT(a == b, x, y); }

/* a * b, except that 0 times an infinity counts as 0; NaN stays NaN. */
static inline VEC NAME(product)(VEC a, VEC b)
{
    VEC zero = {0};
    return SELECT(a == zero, SELECT(b == b, zero, b), a * b);
}

/* a / b to the last bit or nearly, given inverse = 1 / b rounded and lost = 1 / b - inverse: a product for each of
   the two. Without fused multiply-add they cannot be had exactly, and the division itself is taken. */
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
static inline VEC NAME(inverse_remainder)(VEC b, VEC inverse) { return (1 - b * inverse) * inverse; }
static inline VEC NAME(divide)(VEC a, VEC b, VEC inverse, VEC lost) { (void)b; return a * lost + a * inverse; }
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

/* The compilers make one instruction of the loop. */
static inline VEC NAME(square_root)(VEC x)
{
    VEC r;
#pragma GCC unroll 1
    for (int i = 0; i < LANES; i++)
        LANE(r, i) = SQUARE_ROOT(LANE(x, i));
    return r;
}

/* 2 (exp(r) - 1) for |r| <= ln2/2, relatively accurate however small r is. */
static inline VEC NAME(exp_rest)(VEC r)
{
    static const REAL c[] = EXP_COEFFICIENTS;
    VEC q = NAME(splat)(c[EXP_DEGREE]);
    for (int i = EXP_DEGREE - 1; i >= 0; i--)
        q = q * r + c[i];
    return q * (r * r) + (r + r);          /* adds small to large: less rounding than Horner's last steps */
}

/* exp(d) for exp_lowest <= d <= 0. Error below 1 ULP; exp(0) = 1; NaN stays NaN; never subnormal: where the
   result would be below 2^-125.5 (double: 2^-1021.5), as it is at exp_lowest, it is exactly 0.

   d = n ln2 + r with n an integer, |r| <= ln2/2 (W. J. Cody and W. Waite, Software Manual for the
   Elementary Functions, 1980, ch. 6). Adding ROUNDING leaves n in the low bits of z. The bias in it is one
   less than the exponent's and the coefficients are doubled: then n = -126 (-1022) gives an exponent
   field of 0, which is the factor 0, and no blend is needed. */
static inline VEC NAME(exp_clamped)(VEC d)
{
    const REAL magic = ROUNDING + (EXPONENT_BIAS - 1);
    VEC z = d * LOG2_E + magic;
    VEC n = z - magic;
    VEC r = d - n * LN2_HIGH;
    r = r - n * LN2_LOW;
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
    const REAL magic = ROUNDING + (EXPONENT_BIAS - 1);
    VEC z = (d + more) * LOG2_E + magic;
    VEC n = z - magic;
    VEC r = d - n * LN2_HIGH;
    r = (r - n * LN2_LOW) + more;
    return (NAME(exp_rest)(r) + 2) * FROM_BITS((WORDS(z) + SCALE_EXPONENT) << MANTISSA_BITS);
}

static inline VEC NAME(scaled_lowest)(void) { return NAME(splat)(SCALED_LOWEST); }
static inline VEC NAME(unscale)(VEC x) { return x * UNSCALE; }

/* tanh(x). Error below 3 ULP, relative to the result however small x is; -0 for -0.

   tanh(|x|) = -e / (2 + e) with e = exp(-2 |x|) - 1 = 2^n (exp(r) - 1) + (2^n - 1): for small x n is 0, and nothing
   cancels. `exp_clamped` says how n and r are found. */
static inline VEC NAME(tanh_of)(VEC x)
{
    const REAL magic = ROUNDING + (EXPONENT_BIAS - 1);
    VEC d = NAME(maximum)(NAME(splat)(EXP_LOWEST), NAME(absolute)(x) * -2);
    VEC z = d * LOG2_E + magic;
    VEC n = z - magic;
    VEC r = d - n * LN2_HIGH;
    r = r - n * LN2_LOW;
    VEC half_power = FROM_BITS(WORDS(z) << MANTISSA_BITS);
    VEC e = half_power * NAME(exp_rest)(r) + (half_power + half_power - 1);
    return FROM_BITS((BITS(x) & (INTEGER)SIGN_BIT) | BITS(NAME(absolute)(e / (e + 2))));
}

/* exp(t^2/2) Phi(-t) for 0 <= t <= mills_largest, with Phi the normal distribution function: half of erfcx(t/sqrt(2)),
   and the ratio named after J. P. Mills but for a factor. Error below 2 ULP. fit_polynomials.py states the form. */
static inline VEC NAME(mills_ratio)(VEC t)
{
    static const REAL c[] = MILLS_COEFFICIENTS;
    VEC k = (t - MILLS_CENTER) / (t + MILLS_CENTER);
    VEC p = NAME(splat)(c[MILLS_DEGREE]);
    for (int i = MILLS_DEGREE - 1; i >= 0; i--)
        p = p * k + c[i];
    return p / (t + 1);
}

static inline VEC NAME(mills_largest)(void) { return NAME(splat)(MILLS_LARGEST); }

/* x rounded to half as many bits, so that the square is exact. */
static inline VEC NAME(leading)(VEC x)
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
    VEC q = NAME(splat)(c[LOG_DEGREE]);
    for (int i = LOG_DEGREE - 1; i >= 0; i--)
        q = q * s2 + c[i];
    return k * LN2_HIGH + (f - (s * (f - s2 * q) - (k * LN2_LOW + lost)));
}

/* The largest lane, and the sum of the lanes by a fixed tree, in every lane. A round pairs lane i with lane
   i ^ half; every lane ends with the same tree, as the operations commute. */
static inline VEC NAME(lanes_max)(VEC v)
{
#pragma GCC unroll 4
    for (int half = LANES / 2; half; half /= 2)
        v = NAME(maximum)(v, SHUFFLE(v, v, NAME(index)() ^ half));
    return v;
}

static inline VEC NAME(lanes_sum)(VEC v)
{
#pragma GCC unroll 4
    for (int half = LANES / 2; half; half /= 2)
        v = v + SHUFFLE(v, v, NAME(index)() ^ half);
    return v;
}

/* The `count` elements at p (1 to LANES) and zeros; and back. A full vector is one instruction. */
static inline VEC NAME(load)(const VEC *p, ptrdiff_t count)
{
    if (count == LANES)
        return *p;
    REAL part[LANES] = {0};
    memcpy(part, p, (size_t)count * sizeof(REAL));
    return *(const VEC *)part;
}

static inline void NAME(store)(VEC *p, ptrdiff_t count, VEC v)
{
    if (count == LANES)
        *p = v;
    else
        memcpy(p, &v, (size_t)count * sizeof(REAL));
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

/* The element `index` elements after p, which need not lie inside *p. */
/* That element in all lanes: one instruction, where a number that has been a double takes two. */
static inline VEC NAME(spread)(const VEC *p, ptrdiff_t index) { return ((const REAL *)p)[index] - (VEC){0}; }

static inline double NAME(element)(const VEC *p, ptrdiff_t index) { return ((const REAL *)p)[index]; }
static inline void NAME(set_element)(VEC *p, ptrdiff_t index, double value) { ((REAL *)p)[index] = (REAL)value; }

/* Riffle the elements of n vectors, as one deals the halves of a pack of cards into each other, log2(LANES) times.
   One riffle takes element p of all to 2 p modulo (n LANES - 1); so after all of them LANES rows of n elements have
   become n columns of LANES. `unriffle` is the way back. n is even and, once inlined, a constant. */
ALWAYS_INLINE void NAME(riffle)(VEC *v, int n)
{
    const MASK low = (NAME(index)() >> 1) + (NAME(index)() & 1) * LANES;     /* 0 L 1 L+1 2 L+2 ... */
    VEC next[LANES > 16 ? LANES : 16];
#pragma GCC unroll 4
    for (int round = 1; round < LANES; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < n / 2; i++) {
            next[2 * i] = SHUFFLE(v[i], v[i + n / 2], low);
            next[2 * i + 1] = SHUFFLE(v[i], v[i + n / 2], low + LANES / 2);
        }
#pragma GCC unroll 16
        for (int i = 0; i < n; i++)
            v[i] = next[i];
    }
}

ALWAYS_INLINE void NAME(unriffle)(VEC *v, int n)
{
    const MASK even = 2 * NAME(index)();                                     /* 0 2 4 ... */
    VEC next[LANES > 16 ? LANES : 16];
#pragma GCC unroll 4
    for (int round = 1; round < LANES; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < n / 2; i++) {
            next[i] = SHUFFLE(v[2 * i], v[2 * i + 1], even);
            next[i + n / 2] = SHUFFLE(v[2 * i], v[2 * i + 1], even + 1);
        }
#pragma GCC unroll 16
        for (int i = 0; i < n; i++)
            v[i] = next[i];
    }
}

/* Between LANES packed rows of n elements and n vectors with a row in each lane: for even n up to 16, in registers. */
ALWAYS_INLINE void NAME(columns_of)(const VEC *from, VEC *to, int n, int back)
{
    VEC v[16];
#pragma GCC unroll 16
    for (int i = 0; i < n; i++)
        v[i] = from[i];
    if (back)
        NAME(unriffle)(v, n);
    else
        NAME(riffle)(v, n);
#pragma GCC unroll 16
    for (int i = 0; i < n; i++)
        to[i] = v[i];
}

static inline void NAME(columns)(const VEC *from, VEC *to, ptrdiff_t n, int back)
{
    switch (n) {
    case 2: NAME(columns_of)(from, to, 2, back); break;
    case 4: NAME(columns_of)(from, to, 4, back); break;
    case 6: NAME(columns_of)(from, to, 6, back); break;
    case 8: NAME(columns_of)(from, to, 8, back); break;
    case 10: NAME(columns_of)(from, to, 10, back); break;
    case 12: NAME(columns_of)(from, to, 12, back); break;
    case 14: NAME(columns_of)(from, to, 14, back); break;
    case 16: NAME(columns_of)(from, to, 16, back); break;
    }
}

/* Transpose LANES vectors: `from`, `from_step` elements apart, to `to`, `to_step` elements apart. Vectors are stored
   in order, so that one may overwrite the end of the one before. */
static inline void NAME(transpose)(const VEC *from, ptrdiff_t from_step, VEC *to, ptrdiff_t to_step)
{
    VEC v[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        v[i] = *(const VEC *)((const REAL *)from + i * from_step);
    NAME(riffle)(v, LANES);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        *(VEC *)((REAL *)to + i * to_step) = v[i];
}

#undef REAL
#undef INTEGER
#undef UNSIGNED
#undef VEC
#undef NAME
#undef REAL_LANES
#undef MANTISSA_BITS
#undef SIGN_BIT
#undef EXPONENT_BIAS
#undef ROUNDING
#undef LOG2_E
#undef LN2_HIGH
#undef LN2_LOW
#undef EXP_LOWEST
#undef SQRT_HALF_BITS
#undef EXP_COEFFICIENTS
#undef EXP_DEGREE
#undef LOG_COEFFICIENTS
#undef LOG_DEGREE
#undef MILLS_COEFFICIENTS
#undef MILLS_DEGREE
#undef MILLS_CENTER
#undef MILLS_LARGEST
#undef SCALED_LOWEST
#undef SCALE_EXPONENT
#undef UNSCALE
#undef HALF_OF_BITS
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
