/* Failure drills: what becomes of a link's bytes when links go. What the functions do is stated in
 * the header; their plain twins are in flowpeer_reports/kernels.py. */
#include <stdbool.h>
#include <stddef.h>

#include "flowpeer.h"

#define MOST INT64_C(0x20000000000000)    /* 2^53 */
#define WHOLE INT64_C(0x1000000000000000) /* 2^60 */

/* A quotient by floating point is off by a few at most; the remainder sets it right, and fits
 * although the products wrap. */
static inline int64_t share(int64_t amount, int64_t weight, int64_t whole, double ratio,
                            int64_t *rest) {
    int64_t guess = (int64_t)((double)amount * ratio);
    int64_t left = (int64_t)((uint64_t)amount * (uint64_t)weight -
                             (uint64_t)guess * (uint64_t)whole);
    while (left < 0) {
        guess--;
        left += whole;
    }
    while (left >= whole) {
        guess++;
        left -= whole;
    }
    *rest = left;
    return guess;
}

/* The k-th of the values in falling order, from 0; they change places. */
static int64_t ranked(int64_t *v, int64_t count, int64_t k) {
    int64_t low = 0, high = count - 1;
    while (low < high) {
        int64_t a = v[low], b = v[low + (high - low) / 2], c = v[high];
        int64_t pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        int64_t i = low, j = high;
        while (i <= j) {
            while (v[i] > pivot) i++;
            while (v[j] < pivot) j--;
            if (i <= j) {
                int64_t swap = v[i];
                v[i++] = v[j];
                v[j--] = swap;
            }
        }
        if (k <= j)
            high = j;
        else if (k >= i)
            low = i;
        else
            return v[k];
    }
    return v[k];
}

/* Splits an amount exactly; the weights' sum is positive. `room`: 2 * n. */
static void split_exactly(int64_t amount, const int64_t *weight, const double *ratio, int64_t whole,
                          int64_t n, int64_t *part, int64_t *room) {
    int64_t left = amount, *rest = room, *order = room + n;
    if (n == 2) { /* the remainders add up to the whole, or are none */
        part[0] = share(amount, weight[0], whole, ratio[0], rest);
        part[0] += *rest && *rest >= whole - *rest;
        part[1] = amount - part[0];
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        part[i] = share(amount, weight[i], whole, ratio[i], &rest[i]);
        left -= part[i];
        order[i] = rest[i];
    }
    if (!left) return;
    int64_t limit = ranked(order, n, left - 1);
    for (int64_t i = 0; i < n; i++)
        if (rest[i] > limit) {
            part[i]++;
            left--;
        }
    for (int64_t i = 0; left && i < n; i++)
        if (rest[i] == limit) {
            part[i]++;
            left--;
        }
}

/* Slots are split twelve at a time, four in a vector: the compiler makes of it what the machine has.
 * SSE2 compares no such vectors, so that what is below 0 is recognised by its sign bit. */
#define LANES 12
#define VECTORS 3
typedef double reals __attribute__((vector_size(32), aligned(8), may_alias));
typedef uint64_t bits __attribute__((vector_size(32), aligned(8), may_alias));
#define below(a, b) ((bits)((a) - (b)) >> 63)
#define all(value) ((value) - (reals){0})
#define pick(flags, a, b) ((reals)((-(flags) & (bits)(a)) | (((flags)-1) & (bits)(b))))
/* A double of 2^52 and an integer below 2^51 has the integer in its lower bits. */
#define SHIFTER 0x1p52
#define real_of(small) ((reals)((small) | (bits)all(SHIFTER)) - SHIFTER)

typedef union {
    reals v[VECTORS];
    double at[LANES];
} lanes;

/* Splits LANES amounts, at most 2^51, by their ratios (n x LANES, none above `greatest`) into parts
 * (the same): in floating point, where that settles it. A share is off by less than its 2^-51st
 * part: what lies nearer to an integer, or to where the remainders part, is not settled. The limit
 * that the largest remainders are above is guessed as if they were spread evenly. `fraction`: room,
 * n x LANES. `settled`: 1 for each amount whose parts are right. */
