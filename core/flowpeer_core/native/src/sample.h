/* An sFlow sample written out as a record: each element has a place of its own, a bit of a mask says
 * whether it is there. The elements and lengths are those of flowpeer_ingest/wire/frames.py. */
#ifndef FLOWPEER_SAMPLE_H
#define FLOWPEER_SAMPLE_H

#include "flowpeer.h"
#include "read.h"

enum {
    E_BYTES_DELTA, E_PACKETS_DELTA, E_PROTOCOL, E_TOS, E_TCP_FLAGS, E_SRC_PORT, E_SRC4, E_SRC_MASK4, E_INPUT_IF, E_DST_PORT, E_DST4, E_DST_MASK4, E_OUTPUT_IF, E_NEXT_HOP4, E_SRC_AS, E_DST_AS, E_BGP_NEXT_HOP4, E_SRC6, E_DST6, E_SRC_MASK6, E_DST_MASK6, E_SAMPLING_INTERVAL, E_SRC_MAC, E_NEXT_HOP6, E_BGP_NEXT_HOP6, E_DST_MAC, ELEMENTS
};

static const struct {
    int16_t key, offset, length;
} SAMPLE[ELEMENTS] = {
    [E_BYTES_DELTA] = {KEY_BYTES_DELTA, 0, 8},
    [E_PACKETS_DELTA] = {KEY_PACKETS_DELTA, 8, 8},
    [E_PROTOCOL] = {KEY_PROTOCOL, 16, 1},
    [E_TOS] = {KEY_TOS, 17, 1},
    [E_TCP_FLAGS] = {KEY_TCP_FLAGS, 18, 1},
    [E_SRC_PORT] = {KEY_SRC_PORT, 19, 2},
    [E_SRC4] = {KEY_SRC4, 21, 4},
    [E_SRC_MASK4] = {KEY_SRC_MASK4, 25, 1},
    [E_INPUT_IF] = {KEY_INPUT_IF, 26, 4},
    [E_DST_PORT] = {KEY_DST_PORT, 30, 2},
    [E_DST4] = {KEY_DST4, 32, 4},
    [E_DST_MASK4] = {KEY_DST_MASK4, 36, 1},
    [E_OUTPUT_IF] = {KEY_OUTPUT_IF, 37, 4},
    [E_NEXT_HOP4] = {KEY_NEXT_HOP4, 41, 4},
    [E_SRC_AS] = {KEY_SRC_AS, 45, 4},
    [E_DST_AS] = {KEY_DST_AS, 49, 4},
    [E_BGP_NEXT_HOP4] = {KEY_BGP_NEXT_HOP4, 53, 4},
    [E_SRC6] = {KEY_SRC6, 57, 16},
    [E_DST6] = {KEY_DST6, 73, 16},
    [E_SRC_MASK6] = {KEY_SRC_MASK6, 89, 1},
    [E_DST_MASK6] = {KEY_DST_MASK6, 90, 1},
    [E_SAMPLING_INTERVAL] = {KEY_SAMPLING_INTERVAL, 91, 4},
    [E_SRC_MAC] = {KEY_SRC_MAC, 95, 6},
    [E_NEXT_HOP6] = {KEY_NEXT_HOP6, 101, 16},
    [E_BGP_NEXT_HOP6] = {KEY_BGP_NEXT_HOP6, 117, 16},
    [E_DST_MAC] = {KEY_DST_MAC, 133, 6},
};

typedef struct {
    uint32_t mask;
    uint8_t octets[FLOWPEER_SAMPLE_OCTETS];
} sample_t;

/* frames.c: what the start of a packet says, added to `out`; false if it holds no IP packet. */
bool flowpeer_ethernet(span_t data, sample_t *out, int depth);
bool flowpeer_mpls(span_t data, sample_t *out, int depth);
bool flowpeer_ip(span_t data, sample_t *out, bool carried);

/* sflow.c: the elements of a flow sample; false where a length does not fit. */
bool flowpeer_flow_sample(span_t body, bool expanded, sample_t *out, bool *found);

static inline bool says(const sample_t *s, int element) {
    return s->mask >> element & 1;
}

static inline void put_octets(sample_t *s, int element, const uint8_t *octets) {
    memcpy(s->octets + SAMPLE[element].offset, octets, (size_t)SAMPLE[element].length);
    s->mask |= 1u << element;
}

/* The lowest octets of a number, as many as the element has. */
static inline void put_number(sample_t *s, int element, uint64_t value) {
    uint8_t *to = s->octets + SAMPLE[element].offset;
    for (int i = SAMPLE[element].length; i-- > 0; value >>= 8) to[i] = (uint8_t)value;
    s->mask |= 1u << element;
}

/* All that `from` says, over what was there. */
static inline void merge(sample_t *s, const sample_t *from) {
    for (int e = 0; e < ELEMENTS; e++)
        if (says(from, e)) put_octets(s, e, from->octets + SAMPLE[e].offset);
}

#endif
