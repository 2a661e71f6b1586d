/*
 * What a hostile program does, in small: run inside containers by tests/tests/it/{confinement,survival}.rs.
 *
 * Statically linked, because it runs in roots that have no libraries; in C, because it makes system calls by three
 * roads (64 bit, int 0x80, x32) that no library has.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

enum { UNSET = -100000, HANGS = -100001 };

static long raw64(long number, const long *a)
{
    long result;
    register long r10 __asm__("r10") = a[3];
    register long r8 __asm__("r8") = a[4];
    register long r9 __asm__("r9") = a[5];
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* The 32-bit entry; ebp (the sixth argument) is left as it is. */
static long raw32(long number, const long *a)
{
    int result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"((int)number), "b"((int)a[0]), "c"((int)a[1]), "d"((int)a[2]), "S"((int)a[3]),
                       "D"((int)a[4])
                     : "r8", "r9", "r10", "r11", "memory");
    return result;
}

/* Makes one call in a child of its own, because some never return; returns what it returned. */
static long isolated(int bits, long number, const long *arguments)
{
    static volatile long *slots, *slot;
    static int used;
    if (!slots)
        slots = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    /* One for each call: what an earlier call left running may still write. */
    slot = slots + used++ % 8192;
    *slot = UNSET;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    pid_t child = fork();
    if (child == 0) {
        long result = bits == 32 ? raw32(number, arguments) : raw64(number, arguments);
        if (*slot == UNSET)
            *slot = result;
        _exit(0);
    }
    for (int waited = 0; waited < 40; waited++) {
        /* A signal may be that of the child before, or of a grandchild. */
        if (waitpid(child, NULL, WNOHANG) == child)
            return *slot;
        struct timespec limit = { 0, 10 * 1000 * 1000 };
        sigtimedwait(&set, NULL, &limit);
    }
    if (*slot == UNSET)
        *slot = HANGS;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return *slot;
}

static void show(long result)
{
    if (result == UNSET)
        printf("gone\n");
    else if (result == HANGS)
        printf("hangs\n");
    else if (result < 0 && result > -4096)
        printf("%ld\n", -result);
    else
        printf("0\n");
}

/* syscalls amd64|x32|i386: one line "NUMBER ERRNO" for each number, every argument all ones. */
static int syscalls(const char *road)
{
    long ones[6] = { -1, -1, -1, -1, -1, -1 };
    int bits = strcmp(road, "i386") == 0 ? 32 : 64;
    long base = strcmp(road, "x32") == 0 ? 0x40000000 : 0;
    for (long number = 0; number <= 600; number++) {
        printf("%ld ", number);
        fflush(stdout);
        show(isolated(bits, base + number, ones));
        fflush(stdout);
    }
    return 0;
}

/* sockets: "ROAD FAMILY ERRNO" for each family by each road. */
static int sockets(void)
{
    uint32_t *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    for (long family = 0; family <= 50; family++) {
        long direct[6] = { family, SOCK_CLOEXEC | 2, 0 };
        printf("direct %ld ", family);
        show(isolated(64, SYS_socket, direct));
        printf("high %ld ", family);
        long high[6] = { family | 1L << 32, SOCK_CLOEXEC | 2, 0 };
        show(isolated(64, SYS_socket, high));
        printf("i386 %ld ", family);
        show(isolated(32, 359, direct));
        low[0] = family;
        low[1] = 2;
        low[2] = 0;
        long call[6] = { 1, (long)(uintptr_t)low, 0 };
        printf("socketcall %ld ", family);
        show(isolated(32, 102, call));
        long pair[6] = { family, 2, 0, (long)(uintptr_t)low };
        printf("pair %ld ", family);
        show(isolated(64, SYS_socketpair, pair));
    }
    return 0;
}

