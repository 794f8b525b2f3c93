/* What threads need of C to share work: numbers that change as a whole (not under the names atomic_*, which are macros
   in <stdatomic.h>), and two ways to wait. */

#ifndef FASTSM_THREADS_H
#define FASTSM_THREADS_H

#include <stdint.h>

#if defined(_WIN32)
#include <windows.h>
static inline void yield_thread(void) { SwitchToThread(); }
#else
#include <sched.h>
static inline void yield_thread(void) { sched_yield(); }
#endif

#if defined(__GNUC__) || defined(__clang__)
static inline uint64_t shared_load(uint64_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static inline void shared_store(uint64_t *p, uint64_t value) { __atomic_store_n(p, value, __ATOMIC_SEQ_CST); }
static inline uint64_t shared_exchange(uint64_t *p, uint64_t value)
{
    return __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST);
}
static inline void shared_increment(uint64_t *p) { __atomic_add_fetch(p, 1, __ATOMIC_SEQ_CST); }
static inline int shared_compare_exchange(uint64_t *p, uint64_t before, uint64_t after)
{
    return __atomic_compare_exchange_n(p, &before, after, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
#else
#include <intrin.h>
#define AS_SIGNED(p) ((volatile __int64 *)(p))
static inline uint64_t shared_exchange(uint64_t *p, uint64_t value)
{
    return (uint64_t)_InterlockedExchange64(AS_SIGNED(p), (__int64)value);
}
static inline uint64_t shared_load(uint64_t *p) { return (uint64_t)_InterlockedCompareExchange64(AS_SIGNED(p), 0, 0); }
static inline void shared_store(uint64_t *p, uint64_t value) { shared_exchange(p, value); }
static inline void shared_increment(uint64_t *p) { _InterlockedIncrement64(AS_SIGNED(p)); }
static inline int shared_compare_exchange(uint64_t *p, uint64_t before, uint64_t after)
{
    return (uint64_t)_InterlockedCompareExchange64(AS_SIGNED(p), (__int64)after, (__int64)before) == before;
}
#endif

/* Tell the processor that this thread only waits. */
static inline void pause_thread(void)
{
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
    __builtin_ia32_pause();
#elif defined(__GNUC__) && defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

#endif
