/* Values of a column -> pages of Apache Parquet (format 2.10, Encodings.md, Thrift's compact form).
 *
 * Input: columns as Arrow lays them out. Output: pages, plain or as blocks of LZ4, with headers and
 * checksums. Covered is what the schemas of flowpeer need: bool, int32, int64, double and 16 fixed
 * octets; plain, delta (DELTA_BINARY_PACKED), dictionary; one level of nulls. Files, other codecs
 * and footers are Python's (parquet.py), whose reference is pyarrow's own writer.
 */
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "flowpeer.h"
#include "twice.h"

/* Room left of an output buffer. Every write asks for its room first. */
typedef struct {
    uint8_t *at;
    uint8_t *end;
} room_t;

static inline bool has(const room_t *out, int64_t octets) {
    return out->end - out->at >= octets;
}

static bool put_varint(room_t *out, uint64_t value) {
    if (!has(out, 10)) return false;
    while (value >= 0x80) {
        *out->at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out->at++ = (uint8_t)value;
    return true;
}

static inline uint64_t zigzag(int64_t value) {
    return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

static inline int width_of(uint64_t most) {
    return most ? 64 - __builtin_clzll(most) : 0;
}

static inline void put64(uint8_t *at, uint64_t value) {
    memcpy(at, &value, 8); /* little-endian, as all that we run on */
}

/* 32 values below 2^width, the first in the lowest bits: 4 * width octets. With a constant width
 * the compiler unrolls it. */
#define PACK32(name, value_t)                                                          \
    ANY void name(const value_t *in, uint8_t *out, int width) {                        \
        uint64_t word = 0;                                                             \
        int used = 0;                                                                  \
        _Pragma("GCC unroll 32") for (int i = 0; i < 32; i++) {                                                 \
            word |= (uint64_t)in[i] << used;                                           \
            used += width;                                                             \
            if (used >= 64) {                                                          \
                put64(out, word);                                                      \
                out += 8;                                                              \
                used -= 64;                                                            \
                word = used ? (uint64_t)in[i] >> (width - used) : 0;                   \
            }                                                                          \
        }                                                                              \
        if (used) memcpy(out, &word, 4); /* an odd width ends on half a word */        \
    }
PACK32(pack_wide, uint64_t)
PACK32(pack_narrow, uint32_t)

#define WIDTH(n) case n: pack_narrow(in, out, n); break;
#define WIDTHS(n) WIDTH(n) WIDTH(n + 1) WIDTH(n + 2) WIDTH(n + 3)
static void pack(const uint32_t *in, uint8_t *out, int width) {
    switch (width) {
        case 0: break;
        WIDTH(1) WIDTH(2) WIDTH(3) WIDTHS(4) WIDTHS(8) WIDTHS(12) WIDTHS(16) WIDTHS(20) WIDTHS(24)
        WIDTHS(28)
        default: pack_narrow(in, out, 32);
    }
}

/* DELTA_BINARY_PACKED: blocks of 128 values, 4 miniblocks of 32. int32 wraps in 32 bits. */
enum { BLOCK = 128, MINI = 32 };

ANY int64_t value_at(const uint8_t *values, int64_t i, bool narrow) {
    if (narrow) {
        int32_t v;
        memcpy(&v, values + i * 4, 4);
        return v;
    }
    int64_t v;
    memcpy(&v, values + i * 8, 8);
    return v;
}

/* A block of differences, as int32 that wrap. Vectors of four where the machine has them. */
ANY bool put_narrow(room_t *out, const int32_t *difference, int count) {
    uint32_t above[BLOCK];
    int32_t least = INT32_MAX;
    for (int i = 0; i < count; i++) least = difference[i] < least ? difference[i] : least;
    for (int i = 0; i < count; i++) above[i] = (uint32_t)difference[i] - (uint32_t)least;
    for (int i = count; i < BLOCK; i++) above[i] = 0;
    if (!put_varint(out, zigzag(least)) || !has(out, 4 + BLOCK * 4)) return false;
    uint8_t *widths = out->at;
    out->at += BLOCK / MINI;
    for (int m = 0; m < BLOCK / MINI; m++) {
        uint32_t all = 0;
        for (int i = 0; i < MINI; i++) all |= above[m * MINI + i];
        int width = width_of(all);
        widths[m] = (uint8_t)width;
        pack(above + m * MINI, out->at, width);
        if (m * MINI < count) out->at += width * MINI / 8; /* none behind the last value */
    }
    return true;
}

/* The same of any int64. */
static bool put_wide(room_t *out, const uint64_t *difference, int count) {
    uint64_t above[BLOCK];
    int64_t least = INT64_MAX;
    for (int i = 0; i < count; i++)
        least = (int64_t)difference[i] < least ? (int64_t)difference[i] : least;
    for (int i = 0; i < BLOCK; i++) above[i] = i < count ? difference[i] - (uint64_t)least : 0;
    if (!put_varint(out, zigzag(least)) || !has(out, 4 + BLOCK * 8)) return false;
    uint8_t *widths = out->at;
    out->at += BLOCK / MINI;
    for (int m = 0; m < BLOCK / MINI; m++) {
        uint64_t all = 0;
        for (int i = 0; i < MINI; i++) all |= above[m * MINI + i];
        int width = width_of(all);
        widths[m] = (uint8_t)width;
        pack_wide(above + m * MINI, out->at, width);
        if (m * MINI < count) out->at += width * MINI / 8;
    }
    return true;
}

/* Begins with the first of n values. `same`: all are the first, and no blocks will follow. */
static bool begin_delta(room_t *out, int64_t n, int64_t first, bool same) {
    if (!put_varint(out, BLOCK) || !put_varint(out, BLOCK / MINI) ||
        !put_varint(out, (uint64_t)n) || !put_varint(out, zigzag(first)))
        return false;
    /* each block: no difference, of widths of 0 */
    int64_t octets = same ? (n - 1 + BLOCK - 1) / BLOCK * (1 + BLOCK / MINI) : 0;
    if (!has(out, octets)) return false;
    memset(out->at, 0, (size_t)octets);
    out->at += octets;
    return true;
}

ANY bool delta32(const uint8_t *values, int64_t n, room_t *out, bool same) {
    if (!begin_delta(out, n, n ? value_at(values, 0, true) : 0, same)) return false;
    for (int64_t at = 1; at < n && !same; at += BLOCK) {
        int count = n - at < BLOCK ? (int)(n - at) : BLOCK;
        int32_t small[BLOCK];
        for (int i = 0; i < count; i++)
            small[i] = (int32_t)((uint32_t)value_at(values, at + i, true) -
                                 (uint32_t)value_at(values, at + i - 1, true));
        if (!put_narrow(out, small, count)) return false;
    }
    return true;
}

static inline void widen(int64_t span[2], int64_t value) {
    span[0] = value < span[0] ? value : span[0];
    span[1] = value > span[1] ? value : span[1];
}

/* The same of int64; `span` becomes the least and greatest of them. */
ANY bool delta64(const uint8_t *values, int64_t n, room_t *out, bool same, int64_t span[2]) {
    span[0] = span[1] = n ? value_at(values, 0, false) : 0;
    if (!begin_delta(out, n, span[0], same)) return false;
    for (int64_t at = 1; at < n && !same; at += BLOCK) {
        int count = n - at < BLOCK ? (int)(n - at) : BLOCK;
        const int64_t before = value_at(values, at - 1, false);
        int32_t above[BLOCK + 1] = {0}, small[BLOCK]; /* above the value before the block */
        uint64_t beyond = 0;
        for (int i = 0; i < count; i++) {
            uint64_t value = (uint64_t)value_at(values, at + i, false) - (uint64_t)before;
            beyond |= value + ((uint64_t)1 << 30);
            above[i + 1] = (int32_t)(uint32_t)value;
        }
        if (beyond >> 31) { /* they, or their differences, may not fit into 32 bits */
            uint64_t difference[BLOCK];
            for (int i = 0; i < count; i++) {
                difference[i] = (uint64_t)value_at(values, at + i, false) -
                                (uint64_t)value_at(values, at + i - 1, false);
                widen(span, value_at(values, at + i, false));
            }
            if (!put_wide(out, difference, count)) return false;
            continue;
        }
        int32_t low = 0, high = 0;
        for (int i = 0; i < count; i++) {
            small[i] = above[i + 1] - above[i];
            low = above[i + 1] < low ? above[i + 1] : low;
            high = above[i + 1] > high ? above[i + 1] : high;
        }
        widen(span, before + low);
        widen(span, before + high);
        if (!put_narrow(out, small, count)) return false;
    }
    return true;
}

/* int64 where there is a `span` of them to be found, else int32. */
ANY bool put_delta_any(const uint8_t *values, int64_t n, room_t *out, bool same, int64_t *span) {
    return span ? delta64(values, n, out, same, span) : delta32(values, n, out, same);
}
TWICE(bool, put_delta,
      (const uint8_t *values, int64_t n, room_t *out, bool same, int64_t *span),
      (values, n, out, same, span))

/* The RLE / bit-packing hybrid of dictionary indices below 2^width. */
static bool put_packed(room_t *out, const uint32_t *index, int64_t n, int width) {
    if (!n) return true;
    int64_t groups = (n + 7) / 8;
    if (!put_varint(out, (uint64_t)groups << 1 | 1) || !has(out, (n + 31) / 32 * 4 * width))
        return false;
    int64_t at = 0;
    for (; at + 32 <= n; at += 32, out->at += 4 * width) pack(index + at, out->at, width);
    if (at < n) {
        uint32_t some[32] = {0};
        memcpy(some, index + at, (size_t)(n - at) * 4);
        pack(some, out->at, width);
        out->at += (n - at + 7) / 8 * width;
    }
    return true;
}

static bool put_run(room_t *out, uint32_t value, int64_t n, int width) {
    if (!put_varint(out, (uint64_t)n << 1) || !has(out, 4)) return false;
    for (int bits = 0; bits < width; bits += 8) *out->at++ = (uint8_t)(value >> bits);
    return true;
}

/* Runs are of whole groups of eight: to look closer costs more than it saves. */
static bool put_indices(room_t *out, const uint32_t *index, int64_t n, int width) {
    int64_t literal = 0;
    for (int64_t i = 0; i + 16 <= n;) {
        uint32_t other = 0;
        for (int j = 3; j < 16; j += 4) other |= index[i + j] ^ index[i];
        for (int j = 1; !other && j < 16; j++) other = index[i + j] ^ index[i];
        int64_t stop = i + 8;
        if (!other) {
            for (stop = i + 16; stop < n && index[stop] == index[i];) stop++;
            if (stop < n) stop -= (stop - i) % 8;
            if (!put_packed(out, index + literal, i - literal, width) ||
                !put_run(out, index[i], stop - i, width))
                return false;
            literal = stop;
        }
        i = stop;
    }
    return put_packed(out, index + literal, n - literal, width);
}

/* Definition levels of width 1, behind their length in 4 octets. Arrow's bitmap is Parquet's. */
static bool put_levels(room_t *out, const uint8_t *valid, int64_t from, int64_t rows, bool none) {
    if (!has(out, 4)) return false;
    uint8_t *size = out->at;
    out->at += 4;
    if (none || !valid) {
        if (rows && !put_run(out, none ? 0 : 1, rows, 1)) return false;
    } else {
        int64_t groups = (rows + 7) / 8;
        if (!put_varint(out, (uint64_t)groups << 1 | 1) || !has(out, groups)) return false;
        int shift = (int)(from & 7);
        const uint8_t *bits = valid + (from >> 3);
        int64_t last = (from + rows - 1) >> 3; /* the last octet of the bitmap that is ours */
        for (int64_t i = 0; i < groups; i++) {
            int octet = bits[i] >> shift;
            if (shift && (from >> 3) + i + 1 <= last) octet |= bits[i + 1] << (8 - shift);
            out->at[i] = (uint8_t)octet;
        }
        if (rows % 8) out->at[groups - 1] &= (uint8_t)((1 << (rows % 8)) - 1);
        out->at += groups;
    }
    uint32_t length = (uint32_t)(out->at - size - 4);
    memcpy(size, &length, 4);
    return true;
}

static inline bool bit(const uint8_t *bits, int64_t i) {
    return bits[i >> 3] >> (i & 7) & 1;
}

static int size_of(int32_t type) {
    switch (type) {
        case FLOWPEER_BOOL: return 1;
        case FLOWPEER_INT32: return 4;
        case FLOWPEER_FIXED16: return 16;
        default: return 8;
    }
}

/* The values that are not null, one after the other; bools become octets. */
static int64_t compact(const flowpeer_chunk *chunk, const uint8_t *values, int64_t values_from,
                       const uint8_t *valid, int64_t valid_from, int64_t rows) {
    int64_t n = 0;
    int32_t type = chunk->encoding == FLOWPEER_INDICES ? FLOWPEER_INT32 : chunk->type;
    int size = size_of(type);
    for (int64_t i = 0; i < rows; i++) {
        if (type == FLOWPEER_BOOL)
            chunk->scratch[n] = bit(values, values_from + i);
        else
            memcpy(chunk->scratch + n * size, values + i * size, (size_t)size);
        n += !valid || bit(valid, valid_from + i);
    }
    return n;
}

/* Two lanes, so that one comparison need not wait for the other. */
#define MEASURE(type_t)                                                                  \
    do {                                                                                 \
        type_t least, greatest, low, high, one, two;                                     \
        memcpy(&least, chunk->known ? chunk->least : values, sizeof least);              \
        memcpy(&greatest, chunk->known ? chunk->greatest : values, sizeof greatest);     \
        low = least, high = greatest;                                                    \
        for (int64_t i = 0; i < n; i += 2) {                                             \
            memcpy(&one, values + i * (int64_t)sizeof one, sizeof one);                  \
            memcpy(&two, values + (i + 1 < n ? i + 1 : i) * (int64_t)sizeof two, sizeof two); \
            least = one < least ? one : least;                                           \
            greatest = one > greatest ? one : greatest;                                  \
            low = two < low ? two : low;                                                 \
            high = two > high ? two : high;                                              \
        }                                                                                \
        least = low < least ? low : least;                                               \
        greatest = high > greatest ? high : greatest;                                    \
        memcpy(chunk->least, &least, sizeof least);                                      \
        memcpy(chunk->greatest, &greatest, sizeof greatest);                             \
    } while (0)

static void measure(flowpeer_chunk *chunk, const uint8_t *values, int64_t n) {
    if (!n) return;
    switch (chunk->type) {
        case FLOWPEER_BOOL: MEASURE(uint8_t); break;
        case FLOWPEER_INT32: MEASURE(int32_t); break;
        case FLOWPEER_INT64: MEASURE(int64_t); break;
        case FLOWPEER_DOUBLE: MEASURE(double); break;
        default:
            for (int64_t i = 0; i < n; i++) {
                const uint8_t *value = values + i * 16;
                bool first = !chunk->known && i == 0;
                if (first || memcmp(value, chunk->least, 16) < 0) memcpy(chunk->least, value, 16);
                if (first || memcmp(value, chunk->greatest, 16) > 0)
                    memcpy(chunk->greatest, value, 16);
            }
    }
    chunk->known = 1;
}

/* measure() of bits, which are the values themselves. */
static void measure_bits(flowpeer_chunk *chunk, const uint8_t *bits, int64_t n) {
    uint8_t none = 0, all = 0xFF;
    for (int64_t i = 0; i < n / 8; i++) none |= bits[i], all &= bits[i];
    if (n % 8) {
        none |= bits[n / 8];
        all &= (uint8_t)(bits[n / 8] | 0xFF << n % 8);
    }
    uint8_t least = all == 0xFF, greatest = none != 0;
    chunk->least[0] = chunk->known && chunk->least[0] < least ? chunk->least[0] : least;
    chunk->greatest[0] = chunk->known && chunk->greatest[0] > greatest ? chunk->greatest[0] : greatest;
    chunk->known = 1;
}

static inline uint64_t mixed(uint64_t value) {
    value *= 0x9E3779B97F4A7C15u;
    return value ^ value >> 29;
}

/* What a place of the hash table holds: an entry + 1 (0: none) in 31 bits, and above them what an
 * entry is known by: whether 32 bits say it all (an integer, an IPv4 address), and these bits; of
 * others bits of their hash. */
enum { ENTRY_BITS = 31, ENTRIES = (1u << ENTRY_BITS) - 1 };

/* The last or only bits of a value that may say it all; `other` gets a bit where they do not. */
ANY uint32_t bits_of(const uint8_t *value, int size, uint64_t *other) {
    uint64_t low = 0, high;
    memcpy(&low, value, size == 4 ? 4 : 8);
    if (size == 8) *other |= low >> 32;
    if (size < 16) return (uint32_t)low;
    memcpy(&high, value + 8, 8);
    *other |= low | ((uint32_t)high ^ 0xFFFF0000u); /* ::ffff:0:0/96 */
    return (uint32_t)(high >> 32);
}

/* The upper bits of the place of a value that 32 bits say. */
static inline uint64_t known_by(uint32_t bits) {
    return ((uint64_t)bits << 1 | 1) << ENTRY_BITS;
}

/* The same of any value, never 0. */
ANY uint64_t known_of(const uint8_t *value, int size) {
    uint64_t other = 0, half[2] = {0, 0};
    uint32_t bits = bits_of(value, size, &other);
    if (!other) return known_by(bits);
    memcpy(half, value, (size_t)size);
    return (mixed(half[0] ^ mixed(half[1])) >> 32 | 1) << (ENTRY_BITS + 1);
}

/* Where to look first for such bits, among 2^(32 - shift) places. */
static inline uint32_t first_place(uint32_t bits, int shift) {
    return bits * 0x9E3779B1u >> shift;
}

ANY bool alike(const uint8_t *a, const uint8_t *b, int size) {
    uint64_t one[2] = {0, 0}, other[2] = {0, 0};
    memcpy(one, a, (size_t)size);
    memcpy(other, b, (size_t)size);
    return ((one[0] ^ other[0]) | (one[1] ^ other[1])) == 0;
}

/* Puts all entries into a table of so many places, of which some stay free. */
ANY void use_places(flowpeer_chunk *chunk, int64_t count, int size) {
    if (count > chunk->place_count) count = chunk->place_count;
    const uint64_t mask = (uint64_t)count - 1;
    memset(chunk->places, 0, (size_t)count * 8);
    for (int64_t i = 0; i < chunk->distinct; i++) {
        const uint64_t known = known_of(chunk->entries + i * size, size);
        uint64_t here = first_place((uint32_t)(known >> 32), 32 - width_of(mask));
        while (chunk->places[here]) here = (here + 1) & mask;
        chunk->places[here] = known | ((uint64_t)i + 1);
    }
    chunk->places_mask = count - 1;
}

/* The index of a value's entry, which is made if there is none yet. */
ANY uint32_t enter(flowpeer_chunk *chunk, const uint8_t *value, int size, uint64_t known,
                   uint64_t here) {
    const uint64_t mask = (uint64_t)chunk->places_mask;
    for (uint64_t found; (found = chunk->places[here]); here = (here + 1) & mask) {
        const uint32_t index = ((uint32_t)found & ENTRIES) - 1;
        if (!((found ^ known) >> ENTRY_BITS) &&
            (known >> ENTRY_BITS & 1 || alike(chunk->entries + index * (int64_t)size, value, size)))
            return index;
    }
    memcpy(chunk->entries + chunk->distinct * size, value, (size_t)size);
    chunk->places[here] = known | ((uint64_t)chunk->distinct + 1);
    return (uint32_t)chunk->distinct++;
}

/* Indices of `n` values into the chunk's dictionary, which grows. A hash table of open addresses
 * that begins as small as the nearest cache. Values are looked up some at a time, none of which
 * waits for the memory of another: first at their first places, where most are; then the others. */
ANY bool look_up(flowpeer_chunk *chunk, const uint8_t *values, int64_t n, int size) {
    enum { SOME = 32, FIRST = 1024, LARGE = 32768 };
    uint64_t *const places = chunk->places;
    if (!chunk->distinct) { /* the row group before took as many: this one will */
        int64_t before = chunk->places_mask + 1;
        use_places(chunk, before > FIRST ? before : FIRST, size);
    }
    int count;
    for (int64_t at = 0; at < n; at += count) {
        count = n - at < SOME ? (int)(n - at) : SOME;
        const uint8_t *value = values + at * size;
        uint32_t *index = chunk->index + at;
        bool same = at > 0;
        for (int i = 0; same && i < count; i++)
            same = alike(value + i * size, value - size, size);
        if (same) {
            for (int i = 0; i < count; i++) index[i] = index[-1];
            continue;
        }
        if (chunk->capacity - chunk->distinct < count) return false;
        if (2 * (chunk->distinct + count) > chunk->places_mask + 1 &&
            chunk->places_mask + 1 < chunk->place_count)
            use_places(chunk, 2 * (chunk->places_mask + 1), size);
        const int shift = 32 - width_of((uint64_t)chunk->places_mask);
        uint64_t known[SOME], found[SOME], other = 0, differ = 0;
        uint32_t place[SOME], missed = 0; /* a bit of each that is yet to be found */
        for (int i = 0; i < count; i++)
            known[i] = known_by(bits_of(value + i * size, size, &other));
        for (int i = 0; i < count && other; i++) known[i] = known_of(value + i * size, size);
        for (int i = 0; i < count; i++)
            place[i] = first_place((uint32_t)(known[i] >> 32), shift);
        for (int i = 0; i < count && (other || chunk->places_mask >= LARGE); i++)
            __builtin_prefetch(places + place[i]);
        for (int i = 0; i < count; i++) found[i] = places[place[i]];
        for (int i = 0; i < count; i++) {
            differ |= (found[i] ^ known[i]) >> ENTRY_BITS;
            index[i] = ((uint32_t)found[i] & ENTRIES) - 1;
        }
        for (int i = 0; i < count && (differ | other); i++) {
            bool mine = !((found[i] ^ known[i]) >> ENTRY_BITS);
            if (other)
                mine &= (known[i] >> ENTRY_BITS & 1) |
                        alike(chunk->entries + (mine ? index[i] : 0) * (int64_t)size,
                              value + i * size, size);
            missed |= (uint32_t)!mine << i;
        }
        for (; missed; missed &= missed - 1) {
            const int i = __builtin_ctz(missed);
            index[i] = enter(chunk, value + i * size, size, known[i], place[i]);
        }
    }
    return true;
}

/* look_up() of values of 4, 8 or 16 octets. */
ANY bool indices_of_any(flowpeer_chunk *chunk, const uint8_t *values, int64_t n, int size) {
    return size == 4   ? look_up(chunk, values, n, 4)
           : size == 8 ? look_up(chunk, values, n, 8)
                       : look_up(chunk, values, n, 16);
}
TWICE(bool, indices_of, (flowpeer_chunk *chunk, const uint8_t *values, int64_t n, int size),
      (chunk, values, n, size))

int64_t flowpeer_page(flowpeer_chunk *chunk, const uint8_t *values, int64_t values_from,
                      const uint8_t *valid, int64_t valid_from, int64_t rows, uint8_t *out,
                      int64_t room) {
    if (rows < 0 || rows > chunk->page_rows || (!chunk->nullable && (!values || valid)))
        return FLOWPEER_ARGUMENT;
    room_t to = {out, out + room};
    const uint8_t *given = values;
    if (chunk->nullable && !put_levels(&to, valid, valid_from, rows, !values))
        return FLOWPEER_NO_ROOM;
    int64_t n = values ? rows : 0;
    bool indices = chunk->encoding == FLOWPEER_INDICES;
    bool bits = chunk->type == FLOWPEER_BOOL && !indices;
    if (values && bits && !valid && rows && (chunk->same || values_from % 8 == 0)) {
        if (!has(&to, (rows + 7) / 8)) return FLOWPEER_NO_ROOM;
        if (chunk->same)
            memset(to.at, bit(values, values_from) ? 0xFF : 0, (size_t)((rows + 7) / 8));
        else
            memcpy(to.at, values + values_from / 8, (size_t)((rows + 7) / 8));
        to.at += (rows + 7) / 8;
        if (rows % 8) to.at[-1] &= (uint8_t)((1 << rows % 8) - 1);
        if (chunk->measured) measure_bits(chunk, to.at - (rows + 7) / 8, rows);
        chunk->rows += rows;
        return to.at - out;
    }
    if (values && (valid || bits)) {
        n = compact(chunk, values, values_from, valid, valid_from, rows);
        values = chunk->scratch;
    }
    int size = indices ? 4 : size_of(chunk->type);
    bool same = n && (chunk->same || /* one run */
                      (n >= 16 && !memcmp(values, values + size, (size_t)((n - 1) * size))));
    bool wide = chunk->encoding == FLOWPEER_DELTA && chunk->type == FLOWPEER_INT64;
    if (chunk->measured && !indices && !wide) measure(chunk, values, same ? 1 : n);
    bool done = true;
    if (indices) {
        int width = chunk->distinct > 1 ? width_of((uint64_t)chunk->distinct - 1) : 0;
        if (!has(&to, 1)) return FLOWPEER_NO_ROOM;
        *to.at++ = (uint8_t)width;
        for (int64_t i = 0; i < (same ? 1 : n); i++) {
            memcpy(chunk->index + i, values + i * 4, 4);
            if (chunk->index[i] >= chunk->distinct) return FLOWPEER_ARGUMENT;
        }
        done = same ? put_run(&to, chunk->index[0], n, width)
                    : put_indices(&to, chunk->index, n, width);
    } else if (chunk->encoding == FLOWPEER_DICTIONARY) {
        int64_t some = same ? 1 : n;
        if (size < 4) return FLOWPEER_ARGUMENT;
        done = indices_of(chunk, values, some, size);
        if (!done || !has(&to, 1)) return FLOWPEER_NO_ROOM;
        if (chunk->fallback && !chunk->rows && 2 * chunk->distinct > n) {
            chunk->encoding = FLOWPEER_PLAIN;
            chunk->number = 0;
            chunk->distinct = 0;
            return flowpeer_page(chunk, given, values_from, valid, valid_from, rows, out, room);
        }
        int width = chunk->distinct > 1 ? width_of((uint64_t)chunk->distinct - 1) : 0;
        *to.at++ = (uint8_t)width;
        done = same ? put_run(&to, chunk->index[0], n, width)
                    : put_indices(&to, chunk->index, n, width);
    } else if (chunk->encoding == FLOWPEER_DELTA) {
        int64_t span[2];
        if (chunk->type != FLOWPEER_INT32 && !wide) return FLOWPEER_ARGUMENT;
        done = put_delta(values, n, &to, same, wide ? span : NULL);
        if (wide && chunk->measured && n) measure(chunk, (const uint8_t *)span, 2);
    } else if (chunk->type == FLOWPEER_BOOL) {
        if (!has(&to, (n + 7) / 8)) return FLOWPEER_NO_ROOM;
        memset(to.at, 0, (size_t)((n + 7) / 8));
        for (int64_t i = 0; i < n; i++) to.at[i >> 3] |= (uint8_t)(values[i] << (i & 7));
        to.at += (n + 7) / 8;
    } else {
        if (!has(&to, n * size)) return FLOWPEER_NO_ROOM;
        if (n && !same) memcpy(to.at, values, (size_t)(n * size));
        for (int64_t i = 0; i < n && same; i++) memcpy(to.at + i * size, values, (size_t)size);
        to.at += n * size;
    }
    if (!done) return FLOWPEER_NO_ROOM;
    chunk->rows += rows;
    chunk->nulls += rows - n;
    return to.at - out;
}

/* Does text a come before text b, by its octets? */
static inline bool before(const uint8_t *texts, const int32_t *ends, int64_t a, int64_t b) {
    int32_t one = ends[a + 1] - ends[a], other = ends[b + 1] - ends[b];
    int32_t shorter = one < other ? one : other;
    int order = shorter ? memcmp(texts + ends[a], texts + ends[b], (size_t)shorter) : 0;
    return order ? order < 0 : one < other;
}

int64_t flowpeer_texts(const uint8_t *texts, const int32_t *ends, int64_t count, uint8_t *out,
                       int64_t room, int64_t *extremes) {
    room_t to = {out, out + room};
    for (int64_t i = 0; i < count; i++) {
        if (ends[i] < 0 || ends[i + 1] < ends[i]) return FLOWPEER_ARGUMENT;
        int32_t size = ends[i + 1] - ends[i];
        if (!has(&to, 4 + (int64_t)size)) return FLOWPEER_NO_ROOM;
        memcpy(to.at, &size, 4);
        if (size) memcpy(to.at + 4, texts + ends[i], (size_t)size);
        to.at += 4 + (int64_t)size;
        if (before(texts, ends, i, extremes[0])) extremes[0] = i;
        if (before(texts, ends, extremes[1], i)) extremes[1] = i;
    }
    return to.at - out;
}

/* Thrift's compact protocol: a field's header is its step from the field before it, and its type;
 * integers are zigzag varints. */
static void put_field(room_t *out, int step, int type) {
    *out->at++ = (uint8_t)(step << 4 | type);
}

static void put_i32(room_t *out, int step, int64_t value) {
    put_field(out, step, 5);
    put_varint(out, zigzag(value));
}

int64_t flowpeer_page_header(int32_t dictionary, int32_t encoding, int64_t values, int64_t raw,
                             int64_t stored, uint32_t crc, uint8_t *out, int64_t room) {
    if (room < FLOWPEER_HEADER_ROOM) return FLOWPEER_NO_ROOM;
    room_t to = {out, out + room};
    put_i32(&to, 1, dictionary ? 2 : 0); /* PageType */
    put_i32(&to, 1, raw);
    put_i32(&to, 1, stored);
    put_i32(&to, 1, (int32_t)crc);
    put_field(&to, dictionary ? 3 : 1, 12); /* 7: DictionaryPageHeader, 5: DataPageHeader */
    put_i32(&to, 1, values);
    put_i32(&to, 1, encoding);
    if (!dictionary) {
        put_i32(&to, 1, 3); /* definition levels: RLE */
        put_i32(&to, 1, 3); /* repetition levels: RLE, there are none */
    }
    *to.at++ = 0;
    *to.at++ = 0;
    return to.at - out;
}

/* ---- what is stored of a page ---- */

/* CRC-32 of zlib, eight octets at a time. */
typedef struct {
    uint32_t of[8][256];
} crc_t;

static void make_crc(crc_t *crc) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t rest = i;
        for (int bit = 0; bit < 8; bit++) rest = rest >> 1 ^ (rest & 1 ? 0xEDB88320u : 0);
        crc->of[0][i] = rest;
    }
    for (int k = 1; k < 8; k++)
        for (int i = 0; i < 256; i++)
            crc->of[k][i] = crc->of[k - 1][i] >> 8 ^ crc->of[0][crc->of[k - 1][i] & 0xFF];
}