static inline __attribute__((always_inline)) void split_lanes(
    const lanes *amount, const double *ratio, double greatest, int64_t n, int64_t *part,
    double *fraction, double *settled) {
    for (int v = 0; v < VECTORS; v++) {
        const reals size = amount->v[v], shift = all(SHIFTER), unit = all(1.0);
        const reals off = size * greatest * 0x1p-51;
        const bits low_bits = 0xFFFFFFFFFFFFF - (bits){0};
        bits sum = {0}, unsure = {0};
        for (int64_t i = v * 4; i < n * LANES; i += LANES) {
            reals by = *(const reals *)(ratio + i), exact = size * by, floor = exact + shift - shift;
            floor -= (reals)(-below(exact, floor) & (bits)unit);
            reals rest = exact - floor;
            bits given = (bits)(floor + shift) & low_bits;
            sum += given;
            unsure |= below(rest, off) | below(unit - off, rest);
            *(reals *)(fraction + i) = rest;
            *(bits *)(part + i) = given;
        }
        reals left = size - real_of(sum), low = all(0.0), high = unit, limit = unit;
        reals above_low = all((double)n), above_high = all(0.0);
        for (int step = 0; step < 9; step++) {
            limit = low + (high - low) * (above_low - left) / (above_low - above_high + 0x1p-40);
            bits count = {0};
            for (int64_t i = v * 4; i < n * LANES; i += LANES)
                count += below(limit, *(const reals *)(fraction + i));
            reals above = real_of(count);
            bits few = below(above, left), many = below(left, above), wrong = few | many;
            if (!(wrong[0] | wrong[1] | wrong[2] | wrong[3])) break;
            low = pick(1 - few, limit, low); /* where as many, or more, are above */
            above_low = pick(1 - few, above, above_low);
            high = pick(1 - many, limit, high);
            above_high = pick(1 - many, above, above_high);
        }
        reals least = limit - off, most = limit + off;
        bits clearly = {0}, perhaps = {0};
        for (int64_t i = v * 4; i < n * LANES; i += LANES) {
            reals rest = *(const reals *)(fraction + i);
            perhaps += below(least, rest);
            clearly += below(most, rest);
            *(bits *)(part + i) += below(limit, rest);
        }
        reals first = real_of(perhaps), last = real_of(clearly);
        unsure |= below(first, left) | below(left, first) | below(last, left) | below(left, last);
        *(reals *)(settled + v * 4) = real_of(1 - unsure);
    }
}

#if defined(__x86_64__)
/* Without fused operations: the results are the same. */
__attribute__((target("avx2"))) static void split_wide(
    const lanes *amount, const double *ratio, double greatest, int64_t n, int64_t *part,
    double *fraction, double *settled) {
    split_lanes(amount, ratio, greatest, n, part, fraction, settled);
}
#endif

static void split_many(const lanes *amount, const double *ratio, double greatest, int64_t n,
                       int64_t *part, double *fraction, double *settled) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        split_wide(amount, ratio, greatest, n, part, fraction, settled);
        return;
    }
#endif
    split_lanes(amount, ratio, greatest, n, part, fraction, settled);
}

/* Bytes that a link carries of a group. */
static int64_t present(const flowpeer_fall_state *s, int64_t group, int32_t link) {
    const int32_t *holder = s->holder + s->edge[group];
    int64_t n = s->edge[group + 1] - s->edge[group], low = 0;
    if (!n) return 0;
    for (; n > 1; n -= n >> 1) low += holder[low + (n >> 1)] <= link ? n >> 1 : 0;
    return holder[low] == link ? s->held[s->edge[group] + low] : 0;
}

/* Enters the split of an amount over the options of an answer into the table. */
static bool enter(const flowpeer_fall_state *s, int64_t at, int64_t n, int64_t hour, int64_t amount,
                  const int64_t *weight, int64_t *room) {
    double *ratio = (double *)room;
    int64_t whole = 0, *part = room + n;
    for (int64_t i = 0; i < n; i++) {
        if (weight[i] < 0 || weight[i] > MOST) return false;
        whole += weight[i];
        if (whole > WHOLE) return false;
    }
    if (!whole || amount > MOST) return false;
    for (int64_t i = 0; i < n; i++) ratio[i] = (double)weight[i] / (double)whole;
    split_exactly(amount, weight, ratio, whole, n, part, part + n);
    for (int64_t i = 0; i < n; i++) s->table[s->place[at + i] * s->hours + hour] += part[i];
    return true;
}

/* Whether everything that arrays name lies in them. */
static bool consistent(const flowpeer_fall_state *s) {
    if (s->first[0] != 0 || s->first[s->answers] > s->options) return false;
    for (int64_t a = 0; a < s->answers; a++) {
        int64_t n = s->first[a + 1] - s->first[a];
        if (n < 1 || s->pool[a] < 0 || s->pool[a] >= s->answers) return false;
        int64_t other = s->pool[a];
        if (s->first[other + 1] - s->first[other] != n) return false;
    }
    for (int64_t i = 0; i < s->options; i++)
        if (s->place[i] < 0 || s->place[i] >= s->targets) return false;
    return true;
}

