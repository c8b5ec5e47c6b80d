/* LD_PRELOAD: the n-th call by which a process changes files below a folder fails.

   Built and used by the tests alone. It stands before libc, so that calls of every library count,
   pyarrow's among them. FAULTY_ROOT names the folder, FAULTY_COUNT a file of three 64-bit counters
   that all processes of a run share: calls of the collector, of its receivers, and those for the
   status file, whose number depends on how long a run takes. FAULTY_RULE is `role:n:errno`; FAULTY_LOG names a file that gets
   a line for each call. While the file that FAULTY_FULL names exists, the disk is full: whatever
   needs room fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *root, *full;
static size_t root_length;
static _Atomic long *count;
static int role, rule_role = -1, rule_errno, log_fd = -1;
static long rule_n;

/* Not by open and write, which are ours. */
static int plain_open(const char *path, int flags) {
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0640);
}

__attribute__((constructor)) static void begin(void) {
    const char *counts = getenv("FAULTY_COUNT"), *rule = getenv("FAULTY_RULE");
    const char *log = getenv("FAULTY_LOG"), *folder = getenv("FAULTY_ROOT");
    char command[4096] = {0};
    int file = plain_open("/proc/self/cmdline", O_RDONLY);
    ssize_t size = read(file, command, sizeof command - 1);
    close(file);
    for (ssize_t i = 0; i < size; i++)
        if (!command[i]) command[i] = ' ';
    role = strstr(command, "flowpeer_ingest.receive") != NULL;
    if (!counts || !folder || (!role && !strstr(command, " collect"))) return;
    file = plain_open(counts, O_RDWR);
    count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (count == MAP_FAILED) abort();
    char name[16];
    if (rule && sscanf(rule, "%15[a-z]:%ld:%d", name, &rule_n, &rule_errno) == 3)
        rule_role = !strcmp(name, "receiver") ? 1 : !strcmp(name, "status") ? 2 : 0;
    if (log) log_fd = plain_open(log, O_WRONLY | O_CREAT | O_APPEND);
    full = getenv("FAULTY_FULL");
    root_length = strlen(folder);
    root = folder;
}

static int inside(const char *path) { return !strncmp(path, root, root_length); }

static int needs_room(const char *call) {
    return strstr(call, "write") || strstr(call, "open") || strstr(call, "alloc") ||
           strstr(call, "mkdir");
}

/* True if this call is to fail; errno says how. */
static int fails(const char *call, const char *path) {
    int kind = strstr(path, "/status.json") ? 2 : role;
    long n = atomic_fetch_add(&count[kind], 1) + 1;
    int now = kind == rule_role && n == rule_n;
    if (full && needs_room(call) && !syscall(SYS_faccessat, AT_FDCWD, full, F_OK)) {
        errno = ENOSPC;
        return 1;
    }
    if (log_fd >= 0) {
        static const char *names[] = {"collector", "receiver", "status"};
        char line[PATH_MAX + 128];
        int size = snprintf(line, sizeof line, "%s %ld %s %s%s\n", names[kind], n, call, path, now ? " FAILS" : "");
        syscall(SYS_write, log_fd, line, size);
    }
    if (now) errno = rule_errno;
    return now;
}

static int fails_fd(const char *call, int fd) {
    char link[64], path[PATH_MAX];
    if (!root) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return inside(path) && fails(call, path);
}

static int fails_at(const char *call, int folder, const char *path) {
    char full[2 * PATH_MAX], link[64];
    if (!root) return 0;
    if (path[0] == '/') return inside(path) && fails(call, path);
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t size = readlink(link, full, PATH_MAX - 1);
    if (size < 0) return 0;
    snprintf(full + size, sizeof full - size, "/%s", path);
    return inside(full) && fails(call, full);
}

#define NEXT(name) static __typeof__(&name) next; if (!next) next = dlsym(RTLD_NEXT, #name)
#define BY_FD(type, name, args, pass) \
    type name args { NEXT(name); return fails_fd(#name, fd) ? -1 : next pass; }
#define BY_PATH(type, name, args, pass) \
    type name args { NEXT(name); return fails_at(#name, AT_FDCWD, path) ? -1 : next pass; }
#define BY_PLACE(type, name, args, pass) \
    type name args { NEXT(name); return fails_at(#name, folder, path) ? -1 : next pass; }

BY_FD(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
BY_FD(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
BY_FD(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
BY_FD(ssize_t, writev, (int fd, const struct iovec *data, int n), (fd, data, n))
BY_FD(ssize_t, pwritev, (int fd, const struct iovec *data, int n, off_t at), (fd, data, n, at))
BY_FD(ssize_t, pwritev2, (int fd, const struct iovec *data, int n, off_t at, int how),
      (fd, data, n, at, how))
BY_FD(ssize_t, pwritev64v2, (int fd, const struct iovec *data, int n, off64_t at, int how),
      (fd, data, n, at, how))
BY_FD(int, fsync, (int fd), (fd))
BY_FD(int, fdatasync, (int fd), (fd))
BY_FD(int, ftruncate, (int fd, off_t size), (fd, size))
BY_FD(int, ftruncate64, (int fd, off64_t size), (fd, size))
BY_FD(int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
BY_FD(int, fallocate64, (int fd, int mode, off64_t at, off64_t size), (fd, mode, at, size))
BY_PATH(int, rename, (const char *path, const char *to), (path, to))
BY_PATH(int, unlink, (const char *path), (path))
BY_PATH(int, mkdir, (const char *path, mode_t mode), (path, mode))
BY_PATH(int, rmdir, (const char *path), (path))
BY_PATH(int, link, (const char *path, const char *to), (path, to))
BY_PATH(int, truncate, (const char *path, off_t size), (path, size))
BY_PATH(int, truncate64, (const char *path, off64_t size), (path, size))
BY_PLACE(int, renameat, (int folder, const char *path, int to, const char *name),
         (folder, path, to, name))
BY_PLACE(int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags))
BY_PLACE(int, mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode))

int posix_fallocate(int fd, off_t at, off_t size) {
    NEXT(posix_fallocate);
    return fails_fd("posix_fallocate", fd) ? errno : next(fd, at, size);
}

int posix_fallocate64(int fd, off64_t at, off64_t size) {
    NEXT(posix_fallocate64);
    return fails_fd("posix_fallocate64", fd) ? errno : next(fd, at, size);
}

int msync(void *at, size_t size, int flags) {
    NEXT(msync);
    return root && fails("msync", "-") ? -1 : next(at, size, flags);
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); \
    }
#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        NEXT(name); MODE(flags) \
        return (flags & O_CREAT) && fails_at(#name, AT_FDCWD, path) ? -1 : next(path, flags, mode); \
    }
#define OPEN_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        NEXT(name); MODE(flags) \
        return (flags & O_CREAT) && fails_at(#name, folder, path) ? -1 \
                                                                  : next(folder, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
OPEN_AT(openat)
OPEN_AT(openat64)
