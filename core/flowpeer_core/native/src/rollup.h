/* What rollup.c and its parts share: columns of Arrow, and the match of addresses to routes. */
#ifndef FLOWPEER_ROLLUP_H
#define FLOWPEER_ROLLUP_H

#include <stdbool.h>
#include <string.h>

#include "flowpeer.h"

#define BLOCK FLOWPEER_BLOCK

static inline bool bit(const uint8_t *bits, int64_t at) {
    return bits[at >> 3] >> (at & 7) & 1;
}

static inline bool is_there(const flowpeer_input *in, int64_t row) {
    return in->width && (!in->valid || bit(in->valid, in->from + row));
}

/* Rows [row, row + n) of a column of integers, where they lie or in `out`; the caller has compared
 * them with its end. */
static inline const int64_t *integers(const flowpeer_input *in, int64_t row, int n, int64_t *out) {
    int64_t at = in->from + row;
    if (in->width == 8) {
        const uint8_t *values = in->values + 8 * at;
        if (!in->valid && (uintptr_t)values % 8 == 0) return (const int64_t *)(const void *)values;
        memcpy(out, values, 8 * (size_t)n);
    } else if (in->width == 4) {
        int32_t some[BLOCK];
        memcpy(some, in->values + 4 * at, 4 * (size_t)n);
        for (int i = 0; i < n; i++) out[i] = some[i];
    } else {
        for (int i = 0; i < n; i++) out[i] = in->null;
        return out;
    }
    if (in->valid)
        for (int i = 0; i < n; i++)
            if (!bit(in->valid, at + i)) out[i] = in->null;
    return out;
}

/* The halves of the address in a row; false where it is null. */
static inline bool address(const flowpeer_input *in, int64_t row, uint64_t *hi, uint64_t *lo) {
    if (!is_there(in, row)) return false;
    const uint8_t *at = in->values + 16 * (in->from + row);
    memcpy(hi, at, 8);
    memcpy(lo, at + 8, 8);
    *hi = __builtin_bswap64(*hi);
    *lo = __builtin_bswap64(*lo);
    return true;
}

static inline bool is_v4(uint64_t hi, uint64_t lo) {
    return !hi && lo >> 32 == 0xFFFF;
}

/* Can `routes` be searched? */
static inline bool flowpeer_fits(const flowpeer_routes *routes) {
    return routes->count4 >= 1 && routes->groups6 >= 1 && routes->shift4 >= 8 &&
           routes->shift4 <= 24 && routes->shift6 >= 40 && routes->shift6 <= 56;
}

/* The longest match of each of n <= BLOCK addresses: numbers of routes, -1 for none. */
void flowpeer_match_block(const flowpeer_routes *routes, const uint64_t *hi, const uint64_t *lo,
                          int n, int32_t *out);

/* A finaliser that lets every bit of `x` reach every bit of the result (splitmix64). */
static inline uint64_t mixed(uint64_t x) {
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

#endif
