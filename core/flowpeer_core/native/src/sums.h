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

/* Where a hash belongs: by its upper bits, so that a larger table holds keys in the same order. */
static inline uint64_t place_of(const flowpeer_table *t, uint64_t hash) {
    return hash >> (64 - t->bits);
}

#endif
