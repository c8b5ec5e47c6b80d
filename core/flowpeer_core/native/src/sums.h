/* Adding with the eye on overflow, and places in a table. */
#ifndef FLOWPEER_SUMS_H
#define FLOWPEER_SUMS_H

#include "rollup.h"

#define MOST_BITS 32 /* of a table's size */
#define AHEAD 16     /* entries that are fetched before their turn */

typedef unsigned __int128 wide_t;

static inline wide_t wide(const uint64_t halves[2]) {
    return (wide_t)halves[1] << 64 | halves[0];
}

static inline bool wide_add(uint64_t halves[2], wide_t more) {
    wide_t sum;
    if (__builtin_add_overflow(wide(halves), more, &sum)) return false;
    halves[0] = (uint64_t)sum;
    halves[1] = (uint64_t)(sum >> 64);
    return true;
}

/* Adds sums of the same key; false where one overflows. */
static inline bool entry_add(flowpeer_entry *to, const flowpeer_entry *more) {
    return !(__builtin_add_overflow(to->bytes, more->bytes, &to->bytes) |
             __builtin_add_overflow(to->packets, more->packets, &to->packets) |
             __builtin_add_overflow(to->records, more->records, &to->records)) &&
           wide_add(to->low, wide(more->low)) && wide_add(to->high, wide(more->high));
}

/* Where a hash belongs: by its upper bits, so that with more places keys are in the same order. */
static inline uint64_t place_of(const flowpeer_sums *s, uint64_t hash) {
    return hash >> (64 - s->bits);
}

/* More of a key, and the hash of that. */
typedef struct {
    const flowpeer_entry *sums;
    uint64_t key;
    uint64_t hash;
} more_t;

static inline bool alike(uint64_t place, uint64_t hash) {
    return (place ^ hash) >> 32 == 0;
}

static inline flowpeer_entry *entry_of(const flowpeer_sums *s, uint64_t place) {
    return &s->entries[(uint32_t)place - 1];
}

static inline bool add_one(flowpeer_sums *s, const more_t *more) {
    uint64_t mask = (UINT64_C(1) << s->bits) - 1, at = place_of(s, more->hash), place;
    for (; (place = s->places[at]); at = (at + 1) & mask)
        if (alike(place, more->hash) && entry_of(s, place)->key == more->key)
            return entry_add(entry_of(s, place), more->sums);
    flowpeer_entry *e = &s->entries[s->used++];
    *e = *more->sums;
    e->key = more->key;
    s->places[at] = (more->hash >> 32 << 32) | (uint64_t)s->used;
    return true;
}

/* Adds some; places and then entries of the next ones are fetched meanwhile. */
static inline bool add_all(flowpeer_sums *s, const more_t *all, int n) {
    for (int i = 0; i < n + 2 * AHEAD; i++) {
        if (i < n) __builtin_prefetch(&s->places[place_of(s, all[i].hash)], 1);
        int j = i - AHEAD;
        if (j >= 0 && j < n) {
            uint64_t place = s->places[place_of(s, all[j].hash)];
            if (place) __builtin_prefetch(entry_of(s, place), 1);
        }
        if (j >= AHEAD && !add_one(s, &all[j - AHEAD])) return false;
    }
    return true;
}

static inline bool in_order(const flowpeer_sums *s) {
    return s->used >= 0 && s->room <= UINT32_MAX && s->bits >= 0 && s->bits <= MOST_BITS;
}

/* Could a block's keys be added, and be found quickly? If not, it says what they want. */
static inline bool has_room(flowpeer_sums *s) {
    s->wants = FLOWPEER_WANTS_NOTHING;
    if (s->bits < 1 || !s->places || s->used + FLOWPEER_LEAST_ROOM > (INT64_C(1) << s->bits) / 8 * 5)
        s->wants = FLOWPEER_WANTS_PLACES;
    else if (s->used + FLOWPEER_LEAST_ROOM > s->room)
        s->wants = FLOWPEER_WANTS_ENTRIES;
    return s->wants == FLOWPEER_WANTS_NOTHING;
}

#endif
