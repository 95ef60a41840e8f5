/* Attention of the encoder: every position of a window over all of them.
 *
 * Both products go through one small kernel that keeps its sums in registers. Keys and values are laid out for it first;
 * scores of a few queries at a time stay in the processor's nearer caches.
 *
 * Numbers lie in cells of four bytes: one float32, or two of bfloat16 that are multiplied and added at once, where the
 * processor has an instruction for that. Sums, scores and what comes out are float32.
 *
 * Axes: S positions of audio, D channels, H heads of 64 channels each; C numbers in a cell.
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
    const float *qkv; /* (S, 3 D / C) */
    float *heard;     /* (S, D) */
    float *keys;      /* (H, room / PANEL, 64 / C, PANEL): room, transposed */
    float *values;    /* (H, 64 / PANEL, room / C, PANEL): room */
    float *scores;    /* (threads, QUERIES, room): room */
    int64_t n_positions, n_state, room; /* `room` is S rounded up to a multiple of 32 */
    int64_t n_cell;                     /* C: 1, or 2 */
    double scale;
} Attention;

typedef uint16_t Halves __attribute__((vector_size(2 * WIDTH)));

/* `total` and the products of one cell with a column of cells. */
INLINE Floats plus(Floats total, float cell, Floats column, int64_t n_cell) {
#ifdef __AVX512BF16__
    if (n_cell == 2) {
        int32_t pair;
        memcpy(&pair, &cell, sizeof pair);
        return (Floats)_mm512_dpbf16_ps((__m512)total, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)column);
    }
#endif
    (void)n_cell;
    return total + all(cell) * column;
}

/* Floats (n) as bfloat16, in the same place; `n` is a multiple of 32. */
INLINE void halve(float *x, int64_t n) {
#ifdef __AVX512BF16__
    for (int64_t i = 0; i < n; i += 2 * WIDTH) {
        __m512bh both = _mm512_cvtne2ps_pbh((__m512)load(x + i + WIDTH), (__m512)load(x + i));
        memcpy(x + i / 2, &both, sizeof both);
    }
#else
    (void)x, (void)n;
#endif
}

/* Rows of cells (n_rows, n) with `stride` between them, times a panel (n, PANEL) -> (n_rows, PANEL), times `factor`. */
INLINE void product(
    const float *rows, int64_t stride, int n_rows, const float *panel, int64_t n, int64_t n_cell, float factor, float *to,
    int64_t to_stride
) {
    Floats left[TALL], right[TALL];
    UNROLL for (int r = 0; r < n_rows; r++) left[r] = right[r] = (Floats){};
    for (int64_t k = 0; k < n; k++) {
        Floats a = load(panel + k * PANEL), b = load(panel + k * PANEL + WIDTH);
        UNROLL for (int r = 0; r < n_rows; r++) {
            float x = rows[r * stride + k];
            left[r] = plus(left[r], x, a, n_cell);
            right[r] = plus(right[r], x, b, n_cell);
        }
    }
    UNROLL for (int r = 0; r < n_rows; r++) {
        store(to + r * to_stride, left[r] * factor);
        store(to + r * to_stride + WIDTH, right[r] * factor);
    }
}

INLINE void products(
    const float *rows, int64_t stride, int64_t n_rows, const float *panel, int64_t n, int64_t n_cell, float factor, float *to,
    int64_t to_stride
) {
#define ROWS(N) product(rows + r * stride, stride, N, panel, n, n_cell, factor, to + r * to_stride, to_stride)
    int64_t r = 0;
    for (; r + TALL <= n_rows; r += TALL) ROWS(TALL);
    for (; r < n_rows; r++) ROWS(1);
#undef ROWS
}

