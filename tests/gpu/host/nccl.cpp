// NCCL where there is no GPU: the processes of one machine sum and gather by way of shared memory, in the order of ranks,
// each on the thread of the stream that it names (streams.h), so that results come late and an order that nobody saw to is
// noticed. As NCCL does, it refuses two processes with one GPU, and waits for a process that is gone until it is told to
// abort. Calls that differ from process to process, which hang or mix values up there, are errors here.
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <random>
#include <utility>
#include <vector>

extern "C" {
// Of the driver's stand-in.
void kat_host_push(void* stream, void (*work)(void*), void* argument);
int cuCtxGetCurrent(void** context);
}

namespace {

enum Status { kSuccess = 0, kSystemError = 2, kInvalidArgument = 4, kInvalidUsage = 5 };
enum Type { kUint8 = 1, kFloat32 = 7, kFloat64 = 8, kBfloat16 = 9 };
enum Kind : uint32_t { kAllReduce = 1, kReduceScatter, kAllGather, kBroadcast };

constexpr int kMostRanks = 8;
constexpr size_t kSlot = 1 << 18;

struct Description {
    uint32_t kind, type, root;
    uint64_t count;
};

// New shared memory is all zeros.
struct Meeting {
    std::atomic<uint32_t> arrived, phase;
    uint64_t device[kMostRanks];
    Description description[kMostRanks];
    alignas(64) char slot[kMostRanks][kSlot];
};

struct Operation {
    Description what;
    const char* from;
    char* to;
};

struct Comm {
    Meeting* meeting = nullptr;
    int rank = 0, world = 0;
    std::atomic<bool> aborted{false};
    std::atomic<int> failure{kSuccess};

    ~Comm() {
        if (meeting != nullptr) munmap(meeting, sizeof(Meeting));
    }

    // Whether all came.
    bool meet() {
        const uint32_t phase = meeting->phase.load();
        if (meeting->arrived.fetch_add(1) + 1 == static_cast<uint32_t>(world)) {
            meeting->arrived = 0;
            meeting->phase = phase + 1;
            return true;
        }
        for (int turn = 0; meeting->phase.load() == phase; ++turn) {
            if (aborted) return false;
            if (turn < 100) {
                sched_yield();
            } else {
                usleep(50);
            }
        }
        return true;
    }
};

using Handle = std::shared_ptr<Comm>;

size_t bytes(uint32_t type) {
    switch (type) {
        case kUint8: return 1;
        case kBfloat16: return 2;
        case kFloat32: return 4;
        case kFloat64: return 8;
        default: return 0;
    }
}

template <typename T>
void add(char* sum, const char* term, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        T a, b;
        memcpy(&a, sum + i * sizeof a, sizeof a);
        memcpy(&b, term + i * sizeof b, sizeof b);
        a += b;
        memcpy(sum + i * sizeof a, &a, sizeof a);
    }
}

// Rounded after each addition, ties to even, as NCCL adds.
void add_bf16(char* sum, const char* term, size_t count) {
    const auto wide = [](const char* at) {
        uint16_t half;
        memcpy(&half, at, 2);
        const uint32_t bits = static_cast<uint32_t>(half) << 16;
        float value;
        memcpy(&value, &bits, 4);
        return value;
    };
    for (size_t i = 0; i < count; ++i) {
        const float value = wide(sum + 2 * i) + wide(term + 2 * i);
        uint32_t bits;
        memcpy(&bits, &value, 4);
        const uint16_t half = value != value ? 0x7fc0 : static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
        memcpy(sum + 2 * i, &half, 2);
    }
}

// The sums of all slots, from `start` in each.
void sum_slots(const Comm& comm, size_t start, char* to, uint32_t type, size_t count) {
    memcpy(to, comm.meeting->slot[0] + start, count * bytes(type));
    for (int rank = 1; rank < comm.world; ++rank) {
        const char* term = comm.meeting->slot[rank] + start;
        switch (type) {
            case kUint8: add<uint8_t>(to, term, count); break;
            case kFloat32: add<float>(to, term, count); break;
            case kFloat64: add<double>(to, term, count); break;
            case kBfloat16: add_bf16(to, term, count); break;
        }
    }
}