/* clones: "FLAG ERRNO" for clone with each namespace flag and for unshare, clone3 and personality values. */
static int clones(void)
{
    static const long flags[] = { 0x80,       0x20000,    0x2000000,  0x4000000,
                                  0x8000000,  0x10000000, 0x20000000, 0x40000000 };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        long plain[6] = { flags[i] | SIGCHLD };
        long high[6] = { flags[i] | SIGCHLD | 1L << 40 };
        long bare[6] = { flags[i] };
        printf("clone %lx ", flags[i]);
        show(isolated(64, SYS_clone, plain));
        printf("clone-high %lx ", flags[i]);
        show(isolated(64, SYS_clone, high));
        printf("clone-i386 %lx ", flags[i]);
        show(isolated(32, 120, plain));
        printf("unshare %lx ", flags[i]);
        show(isolated(64, SYS_unshare, bare));
    }
    long zero[6] = { 0 };
    printf("clone3 0 ");
    show(isolated(64, 435, zero));
    static const long persona[] = { 0, 8, 0x20000, 0x20008, 0x40000, 0x80000, 0xffffffff };
    for (size_t i = 0; i < sizeof persona / sizeof *persona; i++) {
        long value[6] = { persona[i] };
        long high[6] = { persona[i] | 1L << 32 };
        printf("personality %lx ", persona[i]);
        show(isolated(64, SYS_personality, value));
        printf("personality-high %lx ", persona[i]);
        show(isolated(64, SYS_personality, high));
    }
    return 0;
}

/* devices DIRECTORY: "TYPE MAJOR:MINOR mknod-errno open-errno", a node of each made and opened. */
static int devices(const char *directory)
{
    static const struct {
        char type;
        int major, minor;
    } list[] = { { 'c', 1, 1 },    { 'c', 1, 2 },    { 'c', 1, 3 },    { 'c', 1, 4 },    { 'c', 1, 5 },
                 { 'c', 1, 7 },    { 'c', 1, 8 },    { 'c', 1, 9 },    { 'c', 1, 11 },   { 'c', 4, 0 },
                 { 'c', 4, 64 },   { 'c', 5, 0 },    { 'c', 5, 1 },    { 'c', 5, 2 },    { 'c', 10, 183 },
                 { 'c', 10, 200 }, { 'c', 10, 229 }, { 'c', 10, 232 }, { 'c', 10, 237 }, { 'c', 13, 63 },
                 { 'c', 29, 0 },   { 'c', 226, 0 },  { 'b', 7, 0 },    { 'b', 8, 0 },    { 'b', 253, 0 },
                 { 'b', 254, 0 },  { 'b', 259, 0 } };
    char path[4096];
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        snprintf(path, sizeof path, "%s/%c-%d-%d", directory, list[i].type, list[i].major, list[i].minor);
        mode_t kind = list[i].type == 'c' ? S_IFCHR : S_IFBLK;
        int made = mknod(path, kind | 0666, makedev(list[i].major, list[i].minor)) ? errno : 0;
        int fd = made ? -1 : open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
        int opened = made ? -1 : fd < 0 ? errno : 0;
        printf("%c %d:%d %d %d\n", list[i].type, list[i].major, list[i].minor, made, opened);
        if (fd >= 0)
            close(fd);
        unlink(path);
    }
    return 0;
}

/* push: tries to put a byte into the input of the terminal on descriptor 0, in every spelling. */
static int push(void)
{
    static const unsigned long requests[] = { 0x5412, 0x5412 | 1UL << 32, 0x5412 | 0xffffffffUL << 32 };
    char byte = 'X', paste[] = { 3 };
    for (size_t i = 0; i < 3; i++) {
        long call[6] = { 0, (long)requests[i], (long)&byte };
        printf("TIOCSTI %lx %ld\n", requests[i], -raw64(SYS_ioctl, call));
    }
    long linux_paste[6] = { 0, 0x541C, (long)paste };
    printf("TIOCLINUX %ld\n", -raw64(SYS_ioctl, linux_paste));
    long become[6] = { 0, 0x540E, 1 };
    printf("TIOCSCTTY %ld\n", -raw64(SYS_ioctl, become));
    return 0;
}

static volatile sig_atomic_t ended;

static void end(int signal)
{
    (void)signal;
    ended = 1;
}

/* hunt: looks at every process that appears, as one that may trace does, and says what it could take of a process that
 * is not (yet) a program of this container. With another word it only looks and never stops what it sees. Ends on
 * SIGTERM. */