static uint32_t crc_on(const crc_t *crc, uint32_t rest, const uint8_t *octets, int64_t n) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t word;
        memcpy(&word, octets + i, 8);
        word ^= rest;
        rest = 0;
        for (int k = 0; k < 8; k++) rest ^= crc->of[7 - k][word >> 8 * k & 0xFF];
    }
    for (; i < n; i++) rest = rest >> 8 ^ crc->of[0][(rest ^ octets[i]) & 0xFF];
    return rest;
}

#if defined(__x86_64__)
/* Sixteen octets that have the remainder of all but the last n % 16, of 64 or more: products
 * without carry (Gopal and others, "Fast CRC Computation for Generic Polynomials", 2009) put every
 * 64 octets onto the next ones. The factors are x^(d + 32) and x^(d - 32) modulo the polynomial,
 * their bits in CRC's order, of a distance of d = 512 and of 128 bits. */
__attribute__((target("pclmul"))) static void crc_fold(uint32_t rest, const uint8_t *octets,
                                                        int64_t n, uint8_t out[16]) {
    const __m128i far = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
    const __m128i near = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
#define ONTO(value, by, next)                                                                 \
    _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(value, by, 0x00),                        \
                                _mm_clmulepi64_si128(value, by, 0x11)), next)
#define FROM(at) _mm_loadu_si128((const __m128i *)(const void *)(at))
    __m128i lane[4];
    for (int k = 0; k < 4; k++) lane[k] = FROM(octets + 16 * k);
    lane[0] = _mm_xor_si128(lane[0], _mm_cvtsi32_si128((int32_t)rest));
    int64_t i = 64;
    for (; i + 64 <= n; i += 64)
        for (int k = 0; k < 4; k++) lane[k] = ONTO(lane[k], far, FROM(octets + i + 16 * k));
    for (int k = 1; k < 4; k++) lane[k] = ONTO(lane[k - 1], near, lane[k]);
    for (; i + 16 <= n; i += 16) lane[3] = ONTO(lane[3], near, FROM(octets + i));
    memcpy(out, &lane[3], 16);
