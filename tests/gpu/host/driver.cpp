// The functions of NVIDIA's driver that the suite calls, on the host: memory is the host's, a launch runs the kernel at
// once, and so is a stream's work done but for what NCCL's stand-in gives it (streams.h).
//
// Stricter than a GPU, so that tests find what compute-sanitizer would: memory ends at a page that must not be touched,
// is full of not-a-number until it is written, and a kernel that is not the source's is refused.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <mutex>

#include "fibers.h"
#include "registry.h"
#include "streams.h"

namespace {

using kat_host::Event;
using kat_host::Moment;
using kat_host::Stream;

enum Status { kSuccess = 0, kInvalidValue = 1, kOutOfMemory = 2, kNotFound = 500, kNotReady = 600, kLaunchFailed = 719 };

constexpr size_t kPage = 4096;

struct Mapping {
    void* start;
    size_t bytes;
};

std::mutex lock;
std::map<uintptr_t, Mapping>& allocations() {
    static auto* map = new std::map<uintptr_t, Mapping>;
    return *map;
}
// A context is the number of its device, from 1.
uint64_t contexts[64];
thread_local void* current_context = nullptr;

// Work of a stream; the default one has nothing pending.
void in_order(void* stream, std::function<void()> work) {
    if (stream == nullptr) {
        work();
    } else {
        static_cast<Stream*>(stream)->order(std::move(work));
    }
}

const char* volatile current_kernel = nullptr;

[[noreturn]] void outside(int, siginfo_t* info, void*) {
    char text[256];
    const char* kernel = current_kernel;
    const int n = snprintf(text, sizeof text, "kernel %s: an access outside of its memory, at %p\n",
                           kernel != nullptr ? kernel : "(none)", info->si_addr);
    if (write(2, text, n) < 0) {}
    _exit(134);
}

int allocate(uintptr_t* out, size_t bytes) {
    const size_t padded = (bytes + 15) / 16 * 16;
    const size_t pages = (padded + kPage - 1) / kPage * kPage;
    void* start = mmap(nullptr, pages + 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return kOutOfMemory;
    char* first = static_cast<char*>(start);
    if (mprotect(first, kPage, PROT_NONE) != 0 || mprotect(first + kPage + pages, kPage, PROT_NONE) != 0) {
        munmap(start, pages + 2 * kPage);
        return kOutOfMemory;
    }
    char* data = first + kPage + pages - padded;
    memset(data, 0xff, padded);
    *out = reinterpret_cast<uintptr_t>(data);
    const std::lock_guard<std::mutex> guard(lock);
    allocations()[*out] = {start, pages + 2 * kPage};
    return kSuccess;
}

int release(uintptr_t at) {
    if (at == 0) return kSuccess;
    const std::lock_guard<std::mutex> guard(lock);
    const auto found = allocations().find(at);
    if (found == allocations().end()) return kInvalidValue;
    munmap(found->second.start, found->second.bytes);
    allocations().erase(found);
    return kSuccess;
}

}  // namespace

extern "C" {

int cuInit(unsigned) {
    struct sigaction action = {};
    action.sa_sigaction = outside;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, nullptr);
    return kSuccess;
}
int cuDriverGetVersion(int* version) { return *version = 13000, kSuccess; }
int cuDeviceGetCount(int* count) {
    const char* wish = getenv("KAT_HOST_GPU_COUNT");
    *count = wish != nullptr ? atoi(wish) : 1;
    return kSuccess;
}
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, kSuccess; }
int cuDeviceGetName(char* name, int len, int) { return snprintf(name, len, "host"), kSuccess; }
int cuDeviceGetAttribute(int* value, int, int) { return *value = 1, kSuccess; }
int cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = size_t{8} << 30, kSuccess; }
int cuMemGetInfo_v2(size_t* free, size_t* total) { return *free = *total = size_t{8} << 30, kSuccess; }
int cuDeviceGetDefaultMemPool(void** pool, int) { return *pool = &lock, kSuccess; }
int cuMemPoolSetAttribute(void*, int, void*) { return kSuccess; }
int cuDevicePrimaryCtxRetain(void** context, int device) {
    if (device < 0 || device >= 64) return kInvalidValue;
    contexts[device] = device + 1;
    return *context = &contexts[device], kSuccess;
}
int cuDevicePrimaryCtxRelease_v2(int) { return kSuccess; }
int cuCtxSetCurrent(void* context) { return current_context = context, kSuccess; }
int cuCtxGetCurrent(void** context) { return *context = current_context, kSuccess; }
int cuCtxSynchronize() { return kSuccess; }
int cuStreamCreate(void** stream, unsigned) { return *stream = new Stream, kSuccess; }
int cuStreamDestroy_v2(void* stream) { return delete static_cast<Stream*>(stream), kSuccess; }
int cuStreamSynchronize(void* stream) {
    if (stream != nullptr) static_cast<Stream*>(stream)->wait();
    return kSuccess;
}
int cuStreamWaitEvent(void* stream, void* event, unsigned) {
    const auto moment = static_cast<Event*>(event)->moment;
    if (moment != nullptr && !moment->reached()) in_order(stream, [moment] { moment->wait(); });
    return kSuccess;
}
int cuEventCreate(void** event, unsigned) { return *event = new Event, kSuccess; }
int cuEventDestroy_v2(void* event) { return delete static_cast<Event*>(event), kSuccess; }
int cuEventRecord(void* event, void* stream) {
    const auto moment = std::make_shared<Moment>();
    static_cast<Event*>(event)->moment = moment;
    return in_order(stream, [moment] { moment->reach(); }), kSuccess;
}
int cuEventSynchronize(void* event) {
    const auto moment = static_cast<Event*>(event)->moment;
    if (moment != nullptr) moment->wait();
    return kSuccess;
}
int cuEventQuery(void* event) {
    const auto moment = static_cast<Event*>(event)->moment;
    return moment == nullptr || moment->reached() ? kSuccess : kNotReady;
}
int cuEventElapsedTime(float* milliseconds, void* from, void* to) {
    const auto begin = static_cast<Event*>(from)->moment, end = static_cast<Event*>(to)->moment;
    if (begin == nullptr || end == nullptr) return kInvalidValue;
    if (!begin->reached() || !end->reached()) return kNotReady;
    *milliseconds = std::chrono::duration<float, std::milli>(end->when() - begin->when()).count();
    return kSuccess;
}

