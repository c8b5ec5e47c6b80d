/* Hash tables of sums, and sums in the order of their keys. */
#include "sums.h"

int64_t flowpeer_grow(flowpeer_sums *sums, uint64_t *places, int64_t bits) {
    if (!in_order(sums) || bits > MOST_BITS || bits <= sums->bits) return FLOWPEER_ARGUMENT;
    int64_t size = sums->places ? INT64_C(1) << sums->bits : 0;
    uint64_t *before = sums->places, mask = (UINT64_C(1) << bits) - 1;
    sums->places = places;
    sums->bits = bits;
    for (int64_t n = 0; n < size; n++) {
        uint64_t place = before[n];
        if (!place) continue;
        uint64_t at = place_of(sums, place);
        while (places[at]) at = (at + 1) & mask;
        places[at] = place;
    }
    return sums->used;
}

/* Digits of a radix sort. */
#define DIGIT 11
#define DIGITS 6
#define BUCKETS (1 << DIGIT)

typedef struct {
    uint64_t key;
    const flowpeer_entry *entry;
} pair_t;

/* Sorts pairs by key, least digit first, leaving out digits that are alike in all. Returns which of
 * the two buffers holds them then. */
static pair_t *sorted(pair_t *pairs, pair_t *other, int64_t count) {
    static const uint64_t mask = BUCKETS - 1;
    uint64_t differ = 0;
    for (int64_t i = 1; i < count; i++) differ |= pairs[i].key ^ pairs[0].key;
    for (int digit = 0; digit < DIGITS; digit++) {
        int shift = digit * DIGIT;
        if (!(differ >> shift & mask)) continue;
        int64_t from[BUCKETS] = {0};
        for (int64_t i = 0; i < count; i++) from[pairs[i].key >> shift & mask]++;
        int64_t total = 0;
        for (int b = 0; b < BUCKETS; b++) {
            int64_t n = from[b];
            from[b] = total;
            total += n;
        }
        for (int64_t i = 0; i < count; i++) other[from[pairs[i].key >> shift & mask]++] = pairs[i];
        pair_t *swap = pairs;
        pairs = other;
        other = swap;
    }
    return pairs;
}

int64_t flowpeer_order(uint64_t *pairs, uint64_t *other, int64_t count) {
    if (count < 0) return FLOWPEER_ARGUMENT;
    return sorted((pair_t *)pairs, (pair_t *)other, count) == (pair_t *)other;
}

int64_t flowpeer_summed(const uint64_t *pairs, int64_t count, int64_t *next, int64_t room,
                        uint64_t *keys, int64_t *bytes, int64_t *packets, int64_t *records,
                        double *low, double *high) {
    const pair_t *order = (const pair_t *)pairs;
    int64_t rows = 0, i = *next;
    if (i < 0) return FLOWPEER_ARGUMENT;
    for (; i < count && rows < room; rows++) {
        uint64_t key = order[i].key;
        flowpeer_entry sum = *order[i].entry;
        if (i + AHEAD < count) __builtin_prefetch(order[i + AHEAD].entry);
        for (i++; i < count && order[i].key == key; i++) {
            if (i + AHEAD < count) __builtin_prefetch(order[i + AHEAD].entry);
            if (!entry_add(&sum, order[i].entry)) return FLOWPEER_OVERFLOW;
        }
        keys[rows] = key;
        bytes[rows] = sum.bytes;
        packets[rows] = sum.packets;
        records[rows] = sum.records;
        low[rows] = (double)wide(sum.low);
        high[rows] = (double)wide(sum.high);
    }
    *next = i;
    return rows;
}

/* ---- new keys ---- */

static inline uint64_t ones(int64_t bits) {
    return bits < 64 ? (UINT64_C(1) << bits) - 1 : ~UINT64_C(0);
}

static bool fits(const flowpeer_field *f) {
    return f->begin >= 0 && f->begin < 64 && f->to >= 0 && f->to < 64 && f->bits > 0 && f->bits <= 64;
}

int64_t flowpeer_pairs(const flowpeer_entry *entries, int64_t count, const flowpeer_field *fields,
                       int64_t field_count, uint64_t *pairs) {
    pair_t *to = (pair_t *)pairs;
    for (int64_t f = 0; f < field_count; f++)
        if (!fits(&fields[f])) return FLOWPEER_ARGUMENT;
    for (int64_t at = 0; at < count; at += BLOCK) {
        int n = count - at < BLOCK ? (int)(count - at) : BLOCK;
        uint64_t old[BLOCK], key[BLOCK] = {0};
        for (int i = 0; i < n; i++) old[i] = entries[at + i].key;
        for (int64_t f = 0; f < field_count; f++) {
            const flowpeer_field field = fields[f];
            uint64_t mask = ones(field.bits);
            for (int i = 0; i < n; i++) {
                uint64_t value = old[i] >> field.begin & mask;
                if (field.ranks) {
                    if (value >= (uint64_t)field.count) return FLOWPEER_ARGUMENT;
                    value = (uint64_t)field.ranks[value];
                }
                key[i] |= value << field.to;
            }
        }
        for (int i = 0; i < n; i++) to[at + i] = (pair_t){key[i], &entries[at + i]};
    }
    return count;
}

int64_t flowpeer_entries(const uint64_t *pairs, int64_t count, flowpeer_entry *out) {
    const pair_t *order = (const pair_t *)pairs;
    for (int64_t i = 0; i < count; i++) {
        if (i + AHEAD < count) __builtin_prefetch(order[i + AHEAD].entry);
        out[i] = *order[i].entry;
        out[i].key = order[i].key;
    }
    return count;
}

int64_t flowpeer_segments(const flowpeer_entry *entries, int64_t count, const flowpeer_field *route,
                          uint8_t *used, int64_t room, uint64_t *keys, int64_t *bounds) {
    if (!fits(route) || count < 0 || room < 0) return FLOWPEER_ARGUMENT;
    int64_t made = 0, upper = route->begin + route->bits;
    if (upper > 63) return FLOWPEER_ARGUMENT;
    uint64_t before = 0;
    for (int64_t i = 0; i < count; i++) {
        uint64_t key = entries[i].key, code = key >> route->begin & ones(route->bits);
        if (key < before || code >= (uint64_t)route->count) return FLOWPEER_ARGUMENT;
        used[code] = 1;
        if (!i || key >> upper != before >> upper) {
            if (made == room) return FLOWPEER_NO_ROOM;
            keys[made] = key >> upper;
            bounds[made++] = i;
        }
        before = key;
    }
    bounds[made] = count;
    return made;
}