#undef ONTO
#undef FROM
}
#endif

/* The checksum of what has the checksum `before` (0: of nothing) and these octets behind it. */
static uint32_t crc_of(const crc_t *crc, uint32_t before, const uint8_t *octets, int64_t n) {
    uint32_t rest = ~before;
#if defined(__x86_64__)
    if (n >= 64 && __builtin_cpu_supports("pclmul")) {
        uint8_t folded[16];
        crc_fold(rest, octets, n, folded);
        rest = crc_on(crc, 0, folded, 16);
        octets += n - n % 16, n %= 16;
    }
#endif
    return ~crc_on(crc, rest, octets, n);
}

uint32_t flowpeer_crc32(uint32_t before, const uint8_t *octets, int64_t n) {
    crc_t crc;
    make_crc(&crc);
    return crc_of(&crc, before, octets, n < 0 ? 0 : n);
}

/* The block format of LZ4: literals and matches of four octets or more, at most 64 KiB back. The
 * last match begins 12 octets before the end, the last 5 octets are literals. */
enum { LZ4_HASH = 12, LZ4_LEAST = 4, LZ4_TAIL = 12, LZ4_LITERALS = 5, LZ4_FAR = 65535 };
enum { LZ4_TRIAL = 8192 }; /* octets after which what hardly shrinks is left as it is */

