/* A make-believe CUDA runtime: one device of compute capability 9.0, whose memory is the host's.
 *
 * Preloaded as libcudart.so, it lets torch allocate and copy "device" memory and pinned memory, and
 * use events and streams, in which everything has ended by the time it is asked for. It launches no
 * kernels: fake_cuda.py runs those. As libcuda.so.1 it stands in for the driver.
 *
 * cudaError_t is int, 0 for success; a stream or event is an opaque pointer.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, OUT_OF_MEMORY = 2, MEMORY_TYPE_HOST = 1, DRIVER_VERSION = 13000 };
/* Places in cudaDeviceProp, the same in CUDA 12 and 13; the fields behind them stay zero. */
enum { TOTAL_MEMORY_AT = 288, WARP_SIZE_AT = 308, MAJOR_AT = 360, PROPERTIES_BYTES = 700 };
static const size_t DEVICE_MEMORY = (size_t)80 << 30;

/* The device */

int cudaGetDeviceCount(int *count) { *count = 1; return SUCCESS; }
int cudaGetDevice(int *device) { *device = 0; return SUCCESS; }
int cudaSetDevice(int device) { return SUCCESS; }
int cudaGetLastError(void) { return SUCCESS; }
int cudaPeekAtLastError(void) { return SUCCESS; }
int cudaDriverGetVersion(int *version) { *version = DRIVER_VERSION; return SUCCESS; }
int cudaDeviceSynchronize(void) { return SUCCESS; }
int cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { *least = 0; *greatest = -5; return SUCCESS; }
int cudaThreadExchangeStreamCaptureMode(void *mode) { return SUCCESS; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0; *active = 1; return SUCCESS; }

int cudaGetDeviceProperties(char *properties, int device) {
    memset(properties, 0, PROPERTIES_BYTES);
    strcpy(properties, "make-believe");
    *(size_t *)(properties + TOTAL_MEMORY_AT) = DEVICE_MEMORY;
    *(int *)(properties + WARP_SIZE_AT) = 32;
    *(int *)(properties + MAJOR_AT) = 9;
    return SUCCESS;
}
int cudaGetDeviceProperties_v2(char *properties, int device) { return cudaGetDeviceProperties(properties, device); }

/* Memory */

static int allocate(void **pointer, size_t alignment, size_t bytes) {
    *pointer = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    return *pointer ? SUCCESS : OUT_OF_MEMORY;
}
int cudaMalloc(void **pointer, size_t bytes) { return allocate(pointer, 512, bytes); }
int cudaFree(void *pointer) { free(pointer); return SUCCESS; }
int cudaMemGetInfo(size_t *unused, size_t *total) { *unused = *total = DEVICE_MEMORY; return SUCCESS; }
int cudaMemcpy(void *target, const void *source, size_t bytes, int kind) { memcpy(target, source, bytes); return SUCCESS; }
int cudaMemcpyAsync(void *target, const void *source, size_t bytes, int kind, void *stream) { memcpy(target, source, bytes); return SUCCESS; }
int cudaMemset(void *target, int value, size_t bytes) { memset(target, value, bytes); return SUCCESS; }
int cudaMemsetAsync(void *target, int value, size_t bytes, void *stream) { memset(target, value, bytes); return SUCCESS; }

/* Pinned memory, which torch asks cudaPointerGetAttributes to recognise */

struct range { char *start; size_t bytes; struct range *next; };
static struct range *pinned;
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

int cudaHostAlloc(void **pointer, size_t bytes, unsigned flags) {
    struct range *range = malloc(sizeof *range);
    if (!range || allocate(pointer, 4096, bytes)) { free(range); return OUT_OF_MEMORY; }
    pthread_mutex_lock(&guard);
    *range = (struct range){*pointer, bytes, pinned};
    pinned = range;
    pthread_mutex_unlock(&guard);
    return SUCCESS;
}

int cudaFreeHost(void *pointer) {
    pthread_mutex_lock(&guard);
    for (struct range **link = &pinned; *link; link = &(*link)->next)
        if ((*link)->start == pointer) {
            struct range *range = *link;
            *link = range->next;
            free(range);
            break;
        }
    pthread_mutex_unlock(&guard);
    free(pointer);
    return SUCCESS;
}

struct attributes { int type, device; void *on_device, *on_host; };
int cudaPointerGetAttributes(struct attributes *attributes, const void *pointer) {
    memset(attributes, 0, sizeof *attributes);
    pthread_mutex_lock(&guard);
    for (struct range *range = pinned; range; range = range->next)
        if ((const char *)pointer >= range->start && (const char *)pointer < range->start + range->bytes)
            attributes->type = MEMORY_TYPE_HOST;
    pthread_mutex_unlock(&guard);
    return SUCCESS;
}

/* Streams, in which everything has ended */

int cudaStreamCreate(void **stream) { return (*stream = malloc(1)) ? SUCCESS : OUT_OF_MEMORY; }
int cudaStreamCreateWithFlags(void **stream, unsigned flags) { return cudaStreamCreate(stream); }
int cudaStreamCreateWithPriority(void **stream, unsigned flags, int priority) { return cudaStreamCreate(stream); }
int cudaStreamDestroy(void *stream) { free(stream); return SUCCESS; }
int cudaStreamGetPriority(void *stream, int *priority) { *priority = 0; return SUCCESS; }
int cudaStreamSynchronize(void *stream) { return SUCCESS; }
int cudaStreamQuery(void *stream) { return SUCCESS; }
int cudaStreamWaitEvent(void *stream, void *event, unsigned flags) { return SUCCESS; }
int cudaStreamIsCapturing(void *stream, int *capturing) { *capturing = 0; return SUCCESS; }
int cudaStreamGetCaptureInfo(void *stream, int *capturing) { *capturing = 0; return SUCCESS; }
int cudaStreamGetCaptureInfo_v2(void *stream, int *capturing) { *capturing = 0; return SUCCESS; }

/* Events, which hold the time of their record */

int cudaEventCreate(struct timespec **event) { return (*event = calloc(1, sizeof **event)) ? SUCCESS : OUT_OF_MEMORY; }
int cudaEventCreateWithFlags(struct timespec **event, unsigned flags) { return cudaEventCreate(event); }
int cudaEventDestroy(struct timespec *event) { free(event); return SUCCESS; }
int cudaEventRecord(struct timespec *event, void *stream) { clock_gettime(CLOCK_MONOTONIC, event); return SUCCESS; }
int cudaEventRecordWithFlags(struct timespec *event, void *stream, unsigned flags) { return cudaEventRecord(event, stream); }
int cudaEventQuery(struct timespec *event) { return SUCCESS; }
int cudaEventSynchronize(struct timespec *event) { return SUCCESS; }
int cudaEventElapsedTime(float *milliseconds, struct timespec *start, struct timespec *end) {
    *milliseconds = (end->tv_sec - start->tv_sec) * 1e3f + (end->tv_nsec - start->tv_nsec) * 1e-6f;
    return SUCCESS;
}
