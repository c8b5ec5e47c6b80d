/* Datagrams that wait in a socket -> slots of the caller's memory, and who sent each when: one
 * recvmmsg(2). Linux alone; elsewhere flowpeer_ingest/recvmmsg.py asks for one at a time. */
#if defined(__linux__)
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#endif

#include "flowpeer.h"

#if defined(__linux__)

#ifndef SO_RXQ_OVFL
#define SO_RXQ_OVFL 40
#endif

enum { CONTROL = 64 }; /* a timespec and a count, with room */

typedef struct {
    _Alignas(struct cmsghdr) uint8_t octets[CONTROL];
} control_t;

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* An IPv4 address is mapped into IPv6. */
static void put_source(flowpeer_arrival *to, const struct sockaddr_in6 *from) {
    if (from->sin6_family == AF_INET) {
        struct sockaddr_in four;
        memcpy(&four, from, sizeof four);
        memset(to->address, 0, 10);
        memset(to->address + 10, 0xFF, 2);
        memcpy(to->address + 12, &four.sin_addr, 4);
        to->source_port = ntohs(four.sin_port);
    } else {
        memcpy(to->address, &from->sin6_addr, 16);
        to->source_port = ntohs(from->sin6_port);
    }
}

int64_t flowpeer_receive(flowpeer_receiving *r) {
    struct mmsghdr message[FLOWPEER_ARRIVALS];
    struct iovec part[FLOWPEER_ARRIVALS][2];
    struct sockaddr_in6 source[FLOWPEER_ARRIVALS];
    control_t control[FLOWPEER_ARRIVALS];
    if (r->limit < 0 || r->limit > FLOWPEER_ARRIVALS || r->stride < 1) return FLOWPEER_ARGUMENT;
    for (int64_t i = 0; i < r->limit; i++) {
        part[i][0] = (struct iovec){r->memory + i * r->stride, (size_t)r->stride};
        part[i][1] = (struct iovec){r->spill + i * FLOWPEER_SPILL, FLOWPEER_SPILL};
        message[i].msg_hdr = (struct msghdr){
            .msg_name = &source[i], .msg_namelen = sizeof source[i],
            .msg_iov = part[i], .msg_iovlen = 2,
            .msg_control = &control[i], .msg_controllen = CONTROL,
        };
    }
    int n = recvmmsg(r->socket, message, (unsigned)r->limit, MSG_DONTWAIT, NULL);
    r->error = n < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED ? errno : 0;
    r->truncated = 0;
    for (int i = 0; i < n; i++) {
        struct msghdr *head = &message[i].msg_hdr;
        flowpeer_arrival *to = &r->arrivals[i];
        *to = (flowpeer_arrival){.length = message[i].msg_len,
                                 .offset = (uint32_t)(i * r->stride)};
        put_source(to, &source[i]);
        r->truncated += (head->msg_flags & MSG_TRUNC) != 0;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(head); c; c = CMSG_NXTHDR(head, c)) {
            if (c->cmsg_level != SOL_SOCKET) continue;
            if (c->cmsg_type == SCM_TIMESTAMPNS && c->cmsg_len >= CMSG_LEN(16)) {
                int64_t stamp[2];
                memcpy(stamp, CMSG_DATA(c), sizeof stamp);
                to->received_us = stamp[0] * 1000000 + stamp[1] / 1000;
            } else if (c->cmsg_type == SO_RXQ_OVFL && c->cmsg_len >= CMSG_LEN(4)) {
                uint32_t drops;
                memcpy(&drops, CMSG_DATA(c), sizeof drops);
                r->drops = drops;
            }
        }
        if (!to->received_us) to->received_us = now_us();
    }
    return n < 0 ? 0 : n;
}

#else

int64_t flowpeer_receive(flowpeer_receiving *r) {
    (void)r;
    return FLOWPEER_ARGUMENT;
}

#endif
