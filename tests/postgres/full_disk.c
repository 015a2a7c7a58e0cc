/* Preloaded into PostgreSQL: a disk without room. While there is a file "full" in $FULL_DISK, files that
 * have "/base/" in their path can't grow; while there is "full_log", those in "/pg_wal/" can't.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_full(int fd, off_t end)
{
    char link[64], path[PATH_MAX], sign[PATH_MAX];
    const char *directory = getenv("FULL_DISK");
    struct stat about;

    if (!directory)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, path, sizeof path - 1);
    if (got < 0)
        return 0;
    path[got] = 0;
    if (strstr(path, "/base/"))
        snprintf(sign, sizeof sign, "%s/full", directory);
    else if (strstr(path, "/pg_wal/"))
        snprintf(sign, sizeof sign, "%s/full_log", directory);
    else
        return 0;
    if (access(sign, F_OK) || fstat(fd, &about) || end <= about.st_size)
        return 0;
    errno = ENOSPC;
    return 1;
}

#define REAL(type, name, ...) ((type (*)(__VA_ARGS__)) dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at)
{
    if (is_full(fd, at + count))
        return -1;
    return REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t)(fd, data, count, at);
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t at)
{
    return pwrite64(fd, data, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at)
{
    off_t end = at;
    for (int part = 0; part < count; part++)
        end += parts[part].iov_len;
    if (is_full(fd, end))
        return -1;
    return REAL(ssize_t, pwritev64, int, const struct iovec *, int, off64_t)(fd, parts, count, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    return pwritev64(fd, parts, count, at);
}

int posix_fallocate64(int fd, off64_t at, off64_t length)
{
    if (is_full(fd, at + length))
        return ENOSPC;
    return REAL(int, posix_fallocate64, int, off64_t, off64_t)(fd, at, length);
}

int posix_fallocate(int fd, off_t at, off_t length)
{
    return posix_fallocate64(fd, at, length);
}