int64_t flowpeer_fall(const flowpeer_fall_state *s) {
    int64_t pools = 0;
    if (!consistent(s)) return FLOWPEER_ARGUMENT;
    for (int64_t i = 0; i < s->rows; i++) {
        int64_t hour = s->hour[i], question = s->question[i], group = s->group[i];
        if (hour < 0 || hour >= s->hours || question < 0 || question >= s->questions)
            return FLOWPEER_ARGUMENT;
        int64_t answer = s->answer[question], bytes = s->bytes[i];
        if (answer < 0 || answer >= s->answers || group >= s->groups || bytes < 0 || bytes > MOST)
            return FLOWPEER_ARGUMENT;
        int64_t at = s->first[answer], n = s->first[answer + 1] - at;
        s->asked[answer] += bytes;
        if (n == 1) {
            s->table[s->place[at] * s->hours + hour] += bytes;
        } else {
            int64_t sum = 0, *weight = s->scratch;
            if (group >= 0) {
                if (s->edge[group] < 0 || s->edge[group] > s->edge[group + 1] ||
                    s->edge[group + 1] > s->holders)
                    return FLOWPEER_ARGUMENT;
                for (int64_t k = 0; k < n; k++) {
                    weight[k] = present(s, group, s->link[at + k]);
                    if (weight[k] < 0 || weight[k] > MOST) return FLOWPEER_OVERFLOW;
                    sum += weight[k];
                    if (sum > WHOLE) return FLOWPEER_OVERFLOW;
                }
            }
            if (sum) {
                if (!enter(s, at, n, hour, bytes, weight, s->scratch + n))
                    return FLOWPEER_OVERFLOW;
            } else if (bytes) {
                int64_t pool = s->pool[answer];
                if (!s->pooled[pool]) s->touched[pools++] = (int32_t)pool;
                s->pooled[pool] += bytes;
                if (s->pooled[pool] > MOST) return FLOWPEER_OVERFLOW;
            }
        }
        if (i + 1 == s->rows || s->hour[i + 1] != hour) {
            for (int64_t p = 0; p < pools; p++) {
                int64_t pool = s->touched[p];
                at = s->first[pool];
                n = s->first[pool + 1] - at;
                if (!enter(s, at, n, hour, s->pooled[pool], s->weight + at, s->scratch))
                    return FLOWPEER_OVERFLOW;
                s->pooled[pool] = 0;
            }
            pools = 0;
        }
    }
    return s->rows;
}

/* Weights of one hour: those that are not 0, their sum. Returns how many, or a code. */
static int64_t weights_of(const flowpeer_spread_state *s, int64_t hour, int64_t *target,
                          int64_t *weight, int64_t *whole) {
    int64_t n = 0;
    *whole = 0;
    for (int64_t t = 0; t < s->targets; t++) {
        int64_t w = s->weights[t * s->hours + hour];
        if (!w) continue;
        if (w < 0 || w > MOST) return FLOWPEER_OVERFLOW;
        target[n] = t;
        weight[n++] = w;
        *whole += w;
        if (*whole > WHOLE) return FLOWPEER_OVERFLOW;
    }
    if (n) return n;
    target[0] = s->spare;
    weight[0] = *whole = 1;
    return 1;
}

/* Slots are gathered by target, so many at a time, before they are added to rows that lie far from
 * each other. */
#define BLOCK 96

/* What is gathered of some slots from `from` on.
 * given, most: targets x BLOCK; `most` of the first of those that are alike.
 * seen, asked: of each target: there is something of it in given, in most. */
typedef struct {
    int64_t from;
    int64_t *given, *most, *seen, *asked;
} gathered;

static int64_t *line(int64_t *of, int64_t *seen, int64_t target) {
    int64_t *at = of + target * BLOCK;
    if (!seen[target])
        for (int64_t k = 0; k < BLOCK; k++) at[k] = 0;
    seen[target] = 1;
    return at;
}

static void add(int64_t *to, const int64_t *part, int64_t count) {
    for (int64_t k = 0; k < count; k++) to[k] += part[k];
}

