/* Pages of Parquet -> addresses: what parquet.c makes of a column of 16 octets with a dictionary, none
 * of them null (format 2.10, data pages of version 1, indices in runs and packed groups of eight). */
#include "flowpeer.h"
#include "read.h"

static inline uint64_t little(const uint8_t *at, int64_t size) {
    uint64_t value = 0;
    if (size >= 8)
        memcpy(&value, at, 8);
    else
        memcpy(&value, at, (size_t)size);
    return value;
}

static bool take_varint(span_t *s, uint64_t *out) {
    *out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        const uint8_t *at = take(s, 1);
        if (!at) return false;
        *out |= (uint64_t)(*at & 0x7F) << shift;
        if (*at < 0x80) return true;
    }
    return false;
}

int64_t flowpeer_addresses(const uint8_t *page, int64_t size, const uint8_t *entries, int64_t count,
                           int64_t rows, uint8_t *out) {
    span_t s = span_of(page, size);
    const uint8_t *at = take(&s, 4); /* of the definition levels, all of which are 1 */
    if (!at || !take(&s, (int64_t)little(at, 4)) || !(at = take(&s, 1)) || *at > 32)
        return FLOWPEER_ARGUMENT;
    int width = *at;
    uint64_t mask = (UINT64_C(1) << width) - 1, head;
    for (int64_t row = 0, n; row < rows; row += n) {
        if (!take_varint(&s, &head) || head >> 1 > INT32_MAX) return FLOWPEER_ARGUMENT;
        n = head & 1 ? (int64_t)(head >> 1) * 8 : (int64_t)(head >> 1);
        int64_t octets = head & 1 ? n / 8 * width : (width + 7) / 8;
        if (n > rows - row) n = rows - row;
        if (!(at = take(&s, octets))) return FLOWPEER_ARGUMENT;
        for (int64_t i = 0; i < n; i++) {
            int64_t bit = head & 1 ? i * width : 0, rest = s.end - at - bit / 8;
            uint64_t index = little(at + bit / 8, rest) >> bit % 8 & mask;
            if (index >= (uint64_t)count) return FLOWPEER_ARGUMENT;
            memcpy(out + 16 * (row + i), entries + 16 * index, 16);
        }
    }
    return rows;
}
