/* The one public header of flowpeer's compiled core. README.md beside it says how it is laid out.
 *
 * Plain C, no global state, no allocation: every buffer is the caller's, who says how large it is.
 * The Python face (table.py) repeats these prototypes for ctypes; a test compares the two.
 * Results: >= 0 is a count; below zero one of the codes here.
 */
#ifndef FLOWPEER_H
#define FLOWPEER_H

#include <stdint.h>

#define FLOWPEER_API __attribute__((visibility("default")))

#define FLOWPEER_NO_ROOM (-1)  /* the output buffer ends too early */
#define FLOWPEER_ARGUMENT (-2) /* an argument that no caller of ours gives */

/* CRC-32 of the sources this library was built from: what was built is what stands there. */
FLOWPEER_API uint32_t flowpeer_abi(void);

/* ---- parquet.c: values of one column chunk -> pages (Apache Parquet format 2.10) ---- */

enum { FLOWPEER_BOOL, FLOWPEER_INT32, FLOWPEER_INT64, FLOWPEER_DOUBLE, FLOWPEER_FIXED16 };
enum { FLOWPEER_PLAIN, FLOWPEER_DELTA, FLOWPEER_DICTIONARY, FLOWPEER_INDICES };

/* A column chunk in the making. The caller fills the first part and zeroes the second. */
typedef struct {
    int32_t type;     /* what one value is */
    int32_t encoding; /* INDICES: values are int32 indices into a dictionary of the caller's */
    int32_t nullable; /* pages have definition levels */
    int32_t measured; /* keep the least and greatest value */
    uint8_t *entries; /* DICTIONARY: room for `capacity` distinct values */
    uint32_t *places; /* DICTIONARY: 2 * capacity or more zeros, a power of two */
    uint32_t *index;  /* DICTIONARY: room for the indices of one page */
    uint8_t *scratch; /* room for the values of one page */
    int64_t capacity;
    int64_t places_mask;
    int64_t page_rows; /* rows that a page has at most */

    int64_t rows; /* so far, with nulls */
    int64_t nulls;
    int64_t distinct; /* DICTIONARY: entries; INDICES: set by the caller before each page */
    int32_t known;    /* least and greatest hold something */
    int32_t unused;
    uint8_t least[16]; /* as the value lies in memory */
    uint8_t greatest[16];
} flowpeer_chunk;

/* The body of one data page (version 1), uncompressed: definition levels, then values.
 * `values`: `rows` values as Arrow lays them out, bools as bits from bit `values_from`; NULL: all
 * null. `valid`: Arrow's bitmap from bit `valid_from`, NULL: none is null. Returns octets. */
FLOWPEER_API int64_t flowpeer_page(flowpeer_chunk *chunk, const uint8_t *values,
                                   int64_t values_from, const uint8_t *valid, int64_t valid_from,
                                   int64_t rows, uint8_t *out, int64_t room);

/* The header of a page of `raw` octets, stored as `stored` with this CRC-32. `dictionary`: of a
 * dictionary page. `encoding`: Parquet's number. Returns octets, at most FLOWPEER_HEADER_ROOM. */
#define FLOWPEER_HEADER_ROOM 64
FLOWPEER_API int64_t flowpeer_page_header(int32_t dictionary, int32_t encoding, int64_t values,
                                          int64_t raw, int64_t stored, uint32_t crc, uint8_t *out,
                                          int64_t room);

#endif
