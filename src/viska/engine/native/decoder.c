/* A step of the text decoder with int8 weights, whole: what `viska.engine.decoder` does with some four hundred calls of
 * torch, whose weights have left the processor's caches between any two of them, is done here in one.
 *
 * Each row's result is the same whatever rows are beside it.
 *
 * Axes: R rows, D channels, H heads of 64 channels each, W windows, G rows of a window, S positions of audio, T of text.
 */

#include "common.h"

enum { LANE = 16, ROWS_AT_ONCE = 8, CHUNK = 64, STEPS = 127 };

typedef int8_t Bytes __attribute__((vector_size(WIDTH)));
enum { HEAD_VECTORS = HEAD / WIDTH };

/* What Python fills in; viska/engine/native mirrors each field. */

typedef struct {
    const int8_t *weight; /* (out / 16, in / 4, 16, 4): sixteen outputs side by side, four inputs of each */
    const float *scale;   /* (out) */
    const float *bias;    /* (out) */
    const int32_t *start; /* (out): what takes the offset of unsigned activations away */
    int64_t in, out, shown; /* `out` is a multiple of 16; `shown` is how many of them there really are */
} Linear;

typedef struct {
    const float *weight, *bias; /* (D) */
    double eps;
} Norm;

typedef struct {
    Norm attn_norm, cross_norm, mlp_norm;
    Linear qkv, out, cross_query, cross_out, up, down;
} Block;

typedef struct {
    const uint16_t *keys, *values; /* (L, H, S, 64) bfloat16 */
    int64_t n_positions;
} Memory;

/* Vectors */

/* v (1 + erf(v / sqrt 2)) / 2, with erf by Abramowitz and Stegun 7.1.26: off by 1.5e-7 at most. */
INLINE Floats gelu(Floats v) {
    Floats z = magnitude(v) * 0.70710678f;
    Floats t = 1.0f / (1.0f + 0.3275911f * z);
    Floats p = ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
    Floats tail = 0.5f * p * exponential(-z * z); /* (1 - erf z) / 2 */
    Ints below = v < 0.0f;
    return v * (Floats)((below & (Ints)tail) | (~below & (Ints)(1.0f - tail)));
}

/* The sums of eight vectors. */
INLINE void sums_of_eight(const Floats *v, float *to) {
    __m256 h[8];
    for (int i = 0; i < 8; i++) {
#ifdef __AVX512VNNI__
        __m512 wide = (__m512)v[i];
        h[i] = _mm256_add_ps(_mm512_castps512_ps256(wide), _mm512_extractf32x8_ps(wide, 1));
#else
        h[i] = (__m256)v[i];
#endif
    }
    for (int half = 4; half > 1; half /= 2)
        for (int i = 0; i < half; i++) h[i] = _mm256_hadd_ps(h[2 * i], h[2 * i + 1]);
    __m256 low = _mm256_permute2f128_ps(h[0], h[1], 0x20), high = _mm256_permute2f128_ps(h[0], h[1], 0x31);
    _mm256_storeu_ps(to, _mm256_add_ps(low, high));
}

/* Rows of activations */

/* One row (n), normalised where there is a norm, as int8 with its scale: unsigned, offset by 128, where the products want
 * it so. `normed` (n) is room. */
static float quantize(const float *x, const Norm *norm, int64_t n, float *normed, int8_t *to) {
    if (norm) {
        Floats total = {}, square = {};
        for (int64_t i = 0; i < n; i += WIDTH) total += load(x + i);
        float mean = sum(total) / (float)n;
        for (int64_t i = 0; i < n; i += WIDTH) {
            Floats off = load(x + i) - mean;
            square += off * off;
        }
        float factor = 1.0f / __builtin_sqrtf(sum(square) / (float)n + (float)norm->eps);
        for (int64_t i = 0; i < n; i += WIDTH)
            store(normed + i, (load(x + i) - mean) * factor * load(norm->weight + i) + load(norm->bias + i));
        x = normed;
    }
    Floats peaks = {};
    for (int64_t i = 0; i < n; i += WIDTH) peaks = larger(magnitude(load(x + i)), peaks);
    float peak = 1e-12f;
    for (int i = 0; i < WIDTH; i++) peak = peaks[i] > peak ? peaks[i] : peak;
    float factor = STEPS / peak;
    for (int64_t i = 0; i < n; i += WIDTH) {
        Ints whole = __builtin_convertvector(rounded(load(x + i) * factor), Ints);
#ifdef __AVX512VNNI__
        whole += 128;
#endif
        Bytes bytes = __builtin_convertvector(whole, Bytes);
        memcpy(to + i, &bytes, sizeof bytes);
    }
    return peak / STEPS;
}

