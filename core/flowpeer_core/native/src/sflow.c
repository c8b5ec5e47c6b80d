/* A flow sample of sFlow version 5 -> the elements of a record: flowpeer_ingest/wire/sflow5.py in
 * C. Words are XDR (RFC 4506). A length that does not fit makes the whole sample the caller's.
 */
#include "sample.h"

enum { LOCAL = 0x3FFFFFFF, MAX_SAMPLES = 1024 };

/* `count` octets and their padding, which may be cut at the end. */
static const uint8_t *opaque(span_t *s, uint64_t count) {
    if (count > (uint64_t)left(*s)) return NULL;
    const uint8_t *at = take(s, (int64_t)count);
    int64_t padding = (int64_t)(-count & 3);
    take(s, padding < left(*s) ? padding : left(*s));
    return at;
}

/* An address of 4 or 16 octets, of none if it is unknown. */
static bool address(span_t *s, const uint8_t **octets, int *size) {
    uint64_t kind;
    if (!take32(s, &kind) || kind > 2) return false;
    *size = kind == 0 ? 0 : kind == 1 ? 4 : 16;
    return (*octets = opaque(s, (uint64_t)*size)) != NULL;
}

static bool words(span_t *s, uint64_t *out, int count) {
    for (int i = 0; i < count; i++)
        if (!take32(s, &out[i])) return false;
    return true;
}

static bool raw_header(span_t record, sample_t *out, bool *found) {
    uint64_t w[4];
    if (!words(&record, w, 4)) return false;
    const uint8_t *octets = opaque(&record, w[3]);
    if (!octets) return false;
    span_t data = span_of(octets, (int64_t)w[3]);
    sample_t said = {0};
    bool packet = w[0] == 1                   ? flowpeer_ethernet(data, &said, 0)
                  : w[0] == 11 || w[0] == 12 ? flowpeer_ip(data, &said, false)
                  : w[0] == 13               ? flowpeer_mpls(data, &said, 0)
                                             : false;
    if (packet) merge(out, &said);
    *found |= packet;
    return true;
}

static bool ethernet(span_t record, sample_t *out) {
    uint64_t length;
    const uint8_t *source, *destination;
    if (!take32(&record, &length) || !(source = opaque(&record, 6))) return false;
    if (!says(out, E_SRC_MAC)) put_octets(out, E_SRC_MAC, source);
    if (!(destination = opaque(&record, 6))) return false;
    if (!says(out, E_DST_MAC)) put_octets(out, E_DST_MAC, destination);
    return true;
}

static bool sampled_ip(span_t record, sample_t *out, bool *found, bool six) {
    uint64_t w[2], v[4];
    const uint8_t *source, *destination;
    if (!words(&record, w, 2) || !(source = opaque(&record, six ? 16 : 4)) ||
        !(destination = opaque(&record, six ? 16 : 4)) || !words(&record, v, 4))
        return false;
    *found = true;
    if (says(out, E_BYTES_DELTA)) return true;
    put_number(out, E_BYTES_DELTA, w[0]);
    put_number(out, E_PROTOCOL, w[1]);
    put_number(out, E_TOS, v[3]);
    put_number(out, E_TCP_FLAGS, v[2]);
    put_number(out, E_SRC_PORT, v[0]);
    put_number(out, E_DST_PORT, v[1]);
    put_octets(out, six ? E_SRC6 : E_SRC4, source);
    put_octets(out, six ? E_DST6 : E_DST4, destination);
    return true;
}

static bool router(span_t record, sample_t *out) {
    const uint8_t *hop;
    int size;
    uint64_t w[2];
    if (!address(&record, &hop, &size) || !words(&record, w, 2)) return false;
    if (size) put_octets(out, size == 4 ? E_NEXT_HOP4 : E_NEXT_HOP6, hop);
    bool four = says(out, E_SRC4) || (!says(out, E_SRC6) && size == 4);
    put_number(out, four ? E_SRC_MASK4 : E_SRC_MASK6, w[0] < 255 ? w[0] : 255);
    put_number(out, four ? E_DST_MASK4 : E_DST_MASK6, w[1] < 255 ? w[1] : 255);
    return true;
}

static bool gateway(span_t record, sample_t *out) {
    const uint8_t *hop, *last = NULL;
    int size;
    uint64_t w[4], segment[2];
    if (!address(&record, &hop, &size) || !words(&record, w, 4)) return false;
    if (size) put_octets(out, size == 4 ? E_BGP_NEXT_HOP4 : E_BGP_NEXT_HOP6, hop);
    put_number(out, E_SRC_AS, w[1]);
    for (uint64_t i = 0; i < w[3] && i < MAX_SAMPLES; i++) {
        if (!words(&record, segment, 2)) return false;
        const uint8_t *path = opaque(&record, segment[1] * 4);
        if (!path) return false;
        last = segment[0] == 2 && segment[1] ? path + (segment[1] - 1) * 4 : NULL;
    }
    if (last) put_octets(out, E_DST_AS, last);
    return true;
}

bool flowpeer_flow_sample(span_t body, bool expanded, sample_t *out, bool *found) {
    uint64_t w[11], rate, in_kind, in, out_kind, to, count;
    out->mask = 0;
    *found = false;
    if (!words(&body, w, expanded ? 11 : 8)) return false;
    if (expanded) {
        rate = w[3], in_kind = w[6], in = w[7], out_kind = w[8], to = w[9], count = w[10];
    } else {
        rate = w[2], count = w[7];
        in_kind = w[5] >> 30, in = w[5] & LOCAL, out_kind = w[6] >> 30, to = w[6] & LOCAL;
        in = in == LOCAL ? 0 : in;
        to = to == LOCAL ? 0 : to;
    }
    put_number(out, E_PACKETS_DELTA, 1);
    put_number(out, E_SAMPLING_INTERVAL, rate);
    if (in_kind == 0) put_number(out, E_INPUT_IF, in == 0xFFFFFFFF ? 0 : in);
    if (out_kind <= 1) /* 1: discarded, the value is the reason */
        put_number(out, E_OUTPUT_IF, out_kind || to == 0xFFFFFFFF ? 0 : to);
    for (uint64_t i = 0; i < count && i < MAX_SAMPLES; i++) {
        uint64_t head[2];
        if (!words(&body, head, 2)) return false;
        const uint8_t *octets = opaque(&body, head[1]);
        if (!octets) return false;
        span_t record = span_of(octets, (int64_t)head[1]);
        bool fits = true;
        switch (head[0]) {
            case 1: fits = raw_header(record, out, found); break;
            case 2: fits = ethernet(record, out); break;
            case 3: fits = sampled_ip(record, out, found, false); break;
            case 4: fits = sampled_ip(record, out, found, true); break;
            case 1002: fits = router(record, out); break;
            case 1003: fits = gateway(record, out); break;
            default: break;
        }
        if (!fits) return false;
    }
    return true;
}