/* Lay out the keys and values of one head. */
INLINE void lay_out(const Attention *a, int64_t head, int64_t n_cell) {
    int64_t wide = HEAD / n_cell, d = a->n_state / n_cell, n = a->n_positions;
    float *keys = a->keys + head * a->room * wide, *values = a->values + head * a->room * wide;
    for (int64_t s = 0; s < n; s++)
        for (int k = 0; k < wide; k++)
            keys[(s / PANEL * wide + k) * PANEL + s % PANEL] = a->qkv[(s * 3 + 1) * d + head * wide + k];
    for (int64_t s = n; s < a->room; s++)
        for (int k = 0; k < wide; k++) keys[(s / PANEL * wide + k) * PANEL + s % PANEL] = 0;
    for (int64_t s = 0; s < n; s += n_cell)
        for (int p = 0; p < PANELS_OF_HEAD; p++) {
            float *to = values + (p * a->room + s) / n_cell * PANEL;
            const float *from = a->qkv + (s * 3 + 2) * d + head * wide + p * PANEL / n_cell;
            if (n_cell == 1) {
                memcpy(to, from, PANEL * sizeof(float));
                continue;
            }
            for (int i = 0; i < PANEL; i += WIDTH) { /* each channel with itself a position later */
                Halves now, later = {};
                memcpy(&now, (const uint16_t *)from + i, sizeof now);
                if (s + 1 < n) memcpy(&later, (const uint16_t *)(from + 3 * d) + i, sizeof later);
                Ints both = __builtin_convertvector(now, Ints) | __builtin_convertvector(later, Ints) << 16;
                memcpy(to + i, &both, sizeof both);
            }
        }
}

/* Up to QUERIES queries of one head, from position `first` on. */
INLINE void attend(const Attention *a, int64_t head, int64_t first, float *scores, int64_t n_cell) {
    int64_t wide = HEAD / n_cell, d = a->n_state, n_rows = a->n_positions - first < QUERIES ? a->n_positions - first : QUERIES;
    float q[QUERIES * HEAD]; /* side by side: KiB apart, they would share a few places of the nearest cache */
    for (int64_t r = 0; r < n_rows; r++)
        memcpy(q + r * wide, a->qkv + (first + r) * 3 * d / n_cell + head * wide, sizeof(float) * wide);
    const float *keys = a->keys + head * a->room * wide, *values = a->values + head * a->room * wide;
    float *out = a->heard + first * d + head * HEAD;
    for (int64_t s = 0; s < a->room; s += PANEL)
        products(q, wide, n_rows, keys + s * wide, wide, n_cell, (float)a->scale, scores + s, a->room);
    float totals[QUERIES];
    for (int64_t r = 0; r < n_rows; r++) {
        totals[r] = weigh(scores + r * a->room, a->n_positions, a->room);
        if (n_cell == 2) halve(scores + r * a->room, a->room);
    }
    int64_t n = (a->n_positions + n_cell - 1) / n_cell;
    for (int p = 0; p < PANELS_OF_HEAD; p++)
        products(scores, a->room, n_rows, values + p * a->room / n_cell * PANEL, n, n_cell, 1, out + p * PANEL, d);
    for (int64_t r = 0; r < n_rows; r++)
        for (int i = 0; i < HEAD; i += WIDTH) store(out + r * d + i, load(out + r * d + i) / totals[r]);
}

INLINE void all_heads(const Attention *a, int t, int n, Meeting *meeting, int64_t n_cell) {
    int64_t begin, end, n_head = a->n_state / HEAD, blocks = (a->n_positions + QUERIES - 1) / QUERIES;
    int passed = 0;
    share(n_head, t, n, &begin, &end);
    for (int64_t head = begin; head < end; head++) lay_out(a, head, n_cell);
    barrier(meeting, &passed, n);
    share(n_head * blocks, t, n, &begin, &end);
    for (int64_t task = begin; task < end; task++)
        attend(a, task / blocks, task % blocks * QUERIES, a->scores + t * QUERIES * a->room, n_cell);
}

static void attend_work(const void *job, int t, int n, Meeting *meeting) {
    const Attention *a = job;
    if (a->n_cell == 2) all_heads(a, t, n, meeting, 2);
    else all_heads(a, t, n, meeting, 1);
}

/* What Python calls. */
EXPORT void viska_attend(const Attention *attention) { together(&attention->team, attend_work, attention); }

/* Floats of room for the scores, over `room` positions with so many threads. */
EXPORT int64_t viska_attend_scores(int64_t room, int64_t n_threads) { return n_threads * QUERIES * room; }