/* Octets that a block of `raw` octets has at most. */
static int64_t lz4_room(int64_t raw) {
    return raw + raw / 255 + 16;
}

static inline uint32_t word_at(const uint8_t *at) {
    uint32_t word;
    memcpy(&word, at, 4);
    return word;
}

static inline uint32_t lz4_place(const uint8_t *at) {
    return word_at(at) * 2654435761u >> (32 - LZ4_HASH);
}

static uint8_t *put_length(uint8_t *out, int64_t length) {
    for (; length >= 255; length -= 255) *out++ = 255;
    *out++ = (uint8_t)length;
    return out;
}

/* Literals and the match behind them; `match` 0: there is none. */
static uint8_t *put_sequence(uint8_t *out, const uint8_t *literals, int64_t n, int64_t match,
                             int64_t back) {
    uint8_t *token = out++;
    *token = (uint8_t)((n < 15 ? n : 15) << 4);
    if (n >= 15) out = put_length(out, n - 15);
    memcpy(out, literals, (size_t)n);
    out += n;
    if (!match) return out;
    *out++ = (uint8_t)back;
    *out++ = (uint8_t)(back >> 8);
    int64_t more = match - LZ4_LEAST;
    *token |= (uint8_t)(more < 15 ? more : 15);
    return more >= 15 ? put_length(out, more - 15) : out;
}

