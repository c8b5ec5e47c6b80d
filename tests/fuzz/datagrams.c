/* Any octets as templates and datagrams: flowpeer_walk, then flowpeer_read of what it found.
 *
 * Input: a count of layouts; of each a count of fields and two octets a field (key, length; length
 * 255 is variable); then datagrams behind two octets of length. Sessions and templates are answered
 * as flowpeer_ingest/walk.py does it: every one that is asked for is known. Buffers have exactly
 * the size that they are said to have, so that the sanitizers see each octet beyond.
 */
#include <stdlib.h>
#include <string.h>

#include "flowpeer.h"

enum { LAYOUTS = 4, FIELDS = 24, SESSIONS = 64, TEMPLATES = 256, SETS = 512, DATAGRAMS = 32 };
enum { ENOUGH = 256, ROOM = ENOUGH + 2 * FLOWPEER_PART, ARENA = 16384 };

static const int widths[COLUMNS] = {
    [COLUMN_EXPORTER_IP] = 4, [COLUMN_FORMAT] = 4, [COLUMN_DIRECTION] = 4, [COLUMN_SRC_ADDR] = 16,
    [COLUMN_DST_ADDR] = 16, [COLUMN_SRC_PORT] = 4, [COLUMN_DST_PORT] = 4, [COLUMN_PROTOCOL] = 4,
    [COLUMN_TOS] = 4, [COLUMN_TCP_FLAGS] = 4, [COLUMN_MIN_LENGTH] = 4, [COLUMN_MAX_LENGTH] = 4,
    [COLUMN_NEXT_HOP] = 16, [COLUMN_BGP_NEXT_HOP] = 16, [COLUMN_SRC_MASK] = 4,
    [COLUMN_DST_MASK] = 4, [COLUMN_TIME_CORRECTED] = 1,
};

static int wanted(int key) {
    if (key == KEY_SRC4 || key == KEY_DST4 || key == KEY_NEXT_HOP4 || key == KEY_BGP_NEXT_HOP4)
        return 4;
    if (key == KEY_SRC6 || key == KEY_DST6 || key == KEY_NEXT_HOP6 || key == KEY_BGP_NEXT_HOP6)
        return 16;
    if ((key >= KEY_START_NTP && key <= KEY_END_NTP_NS) ||
        (key >= KEY_REVERSE_START_NTP && key <= KEY_REVERSE_END_NTP_NS))
        return 8;
    return 0;
}

typedef struct {
    int32_t runs[FIELDS + 1];
    uint8_t keeps[FIELDS];
} parts_t;