/* Adds what was gathered up to `end`, and begins again there. */
static void add_all(const flowpeer_spread_state *s, gathered *g, int64_t end) {
    int64_t count = end - g->from;
    for (int64_t t = 0; t < s->targets; t++) {
        const int64_t *given = g->given + t * BLOCK, *most = g->most + s->like[t] * BLOCK;
        if (g->seen[t]) {
            int64_t sum = 0;
            for (int64_t k = 0; k < count; k++) sum += given[k];
            s->sums[t] += sum;
            add(s->now + s->row[t] * s->slots + g->from, given, count);
            if (s->pair[t] >= 0) add(s->between + s->pair[t] * s->slots + g->from, given, count);
        }
        if (g->asked[s->like[t]] && s->real[t])
            add(s->most + s->row[t] * s->slots + g->from, most, count);
    }
    for (int64_t t = 0; t < s->targets; t++) g->seen[t] = g->asked[t] = 0;
    g->from = end;
}

/* What each alone may receive of some slots of an hour, rounded up. */
static int64_t alone(const flowpeer_spread_state *s, int64_t hour, int64_t whole, int64_t from,
                     int64_t end, gathered *g) {
    for (int64_t t = 0; t < s->targets; t++) {
        int64_t w = s->may[t * s->hours + hour], rest;
        if (w < 0 || w > whole) return FLOWPEER_ARGUMENT;
        if (!w || s->like[t] != t) continue;
        double ratio = (double)w / (double)whole;
        int64_t *most = line(g->most, g->asked, t) - g->from;
        for (int64_t at = from; at < end; at++) {
            int64_t part = share(s->load[at], w, whole, ratio, &rest);
            most[at] = part + (rest > 0);
        }
    }
    return 0;
}

int64_t flowpeer_spread(const flowpeer_spread_state *s) {
    if (s->per_hour < 1 || s->per_hour > WHOLE || s->into < 0 || s->into > WHOLE ||
        s->targets < 1 || s->spare < 0 || s->spare >= s->targets || (s->may && !s->most) ||
        (s->slots && (s->into + s->slots - 1) / s->per_hour >= s->hours))
        return FLOWPEER_ARGUMENT;
    for (int64_t t = 0; t < s->targets; t++)
        if (s->row[t] < 0 || s->row[t] >= s->rows || s->pair[t] >= s->pairs || s->like[t] < 0 ||
            s->like[t] > t || s->like[s->like[t]] != s->like[t])
            return FLOWPEER_ARGUMENT;
    int64_t *target = s->scratch, *weight = target + s->targets, *one = weight + s->targets;
    int64_t *room = one + s->targets, *part = room + 2 * s->targets;
    double *exact = (double *)(part + LANES * s->targets), *ratio = exact + s->targets;
    double *fraction = ratio + LANES * s->targets;
    gathered g = {.given = (int64_t *)(fraction + LANES * s->targets)};
    g.most = g.given + BLOCK * s->targets;
    g.seen = g.most + BLOCK * s->targets;
    g.asked = g.seen + s->targets;
    for (int64_t t = 0; t < s->targets; t++) g.seen[t] = g.asked[t] = 0;
    double greatest = 0;
    int64_t known = -1, n = 0, whole = 0; /* the hour of the weights that are there */
    for (int64_t slot = 0, end; slot < s->slots; slot = end) {
        int64_t hour = (s->into + slot) / s->per_hour;
        end = (hour + 1) * s->per_hour - s->into;
        end = end < s->slots ? end : s->slots;
        end = end < slot + LANES ? end : slot + LANES;
        if (end > g.from + BLOCK) add_all(s, &g, slot);
        int64_t count = end - slot, bare;
        if (hour != known) {
            n = weights_of(s, hour, target, weight, &whole);
            if (n < 0) return n;
            greatest = 0;
            for (int64_t i = 0; i < n; i++) {
                exact[i] = (double)weight[i] / (double)whole;
                greatest = exact[i] > greatest ? exact[i] : greatest;
                for (int64_t k = 0; k < LANES; k++) ratio[i * LANES + k] = exact[i];
            }
            known = hour;
        }
        bare = n == 1 && !s->weights[target[0] * s->hours + hour];
        lanes amount = {0};
        double settled[LANES] = {0};
        for (int64_t k = 0; k < count; k++) {
            if (s->load[slot + k] < 0 || s->load[slot + k] > MOST) return FLOWPEER_OVERFLOW;
            amount.at[k] = (double)s->load[slot + k];
        }
        if (n > 1) {
            if (count > LANES / 4) /* fewer are not worth it */
                split_many(&amount, ratio, greatest, n, part, fraction, settled);
            for (int64_t k = 0; k < count; k++) {
                if (settled[k] && s->load[slot + k] < MOST / 4) continue;
                split_exactly(s->load[slot + k], weight, exact, whole, n, one, room);
                for (int64_t i = 0; i < n; i++) part[i * LANES + k] = one[i];
            }
        } else {
            for (int64_t k = 0; k < count; k++) part[k] = s->load[slot + k];
        }
        for (int64_t i = 0; i < n; i++) {
            int64_t *given = line(g.given, g.seen, target[i]) + slot - g.from;
            for (int64_t k = 0; k < count; k++) given[k] = part[i * LANES + k];
        }
        if (s->may && !bare) {
            int64_t code = alone(s, hour, whole, slot, end, &g);
            if (code < 0) return code;
        }
    }
    add_all(s, &g, s->slots);
    return s->slots;
}

