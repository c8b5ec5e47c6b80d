/* Reading octets from the wire. A cursor and its end travel together; nothing is read but through
 * the functions here, each of which knows the end. Numbers are big-endian, unsigned, widened once. */
#ifndef FLOWPEER_READ_H
#define FLOWPEER_READ_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} span_t;

static inline span_t span_of(const uint8_t *octets, int64_t size) {
    return (span_t){octets, octets + size};
}

static inline int64_t left(span_t s) {
    return s.end - s.at;
}

static inline uint64_t big16(const uint8_t *at) {
    return (uint64_t)at[0] << 8 | at[1];
}

static inline uint64_t big32(const uint8_t *at) {
    uint32_t v;
    memcpy(&v, at, 4);
    return __builtin_bswap32(v);
}

static inline uint64_t big64(const uint8_t *at) {
    uint64_t v;
    memcpy(&v, at, 8);
    return __builtin_bswap64(v);
}

/* The number at `offset` of what is left, 0 beyond its end: for those who ask `left` first. */
static inline uint64_t peek8(span_t s, int64_t offset) {
    return left(s) > offset ? s.at[offset] : 0;
}

static inline uint64_t peek16(span_t s, int64_t offset) {
    return left(s) >= offset + 2 ? big16(s.at + offset) : 0;
}

static inline uint64_t peek32(span_t s, int64_t offset) {
    return left(s) >= offset + 4 ? big32(s.at + offset) : 0;
}

/* Takes `size` octets off the front: where they are, NULL if there are fewer (nothing is taken). */
static inline const uint8_t *take(span_t *s, int64_t size) {
    if (size < 0 || left(*s) < size) return NULL;
    const uint8_t *at = s->at;
    s->at += size;
    return at;
}

static inline bool take32(span_t *s, uint64_t *out) {
    const uint8_t *at = take(s, 4);
    if (!at) return false;
    *out = big32(at);
    return true;
}

/* The first `size` octets as a span of their own; false if there are fewer. */
static inline bool cut(span_t *s, int64_t size, span_t *out) {
    const uint8_t *at = take(s, size);
    if (!at) return false;
    *out = span_of(at, size);
    return true;
}

static inline bool all_zero(span_t s) {
    while (s.at < s.end)
        if (*s.at++) return false;
    return true;
}

/* Where a field lies in records of `size` octets, -1 if it does not lie in them. */
static inline int64_t field(int64_t size, int64_t offset, int64_t length) {
    return offset < 0 || length <= 0 || length > size || offset > size - length ? -1 : offset;
}

#endif
