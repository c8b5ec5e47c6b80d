/* The start of a packet, as routers copy it -> elements of a flow record: flowpeer_ingest/wire/
 * frames.py in C, clause by clause (IEEE 802.1Q, RFC 3032, RFC 4448, RFC 8754). A header that ends
 * early gives what there is.
 */
#include "sample.h"

enum { MAX_NESTED = 16 };
enum { ICMP = 1, TCP = 6, UDP = 17, ROUTING = 43, FRAGMENT = 44, ICMP6 = 58, SCTP = 132 };

static span_t from(span_t data, int64_t offset) {
    return offset < left(data) ? span_of(data.at + offset, left(data) - offset)
                               : span_of(data.end, 0);
}

static bool is_vlan(uint64_t kind) {
    return kind == 0x8100 || kind == 0x88A8 || kind == 0x9100 || kind == 0x9200;
}

bool flowpeer_ethernet(span_t data, sample_t *out, int depth) {
    if (left(data) < 14 || depth >= MAX_NESTED) return false;
    uint64_t kind = peek16(data, 12);
    int64_t at = 14;
    for (int i = 0; i < MAX_NESTED && is_vlan(kind); i++) {
        kind = peek16(data, at + 2);
        at += 4;
    }
    bool found = false;
    if (kind == 0x8847 || kind == 0x8848)
        found = flowpeer_mpls(from(data, at), out, depth);
    else if (kind == 0x0800 || kind == 0x86DD)
        found = flowpeer_ip(from(data, at), out, false);
    if (found) { /* the link's MACs, not a pseudowire's */
        put_octets(out, E_DST_MAC, data.at);
        put_octets(out, E_SRC_MAC, data.at + 6);
    }
    return found;
}

bool flowpeer_mpls(span_t data, sample_t *out, int depth) {
    int64_t at = 0;
    for (int i = 0; i < MAX_NESTED; i++) {
        if (left(data) < at + 4) return false;
        bool bottom = peek8(data, at + 2) & 1;
        at += 4;
        if (bottom) break;
    }
    span_t inner = from(data, at);
    if (left(inner) <= 0) return false;
    uint64_t version = peek8(inner, 0) >> 4;
    if (version == 4 || version == 6) return flowpeer_ip(inner, out, false);
    return version == 0 && flowpeer_ethernet(from(inner, 4), out, depth + 1);
}

static void transport(uint64_t protocol, span_t data, sample_t *out) {
    if ((protocol == TCP || protocol == UDP || protocol == SCTP) && left(data) >= 4) {
        put_octets(out, E_SRC_PORT, data.at);
        put_octets(out, E_DST_PORT, data.at + 2);
        if (protocol == TCP && left(data) >= 14) put_octets(out, E_TCP_FLAGS, data.at + 13);
    } else if ((protocol == ICMP || protocol == ICMP6) && left(data) >= 2)
        put_octets(out, E_DST_PORT, data.at);
}

static void ip4(span_t data, sample_t *out) {
    put_number(out, E_BYTES_DELTA, peek16(data, 2));
    put_octets(out, E_PROTOCOL, data.at + 9);
    put_octets(out, E_TOS, data.at + 1);
    put_octets(out, E_SRC4, data.at + 12);
    put_octets(out, E_DST4, data.at + 16);
    if (!(peek16(data, 6) & 0x1FFF))
        transport(peek8(data, 9), from(data, (int64_t)(peek8(data, 0) & 15) * 4), out);
}

static bool ip6(span_t data, sample_t *out, bool carried) {
    uint64_t following = peek8(data, 6);
    int64_t at = 40;
    bool first_part = true, routed = false;
    for (int i = 0; i < MAX_NESTED; i++) {
        if (following == FRAGMENT && left(data) >= at + 8) {
            first_part = !(peek16(data, at + 2) & 0xFFF8);
            following = peek8(data, at);
            at += 8;
        } else if ((following == 0 || following == ROUTING || following == 60 ||
                    following == 135) && left(data) >= at + 2) {
            routed |= following == ROUTING;
            following = peek8(data, at);
            at += 8 + (int64_t)peek8(data, at + 1) * 8;
        } else
            break;
    }
    if (routed && !carried && (following == 4 || following == 41)) {
        sample_t inner = {0};
        if (flowpeer_ip(from(data, at), &inner, true)) {
            merge(out, &inner);
            return true;
        }
    }
    put_number(out, E_BYTES_DELTA, peek16(data, 4) + 40);
    put_number(out, E_TOS, (peek8(data, 0) << 4 | peek8(data, 1) >> 4) & 255);
    put_octets(out, E_SRC6, data.at + 8);
    put_octets(out, E_DST6, data.at + 24);
    put_number(out, E_PROTOCOL, following);
    if (first_part) transport(following, from(data, at), out);
    return true;
}

bool flowpeer_ip(span_t data, sample_t *out, bool carried) {
    uint64_t version = peek8(data, 0) >> 4;
    if (version == 4 && left(data) >= 20) {
        ip4(data, out);
        return true;
    }
    return version == 6 && left(data) >= 40 && ip6(data, out, carried);
}
