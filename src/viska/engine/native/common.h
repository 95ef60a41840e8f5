/* What the compiled parts of the engine share: threads and vectors.
 *
 * Each file is compiled once for each set of instructions (hatch_build.py), and loaded by viska/engine/native/library.py.
 * Threads are those of torch: one parallel region of its OpenMP a call, and barriers of our own within.
 *
 * A sum is made by one thread, in one order: results do not depend on how many threads there are.
 */

#include <immintrin.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)") /* so that sums stay in registers */

#ifndef SOURCES
#define SOURCES "unknown" /* the digest of these files, which the build gives: see sources.py */
#endif

enum { HEAD = 64 }; /* channels of a head */

#ifdef __AVX512VNNI__
enum { WIDTH = 16 };
#else
enum { WIDTH = 8 };
#endif

typedef float Floats __attribute__((vector_size(4 * WIDTH)));
typedef int32_t Ints __attribute__((vector_size(4 * WIDTH)));

/* Threads */

typedef struct {
    void (*parallel)(void (*)(void *), void *, unsigned, unsigned); /* GOMP_parallel, null for one thread */
    int (*thread)(void);                                            /* omp_get_thread_num */
    int (*size)(void);                                              /* omp_get_num_threads */
    int64_t n_threads;
} Team;

typedef struct {
    atomic_int arrived;
    _Atomic uint64_t waited; /* ticks of the processor's clock, by all threads together */
} Meeting;

typedef struct {
    const Team *team;
    void (*work)(const void *, int, int, Meeting *);
    const void *job;
    Meeting meeting;
} Region;

/* Wait until all `n` have come here. `*passed` is this thread's count of barriers. */
static void barrier(Meeting *meeting, int *passed, int n) {
    if (n == 1) return;
    int target = ++*passed * n;
    if (atomic_fetch_add_explicit(&meeting->arrived, 1, memory_order_acq_rel) + 1 >= target) return;
    uint64_t since = __rdtsc();
    /* Spinning is soon over when every thread has a core; where one has none, give it this one. */
    for (int i = 0; atomic_load_explicit(&meeting->arrived, memory_order_acquire) < target; i++) {
        if (i < 4096) _mm_pause();
        else sched_yield();
    }
    atomic_fetch_add_explicit(&meeting->waited, __rdtsc() - since, memory_order_relaxed);
}

static void enter(void *data) {
    Region *region = data;
    region->work(region->job, region->team->thread(), region->team->size(), &region->meeting);
}

/* Returns whether one thread alone would have been no slower, for as long as others were waited for: where other programs take
 * processors away, a thread that is waited for at every barrier may not be running. */
static int together(const Team *team, void (*work)(const void *, int, int, Meeting *), const void *job) {
    Region region = {team, work, job, {0, 0}};
    if (!team->parallel || team->n_threads == 1) {
        work(job, 0, 1, &region.meeting);
        return 0;
    }
    uint64_t since = __rdtsc();
    team->parallel(enter, &region, (unsigned)team->n_threads, 0);
    uint64_t total = __rdtsc() - since, n = (uint64_t)team->n_threads;
    uint64_t lost = region.meeting.waited / (n - 1); /* where one is late all others wait */
    return lost >= total || n * (total - lost) < total;
}

/* The part [*begin, *end) of `n` things that is thread `t`'s of `n_threads`. */
INLINE void share(int64_t n, int t, int n_threads, int64_t *begin, int64_t *end) {
    *begin = n * t / n_threads;
    *end = n * (t + 1) / n_threads;
}

/* Vectors */

INLINE Floats load(const float *from) {
    Floats v;
    memcpy(&v, from, sizeof v);
    return v;
}

INLINE void store(float *to, Floats v) { memcpy(to, &v, sizeof v); }

INLINE Floats all(float value) { return value - (Floats){}; }

INLINE float sum(Floats v) {
    float total = 0;
    for (int i = 0; i < WIDTH; i++) total += v[i];
    return total;
}

INLINE Floats magnitude(Floats v) { return (Floats)((Ints)v & 0x7fffffff); }

/* To whole numbers, halves to even, for |v| < 2^22. */
INLINE Floats rounded(Floats v) {
    const float big = 12582912.0f; /* 1.5 * 2^23: float32 has no digits behind the point there */
    return (v + big) - big;
}

INLINE Floats larger(Floats a, Floats b) { return __builtin_elementwise_max(a, b); }

/* e^v for v <= 0, off by 2e-7 of itself near zero, and by 1e-7 |v| of itself below. Below -80 it stays as it is there: what
 * is no more than 2e-35 counts for nothing, and numbers too small to be normal are slow. */
INLINE Floats exponential(Floats v) {
    Floats t = larger(v, all(-80.0f)) * 1.44269504f; /* e^v = 2^t */
#ifdef __AVX512VNNI__
    Floats n = (Floats)_mm512_roundscale_ps((__m512)t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    Floats n = rounded(t);
#endif
    Floats r = t - n;
    Floats p = all(1.3266970e-3f); /* 2^r for |r| <= 1/2, fitted at Chebyshev's points */
    p = p * r + 9.6754599e-3f;
    p = p * r + 5.5507425e-2f;
    p = p * r + 2.4022122e-1f;
    p = p * r + 6.9314694e-1f;
    p = p * r + 1.0f;
#ifdef __AVX512VNNI__
    return (Floats)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    return (Floats)((Ints)p + (__builtin_convertvector(n, Ints) << 23));
#endif
}

/* Softmax of a row of scores, of which only the first `n` are there, but for the division: returns what they sum up to.
 * `room` is a multiple of 16. */
static float weigh(float *scores, int64_t n, int64_t room) {
    for (int64_t s = n; s < room; s++) scores[s] = -__builtin_inff();
    Floats largest = load(scores), total = {};
    for (int64_t s = WIDTH; s < room; s += WIDTH) largest = larger(load(scores + s), largest);
    float peak = largest[0];
    for (int i = 1; i < WIDTH; i++) peak = largest[i] > peak ? largest[i] : peak;
    for (int64_t s = 0; s < room; s += WIDTH) {
        Floats weight = exponential(load(scores + s) - peak);
        total += weight;
        store(scores + s, weight);
    }
    return sum(total);
}
