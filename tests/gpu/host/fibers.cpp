// Fibers: made once by makecontext, then switched by _setjmp and _longjmp, which call no kernel of the system.
//
// In which order a block's threads run between two barriers is theirs to bear. By default its warps keep in step;
// KAT_HOST_GPU_ORDER=reverse or a seed turns the order round or shuffles it, and then a warp runs as far as the block's
// next barrier before another does. A kernel whose result changes has a race.
#include "fibers.h"

#include <omp.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <memory>
#include <mutex>
#include <random>
#include <vector>

__thread uint3 threadIdx, blockIdx;
__thread dim3 blockDim, gridDim;

namespace kat_host {
namespace {

constexpr size_t kStack = 128 << 10;
constexpr uint32_t kMostThreads = 1024;

enum class State { kReady, kWarp, kBlock, kDone };

struct Copy {
    void* to;
    const void* from;
    uint32_t bytes;
    bool there;
};

struct Fiber {
    ucontext_t start;
    jmp_buf at;
    State state = State::kDone;
    uint32_t mask = 0;
    bool begun = false;
    uint3 thread = {};
    // Two slots by turns: a lane may be one exchange ahead of another.
    uint64_t slots[2][kWords] = {};
    uint32_t exchanges = 0;
    std::vector<Copy> copies;
};

// Threads that keep in step, and then the next that do.
using Order = std::vector<std::vector<uint32_t>>;

struct Block;
thread_local Block* running = nullptr;

// The fibers of one of the host's threads.
struct Block {
    std::vector<std::unique_ptr<Fiber>> fibers;
    jmp_buf scheduler;
    uint32_t current = 0, count = 0;
    Call call = nullptr;
    void* const* arguments = nullptr;

    Fiber& fiber() { return *fibers[current]; }

    static void body() {
        for (;;) {
            Block& block = *running;
            block.call(block.arguments);
            block.yield(State::kDone);
        }
    }

    void yield(State state) {
        Fiber& self = fiber();
        self.state = state;
        if (_setjmp(self.at) == 0) _longjmp(scheduler, 1);
    }

    void resume(uint32_t i) {
        current = i;
        threadIdx = fibers[i]->thread;
        if (_setjmp(scheduler) != 0) return;
        Fiber& next = fiber();
        if (next.begun) _longjmp(next.at, 1);
        next.begun = true;
        setcontext(&next.start);
    }

    void grow(uint32_t threads) {
        while (fibers.size() < threads) {
            auto fiber = std::make_unique<Fiber>();
            void* stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (stack == MAP_FAILED) abort();
            getcontext(&fiber->start);
            fiber->start.uc_stack.ss_sp = stack;
            fiber->start.uc_stack.ss_size = kStack;
            fiber->start.uc_link = nullptr;
            makecontext(&fiber->start, body, 0);
            fibers.push_back(std::move(fiber));
        }
    }

    // Lets those of threads `from` to `to`, whole warps, go on whose warp has arrived; false if nobody can.
    bool release_warps(uint32_t from, uint32_t to) {
        bool released = false;
        for (uint32_t i = from; i < std::min(to, count); ++i) {
            const Fiber& self = *fibers[i];
            if (self.state != State::kWarp) continue;
            bool here = true;
            const uint32_t first = i / 32 * 32;
            for (uint32_t lane = 0; lane < 32 && first + lane < count; ++lane) {
                const Fiber& other = *fibers[first + lane];
                const bool named = self.mask >> lane & 1;
                here &= !named || other.state == State::kDone ||
                        (other.state == State::kWarp && other.mask == self.mask);
            }
            if (!here) continue;
            for (uint32_t lane = 0; lane < 32 && first + lane < count; ++lane) {
                Fiber& other = *fibers[first + lane];
                if (self.mask >> lane & 1 && other.state == State::kWarp) other.state = State::kReady;
            }
            released = true;
        }
        return released;
    }

    // Lets all go on if they have arrived at the block's barrier; false if not, or if they are done.
    bool release_block() {
        bool any = false;
        for (uint32_t i = 0; i < count; ++i) {
            if (fibers[i]->state == State::kWarp) return false;
            any |= fibers[i]->state == State::kBlock;
        }
        for (uint32_t i = 0; i < count; ++i) {
            if (fibers[i]->state == State::kBlock) fibers[i]->state = State::kReady;
        }
        return any;
    }

