/* Attention of the encoder in float32: every position of a window over all of them.
 *
 * Both products go through one small kernel that keeps its sums in registers. Keys and values are laid out for it first;
 * scores of a few queries at a time stay in the processor's nearer caches.
 *
 * Axes: S positions of audio, D channels, H heads of 64 channels each.
 */

#include "common.h"

enum { PANEL = 2 * WIDTH }; /* columns that the kernel makes at once */
#ifdef __AVX512VNNI__
enum { TALL = 12 }; /* and rows: as many as there are registers for */
#else
enum { TALL = 6 };
#endif
enum { QUERIES = 2 * TALL, PANELS_OF_HEAD = HEAD / PANEL };

typedef struct {
    Team team;
    const float *qkv; /* (S, 3 D) */
    float *heard;     /* (S, D) */
    float *keys;      /* (H, room / PANEL, 64, PANEL): room, transposed */
    float *values;    /* (H, 64 / PANEL, room, PANEL): room */
    float *scores;    /* (threads, QUERIES, room): room */
    int64_t n_positions, n_state, room; /* `room` is S rounded up to a multiple of 32 */
    double scale;
} Attention;

/* Rows (n_rows, n) with `stride` between them, times a panel (n, PANEL) -> (n_rows, PANEL), times `factor`. */
INLINE void product(
    const float *rows, int64_t stride, int n_rows, const float *panel, int64_t n, float factor, float *to, int64_t to_stride
) {
    Floats left[TALL], right[TALL];
    UNROLL for (int r = 0; r < n_rows; r++) left[r] = right[r] = (Floats){};
    for (int64_t k = 0; k < n; k++) {
        Floats a = load(panel + k * PANEL), b = load(panel + k * PANEL + WIDTH);
        UNROLL for (int r = 0; r < n_rows; r++) {
            Floats x = all(rows[r * stride + k]);
            left[r] += x * a;
            right[r] += x * b;
        }
    }
    UNROLL for (int r = 0; r < n_rows; r++) {
        store(to + r * to_stride, left[r] * factor);
        store(to + r * to_stride + WIDTH, right[r] * factor);
    }
}

static void products(
    const float *rows, int64_t stride, int64_t n_rows, const float *panel, int64_t n, float factor, float *to, int64_t to_stride
) {
    int64_t r = 0;
    for (; r + TALL <= n_rows; r += TALL) product(rows + r * stride, stride, TALL, panel, n, factor, to + r * to_stride, to_stride);
    for (; r < n_rows; r++) product(rows + r * stride, stride, 1, panel, n, factor, to + r * to_stride, to_stride);
}

/* Lay out the keys and values of one head. */
static void lay_out(const Attention *a, int64_t head) {
    int64_t d = a->n_state;
    float *keys = a->keys + head * a->room * HEAD, *values = a->values + head * a->room * HEAD;
    for (int64_t s = 0; s < a->n_positions; s++) {
        const float *key = a->qkv + s * 3 * d + d + head * HEAD, *value = key + d;
        for (int k = 0; k < HEAD; k++) keys[(s / PANEL * HEAD + k) * PANEL + s % PANEL] = key[k];
        for (int p = 0; p < PANELS_OF_HEAD; p++)
            memcpy(values + (p * a->room + s) * PANEL, value + p * PANEL, PANEL * sizeof(float));
    }
    for (int64_t s = a->n_positions; s < a->room; s++)
        for (int k = 0; k < HEAD; k++) keys[(s / PANEL * HEAD + k) * PANEL + s % PANEL] = 0;
}

/* Up to QUERIES queries of one head, from position `first` on. */
static void attend(const Attention *a, int64_t head, int64_t first, float *scores) {
    int64_t d = a->n_state, n_rows = a->n_positions - first < QUERIES ? a->n_positions - first : QUERIES;
    float q[QUERIES * HEAD]; /* side by side: KiB apart, they would share a few places of the nearest cache */
    for (int64_t r = 0; r < n_rows; r++) memcpy(q + r * HEAD, a->qkv + (first + r) * 3 * d + head * HEAD, sizeof(float) * HEAD);
    const float *keys = a->keys + head * a->room * HEAD, *values = a->values + head * a->room * HEAD;
    float *out = a->heard + first * d + head * HEAD;
    for (int64_t s = 0; s < a->room; s += PANEL)
        products(q, HEAD, n_rows, keys + s * HEAD, HEAD, (float)a->scale, scores + s, a->room);
    float totals[QUERIES];
    for (int64_t r = 0; r < n_rows; r++) totals[r] = weigh(scores + r * a->room, a->n_positions, a->room);
    for (int p = 0; p < PANELS_OF_HEAD; p++)
        products(scores, a->room, n_rows, values + p * a->room * PANEL, a->n_positions, 1, out + p * PANEL, d);
    for (int64_t r = 0; r < n_rows; r++)
        for (int i = 0; i < HEAD; i += WIDTH) store(out + r * d + i, load(out + r * d + i) / totals[r]);
}

static void attend_work(const void *job, int t, int n, atomic_int *arrived) {
    const Attention *a = job;
    int64_t begin, end, n_head = a->n_state / HEAD, blocks = (a->n_positions + QUERIES - 1) / QUERIES;
    int passed = 0;
    share(n_head, t, n, &begin, &end);
    for (int64_t head = begin; head < end; head++) lay_out(a, head);
    barrier(arrived, &passed, n);
    share(n_head * blocks, t, n, &begin, &end);
    for (int64_t task = begin; task < end; task++)
        attend(a, task / blocks, task % blocks * QUERIES, a->scores + t * QUERIES * a->room);
}

/* What Python calls. */
EXPORT void viska_attend(const Attention *attention) { together(&attention->team, attend_work, attention); }

/* Floats of room for the scores, over `room` positions with so many threads. */
EXPORT int64_t viska_attend_scores(int64_t room, int64_t n_threads) { return n_threads * QUERIES * room; }