static int hunt(int traces)
{
    struct stat own;
    char path[64], link[4096];
    long looked = 0, found = 0;
    pid_t self = getpid();
    if (stat("/", &own))
        return 2;
    signal(SIGTERM, end);
    printf("ready\n");
    fflush(stdout);
    for (int last = self + 1; !ended;) {
        /* Pids are given in order: the next ones are where a new process appears first. */
        int appeared = 0;
        for (int pid = last; pid < last + 12; pid++) {
            snprintf(path, sizeof path, "/proc/%d", pid);
            if (access(path, F_OK))
                continue;
            appeared = pid;
            for (int again = 0; again < 40; again++) {
                looked++;
                snprintf(path, sizeof path, "/proc/%d/exe", pid);
                ssize_t length = readlink(path, link, sizeof link - 1);
                if (length > 0) {
                    link[length] = 0;
                    if (strcmp(link, "/bin/busybox") && strcmp(link, "/probe")) {
                        printf("found exe %s\n", link);
                        found++;
                    }
                    snprintf(path, sizeof path, "/proc/%d/root", pid);
                    struct stat root;
                    if (stat(path, &root) == 0 && (root.st_dev != own.st_dev || root.st_ino != own.st_ino)) {
                        printf("found root of another tree\n");
                        found++;
                    }
                }
                for (int fd = 3; fd < 24; fd++) {
                    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
                    length = readlink(path, link, sizeof link - 1);
                    if (length > 0) {
                        link[length] = 0;
                        printf("found fd %d %s\n", fd, link);
                        found++;
                    }
                }
                int pidfd = syscall(434, pid, 0);
                if (pidfd < 0)
                    break;
                for (int fd = 3; fd < 24; fd++)
                    if (syscall(438, pidfd, fd, 0) >= 0) {
                        printf("found pidfd_getfd %d\n", fd);
                        found++;
                    }
                close(pidfd);
                if (traces && again % 8 == 0 && ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
                    /* Ours only if it is already a program of this container. */
                    snprintf(path, sizeof path, "/proc/%d/exe", pid);
                    length = readlink(path, link, sizeof link - 1);
                    link[length > 0 ? length : 0] = 0;
                    if (length > 0 && strcmp(link, "/bin/busybox") && strcmp(link, "/probe")) {
                        printf("found traced %s\n", link);
                        found++;
                    }
                    ptrace(PTRACE_INTERRUPT, pid, 0, 0);
                    int status;
                    while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status))
                        if (ptrace(PTRACE_DETACH, pid, 0, 0) == 0)
                            break;
                }
            }
        }
        if (appeared)
            last = appeared + 1;
    }
    printf("looked %ld found %ld\n", looked, found);
    return 0;
}

/* swap A B FILE: exchanges two names until FILE exists. */
static int swap(const char *a, const char *b, const char *end)
{
    long count = 0;
    while (access(end, F_OK)) {
        for (int i = 0; i < 1000; i++)
            if (syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0)
                count++;
    }
    printf("swapped %ld\n", count);
    return 0;
}

/* clone-tree PATH NAME: tries to see PATH/NAME through a copy of the mount without what lies on it. */
static int clone_tree(const char *path, const char *name)
{
    for (unsigned flags = 1; flags <= 0x8001; flags += 0x8000) {
        int tree = syscall(428, AT_FDCWD, path, flags | 02000000);
        if (tree < 0) {
            printf("open_tree %d\n", errno);
            continue;
        }
        int file = openat(tree, name, O_RDONLY);
        char bytes[64];
        ssize_t length = file < 0 ? -1 : read(file, bytes, sizeof bytes);
        printf(length > 0 ? "read %zd bytes\n" : "nothing\n", length);
    }
    return 0;
}

