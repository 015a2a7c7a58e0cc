/* Preloaded into PostgreSQL: a disk without room. While there is a file "full" in $FULL_DISK, files that
 * have "/base/" in their path can't grow; while there is "full_log", those in "/pg_wal/" can't. If there is
 * "broken_log", it goes, and one sync of the log fails.
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

/* The path of an open file; 0 if that is of no interest. */
static int has_path(int fd, char path[PATH_MAX])
{
    char link[64];

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = getenv("FULL_DISK") ? readlink(link, path, PATH_MAX - 1) : -1;
    if (got < 0)
        return 0;
    path[got] = 0;
    return 1;
}

static int is_full(int fd, off_t end)
{
    char path[PATH_MAX], sign[PATH_MAX];
    struct stat about;

    if (!has_path(fd, path))
        return 0;
    if (strstr(path, "/base/"))
        snprintf(sign, sizeof sign, "%s/full", getenv("FULL_DISK"));
    else if (strstr(path, "/pg_wal/"))
        snprintf(sign, sizeof sign, "%s/full_log", getenv("FULL_DISK"));
    else
        return 0;
    if (access(sign, F_OK) || fstat(fd, &about) || end <= about.st_size)
        return 0;
    errno = ENOSPC;
    return 1;
}

static int is_broken(int fd)
{
    char path[PATH_MAX], sign[PATH_MAX];

    if (!has_path(fd, path) || !strstr(path, "/pg_wal/"))
        return 0;
    snprintf(sign, sizeof sign, "%s/broken_log", getenv("FULL_DISK"));
    if (unlink(sign))
        return 0;
    errno = EIO;
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

int fdatasync(int fd)
{
    return is_broken(fd) ? -1 : REAL(int, fdatasync, int)(fd);
}

int fsync(int fd)
{
    return is_broken(fd) ? -1 : REAL(int, fsync, int)(fd);
}