    // False if threads are left that wait for ever.
    bool run(const Order& order) {
        for (uint32_t i = 0; i < count; ++i) fibers[i]->state = State::kReady;
        do {
            for (const std::vector<uint32_t>& together : order) {
                const auto [least, most] = std::minmax_element(together.begin(), together.end());
                do {
                    for (const uint32_t i : together) {
                        if (fibers[i]->state == State::kReady) resume(i);
                    }
                } while (release_warps(*least, *most + 1));
            }
        } while (release_block());
        for (uint32_t i = 0; i < count; ++i) {
            if (fibers[i]->state != State::kDone) return false;
        }
        return true;
    }
};

// The order in which a block's threads run between barriers.
Order thread_order(uint32_t count) {
    std::vector<uint32_t> all(count);
    for (uint32_t i = 0; i < count; ++i) all[i] = i;
    const char* wish = getenv("KAT_HOST_GPU_ORDER");
    if (wish == nullptr || *wish == '\0') return {all};
    if (std::string(wish) == "reverse") {
        std::reverse(all.begin(), all.end());
    } else {
        std::shuffle(all.begin(), all.end(), std::mt19937(atoi(wish)));
    }
    // warp by warp, as the first thread of each comes
    Order warps;
    std::vector<size_t> places((count + 31) / 32, SIZE_MAX);
    for (const uint32_t i : all) {
        size_t& place = places[i / 32];
        if (place == SIZE_MAX) {
            place = warps.size();
            warps.emplace_back();
        }
        warps[place].push_back(i);
    }
    return warps;
}

}  // namespace

uint32_t lane() { return running->current % 32; }

void warp_barrier(uint32_t mask) {
    Fiber& self = running->fiber();
    self.mask = mask;
    running->yield(State::kWarp);
    ++self.exchanges;
}

void block_barrier() { running->yield(State::kBlock); }

uint64_t& mine(uint32_t word) {
    Fiber& self = running->fiber();
    return self.slots[self.exchanges % 2][word];
}

// After the barrier that counted this exchange.
uint64_t theirs(uint32_t lane, uint32_t word) {
    Block& block = *running;
    const uint32_t parity = (block.fiber().exchanges - 1) % 2;
    const uint32_t i = std::min(block.current / 32 * 32 + lane, block.count - 1);
    return block.fibers[i]->slots[parity][word];
}

uint64_t aligned(const void* at, uint32_t bytes) {
    const auto address = reinterpret_cast<uintptr_t>(at);
    if (address % bytes != 0) {
        fprintf(stderr, "%p is not a multiple of %u\n", at, bytes);
        abort();
    }
    return address;
}

void copy_later(void* to, const void* from, uint32_t bytes, bool there) {
    aligned(to, bytes);
    aligned(from, bytes);
    running->fiber().copies.push_back({to, from, bytes, there});
}

void make_copies() {
    for (const Copy& copy : running->fiber().copies) {
        if (copy.there) {
            memcpy(copy.to, copy.from, copy.bytes);
        } else {
            memset(copy.to, 0, copy.bytes);
        }
    }
    running->fiber().copies.clear();
}

std::string run_grid(const char* kernel, Call call, void* const* arguments, dim3 grid, dim3 block) {
    const uint64_t blocks = static_cast<uint64_t>(grid.x) * grid.y * grid.z;
    const uint32_t threads = block.x * block.y * block.z;
    if (threads > kMostThreads) return std::string(kernel) + ": more threads than a block has";
    const Order order = thread_order(threads);
    std::string failure;
    std::mutex lock;
#pragma omp parallel
    {
        // The fibers live as long as the host's thread: their stacks are used again by the next kernel.
        thread_local Block fibers;
        running = &fibers;
        fibers.grow(threads);
        fibers.count = threads;
        fibers.call = call;
        fibers.arguments = arguments;
        blockDim = block;
        gridDim = grid;
        for (uint32_t i = 0; i < threads; ++i) {
            Fiber& fiber = *fibers.fibers[i];
            fiber.thread = {i % block.x, i / block.x % block.y, i / block.x / block.y};
            fiber.exchanges = 0;
        }
#pragma omp for schedule(dynamic)
        for (uint64_t b = 0; b < blocks; ++b) {
            blockIdx = {static_cast<uint32_t>(b % grid.x), static_cast<uint32_t>(b / grid.x % grid.y),
                        static_cast<uint32_t>(b / grid.x / grid.y)};
            for (uint32_t i = 0; i < threads; ++i) {
                fibers.fibers[i]->exchanges = 0;
                fibers.fibers[i]->copies.clear();
            }
            if (!fibers.run(order)) {
                const std::lock_guard<std::mutex> guard(lock);
                failure = std::string(kernel) + ": threads of a block wait at a barrier that others never reach";
            }
        }
    }
    return failure;
}

}  // namespace kat_host
