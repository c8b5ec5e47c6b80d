/* Datagrams -> sets of flow records.
 *
 * A datagram is plain if its header is whole, its session known, and everything in it are flow
 * records of known templates, or sFlow samples, that fit, or sets of templates that came before and
 * say nothing new. Plain datagrams are taken apart here;
 * at any other one the walk stops and the caller decodes it by flowpeer_ingest.wire, whose walk
 * over sets (sets.py, sflow5.py) this repeats for what is plain. Templates, sessions and every rule
 * about sequence numbers but "it is the expected one" are the caller's.
 */
#include "flowpeer.h"
#include "read.h"
#include "sample.h"

enum { V5_HEADER = 24, V5_RECORD = 48, V9_HEADER = 20, IPFIX_HEADER = 16, SFLOW5 = 105 };
enum { FIRST_DATA_SET = 256, MAX_SAMPLES = 1024, INTERVAL_BITS = 0x3FFF };
enum { TAKEN = 0, NOT_PLAIN = 1, NO_ROOM = 2, UNKNOWN = 3 };

static uint64_t mixed(uint64_t value) {
    value *= 0x9E3779B97F4A7C15u;
    return value ^ value >> 29;
}

static bool same_key(const flowpeer_session *a, const flowpeer_session *b) {
    return a->exporter == b->exporter && a->port == b->port && a->version == b->version &&
           a->domain == b->domain && !memcmp(a->agent, b->agent, 16);
}

static uint64_t place_of_session(const flowpeer_batch *b, const flowpeer_session *key) {
    uint64_t agent[2];
    memcpy(agent, key->agent, 16);
    uint64_t hash = mixed((uint64_t)key->exporter << 32 | key->domain);
    hash = mixed(hash ^ ((uint64_t)key->port << 16 | key->version) ^ agent[0]) ^ mixed(agent[1]);
    uint64_t place = hash & (uint64_t)b->session_mask;
    uint32_t found;
    while ((found = b->session_places[place]) && !same_key(&b->sessions[found - 1], key))
        place = (place + 1) & (uint64_t)b->session_mask;
    return place;
}

static uint64_t place_of_template(const flowpeer_batch *b, uint64_t key) {
    uint64_t place = mixed(key) & (uint64_t)b->template_mask;
    uint32_t found;
    while ((found = b->template_places[place]) && b->templates[found - 1] != key)
        place = (place + 1) & (uint64_t)b->template_mask;
    return place;
}

int64_t flowpeer_put_session(flowpeer_batch *b, const flowpeer_session *session, int64_t room) {
    if (b->session_count >= room || b->session_count * 2 > b->session_mask) return FLOWPEER_NO_ROOM;
    b->sessions[b->session_count] = *session;
    uint64_t place = place_of_session(b, session);
    b->session_places[place] = (uint32_t)(b->session_count + 1);
    return b->session_count++;
}

int64_t flowpeer_put_template(flowpeer_batch *b, uint64_t key, int32_t code, int64_t room) {
    if (b->template_count >= room || b->template_count * 2 > b->template_mask)
        return FLOWPEER_NO_ROOM;
    uint64_t place = place_of_template(b, key);
    b->templates[b->template_count] = key;
    b->codes[b->template_count] = code;
    b->template_places[place] = (uint32_t)(b->template_count + 1);
    return b->template_count++;
}

/* Room for one more set, NULL if there is none. */
static flowpeer_set *next_set(flowpeer_batch *b) {
    return b->set_count < b->set_room ? &b->sets[b->set_count] : NULL;
}

/* The place of the session of `key`; -1: it is not known, and the caller is asked. */
static int32_t session_of(flowpeer_batch *b, const flowpeer_session *key) {
    uint32_t found = b->session_places[place_of_session(b, key)];
    if (found) return (int32_t)found - 1;
    b->key = *key;
    b->stop = STOP_SESSION;
    return -1;
}

/* What all sets of a datagram share. */
static flowpeer_set shared_by(const flowpeer_datagram *d, const flowpeer_session *session,
                              const flowpeer_batch *b, int format) {
    return (flowpeer_set){
        .received_us = d->received_us,
        .export_ms = -1,
        .uptime_ms = -1,
        .domain = session->domain,
        .session = session->number,
        .timeout_us = b->timeouts_us[d->exporter],
        .exporter = (int32_t)d->exporter,
        .format = format,
        .rates = session->rates,
    };
}

static int add_set(flowpeer_batch *b, const flowpeer_set *shared, int32_t layout, span_t body,
                   int64_t count) {
    flowpeer_set *set = next_set(b);
    if (!set) return NO_ROOM;
    *set = *shared;
    set->at = body.at - b->octets;
    set->size = left(body);
    set->count = count;
    set->layout = layout;
    b->set_count++;
    return TAKEN;
}

/* Passes over one record of variable length; false if it does not fit. */
static bool pass_record(span_t *body, const flowpeer_layout *layout) {
    for (int32_t v = 0; v < layout->variables; v++) {
        const uint8_t *length;
        if (!take(body, layout->runs[v]) || !(length = take(body, 1))) return false;
        int64_t octets = *length;
        if (octets == 255) {
            if (!(length = take(body, 2))) return false;
            octets = (int64_t)big16(length);
        }
        if (!take(body, octets)) return false;
    }
    return take(body, layout->runs[layout->variables]) != NULL;
}

