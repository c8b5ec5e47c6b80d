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

int64_t flowpeer_held(const flowpeer_table *table, int64_t used, uint64_t *bits, uint32_t *numbers) {
    int64_t size = table->places ? INT64_C(1) << table->bits : 0, count = 0;
    for (int64_t n = 0; n < size; n++) {
        int64_t number = (int64_t)(uint32_t)table->places[n];
        if (number > used) return FLOWPEER_ARGUMENT;
        bits[number >> 6] |= UINT64_C(1) << (number & 63); /* of what is free too: no branch */
    }
    bits[0] &= ~UINT64_C(1);
    for (int64_t word = 0; word <= used / 64; word++)
        for (uint64_t rest = bits[word]; rest; rest &= rest - 1) {
            if (count >= table->used) return FLOWPEER_ARGUMENT;
            numbers[count++] = (uint32_t)(64 * word + __builtin_ctzll(rest) - 1);
        }
    return count;
}

/* Entries [at, at + SOME) of the selected ones, fewer at the end: how many; -1: one is not there. */
#define SOME 32
static int chosen(const flowpeer_entry *entries, int64_t used, const uint32_t *numbers,
                  int64_t count, int64_t at, const flowpeer_entry **out) {
    int n = count - at < SOME ? (int)(count - at) : SOME;
    for (int i = 0; i < n; i++) {
        int64_t number = numbers ? numbers[at + i] : at + i;
        if (number >= used) return -1;
        out[i] = &entries[number];
        __builtin_prefetch(out[i]);
    }
    return n;
}

int64_t flowpeer_pairs(const flowpeer_entry *entries, int64_t used, const uint32_t *numbers,
                       int64_t count, const flowpeer_field *fields,
                       int64_t field_count, uint64_t *pairs, int64_t room) {
    pair_t *to = (pair_t *)pairs;
    int64_t made = 0;
    for (int64_t f = 0; f < field_count; f++)
        if (!fits(&fields[f])) return FLOWPEER_ARGUMENT;
    for (int64_t at = 0; at < count; at += SOME) {
        const flowpeer_entry *some[SOME];
        int n = chosen(entries, used, numbers, count, at, some);
        if (n < 0 || n > room - made) return FLOWPEER_ARGUMENT;
        uint64_t old[SOME], key[SOME] = {0};
        for (int i = 0; i < n; i++) old[i] = some[i]->key;
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
        for (int i = 0; i < n; i++) to[made++] = (pair_t){key[i], some[i]};
    }
    return made;
}

int64_t flowpeer_split(const flowpeer_entry *entries, int64_t used, const uint32_t *numbers,
                       int64_t count, const flowpeer_field *part, int64_t *bounds,
                       const flowpeer_field *flag, uint8_t *flags, uint32_t *out) {
    if (!fits(part) || !fits(flag) || part->count < 0) return FLOWPEER_ARGUMENT;
    uint64_t mask = ones(part->bits), flag_mask = ones(flag->bits);
    const flowpeer_entry *some[SOME];
    memset(bounds, 0, sizeof *bounds * ((size_t)part->count + 1));
    for (int64_t at = 0; at < count; at += SOME) {
        int n = chosen(entries, used, numbers, count, at, some);
        if (n < 0) return FLOWPEER_ARGUMENT;
        for (int i = 0; i < n; i++) {
            uint64_t value = some[i]->key >> part->begin & mask;
            uint64_t other = some[i]->key >> flag->begin & flag_mask;
            if (value >= (uint64_t)part->count || other >= (uint64_t)flag->count)
                return FLOWPEER_ARGUMENT;
            bounds[value + 1]++;
            flags[other] = 1;
        }
    }
    for (int64_t p = 0; p < part->count; p++) bounds[p + 1] += bounds[p];
    for (int64_t at = 0; at < count; at += SOME) {
        int n = chosen(entries, used, numbers, count, at, some);
        for (int i = 0; i < n; i++)
            out[bounds[some[i]->key >> part->begin & mask]++] = (uint32_t)(some[i] - entries);
    }
    memmove(bounds + 1, bounds, sizeof *bounds * (size_t)part->count);
    bounds[0] = 0;
    return count;
}
