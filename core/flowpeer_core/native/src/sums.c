/* Hash tables of sums, and sums in the order of their keys. */
#include "sums.h"

int64_t flowpeer_grow(const flowpeer_table *from, flowpeer_table *to) {
    if (from->bits < 0 || to->bits > MOST_BITS || to->bits <= from->bits || to->used)
        return FLOWPEER_ARGUMENT;
    int64_t size = from->places ? INT64_C(1) << from->bits : 0;
    uint64_t mask = (UINT64_C(1) << to->bits) - 1;
    for (int64_t n = 0; n < size; n++) {
        uint64_t place = from->places[n];
        if (!place) continue;
        uint64_t at = place_of(to, place);
        while (to->places[at]) at = (at + 1) & mask;
        to->places[at] = place;
        to->used++;
    }
    return to->used;
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

int64_t flowpeer_order(uint64_t *pairs, int64_t count, uint64_t *keys, int64_t *bytes,
                       int64_t *packets, int64_t *records, double *low, double *high) {
    pair_t *first = (pair_t *)pairs, *order = sorted(first, first + count, count);
    int64_t rows = 0;
    for (int64_t i = 0; i < count; rows++) {
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
    return rows;
}
