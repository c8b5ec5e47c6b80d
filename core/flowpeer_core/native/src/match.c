/* Longest-prefix match over sorted disjoint intervals: flowpeer/routing/rib/intervals.py says how
 * routes become those.
 *
 * The answer is the owner of the last interval that starts at or below the address. An index by the
 * upper bits says between which intervals it lies, and all addresses of a block are halved
 * together, so that their misses of the cache overlap. Every place that the arrays name is compared
 * with their lengths. */
#include "rollup.h"

/* Narrows places [low, low + n) of sorted `starts` to the last that is at or below the key; the
 * first one is. `count` lanes. */
#define HALVE(type)                                                                          \
    static void halve_##type(const type *starts, const type *keys, int64_t *low, int64_t *n, \
                             int count) {                                                    \
        int64_t most = 0;                                                                    \
        for (int i = 0; i < count; i++)                                                      \
            if (n[i] > most) most = n[i];                                                    \
        for (; most > 1; most -= most >> 1)                                                  \
            for (int i = 0; i < count; i++) {                                                \
                int64_t half = n[i] >> 1;                                                    \
                low[i] += starts[low[i] + half] <= keys[i] ? half : 0;                       \
                n[i] -= half;                                                                \
            }                                                                                \
    }
HALVE(uint32_t)
HALVE(uint64_t)

/* The intervals between which the index sends an address; one interval where it is damaged. */
static inline void bounds(const int32_t *index, uint64_t at, int64_t count, int64_t *low,
                          int64_t *n) {
    int64_t first = index[at], last = index[at + 1];
    bool fits = first >= 0 && first <= last && last < count;
    *low = fits ? first : 0;
    *n = fits ? last - first + 1 : 1;
}

static int32_t inside6(const flowpeer_routes *r, int64_t group, uint64_t lo) {
    int64_t first = r->first6[group], after = r->first6[group + 1];
    if (first < 0 || after < first || after > r->count6) return -1;
    while (first < after) {
        int64_t middle = first + ((after - first) >> 1);
        if (r->lo6[middle] <= lo)
            first = middle + 1;
        else
            after = middle;
    }
    return first > 0 ? r->owner6[first - 1] : -1;
}

void flowpeer_match_block(const flowpeer_routes *r, const uint64_t *hi, const uint64_t *lo, int n,
                          int32_t *out) {
    uint32_t key4[BLOCK];
    uint64_t key6[BLOCK];
    int64_t low4[BLOCK], low6[BLOCK], n4[BLOCK], n6[BLOCK];
    uint8_t lane4[BLOCK], lane6[BLOCK];
    int fours = 0, sixes = 0;
    for (int i = 0; i < n; i++) {
        if (is_v4(hi[i], lo[i])) {
            lane4[fours] = (uint8_t)i;
            key4[fours++] = (uint32_t)lo[i];
        } else {
            lane6[sixes] = (uint8_t)i;
            key6[sixes++] = hi[i];
        }
    }
    if (fours) {
        for (int i = 0; i < fours; i++)
            bounds(r->index4, key4[i] >> r->shift4, r->count4, &low4[i], &n4[i]);
        halve_uint32_t(r->start4, key4, low4, n4, fours);
        for (int i = 0; i < fours; i++) out[lane4[i]] = r->owner4[low4[i]];
    }
    if (sixes) {
        for (int i = 0; i < sixes; i++)
            bounds(r->index6, key6[i] >> r->shift6, r->groups6, &low6[i], &n6[i]);
        halve_uint64_t(r->hi6, key6, low6, n6, sixes);
        for (int i = 0; i < sixes; i++) {
            int64_t group = low6[i];
            int at = lane6[i];
            out[at] = r->cut6[group] && r->hi6[group] == key6[i] ? inside6(r, group, lo[at])
                                                                 : r->last6[group];
        }
    }
    for (int i = 0; i < n; i++)
        if (out[i] < 0 || out[i] >= r->count) out[i] = -1;
}

int64_t flowpeer_match(const flowpeer_routes *routes, const flowpeer_input *first,
                       const flowpeer_input *second, int64_t rows, int32_t *out) {
    if (!flowpeer_fits(routes)) return FLOWPEER_ARGUMENT;
    for (int64_t row = 0; row < rows; row += BLOCK) {
        int n = rows - row < BLOCK ? (int)(rows - row) : BLOCK, lanes = 0;
        uint64_t hi[BLOCK], lo[BLOCK];
        int32_t found[BLOCK];
        uint8_t lane[BLOCK];
        for (int i = 0; i < n; i++) {
            uint64_t h = 0, l = 0;
            /* All zero and ::ffff:0.0.0.0 both say that there is none. */
            bool said = address(first, row + i, &h, &l) && (h || (l && l != 0xFFFFull << 32));
            if (!said) said = address(second, row + i, &h, &l);
            out[row + i] = -1;
            if (!said) continue;
            lane[lanes] = (uint8_t)i;
            hi[lanes] = h;
            lo[lanes++] = l;
        }
        flowpeer_match_block(routes, hi, lo, lanes, found);
        for (int i = 0; i < lanes; i++) out[row + lane[i]] = found[i];
    }
    return rows;
}
