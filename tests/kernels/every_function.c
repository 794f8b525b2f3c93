/* Calls of every function of the headers in src/, compiled by test_compilers.py and never run. */

#include "simd.h"
#include "cpu.h"
#include "halves.h"
#include "threads.h"

#define EVERY(vec, of_vec) \
    void of_vec(vec *p, vec *q, ptrdiff_t n); \
    void of_vec(vec *p, vec *q, ptrdiff_t n) \
    { \
        vec a = p[0], b = p[1], c = splat(a, 1.5); \
        vd wide = load_as_doubles(q); \
        prefetch(p); \
        p[0] = maximum(a, b); \
        p[1] = multiply_add(a, b, c); \
        p[2] = subtract_product(a, b, c); \
        p[3] = select_less(a, b, b, c); \
        p[4] = select_equal(a, b, b, c); \
        p[5] = masking_product(a, b); \
        p[6] = divide(a, b, c, inverse_remainder(b, c)); \
        p[7] = keep_last(a, n, 0.5); \
        p[8] = keep_first(a, n); \
        p[9] = exp_clamped(maximum(exp_lowest(a), a)); \
        p[10] = exp_nonpositive(a); \
        p[11] = log1p_nonnegative(a); \
        p[12] = absolute(a); \
        p[13] = square_root(a); \
        p[14] = unscale(exp_scaled(maximum(scaled_lowest(a), a), b)); \
        p[15] = tanh_of(a); \
        p[16] = mills_ratio(maximum(a, mills_largest(a))); \
        p[17] = leading_bits(a); \
        p[18] = lanes_max(a); \
        p[19] = lanes_sum(b); \
        set_label(&a, n, 3); \
        p[20] = select_label(a, 3, b, c); \
        p[21] = broadcast(q, n); \
        p[22] = splat(a, (double)lanes(p) + ((double *)&wide)[0]); \
        set_element(p, n, element(q, n)); \
        store(p, n, load(q, n)); \
        rows_to_columns(p, q, n); \
        columns_to_rows(p, q, n); \
        transpose(p, n, q, n); \
    }

EVERY(vf, of_float)
EVERY(vd, of_double)

uint16_t of_halves(uint16_t half, uint16_t bfloat);
uint16_t of_halves(uint16_t half, uint16_t bfloat)
{
    return half_of_float(float_of_bfloat(bfloat)) ^ bfloat_of_float(float_of_half(half));
}

int of_threads(uint64_t *p);
int of_threads(uint64_t *p)
{
    shared_increment(p);
    shared_store(p, shared_load(p) + shared_exchange(p, 2));
    pause_thread();
    yield_thread();
    return shared_compare_exchange(p, 1, 2);
}

int of_cpu(void);
int of_cpu(void)
{
    return cpu_has_avx2() + cpu_has_avx512();
}