/* `n` octets as one block into lz4_room(n) octets: how many. */
static int64_t lz4(const uint8_t *in, int64_t n, uint8_t *out) {
    uint32_t places[1 << LZ4_HASH] = {0}; /* where octets of a hash were last */
    const uint8_t *at = in, *literals = in, *end = in + n, *begin = out;
    int64_t tried = 64; /* the longer nothing repeats, the larger the steps */
    for (at++; end - at >= LZ4_TAIL;) {
        if (at - in >= LZ4_TRIAL && out - begin > (literals - in) - (literals - in) / 16) break;
        uint32_t place = lz4_place(at);
        const uint8_t *before = in + places[place];
        places[place] = (uint32_t)(at - in);
        if (at - before > LZ4_FAR || word_at(before) != word_at(at)) {
            at += tried++ >> 6;
            continue;
        }
        while (at > literals && before > in && at[-1] == before[-1]) at--, before--;
        const uint8_t *stop = at + LZ4_LEAST, *last = end - LZ4_LITERALS;
        int64_t back = at - before;
        while (last - stop >= 8) {
            uint64_t a, b;
            memcpy(&a, stop, 8);
            memcpy(&b, stop - back, 8);
            if (a != b) {
                stop += __builtin_ctzll(a ^ b) >> 3;
                break;
            }
            stop += 8;
        }
        if (last - stop < 8)
            while (stop < last && *stop == *(stop - back)) stop++;
        out = put_sequence(out, literals, at - literals, stop - at, back);
        at = literals = stop;
        tried = 64;
        if (end - at >= LZ4_TAIL) places[lz4_place(at - 2)] = (uint32_t)(at - 2 - in);
    }
    return put_sequence(out, literals, end - literals, 0, 0) - begin;
}