// What fits the slots at a time; false where the processes ask for different things, or one is gone.
bool run(Comm& comm, const Operation& operation) {
    const Description what = operation.what;
    Meeting& meeting = *comm.meeting;
    meeting.description[comm.rank] = what;
    if (!comm.meet()) return false;
    for (int rank = 0; rank < comm.world; ++rank) {
        const Description& other = meeting.description[rank];
        if (other.kind != what.kind || other.type != what.type || other.root != what.root || other.count != what.count) {
            fprintf(stderr, "NCCL's stand-in: rank %d asks for operation %u of %zu values of type %u, rank %d for %u of %zu of %u\n",
                    comm.rank, what.kind, static_cast<size_t>(what.count), what.type, rank, other.kind,
                    static_cast<size_t>(other.count), other.type);
            comm.failure = kInvalidArgument;
            return comm.meet() && false;
        }
    }
    // Nobody describes the next operation while another still reads.
    if (!comm.meet()) return false;
    const size_t each = bytes(what.type), world = comm.world;
    char* own = meeting.slot[comm.rank];
    const size_t most = (what.kind == kReduceScatter ? kSlot / world : kSlot) / each;
    for (size_t start = 0; start < what.count; start += most) {
        const size_t count = std::min<size_t>(most, what.count - start), at = start * each, length = count * each;
        switch (what.kind) {
            case kReduceScatter:
                for (size_t rank = 0; rank < world; ++rank) {
                    memcpy(own + rank * length, operation.from + rank * what.count * each + at, length);
                }
                break;
            case kBroadcast:
                if (comm.rank == static_cast<int>(what.root)) memcpy(own, operation.from + at, length);
                break;
            default: memcpy(own, operation.from + at, length);
        }
        if (!comm.meet()) return false;
        switch (what.kind) {
            case kAllReduce: sum_slots(comm, 0, operation.to + at, what.type, count); break;
            case kReduceScatter: sum_slots(comm, comm.rank * length, operation.to + at, what.type, count); break;
            case kAllGather:
                for (size_t rank = 0; rank < world; ++rank) {
                    memcpy(operation.to + rank * what.count * each + at, meeting.slot[rank], length);
                }
                break;
            case kBroadcast: memcpy(operation.to + at, meeting.slot[what.root], length); break;
        }
        if (!comm.meet()) return false;
    }
    return true;
}

// Operations of a group, on one stream.
struct Work {
    Handle comm;
    void* stream;
    std::vector<Operation> operations;
};

thread_local int group_depth = 0;
thread_local std::vector<Work> group;

void start(Work work) {
    const auto run_all = [](void* argument) {
        const std::unique_ptr<Work> work(static_cast<Work*>(argument));
        for (const Operation& operation : work->operations) {
            Comm& comm = *work->comm;
            if (comm.failure != kSuccess || comm.aborted) return;
            if (!run(comm, operation) && comm.failure == kSuccess) comm.failure = kSystemError;
        }
    };
    kat_host_push(work.stream, run_all, new Work(std::move(work)));
}

int enqueue(void* handle, void* stream, const Operation& operation) {
    if (handle == nullptr || bytes(operation.what.type) == 0) return kInvalidArgument;
    const Handle& comm = *static_cast<Handle*>(handle);
    if (operation.what.root >= static_cast<uint32_t>(comm->world)) return kInvalidArgument;
    if (comm->failure != kSuccess) return comm->failure;
    if (group_depth == 0) return start({comm, stream, {operation}}), kSuccess;
    for (Work& work : group) {
        if (work.comm == comm && work.stream == stream) return work.operations.push_back(operation), kSuccess;
    }
    return group.push_back({comm, stream, {operation}}), kSuccess;
}

