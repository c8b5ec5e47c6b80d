/* Any octets as a column: flowpeer_page in every encoding, into rooms of any size; then flowpeer_pages
 * and flowpeer_dictionary_page, by each codec; and as a page of addresses to be read back. */
#include <stdlib.h>
#include <string.h>

#include "flowpeer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 6) return 0;
    static const int sizes[] = {1, 4, 8, 8, 16};
    int type = data[0] % 5, encoding = data[1] % 4, width = encoding == 3 ? 4 : sizes[type];
    int nullable = data[2] & 1, some = nullable && data[2] & 2, from = data[3] % 8;
    size_t body = size - 6;
    int64_t rows = (int64_t)(body / (size_t)width), page_rows = rows;
    uint8_t *values = malloc((size_t)(rows * width) + 1);
    memcpy(values, data + 6, (size_t)(rows * width));
    if (type == FLOWPEER_BOOL && encoding != FLOWPEER_INDICES) {
        rows = rows * 8 - from;
        page_rows = rows = rows < 0 ? 0 : rows;
    }
    uint8_t *valid = malloc((size_t)(rows + from + 7) / 8 + 1);
    for (int64_t i = 0; i < (rows + from + 7) / 8; i++) valid[i] = data[i % (int64_t)size];
    size_t places = 1;
    while (places < 2 * (size_t)rows + 2) places *= 2;
    int64_t capacity = data[4] % 2 ? rows : rows / 2;
    flowpeer_chunk chunk = {
        .type = type, .encoding = encoding, .nullable = nullable, .measured = data[2] >> 2 & 1,
        .codec = (data[2] >> 3) % 3, .number = 8, .fallback = data[0] >> 7,
        .entries = malloc((size_t)(capacity * 16) + 1), .places = malloc(places * 8),
        .index = malloc((size_t)rows * 4 + 4), .scratch = malloc((size_t)rows * 16 + 16),
        .capacity = capacity, .place_count = (int64_t)places, .page_rows = page_rows,
        .distinct = encoding == FLOWPEER_INDICES ? data[5] : 0,
    };
    int64_t room = data[5] < 128 ? rows * 17 + 4096 : (int64_t)data[5] * data[4] % 700;
    uint8_t *out = malloc((size_t)room + 1);
    int64_t done = flowpeer_page(&chunk, data[3] & 128 && nullable ? NULL : values,
                                 type == FLOWPEER_BOOL ? from : 0, some ? valid : NULL, from, rows,
                                 out, room);
    if (done > room) abort();
    uint8_t head[FLOWPEER_HEADER_ROOM];
    if (flowpeer_page_header(data[0] & 1, 8, rows, done, done, 0xFFFFFFFF, head, sizeof head) >
        FLOWPEER_HEADER_ROOM)
        abort();
    chunk.pages_room = room;
    chunk.pages = malloc((size_t)room + 1);
    int bits = type == FLOWPEER_BOOL && encoding != FLOWPEER_INDICES;
    flowpeer_input column = {.values = data[3] & 128 && nullable ? NULL : values,
                             .valid = some ? valid : NULL,
                             .from = some || bits ? from : 0};
    if (some && !bits) rows = rows > from ? rows - from : 0;
    if (flowpeer_pages(&chunk, &column, 1, rows, out, room) == 1 && chunk.pages_used > room) abort();
    int64_t taken = chunk.pages_room > chunk.pages_used ? chunk.pages_room - chunk.pages_used : 0;
    if (flowpeer_dictionary_page(&chunk, data, (int64_t)size, chunk.pages + chunk.pages_used,
                                 taken) > taken)
        abort();
    uint8_t *back = malloc(16 * (size_t)data[4] + 1);
    flowpeer_addresses(data + 6, (int64_t)body, data, (int64_t)size / 16, data[4], back);
    free(back);
    free(chunk.pages);
    free(values), free(valid), free(chunk.entries), free(chunk.places);
    free(chunk.index);
    free(chunk.scratch), free(out);
    return 0;
}