/* Are all `n` entries of 16 octets IPv4 addresses in ::ffff:0:0/96? */
static bool all_mapped(const uint8_t *entries, int64_t n) {
    uint64_t other = 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t high;
        memcpy(&high, entries + 16 * i, 8);
        other |= high | (word_at(entries + 16 * i + 8) ^ 0xFFFF0000u);
    }
    return !other;
}

/* lz4() of such entries, three or more, without a search: each repeats the 12 octets that the one
 * before it begins with, and those of its address that are the same. */
static int64_t lz4_mapped(const uint8_t *in, int64_t n, uint8_t *out) {
    const uint8_t *begin = out, *literals = in, *end = in + 16 * n;
    for (const uint8_t *at = in + 16; at < end - 16; at += 16) {
        uint32_t other = word_at(at + 12) ^ word_at(at - 4);
        int64_t same = 12 + (other ? __builtin_ctz(other) >> 3 : 4);
        out = put_sequence(out, literals, at - literals, same, 16);
        literals = at + same;
    }
    return put_sequence(out, literals, end - literals, 0, 0) - begin;
}

/* A page: its header, and its body as the chunk's codec stores it. Returns octets. */
static int64_t store(flowpeer_chunk *chunk, bool dictionary, int64_t values, const uint8_t *body,
                     int64_t raw, const crc_t *crc, uint8_t *out, int64_t room) {
    if (raw < 0 || room < FLOWPEER_HEADER_ROOM || room - FLOWPEER_HEADER_ROOM < lz4_room(raw))
        return FLOWPEER_NO_ROOM;
    if (chunk->codec == FLOWPEER_BODIES) {
        memcpy(out, body, (size_t)raw);
        return raw;
    }
    uint8_t header[FLOWPEER_HEADER_ROOM], *to = out + FLOWPEER_HEADER_ROOM;
    int64_t stored = raw;
    if (chunk->codec == FLOWPEER_STORED) { /* nothing but its header lies before it */
        int64_t size = flowpeer_page_header(dictionary, dictionary ? 0 : chunk->number, values, raw,
                                            raw, crc_of(crc, 0, body, raw), out, room);
        memcpy(out + size, body, (size_t)raw);
        chunk->raw += size + raw;
        return size + raw;
    }
    if (chunk->codec == FLOWPEER_LZ4 && dictionary && chunk->type == FLOWPEER_FIXED16 &&
        values >= 3 && raw == 16 * values && all_mapped(body, values))
        stored = lz4_mapped(body, values, to);
    else
        stored = lz4(body, raw, to);
    int64_t size = flowpeer_page_header(dictionary, dictionary ? 0 : chunk->number, values, raw,
                                        stored, crc_of(crc, 0, to, stored), header, sizeof header);
    memcpy(out, header, (size_t)size);
    memmove(out + size, to, (size_t)stored);
    chunk->raw += size + raw;
    return size + stored;
}

