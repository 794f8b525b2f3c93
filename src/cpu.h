/* What the CPU and the operating system can run, for choosing a variant at import. */

#ifndef FASTSM_CPU_H
#define FASTSM_CPU_H

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
#define CPU_HAS(feature) (__builtin_cpu_supports(feature) != 0)
static inline int cpu_has_avx2(void)
{
    __builtin_cpu_init();
    return CPU_HAS("avx2") && CPU_HAS("fma");
}
static inline int cpu_has_avx512(void)
{
    return cpu_has_avx2() && CPU_HAS("avx512f") && CPU_HAS("avx512bw") && CPU_HAS("avx512dq")
        && CPU_HAS("avx512vl") && CPU_HAS("avx512cd");
}
#else
static inline int cpu_has_avx2(void) { return 0; }
static inline int cpu_has_avx512(void) { return 0; }
#endif

#endif