// For other stand-ins: work that a stream does when it gets there.
void kat_host_push(void* stream, void (*work)(void*), void* argument) {
    if (stream == nullptr) return work(argument);
    static_cast<Stream*>(stream)->push([=] { work(argument); });
}

int cuMemAlloc_v2(uintptr_t* out, size_t bytes) { return bytes == 0 ? kInvalidValue : allocate(out, bytes); }
// Unlike the above, a pool gives nothing for nothing.
int cuMemAllocAsync(uintptr_t* out, size_t bytes, void*) {
    return bytes == 0 ? (*out = 0, kSuccess) : allocate(out, bytes);
}
int cuMemFree_v2(uintptr_t at) { return release(at); }
int cuMemFreeAsync(uintptr_t at, void*) { return release(at); }
int cuMemHostAlloc(void** out, size_t bytes, unsigned) {
    return (*out = aligned_alloc(kPage, (bytes + kPage - 1) / kPage * kPage)) != nullptr ? kSuccess : kOutOfMemory;
}
int cuMemFreeHost(void* at) { return free(at), kSuccess; }
int cuMemcpyHtoD_v2(uintptr_t to, const void* from, size_t bytes) {
    return memcpy(reinterpret_cast<void*>(to), from, bytes), kSuccess;
}
int cuMemcpyHtoDAsync_v2(uintptr_t to, const void* from, size_t bytes, void* stream) {
    if (stream == nullptr || static_cast<Stream*>(stream)->idle()) return cuMemcpyHtoD_v2(to, from, bytes);
    // Memory that is not pinned is read before the call returns.
    auto copy = std::make_shared<std::string>(static_cast<const char*>(from), bytes);
    return in_order(stream, [=] { memcpy(reinterpret_cast<void*>(to), copy->data(), bytes); }), kSuccess;
}
int cuMemcpyDtoH_v2(void* to, uintptr_t from, size_t bytes) {
    return memcpy(to, reinterpret_cast<void*>(from), bytes), kSuccess;
}
int cuMemcpyDtoHAsync_v2(void* to, uintptr_t from, size_t bytes, void* stream) {
    return in_order(stream, [=] { cuMemcpyDtoH_v2(to, from, bytes); }), kSuccess;
}
int cuMemcpyDtoD_v2(uintptr_t to, uintptr_t from, size_t bytes) {
    return memcpy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes), kSuccess;
}
int cuMemcpyDtoDAsync_v2(uintptr_t to, uintptr_t from, size_t bytes, void*) { return cuMemcpyDtoD_v2(to, from, bytes); }
int cuMemsetD8_v2(uintptr_t to, unsigned char value, size_t bytes) {
    return memset(reinterpret_cast<void*>(to), value, bytes), kSuccess;
}
int cuMemsetD8Async(uintptr_t to, unsigned char value, size_t bytes, void*) { return cuMemsetD8_v2(to, value, bytes); }

int cuModuleLoadData(void** module, const void*) { return *module = &lock, kSuccess; }
int cuModuleUnload(void*) { return kSuccess; }
int cuModuleGetFunction(const void** function, void*, const char* name) {
    const auto found = kat_host::registry().find(name);
    if (found == kat_host::registry().end()) return kNotFound;
    *function = &*found;
    return kSuccess;
}
int cuFuncSetAttribute(const void*, int, int) { return kSuccess; }

int cuLaunchKernel(const void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned, void*, void** arguments, void**) {
    const auto& kernel = *static_cast<const kat_host::Registry::value_type*>(function);
    const uint64_t threads = static_cast<uint64_t>(block_x) * block_y * block_z;
    if (grid_x == 0 || grid_x > 0x7fffffff || grid_y == 0 || grid_y > 65535 || grid_z == 0 || grid_z > 65535 ||
        threads == 0 || threads > kernel.second.threads) {
        return kInvalidValue;
    }
    current_kernel = kernel.first.c_str();
    const std::string failure = kat_host::run_grid(kernel.first.c_str(), kernel.second.call, arguments,
                                                   {grid_x, grid_y, grid_z}, {block_x, block_y, block_z});
    current_kernel = nullptr;
    if (failure.empty()) return kSuccess;
    fprintf(stderr, "%s\n", failure.c_str());
    return kLaunchFailed;
}

int cuGetErrorName(int status, const char** text) {
    switch (status) {
        case kInvalidValue: *text = "CUDA_ERROR_INVALID_VALUE"; break;
        case kOutOfMemory: *text = "CUDA_ERROR_OUT_OF_MEMORY"; break;
        case kNotReady: *text = "CUDA_ERROR_NOT_READY"; break;
        case kNotFound: *text = "CUDA_ERROR_NOT_FOUND"; break;
        case kLaunchFailed: *text = "CUDA_ERROR_LAUNCH_FAILED"; break;
        default: *text = "CUDA_ERROR_NO_DEVICE";
    }
    return kSuccess;
}
int cuGetErrorString(int status, const char** text) { return cuGetErrorName(status, text); }

}  // extern "C"