/* As wire/layout.py and wire/values.py lay a template out. */
static const uint8_t *make_layout(const uint8_t *at, const uint8_t *end, flowpeer_layout *out,
                                  parts_t *parts) {
    memset(out, 0, sizeof *out);
    memset(parts, 0, sizeof *parts);
    for (int k = 0; k < KEYS; k++) out->offset[k] = -1;
    int count = at < end ? *at++ % FIELDS : 0;
    for (int i = 0; i < count && end - at >= 2; i++, at += 2) {
        int key = at[0] % (KEYS + 8), length = at[1];
        int variable = length == 255, size = variable ? 16 : length, start = out->flat_size;
        int keep = key < KEYS;
        if (variable) {
            parts->keeps[out->variables++] = (uint8_t)keep;
            out->minimum++;
            if (!keep) continue;
        } else {
            parts->runs[out->variables] += length;
            out->minimum += length;
        }
        out->flat_size += size;
        if (!keep || !size) continue;
        int want = wanted(key);
        if (want && size != want) {
            if (size < want || (want != 4 && size != 16)) continue;
            start += size - want;
            size = want;
        }
        out->offset[key] = start;
        out->length[key] = size;
    }
    out->runs = parts->runs;
    out->keeps = parts->keeps;
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *at = data, *end = data + size;
    flowpeer_layout layouts[LAYOUTS];
    parts_t parts[LAYOUTS];
    int count = at < end ? *at++ % LAYOUTS : 0;
    for (int i = 0; i < count; i++) at = make_layout(at, end, &layouts[i], &parts[i]);
    flowpeer_datagram datagrams[DATAGRAMS];
    flowpeer_found found[DATAGRAMS];
    size_t rest = (size_t)(end - at);
    uint8_t *octets = malloc(rest ? rest : 1);
    memcpy(octets, at, rest);
    int64_t n = 0;
    for (size_t p = 0; p + 2 <= rest && n < DATAGRAMS; n++) {
        size_t length = (size_t)octets[p] << 8 | octets[p + 1];
        p += 2;
        if (length > rest - p) length = rest - p;
        datagrams[n] = (flowpeer_datagram){.at = (int64_t)p, .size = (int64_t)length,
                                           .received_us = 1751328000000000 + n,
                                           .exporter = (uint32_t)n % 2, .port = 7};
        p += length;
    }
    flowpeer_session *sessions = calloc(SESSIONS, sizeof *sessions);
    uint32_t *session_places = calloc(4 * SESSIONS, 4), *template_places = calloc(4 * TEMPLATES, 4);
    uint64_t *templates = calloc(TEMPLATES, 8);
    int32_t *codes = calloc(TEMPLATES, 4);
    flowpeer_set *sets = calloc(SETS, sizeof *sets);
    uint8_t *arena = malloc(ARENA);
    static uint8_t *scratch, *values[COLUMNS], *valid[COLUMNS]; /* large: made once */
    if (!scratch) {
        scratch = malloc(FLOWPEER_SCRATCH);
        for (int c = 0; c < COLUMNS; c++) {
            values[c] = calloc(ROOM, widths[c] ? (size_t)widths[c] : 8);
            valid[c] = malloc((ROOM + 7) / 8);
        }
    }
    int64_t timeouts[2] = {60000000, 300000000}, pairs[] = {1, 100, 5, 2000};
    flowpeer_tally tallies[2] = {{0}};
    flowpeer_rates rates[2] = {{0}, {pairs, pairs, 2, 2, 10, 20}};
    flowpeer_batch batch = {
        .octets = octets, .size = (int64_t)rest, .datagrams = datagrams, .found = found, .count = n,
        .layouts = layouts, .layout_count = count, .sessions = sessions,
        .session_places = session_places, .session_mask = 4 * SESSIONS - 1, .templates = templates,
        .codes = codes, .template_places = template_places, .template_mask = 4 * TEMPLATES - 1,
        .sets = sets, .set_room = SETS, .arena = arena, .arena_room = ARENA,
        .timeouts_us = timeouts, .netflow5 = count ? 0 : -1,
    };
    flowpeer_rows rows = {
        .base = {octets, arena}, .layouts = layouts, .layout_count = count, .rates = rates,
        .rates_count = 2, .tallies = tallies, .exporters = 2, .room = ROOM, .enough = ENOUGH,
        .scratch = scratch,
        .limits = {.clock_tolerance_us = 2000000, .oldest_us = 86400000000,
                   .newest_us = 300000000, .slack_us = 60000000, .future_ms = 3600000,
                   .latest_ms = (int64_t)1 << 42, .long_us = 300000000,
                   .most = (int64_t)1 << 48, .least_octets = 20,
                   .backwards_us = 60000000, .longest_us = 2592000000000, .most_sampling = 1 << 24,
                   .most_denominator = 1 << 18},
    };
    for (int c = 0; c < COLUMNS; c++) {
        rows.columns[c] = (flowpeer_column){values[c], valid[c], .width = widths[c] ? widths[c] : 8};
        memset(valid[c], 0, (ROOM + 7) / 8);
    }
    if (batch.netflow5 >= 0 || !count) {
        for (int turn = 0; turn < 4 * DATAGRAMS + 1024; turn++) {
            flowpeer_walk(&batch);
            if (batch.stop == STOP_SESSION) {
                batch.key.expected = -1;
                batch.key.boot_ms = 1;
                batch.key.rates = (int32_t)(batch.key.domain & 1);
                batch.key.plain = 1;
                if (flowpeer_put_session(&batch, &batch.key, SESSIONS) < 0) batch.next++;
            } else if (batch.stop == STOP_TEMPLATE) {
                int32_t code = count ? (int32_t)(batch.wanted % (count + 1)) - 1 : -1;
                if (code >= 0 && layouts[code].minimum <= 0) code = -1;
                if (flowpeer_put_template(&batch, (uint64_t)batch.wanted, code, TEMPLATES) < 0)
                    batch.next++;
            } else if (batch.stop == STOP_ODD)
                batch.next++;
            int64_t done = 0;
            rows.base_size[0] = (int64_t)rest;
            rows.base_size[1] = batch.arena_used;
            while (done < batch.set_count) {
                int64_t read = flowpeer_read(&rows, sets + done, batch.set_count - done);
                if (read < 0) abort(); /* what the walk found can be read */
                done += read;
                if (rows.rows > ROOM) abort();
                if (rows.rows >= ENOUGH || done < batch.set_count) {
                    flowpeer_input settled[FLOWPEER_COLUMNS];
                    flowpeer_settle(&rows, settled);
                    rows.rows = 0;
                    for (int c = 0; c < COLUMNS; c++) {
                        rows.columns[c].known = rows.columns[c].alike = 0;
                        memset(rows.columns[c].valid, 0, (ROOM + 7) / 8);
                    }
                }
            }
            batch.set_count = batch.arena_used = 0;
            if (batch.stop == STOP_END) break;
        }
    }
    free(octets), free(sessions), free(session_places), free(template_places), free(templates);
    free(codes), free(sets), free(arena);
    return 0;
}