/* Rows (n_rows, in) that are quantised: bytes (n_rows, in) and scales (n_rows). */
typedef struct {
    int8_t *bytes;
    float *scales;
} Quantized;

static void quantize_rows(
    const float *x, const Norm *norm, int64_t n_rows, int64_t n, float *normed, Quantized to, int t, int n_threads
) {
    int64_t begin, end;
    share(n_rows, t, n_threads, &begin, &end);
    for (int64_t r = begin; r < end; r++) to.scales[r] = quantize(x + r * n, norm, n, normed, to.bytes + r * n);
}

/* Products of int8 */

typedef enum { STORE, ADD, GELU } Then;

#ifdef __AVX512VNNI__
typedef __m512i Sums; /* of sixteen outputs */
enum { PARTS = 1, LANES_AT_ONCE = 4, SOME_ROWS = 5 };
INLINE Sums products(Sums so_far, const int8_t *x, const int8_t *weight) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm512_dpbusd_epi32(so_far, _mm512_set1_epi32(four), _mm512_loadu_si512(weight));
}
#else
typedef __m256i Sums; /* of eight outputs */
enum { PARTS = 2, LANES_AT_ONCE = 2, SOME_ROWS = 2 };
INLINE Sums products(Sums so_far, const int8_t *x, const int8_t *weight) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    __m256i inputs = _mm256_set1_epi32(four);
    /* One factor has to be unsigned: the sign of the input goes over to the weight. 2 * 127 * 127 fits 16 bits. */
    __m256i signed_weights = _mm256_sign_epi8(_mm256_loadu_si256((const __m256i *)weight), inputs);
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(inputs), signed_weights);
    return _mm256_add_epi32(so_far, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
#endif

INLINE void finish(const Linear *map, Sums found, int64_t first, float scale, float *y, Then then) {
    Floats v = __builtin_convertvector((Ints)found, Floats) * (load(map->scale + first) * scale) + load(map->bias + first);
    if (then == GELU) v = gelu(v);
    int64_t n = map->shown - first;
    if (n >= WIDTH) {
        store(y + first, then == ADD ? v + load(y + first) : v);
    } else {
        for (int64_t i = 0; i < n; i++) y[first + i] = then == ADD ? v[i] + y[first + i] : v[i];
    }
}

/* `n_lanes` times sixteen outputs from lane `lane` on, of `n_rows` rows from row `row` on. */
INLINE void tile(
    const Linear *map, Quantized x, int64_t row, int n_rows, int64_t lane, int n_lanes, float *y, int64_t stride, Then then
) {
    Sums found[SOME_ROWS + 2][LANES_AT_ONCE * PARTS]; /* as many as there are registers for */
    const int8_t *weight = map->weight + lane * LANE * map->in, *rows = x.bytes + row * map->in;
    UNROLL for (int l = 0; l < n_lanes * PARTS; l++) {
        Sums start;
        memcpy(&start, map->start + lane * LANE + l * WIDTH, sizeof start);
        UNROLL for (int r = 0; r < n_rows; r++) found[r][l] = start;
    }
    for (int64_t k = 0; k < map->in; k += 4)
        UNROLL for (int l = 0; l < n_lanes; l++)
            UNROLL for (int part = 0; part < PARTS; part++)
                UNROLL for (int r = 0; r < n_rows; r++)
                    found[r][l * PARTS + part] = products(
                        found[r][l * PARTS + part],
                        rows + r * map->in + k,
                        weight + l * LANE * map->in + k * LANE + part * 4 * WIDTH
                    );
    UNROLL for (int r = 0; r < n_rows; r++)
        UNROLL for (int l = 0; l < n_lanes * PARTS; l++)
            finish(map, found[r][l], lane * LANE + l * WIDTH, x.scales[row + r], y + (row + r) * stride, then);
}

/* Quantised rows (R, in) -> y (R, stride), the outputs that are thread `t`'s. */
static void linear(
    const Linear *map, Quantized x, int64_t n_rows, float *y, int64_t stride, Then then, int t, int n_threads
) {
    int64_t begin, end;
    share(map->out / LANE, t, n_threads, &begin, &end);
#define TILES(ROWS, LANES) \
    for (; row + ROWS <= n_rows; row += ROWS) tile(map, x, row, ROWS, lane, LANES, y, stride, then)
    int64_t lane = begin;
    for (; lane + LANES_AT_ONCE <= end; lane += LANES_AT_ONCE) {
        int64_t row = 0;
        TILES(SOME_ROWS, LANES_AT_ONCE);
        TILES(2, LANES_AT_ONCE);
        TILES(1, LANES_AT_ONCE);
    }
    for (; lane < end; lane++) {
        int64_t row = 0;
        TILES(4, 1);
        TILES(1, 1);
    }
#undef TILES
}

/* Attention */

/* Sixty-four channels as vectors: of bfloat16 the even ones of each stretch, then the odd ones. */
INLINE void channels(const void *from, int half, Floats *to) {
    if (!half) {
        for (int i = 0; i < HEAD_VECTORS; i++) to[i] = load((const float *)from + i * WIDTH);
        return;
    }
    for (int i = 0; i < HEAD_VECTORS; i += 2) {
        Ints pairs;
        memcpy(&pairs, (const uint16_t *)from + i * WIDTH, sizeof pairs);
        to[i] = (Floats)(pairs << 16);
        to[i + 1] = (Floats)(pairs & (int32_t)0xffff0000);
    }
}

/* Where channel `i` is among such vectors. */
INLINE int place(int i, int half) {
    return half ? i / (2 * WIDTH) * 2 * WIDTH + i % 2 * WIDTH + i % (2 * WIDTH) / 2 : i;
}

/* Up to eight queries of one head, `stride` apart, scaled already, over keys and values (n, 64), float32 or bfloat16.
 * `scores` (8, n rounded up to a multiple of 16) is room. */
INLINE void attend(
    const float *q, int64_t stride, int n_rows, const void *keys, const void *values, int64_t n, int half, float *scores,
    float *out
) {
    const int64_t size = HEAD * (half ? 2 : 4), room = (n + 15) / 16 * 16;
    float queries[ROWS_AT_ONCE][HEAD] __attribute__((aligned(64)));
    Floats heard[ROWS_AT_ONCE][HEAD_VECTORS];
    for (int r = 0; r < n_rows; r++)
        for (int i = 0; i < HEAD; i++) queries[r][place(i, half)] = q[r * stride + i];
    for (int64_t s = 0; s < n; s += 8)
        for (int r = 0; r < n_rows; r++) {
            Floats score[8];
            for (int j = 0; j < 8; j++) {
                Floats key[HEAD_VECTORS];
                channels((const char *)keys + (s + j < n ? s + j : n - 1) * size, half, key);
                score[j] = key[0] * load(queries[r]);
                for (int i = 1; i < HEAD_VECTORS; i++) score[j] += key[i] * load(queries[r] + i * WIDTH);
            }
            sums_of_eight(score, scores + r * room + s);
        }
    float totals[ROWS_AT_ONCE];
    for (int r = 0; r < n_rows; r++) {
        totals[r] = weigh(scores + r * room, n, room);
        for (int i = 0; i < HEAD_VECTORS; i++) heard[r][i] = (Floats){};
    }
    for (int64_t s = 0; s < n; s += CHUNK) /* which stays near for the next row */
        for (int r = 0; r < n_rows; r++) {
            Floats own[HEAD_VECTORS];
            for (int i = 0; i < HEAD_VECTORS; i++) own[i] = heard[r][i];
            for (int64_t j = s; j < s + CHUNK && j < n; j++) {
                Floats value[HEAD_VECTORS];
                channels((const char *)values + j * size, half, value);
                for (int i = 0; i < HEAD_VECTORS; i++) own[i] += scores[r * room + j] * value[i];
            }
            for (int i = 0; i < HEAD_VECTORS; i++) heard[r][i] = own[i];
        }
    for (int r = 0; r < n_rows; r++)
        for (int i = 0; i < HEAD; i++) {
            int at = place(i, half);
            out[r * stride + i] = heard[r][at / WIDTH][at % WIDTH] / totals[r];
        }
}

/* Queries (R, D) of windows over one layer of their memories -> (R, D); the windows and heads that are thread `t`'s. */
static void hear(
    const float *q, const Memory *memories, int64_t n_windows, int64_t n_rows, int64_t n_head, int64_t layer,
    float *scores, float *out, int t, int n_threads
) {
    int64_t begin, end, n_group = n_rows / n_windows, stride = n_head * HEAD;
    share(n_windows * n_head, t, n_threads, &begin, &end);
    for (int64_t task = begin; task < end; task++) {
        const Memory *memory = memories + task / n_head;
        int64_t head = task % n_head, offset = (layer * n_head + head) * memory->n_positions * HEAD;
        for (int64_t g = 0; g < n_group; g += ROWS_AT_ONCE) {
            int64_t at = (task / n_head * n_group + g) * stride + head * HEAD;
            int rows = n_group - g < ROWS_AT_ONCE ? (int)(n_group - g) : ROWS_AT_ONCE;
            attend(
                q + at, stride, rows, memory->keys + offset, memory->values + offset, memory->n_positions, 1, scores, out + at
            );
        }
    }
}

/* What Python calls */

EXPORT const char viska_sources[] = SOURCES;

typedef struct {
    Team team;
    const Block *blocks;
    const Norm *norm;
    const Linear *vocabulary;
    const Memory *memories; /* (W) */
    const int64_t *positions; /* (R) */
    float *past;      /* (2, L, held_rows, H, held, 64): keys and values of the tokens so far */
    float *x;         /* (R, D): the newest tokens, embedded; becomes the last hidden states */
    float *logits;    /* (R, V) */
    char *room;
    int64_t n_layer, n_state, n_head, n_windows, n_rows, held_rows, held, room_of_scores;
} Step;

/* Room of a step, cut up; each part begins at a multiple of 64 bytes. */
typedef struct {
    float *wide, *heard, *normed, *scores;
    Quantized rows;
} Room;

INLINE int64_t whole_lines(int64_t n_bytes) { return (n_bytes + 63) / 64 * 64; }

/* Queries, keys and values (R, 3 D): the latter two go to the past, and the first over all of it -> (R, D). */
static void look_back(const Step *s, int64_t layer, const float *qkv, float *scores, float *out, int t, int n_threads) {
    int64_t begin, end, d = s->n_state;
    int64_t of_head = s->held * HEAD, of_row = s->n_head * of_head, of_layer = s->held_rows * of_row;
    share(s->n_rows * s->n_head, t, n_threads, &begin, &end);
    for (int64_t task = begin; task < end; task++) {
        int64_t row = task / s->n_head, head = task % s->n_head, at = s->positions[row];
        float *keys = s->past + layer * of_layer + row * of_row + head * of_head;
        float *values = keys + s->n_layer * of_layer;
        const float *own = qkv + row * 3 * d + head * HEAD;
        memcpy(keys + at * HEAD, own + d, HEAD * sizeof(float));
        memcpy(values + at * HEAD, own + 2 * d, HEAD * sizeof(float));
        attend(own, 0, 1, keys, values, at + 1, 0, scores, out + row * d + head * HEAD);
    }
}

static void step_work(const void *job, int t, int n, Meeting *meeting) {
    const Step *s = job;
    int64_t R = s->n_rows, D = s->n_state;
    int passed = 0;
    /* Scales and bytes of the rows, what is as wide as the MLP, what was heard, and each thread's own. */
    char *room = s->room;
    Room to;
    to.rows.scales = (float *)room, room += whole_lines(R * 4);
    to.rows.bytes = (int8_t *)room, room += whole_lines(R * 4 * D);
    to.wide = (float *)room, room += whole_lines(R * 4 * D * 4);
    to.heard = (float *)room, room += whole_lines(R * D * 4);
    room += t * (s->room_of_scores + whole_lines(4 * D * 4));
    to.normed = (float *)room, to.scores = (float *)(room + whole_lines(4 * D * 4));

#define MEET barrier(meeting, &passed, n)
#define QUANTIZE(FROM, NORM, WIDE) quantize_rows(FROM, NORM, R, WIDE, to.normed, to.rows, t, n), MEET
#define MAP(WHICH, TO, STRIDE, THEN) linear(WHICH, to.rows, R, TO, STRIDE, THEN, t, n), MEET
    for (int64_t layer = 0; layer < s->n_layer; layer++) {
        const Block *block = s->blocks + layer;
        QUANTIZE(s->x, &block->attn_norm, D);
        MAP(&block->qkv, to.wide, 3 * D, STORE);
        look_back(s, layer, to.wide, to.scores, to.heard, t, n), MEET;
        QUANTIZE(to.heard, 0, D);
        MAP(&block->out, s->x, D, ADD);
        QUANTIZE(s->x, &block->cross_norm, D);
        MAP(&block->cross_query, to.wide, D, STORE);
        hear(to.wide, s->memories, s->n_windows, R, s->n_head, layer, to.scores, to.heard, t, n), MEET;
        QUANTIZE(to.heard, 0, D);
        MAP(&block->cross_out, s->x, D, ADD);
        QUANTIZE(s->x, &block->mlp_norm, D);
        MAP(&block->up, to.wide, 4 * D, GELU);
        QUANTIZE(to.wide, 0, 4 * D);
        MAP(&block->down, s->x, D, ADD);
    }
    QUANTIZE(s->x, s->norm, D);
    MAP(s->vocabulary, s->logits, s->vocabulary->shown, STORE);
}

/* One more token for each row. */
EXPORT int viska_step(const Step *step) { return together(&step->team, step_work, step); }

/* Bytes for the scores that a thread works on, over so many positions. */
EXPORT int64_t viska_scores_room(int64_t n_positions) {
    return ROWS_AT_ONCE * whole_lines(n_positions * (int64_t)sizeof(float));
}

/* Bytes of room that a step needs with so many threads. */
EXPORT int64_t viska_step_room(int64_t n_rows, int64_t n_state, int64_t room_of_scores, int64_t n_threads) {
    int64_t shared = whole_lines(n_rows * 4) + whole_lines(n_rows * 4 * n_state) + whole_lines(n_rows * 4 * n_state * 4) +
                     whole_lines(n_rows * n_state * 4);
    return shared + n_threads * (room_of_scores + whole_lines(4 * n_state * 4));
}

typedef struct {
    Team team;
    const Linear *map;
    const float *x; /* (R, in) */
    float *y;       /* (R, shown) */
    int8_t *bytes;  /* (R, in): room */
    float *scales;  /* (R): room */
    int64_t n_rows;
} Product;

static void linear_work(const void *job, int t, int n, Meeting *meeting) {
    const Product *p = job;
    Quantized rows = {p->bytes, p->scales};
    int passed = 0;
    quantize_rows(p->x, 0, p->n_rows, p->map->in, 0, rows, t, n), MEET;
    linear(p->map, rows, p->n_rows, p->y, p->map->shown, STORE, t, n);
}

/* A linear map of any rows. */
EXPORT void viska_linear(const Product *product) { together(&product->team, linear_work, product); }

typedef struct {
    Team team;
    const Memory *memory;
    const float *q; /* (R, D) */
    float *heard;   /* (R, D) */
    char *room;     /* (threads, room_of_scores) */
    int64_t n_rows, n_head, layer, room_of_scores;
} Hearing;

static void hear_work(const void *job, int t, int n, Meeting *meeting) {
    const Hearing *h = job;
    (void)meeting;
    float *scores = (float *)(h->room + t * h->room_of_scores);
    hear(h->q, h->memory, 1, h->n_rows, h->n_head, h->layer, scores, h->heard, t, n);
}

/* Attention of one window's rows over one layer of its audio. */
EXPORT void viska_hear(const Hearing *hearing) { together(&hearing->team, hear_work, hearing); }