/* The records of a data set, in parts; not plain if one does not fit, or none does. */
static int add_records(flowpeer_batch *b, const flowpeer_set *shared, int32_t number, span_t body,
                       int64_t *total) {
    const flowpeer_layout *layout = &b->layouts[number];
    int64_t size = left(body), records = 0;
    if (layout->minimum <= 0) return NOT_PLAIN;
    while (left(body) >= layout->minimum) {
        span_t part = body;
        int64_t count = 0;
        if (!layout->variables) {
            count = left(body) / layout->minimum;
            count = count < FLOWPEER_PART ? count : FLOWPEER_PART;
            take(&body, count * layout->minimum);
        } else
            for (; count < FLOWPEER_PART && left(body) >= layout->minimum; count++)
                if (!pass_record(&body, layout)) return NOT_PLAIN;
        part.end = body.at;
        int done = add_set(b, shared, number, part, count);
        if (done != TAKEN) return done;
        records += count;
    }
    *total += records;
    return records == 0 && size > 3 ? NOT_PLAIN : TAKEN;
}

static int netflow5(flowpeer_batch *b, const flowpeer_datagram *d, span_t data,
                    flowpeer_found *found) {
    int64_t count = (int64_t)peek16(data, 2);
    if (left(data) < V5_HEADER || count < 1 || count > (left(data) - V5_HEADER) / V5_RECORD)
        return NOT_PLAIN;
    flowpeer_session key = {.exporter = d->exporter, .port = d->port, .version = 5,
                            .domain = (uint32_t)peek16(data, 20)};
    if ((found->session = session_of(b, &key)) < 0) return UNKNOWN;
    flowpeer_set set = shared_by(d, &b->sessions[found->session], b, FORMAT_NETFLOW5);
    set.uptime_ms = (int64_t)peek32(data, 4);
    set.export_ms = (int64_t)(peek32(data, 8) * 1000 + peek32(data, 12) / 1000000);
    set.sequence = (int64_t)peek32(data, 16);
    set.sampling = (int64_t)(peek16(data, 22) & INTERVAL_BITS);
    found->sequence = set.sequence, found->export_ms = set.export_ms;
    take(&data, V5_HEADER);
    span_t body;
    return cut(&data, count * V5_RECORD, &body)
               ? add_records(b, &set, b->netflow5, body, &found->units)
               : NOT_PLAIN;
}

/* Is a set of templates, octet for octet, one that changed nothing when it came before? */
static bool came_before(const flowpeer_session *session, span_t set) {
    for (int i = 0; i < FLOWPEER_AGAIN; i++)
        if (session->again[i] && session->again_size[i] == left(set) &&
            !memcmp(session->again[i], set.at, (size_t)left(set)))
            return true;
    return false;
}

static int sets(flowpeer_batch *b, const flowpeer_datagram *d, span_t data, bool ipfix,
                flowpeer_found *found) {
    int64_t length = ipfix ? (int64_t)peek16(data, 2) : left(data);
    int64_t header = ipfix ? IPFIX_HEADER : V9_HEADER;
    if (length < header || length > left(data)) return NOT_PLAIN;
    flowpeer_session key = {.exporter = d->exporter, .port = d->port, .version = ipfix ? 10 : 9,
                            .domain = (uint32_t)peek32(data, ipfix ? 12 : 16)};
    if ((found->session = session_of(b, &key)) < 0) return UNKNOWN;
    const flowpeer_session *session = &b->sessions[found->session];
    flowpeer_set set = shared_by(d, session, b, ipfix ? FORMAT_IPFIX : FORMAT_NETFLOW9);
    set.export_ms = (int64_t)peek32(data, ipfix ? 4 : 8) * 1000;
    set.sequence = (int64_t)peek32(data, ipfix ? 8 : 12);
    if (!ipfix)
        set.uptime_ms = (int64_t)peek32(data, 4);
    else if (session->boot_ms >= 0)
        set.uptime_ms = (set.export_ms - session->boot_ms) & 0xFFFFFFFF;
    found->sequence = set.sequence, found->export_ms = set.export_ms;
    span_t rest = span_of(data.at, length);
    take(&rest, header);
    while (left(rest) >= 4) {
        uint64_t number = peek16(rest, 0);
        int64_t size = (int64_t)peek16(rest, 2);
        if (size < 4) return all_zero(rest) ? TAKEN : NOT_PLAIN; /* zero fill behind the last */
        span_t body;
        if (!cut(&rest, size, &body)) return NOT_PLAIN;
        if (number < FIRST_DATA_SET) {
            if (!came_before(session, body)) return NOT_PLAIN;
            continue;
        }
        take(&body, 4);
        uint64_t wanted = (uint64_t)found->session << 16 | number;
        uint32_t known = b->template_places[place_of_template(b, wanted)];
        if (!known) {
            b->wanted = (int64_t)wanted;
            b->stop = STOP_TEMPLATE;
            return UNKNOWN;
        }
        int32_t layout = b->codes[known - 1];
        if (layout < 0 || layout >= b->layout_count) return NOT_PLAIN;
        int done = add_records(b, &set, layout, body, &found->units);
        if (done != TAKEN) return done;
    }
    return TAKEN;
}

