/*
 * The small programs of docs/seeds.md: shared memory of System V, a mapped file, threads that only compute. Run inside
 * containers by tests/tests/it/seeds.rs; statically linked, because it runs in roots that have no libraries.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

enum { LETTERS = 26, BYTES = LETTERS + 1 };

static int failed(const char *call)
{
    printf("%s: %s\n", call, strerrorname_np(errno));
    return 1;
}

static void write_letters(char *memory)
{
    for (int i = 0; i < LETTERS; i++)
        memory[i] = (char)('a' + i);
    memory[LETTERS] = 0;
}

/* A segment of SIZE bytes that nobody else sees; gone again at once. */
static int get(size_t size)
{
    int id = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
    if (id < 0)
        return failed("shmget");
    shmctl(id, IPC_RMID, NULL);
    puts("ok");
    return 0;
}

static int segment(key_t key, int writes)
{
    int id = shmget(key, BYTES, writes ? IPC_CREAT | 0600 : 0);
    if (id < 0)
        return failed("shmget");
    char *memory = shmat(id, NULL, 0);
    if (memory == (void *)-1)
        return failed("shmat");
    if (writes)
        write_letters(memory);
    else
        puts(memory);
    return 0;
}

static int mapped(const char *path, int writes)
{
    int file = open(path, writes ? O_RDWR | O_CREAT : O_RDWR, 0600);
    if (file < 0 || ftruncate(file, BYTES))
        return failed("open");
    char *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED)
        return failed("mmap");
    if (writes)
        write_letters(memory);
    else
        puts(memory);
    return 0;
}

static void *spin(void *unused)
{
    volatile unsigned long count = 0;
    (void)unused;
    for (;;)
        count++;
    return NULL;
}

static int threads(int count)
{
    pthread_t thread;
    for (int i = 1; i < count; i++)
        if (pthread_create(&thread, NULL, spin, NULL))
            return 1;
    spin(NULL);
    return 0;
}

int main(int count, char **words)
{
    const char *verb = count > 2 ? words[1] : "";
    if (!strcmp(verb, "shm-get"))
        return get(strtoull(words[2], NULL, 0));
    if (!strcmp(verb, "shm-write"))
        return segment(atoi(words[2]), 1);
    if (!strcmp(verb, "shm-read"))
        return segment(atoi(words[2]), 0);
    if (!strcmp(verb, "map-write"))
        return mapped(words[2], 1);
    if (!strcmp(verb, "map-read"))
        return mapped(words[2], 0);
    if (!strcmp(verb, "threads"))
        return threads(atoi(words[2]));
    fprintf(stderr, "seeds: no such verb\n");
    return 2;
}