/* Values fall into 1024 buckets of equal width, each of which knows the borders below it. */
#define BUCKETS 1024

static void count_above(const int64_t *values, int64_t width, const int64_t *borders,
                        int64_t levels, int64_t *above) {
    uint8_t lowest[BUCKETS + 1];
    int64_t border[FLOWPEER_LEVELS + 1], found[2][FLOWPEER_LEVELS + 1] = {{0}}, most = 0;
    int shift = 0;
    for (int64_t level = 0; level < levels; level++) border[level] = borders[level];
    border[levels] = INT64_MAX;
    while (border[levels - 1] >> shift >= BUCKETS) shift++;
    for (int64_t b = 0, level = 0; b <= BUCKETS; b++) {
        int64_t before = level;
        while (level < levels && (uint64_t)border[level] < (uint64_t)b << shift) level++;
        lowest[b] = (uint8_t)level;
        if (level - before > most) most = level - before;
    }
    if (most <= 1)
        for (int64_t i = 0; i < width; i++) {
            int64_t b = values[i] >> shift, level = lowest[b < BUCKETS ? b : BUCKETS];
            found[i & 1][level + (values[i] > border[level])]++;
        }
    else
        for (int64_t i = 0; i < width; i++) {
            int64_t b = values[i] >> shift, level = lowest[b < BUCKETS ? b : BUCKETS];
            for (int64_t k = 0; k < most; k++) level += values[i] > border[level];
            found[i & 1][level]++;
        }
    for (int64_t level = levels, sum = 0; level > 0; level--)
        above[level - 1] = sum += found[0][level] + found[1][level];
}

static int64_t top_of(const int64_t *values, const uint8_t *counts, int64_t width, int64_t top,
                      int64_t guess, int64_t *room) {
    for (;;) {
        int64_t n = 0;
        for (int64_t i = 0; i < width; i++) {
            room[n] = values[i];
            n += values[i] >= guess && (!counts || counts[i]);
        }
        if (n >= top) return ranked(room, n, top - 1);
        if (guess <= 0) return FLOWPEER_ARGUMENT;
        guess = 0;
    }
}

int64_t flowpeer_figures(const flowpeer_figures_state *s) {
    if (s->levels < 0 || s->levels > FLOWPEER_LEVELS || s->width < 1) return FLOWPEER_ARGUMENT;
    for (int64_t r = 0; r < s->rows; r++) {
        const int64_t *values = s->values + r * s->width, *border = s->borders + r * s->levels;
        int64_t largest = 0;
        for (int64_t i = 0; i < s->width; i++) {
            if (values[i] < 0) return FLOWPEER_VALUE;
            largest = values[i] > largest ? values[i] : largest;
        }
        s->largest[r] = largest;
        for (int64_t level = 0; level < s->levels; level++)
            if (border[level] < (level ? border[level - 1] : 0)) return FLOWPEER_ARGUMENT;
        for (int64_t level = 0; level < s->levels; level++) s->above[r * s->levels + level] = 0;
        if (s->levels && largest > border[0])
            count_above(values, s->width, border, s->levels, s->above + r * s->levels);
        s->ranked[r] = 0;
        if (!s->top[r]) continue;
        if (s->top[r] < 0 || s->top[r] > s->width || s->kind[r] >= s->kinds)
            return FLOWPEER_ARGUMENT;
        const uint8_t *counts = s->kind[r] < 0 ? NULL : s->counts + s->kind[r] * s->width;
        int64_t found = top_of(values, counts, s->width, s->top[r], s->guess[r], s->scratch);
        if (found < 0) return found;
        s->ranked[r] = found;
    }
    return s->rows;
}