/* chroot: the classic way out, with a descriptor kept across chroot; says which root it is in. */
static int leave_chroot(void)
{
    struct stat before, after;
    if (stat("/", &before))
        return 2;
    int kept = open("/", O_RDONLY | O_DIRECTORY);
    mkdir("/jail", 0700);
    if (chroot("/jail") || fchdir(kept))
        printf("chroot %d\n", errno);
    for (int i = 0; i < 200; i++)
        if (chdir(".."))
            break;
    if (chroot("."))
        printf("chroot %d\n", errno);
    if (stat("/", &after))
        return 2;
    printf(before.st_ino == after.st_ino && before.st_dev == after.st_dev ? "same root\n" : "ANOTHER ROOT\n");
    /* The same by moving a mount onto the root. */
    mkdir("/m", 0700);
    mount("/m", "/m", NULL, MS_BIND, NULL);
    mount("/m", "/", NULL, MS_MOVE, NULL);
    syscall(SYS_pivot_root, ".", ".");
    umount2("/", MNT_DETACH);
    for (int i = 0; i < 200; i++)
        if (chdir(".."))
            break;
    if (stat("/", &after) == 0)
        printf(before.st_ino == after.st_ino && before.st_dev == after.st_dev ? "same root\n" : "moved\n");
    return 0;
}

/* tree DIRECTORY DEPTH: makes directories inside each other. */
static int deep(const char *directory, int depth)
{
    if (chdir(directory))
        return 2;
    for (int i = 0; i < depth; i++)
        if (mkdir("d", 0700) || chdir("d"))
            return 3;
    return 0;
}

/* orphans COUNT: grandchildren that end when nobody but PID 1 can wait for them. */
static int orphans(int count)
{
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        if (child == 0) {
            fork();
            _exit(0);
        }
        if (child < 0)
            return 3;
        waitpid(child, NULL, 0);
    }
    return 0;
}

/* bomb: forks without end and without sleeping. */
static void bomb(void)
{
    printf("bombing\n");
    fflush(stdout);
    for (;;)
        fork();
}

/* state: what a program inherits that no shell shows. */
static int state(void)
{
    cpu_set_t cpus;
    struct rlimit limit;
    sched_getaffinity(0, sizeof cpus, &cpus);
    printf("dumpable %ld\n", syscall(SYS_prctl, 3, 0, 0, 0, 0));
    printf("pdeathsig %d\n", ({ int s = -1; syscall(SYS_prctl, 2, &s, 0, 0, 0); s; }));
    printf("nice %d\n", getpriority(PRIO_PROCESS, 0));
    printf("policy %d\n", sched_getscheduler(0));
    printf("ioprio %ld\n", syscall(SYS_ioprio_get, 1, 0));
    printf("cpus %d of %ld\n", CPU_COUNT(&cpus), sysconf(_SC_NPROCESSORS_CONF));
    printf("keepcaps %ld\n", syscall(SYS_prctl, 7, 0, 0, 0, 0));
    printf("subreaper %d\n", ({ int s = -1; syscall(SYS_prctl, 37, &s, 0, 0, 0); s; }));
    printf("securebits %ld\n", syscall(SYS_prctl, 27, 0, 0, 0, 0));
    getrlimit(RLIMIT_CORE, &limit);
    printf("ssb %ld\n", syscall(SYS_prctl, 52, 0, 0, 0, 0));
    printf("ib %ld\n", syscall(SYS_prctl, 52, 1, 0, 0, 0));
    return 0;
}

int main(int count, char **words)
{
    const char *verb = count > 1 ? words[1] : "";
    if (!strcmp(verb, "syscalls") && count == 3)
        return syscalls(words[2]);
    if (!strcmp(verb, "sockets"))
        return sockets();
    if (!strcmp(verb, "clones"))
        return clones();
    if (!strcmp(verb, "devices") && count == 3)
        return devices(words[2]);
    if (!strcmp(verb, "push"))
        return push();
    if (!strcmp(verb, "hunt"))
        return hunt(count == 2);
    if (!strcmp(verb, "swap") && count == 5)
        return swap(words[2], words[3], words[4]);
    if (!strcmp(verb, "clone-tree") && count == 4)
        return clone_tree(words[2], words[3]);
    if (!strcmp(verb, "leave-chroot"))
        return leave_chroot();
    if (!strcmp(verb, "deep") && count == 4)
        return deep(words[2], atoi(words[3]));
    if (!strcmp(verb, "orphans") && count == 3)
        return orphans(atoi(words[2]));
    if (!strcmp(verb, "bomb"))
        bomb();
    if (!strcmp(verb, "state"))
        return state();
    fprintf(stderr, "probe: no such verb\n");
    return 2;
}
