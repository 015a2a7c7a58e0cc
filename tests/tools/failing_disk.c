/* Preloaded into fstool or runzeo: reads of one file that touch some ranges fail, or syncs do, as on a
 * disk that dies.
 *
 * FAILING_FILE    the end of its path
 * FAILING_RANGES  start-end,start-end,... in bytes
 * FAILING_SYNC    syncs of data fail from when a file of this name is there
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(int fd, off_t at, size_t count)
{
    char link[64], path[PATH_MAX];
    const char *name = getenv("FAILING_FILE"), *ranges = getenv("FAILING_RANGES");
    long long start, end;
    int used;

    if (!name || !ranges)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, path, sizeof path - 1);
    if (got < (ssize_t) strlen(name))
        return 0;
    path[got] = 0;
    if (strcmp(path + got - strlen(name), name))
        return 0;
    while (sscanf(ranges, "%lld-%lld%n", &start, &end, &used) == 2) {
        if (at < end && start < at + (off_t) count)
            return 1;
        ranges += used;
        if (*ranges == ',')
            ranges++;
    }
    return 0;
}

ssize_t pread64(int fd, void *buffer, size_t count, off_t at)
{
    static ssize_t (*real)(int, void *, size_t, off_t);
    if (!real)
        real = (ssize_t (*)(int, void *, size_t, off_t)) dlsym(RTLD_NEXT, "pread64");
    if (fails(fd, at, count)) {
        errno = EIO;
        return -1;
    }
    return real(fd, buffer, count, at);
}

ssize_t pread(int fd, void *buffer, size_t count, off_t at)
{
    return pread64(fd, buffer, count, at);
}

ssize_t read(int fd, void *buffer, size_t count)
{
    static ssize_t (*real)(int, void *, size_t);
    if (!real)
        real = (ssize_t (*)(int, void *, size_t)) dlsym(RTLD_NEXT, "read");
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (at >= 0 && fails(fd, at, count)) {
        errno = EIO;
        return -1;
    }
    return real(fd, buffer, count);
}

int fdatasync(int fd)
{
    static int (*real)(int);
    const char *sign = getenv("FAILING_SYNC");
    if (!real)
        real = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
    if (sign && !access(sign, F_OK)) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

/* By which files are copied: a loop of reads takes its place, once it says that it can't. */
ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t count, unsigned flags)
{
    (void) in; (void) in_at; (void) out; (void) out_at; (void) count; (void) flags;
    errno = ENOSYS;
    return -1;
}

ssize_t sendfile64(int out, int in, off64_t *at, size_t count)
{
    (void) out; (void) in; (void) at; (void) count;
    errno = ENOSYS;
    return -1;
}