Operation operation(Kind kind, const void* from, void* to, size_t count, int type, int root = 0) {
    return {{kind, static_cast<uint32_t>(type), static_cast<uint32_t>(root), count}, static_cast<const char*>(from),
            static_cast<char*>(to)};
}

}  // namespace

extern "C" {

struct ncclUniqueId {
    char internal[128];
};

int ncclGetVersion(int* version) { return *version = 22703, kSuccess; }

int ncclGetUniqueId(ncclUniqueId* id) {
    memset(id, 0, sizeof *id);
    std::random_device random;
    snprintf(id->internal, sizeof id->internal, "/kat_nccl_%d_%08x%08x", getpid(), random(), random());
    return kSuccess;
}

int ncclCommInitRank(void** out, int world, ncclUniqueId id, int rank) {
    if (world < 1 || world > kMostRanks || rank < 0 || rank >= world || id.internal[0] != '/') return kInvalidArgument;
    const auto comm = std::make_shared<Comm>();
    comm->rank = rank;
    comm->world = world;
    const int file = shm_open(id.internal, O_CREAT | O_RDWR, 0600);
    if (file < 0 || ftruncate(file, sizeof(Meeting)) != 0) return kSystemError;
    void* memory = mmap(nullptr, sizeof(Meeting), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) return kSystemError;
    comm->meeting = static_cast<Meeting*>(memory);
    void* context = nullptr;
    cuCtxGetCurrent(&context);
    // The stand-in's contexts are at the same places in a program's processes but for where the loader put the library.
    comm->meeting->device[rank] = context == nullptr ? 0 : *static_cast<uint64_t*>(context);
    comm->meet();
    if (rank == 0) shm_unlink(id.internal);
    for (int other = 0; other < world; ++other) {
        if (other != rank && comm->meeting->device[other] == comm->meeting->device[rank]) {
            fprintf(stderr, "NCCL's stand-in: ranks %d and %d have the same GPU\n", rank, other);
            return kInvalidUsage;
        }
    }
    comm->meet();
    *out = new Handle(comm);
    return kSuccess;
}

int ncclCommDestroy(void* handle) { return delete static_cast<Handle*>(handle), kSuccess; }
int ncclCommAbort(void* handle) {
    (*static_cast<Handle*>(handle))->aborted = true;
    return ncclCommDestroy(handle);
}
int ncclCommGetAsyncError(void* handle, int* status) { return *status = (*static_cast<Handle*>(handle))->failure, kSuccess; }

const char* ncclGetErrorString(int status) {
    switch (status) {
        case kSuccess: return "no error";
        case kSystemError: return "unhandled system error";
        case kInvalidArgument: return "invalid argument";
        case kInvalidUsage: return "invalid usage";
        default: return "unknown result code";
    }
}

int ncclAllReduce(const void* from, void* to, size_t count, int type, int, void* comm, void* stream) {
    return enqueue(comm, stream, operation(kAllReduce, from, to, count, type));
}
int ncclReduceScatter(const void* from, void* to, size_t count, int type, int, void* comm, void* stream) {
    return enqueue(comm, stream, operation(kReduceScatter, from, to, count, type));
}
int ncclAllGather(const void* from, void* to, size_t count, int type, void* comm, void* stream) {
    return enqueue(comm, stream, operation(kAllGather, from, to, count, type));
}
int ncclBroadcast(const void* from, void* to, size_t count, int type, int root, void* comm, void* stream) {
    return enqueue(comm, stream, operation(kBroadcast, from, to, count, type, root));
}

int ncclGroupStart() { return ++group_depth, kSuccess; }
int ncclGroupEnd() {
    if (group_depth == 0) return kInvalidUsage;
    if (--group_depth > 0) return kSuccess;
    for (Work& work : group) start(std::move(work));
    return group.clear(), kSuccess;
}

}  // extern "C"