static int sflow(flowpeer_batch *b, const flowpeer_datagram *d, span_t data,
                 flowpeer_found *found) {
    flowpeer_session key = {.exporter = d->exporter, .port = d->port, .version = SFLOW5};
    uint64_t kind, sub_agent, sequence, uptime, count;
    take(&data, 4);
    if (!take32(&data, &kind) || kind > 2) return NOT_PLAIN;
    int64_t agent_size = kind == 0 ? 0 : kind == 1 ? 4 : 16;
    const uint8_t *agent = take(&data, agent_size);
    if (!agent || !take32(&data, &sub_agent) || !take32(&data, &sequence) ||
        !take32(&data, &uptime) || !take32(&data, &count) || count > MAX_SAMPLES)
        return NOT_PLAIN;
    memcpy(key.agent + 16 - agent_size, agent, (size_t)agent_size);
    key.domain = (uint32_t)sub_agent;
    if ((found->session = session_of(b, &key)) < 0) return UNKNOWN;
    flowpeer_set shared = shared_by(d, &b->sessions[found->session], b, FORMAT_SFLOW5);
    shared.uptime_ms = (int64_t)uptime;
    shared.sequence = (int64_t)sequence;
    shared.base = 1;
    shared.layout = -1;
    found->sequence = shared.sequence, found->export_ms = -1, found->units = 1;
    flowpeer_set *last = NULL;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t head[2];
        span_t body;
        if (!take32(&data, &head[0]) || !take32(&data, &head[1]) ||
            !cut(&data, (int64_t)head[1], &body))
            return NOT_PLAIN;
        int64_t padding = (int64_t)(-head[1] & 3);
        take(&data, padding < left(data) ? padding : left(data));
        if (head[0] != 1 && head[0] != 3) {
            b->others[head[0] == 2 || head[0] == 4 ? 0 : head[0] == 5 ? 1 : 2]++;
            continue;
        }
        sample_t sample = {0};
        bool packet;
        if (!flowpeer_flow_sample(body, head[0] == 3, &sample, &packet)) return NOT_PLAIN;
        if (!packet) {
            b->silent++;
            continue;
        }
        if (b->arena_room - b->arena_used < FLOWPEER_SAMPLE_OCTETS) return NO_ROOM;
        if (!last || last->mask != sample.mask || last->count >= FLOWPEER_PART) {
            if (!(last = next_set(b))) return NO_ROOM;
            *last = shared;
            last->mask = sample.mask;
            last->at = b->arena_used;
            b->set_count++;
        }
        memcpy(b->arena + b->arena_used, sample.octets, FLOWPEER_SAMPLE_OCTETS);
        b->arena_used += FLOWPEER_SAMPLE_OCTETS;
        last->size += FLOWPEER_SAMPLE_OCTETS;
        last->count++;
    }
    return TAKEN;
}

/* Follows the sequence of a session whose number is the expected one; else the caller does. */
static void follow(flowpeer_session *session, flowpeer_found *found) {
    session->touched = 1;
    if (session->unsure || !session->plain || found->sequence != session->expected) {
        session->unsure = found->odd = 1;
        return;
    }
    int64_t step = session->version == 9 ? 1 : found->units;
    session->expected = (session->expected + step) & 0xFFFFFFFF;
    session->previous = found->units;
}

int64_t flowpeer_walk(flowpeer_batch *b) {
    int64_t first = b->next;
    for (b->stop = STOP_END; b->next < b->count; b->next++) {
        const flowpeer_datagram *d = &b->datagrams[b->next];
        if (d->at < 0 || d->size < 0 || d->at > b->size || d->size > b->size - d->at)
            return FLOWPEER_ARGUMENT;
        span_t data = span_of(b->octets + d->at, d->size);
        flowpeer_found *found = &b->found[b->next];
        *found = (flowpeer_found){.session = -1};
        int64_t set_count = b->set_count, arena_used = b->arena_used, silent = b->silent;
        int64_t others[4];
        memcpy(others, b->others, sizeof others);
        uint64_t version = peek16(data, 0);
        int done = version == 5            ? netflow5(b, d, data, found)
                   : version == 9          ? sets(b, d, data, false, found)
                   : version == 10         ? sets(b, d, data, true, found)
                   : peek32(data, 0) == 5 ? sflow(b, d, data, found)
                                           : NOT_PLAIN;
        if (done != TAKEN) {
            found->session = -1;
            b->set_count = set_count, b->arena_used = arena_used, b->silent = silent;
            memcpy(b->others, others, sizeof others);
            if (done == NOT_PLAIN) b->stop = STOP_ODD;
            if (done == NO_ROOM) b->stop = STOP_FULL;
            break;
        }
        follow(&b->sessions[found->session], found);
    }
    return b->next - first;
}