int64_t flowpeer_pages(flowpeer_chunk *chunks, const flowpeer_input *columns, int64_t count,
                       int64_t rows, uint8_t *body, int64_t room) {
    crc_t crc;
    make_crc(&crc);
    for (int64_t i = 0; i < count; i++) {
        flowpeer_chunk *chunk = &chunks[i];
        const flowpeer_input *in = &columns[i];
        const uint8_t *values = in->values;
        int64_t from = in->from;
        if (values && (chunk->type != FLOWPEER_BOOL || chunk->encoding == FLOWPEER_INDICES)) {
            values += from * (chunk->encoding == FLOWPEER_INDICES ? 4 : size_of(chunk->type));
            from = 0;
        }
        chunk->same = in->same && !in->valid;
        uint8_t *out = chunk->pages + chunk->pages_used;
        int64_t left = chunk->pages_room - chunk->pages_used;
        bool bare = chunk->codec == FLOWPEER_BODIES; /* stored as it is */
        int64_t raw = flowpeer_page(chunk, values, from, in->valid, in->from, rows,
                                    bare ? out : body, bare ? left : room);
        if (raw < 0) return raw;
        int64_t size = bare ? raw : store(chunk, false, rows, body, raw, &crc, out, left);
        if (size < 0) return size;
        chunk->pages_used += size;
    }
    return count;
}

int64_t flowpeer_dictionary_page(flowpeer_chunk *chunk, const uint8_t *body, int64_t raw,
                                 uint8_t *out, int64_t room) {
    crc_t crc;
    make_crc(&crc);
    return store(chunk, true, chunk->distinct, body, raw, &crc, out, room);
}
