/* Makes every Nth call of some system functions fail, for files whose path holds a given text.
 *
 * FAULTY_CALLS  of write, pwrite, read, pread, fsync, fdatasync, fcntl, joined by commas
 * FAULTY_EVERY  every so many of those calls, counted together
 * FAULTY_ERRNO  what they fail with (default EIO)
 * FAULTY_PATH   text in the file's path
 * FAULTY_OFF    while a file of this name exists, nothing fails
 * FAULTY_TOLD   a file that gets one byte for each call that fails
 * FAULTY_SHORT  1: a failing write first writes half, as a disk that becomes full
 * FAULTY_SECTOR and FAULTY_INODE: of this file, the block of 4096 bytes at this offset cannot be read by pread
 *
 * Of fcntl only the taking of locks fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;

static int listed(const char *name)
{
    const char *list = getenv("FAULTY_CALLS");
    size_t length = strlen(name);
    for (const char *at = list; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (!strncmp(at, name, length) && (at[length] == ',' || !at[length]))
            return 1;
    return 0;
}

static void tell(void)
{
    const char *told = getenv("FAULTY_TOLD");
    long file = told && *told ? syscall(SYS_openat, AT_FDCWD, told, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (file < 0)
        return;
    syscall(SYS_write, file, "x", 1);
    syscall(SYS_close, file);
}

static int fails(const char *name, int descriptor)
{
    const char *part = getenv("FAULTY_PATH"), *every = getenv("FAULTY_EVERY"), *off = getenv("FAULTY_OFF");
    char link[64], path[4096];
    if (!part || !every || !listed(name) || (off && !access(off, F_OK)))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    if (!strstr(path, part) || atomic_fetch_add(&calls, 1) % atol(every) != atol(every) - 1)
        return 0;
    tell();
    const char *number = getenv("FAULTY_ERRNO");
    errno = number ? atoi(number) : EIO;
    return 1;
}

static int is_bad(int descriptor, off64_t offset, size_t length)
{
    const char *inode = getenv("FAULTY_INODE"), *sector = getenv("FAULTY_SECTOR");
    struct stat found;
    if (!inode || !sector || offset + (off64_t)length <= atoll(sector) || offset >= atoll(sector) + 4096)
        return 0;
    if (fstat(descriptor, &found) || (long long)found.st_ino != atoll(inode))
        return 0;
    errno = EIO;
    return 1;
}

static size_t written_first(size_t length)
{
    const char *half = getenv("FAULTY_SHORT");
    return half && *half == '1' ? length / 2 : 0;
}

#define REAL(name, type) \
    static __typeof__(type) real; \
    if (!real) real = (type)dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *data, size_t length)
{
    REAL("write", ssize_t (*)(int, const void *, size_t));
    if (fails("write", fd)) {
        size_t half = written_first(length);
        return half ? real(fd, data, half) : -1;
    }
    return real(fd, data, length);
}

#define PWRITE(symbol, offset_type) \
ssize_t symbol(int fd, const void *data, size_t length, offset_type offset) \
{ \
    REAL(#symbol, ssize_t (*)(int, const void *, size_t, offset_type)); \
    if (fails("pwrite", fd)) { \
        size_t half = written_first(length); \
        return half ? real(fd, data, half, offset) : -1; \
    } \
    return real(fd, data, length, offset); \
}
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t read(int fd, void *data, size_t length)
{
    REAL("read", ssize_t (*)(int, void *, size_t));
    return fails("read", fd) ? -1 : real(fd, data, length);
}

#define PREAD(symbol, offset_type) \
ssize_t symbol(int fd, void *data, size_t length, offset_type offset) \
{ \
    REAL(#symbol, ssize_t (*)(int, void *, size_t, offset_type)); \
    return is_bad(fd, offset, length) || fails("pread", fd) ? -1 : real(fd, data, length, offset); \
}
PREAD(pread, off_t)
PREAD(pread64, off64_t)

#define SYNC(symbol) \
int symbol(int fd) \
{ \
    REAL(#symbol, int (*)(int)); \
    return fails(#symbol, fd) ? -1 : real(fd); \
}
SYNC(fsync)
SYNC(fdatasync)

#define FCNTL(symbol) \
int symbol(int fd, int command, ...) \
{ \
    REAL(#symbol, int (*)(int, int, ...)); \
    va_list rest; \
    va_start(rest, command); \
    void *argument = va_arg(rest, void *); \
    va_end(rest); \
    if (command == F_SETLK && ((struct flock *)argument)->l_type != F_UNLCK && fails("fcntl", fd)) \
        return -1; \
    return real(fd, command, argument); \
}
FCNTL(fcntl)
FCNTL(fcntl64)
