/* A libnvidia-ml.so.1 that answers what a file says, as the real one would; for tests.
 *
 * $NVML_STUB/answers contains one line per figure, read again at every call:
 *     FIGURE GPU CODE VALUES...        GPU is - for what belongs to none
 * A figure without a line is not supported. $NVML_STUB/calls gets the name of every call.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7 };

typedef struct { unsigned domain_legacy[4], domain, bus, device, id, subsystem; char bus_id[32]; } Pci;
typedef struct { unsigned gpu, memory; } Rates;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } Process;

static FILE *open_in_folder(const char *name, const char *mode) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("NVML_STUB"), name);
    return fopen(path, mode);
}

/* Finds the line; the rest of it, behind the code, goes to `rest`. */
static int answer(const char *figure, const char *gpu, char *rest, size_t size) {
    char line[4096];
    int result = NOT_SUPPORTED;
    FILE *calls = open_in_folder("calls", "a");
    fprintf(calls, "%s %s\n", figure, gpu);
    fclose(calls);
    FILE *answers = open_in_folder("answers", "r");
    while (answers && fgets(line, sizeof line, answers)) {
        char found[64], of[64];
        int code, end;
        if (sscanf(line, "%63s %63s %d%n", found, of, &code, &end) == 3 && !strcmp(found, figure) &&
            !strcmp(of, gpu)) {
            result = code;
            snprintf(rest, size, "%s", line + end);
            rest[strcspn(rest, "\n")] = 0;
        }
    }
    if (answers) fclose(answers);
    return result;
}

static int of_gpu(const char *figure, void *gpu, char *rest, size_t size) {
    char number[32];
    snprintf(number, sizeof number, "%ld", (long)gpu - 1);
    rest[0] = 0;
    return answer(figure, number, rest, size);
}

int nvmlInitWithFlags(unsigned flags) {
    char rest[4096];
    (void)flags;
    return answer("init", "-", rest, sizeof rest);
}

int nvmlShutdown(void) {
    char rest[4096];
    return answer("shutdown", "-", rest, sizeof rest);
}

const char *nvmlErrorString(int code) {
    static char text[32];
    snprintf(text, sizeof text, "stub error %d", code);
    return text;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    char rest[4096] = "";
    int code = answer("count", "-", rest, sizeof rest);
    *count = atoi(rest);
    return code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    char rest[4096];
    *device = (void *)(long)(index + 1);
    return of_gpu("handle", *device, rest, sizeof rest);
}

int nvmlDeviceGetName(void *gpu, char *name, unsigned size) {
    char rest[4096];
    int code = of_gpu("name", gpu, rest, sizeof rest);
    snprintf(name, size, "%s", rest[0] ? rest + 1 : "");
    return code;
}

int nvmlDeviceGetPciInfo_v3(void *gpu, Pci *pci) {
    char rest[4096];
    int code = of_gpu("pci", gpu, rest, sizeof rest);
    sscanf(rest, "%u %u %u", &pci->domain, &pci->bus, &pci->device);
    return code;
}

int nvmlDeviceGetUtilizationRates(void *gpu, Rates *rates) {
    char rest[4096];
    int code = of_gpu("utilization", gpu, rest, sizeof rest);
    sscanf(rest, "%u", &rates->gpu);
    return code;
}

static int memory(const char *figure, void *gpu, unsigned long long *a, unsigned long long *b,
                  unsigned long long *c) {
    char rest[4096];
    int code = of_gpu(figure, gpu, rest, sizeof rest);
    sscanf(rest, "%llu %llu %llu", a, b, c);
    return code;
}

int nvmlDeviceGetMemoryInfo(void *gpu, Memory *m) {
    return memory("memory", gpu, &m->total, &m->free, &m->used);
}

int nvmlDeviceGetBAR1MemoryInfo(void *gpu, Memory *m) {
    return memory("bar1", gpu, &m->total, &m->free, &m->used);
}

static int processes(const char *figure, void *gpu, unsigned *count, Process *list) {
    char rest[4096], *next = rest, *end;
    unsigned room = *count, found = 0;
    int code = of_gpu(figure, gpu, rest, sizeof rest);
    if (code != SUCCESS) return code;
    for (;;) {
        unsigned long pid = strtoul(next, &end, 10);
        if (end == next) break;
        if (list && found < room) list[found] = (Process){.pid = (unsigned)pid};
        found++;
        next = end;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

#ifdef OLD_DRIVER /* before 510 */
#define PROCESSES(kind) nvmlDeviceGet##kind##RunningProcesses_v2
#else
#define PROCESSES(kind) nvmlDeviceGet##kind##RunningProcesses_v3
#endif

int PROCESSES(Compute)(void *gpu, unsigned *count, Process *list) {
    return processes("compute", gpu, count, list);
}

int PROCESSES(Graphics)(void *gpu, unsigned *count, Process *list) {
    return processes("graphics", gpu, count, list);
}
