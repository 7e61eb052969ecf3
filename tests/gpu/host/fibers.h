// A grid's blocks on the host's threads, and a block's threads on fibers.
#pragma once

#include <stdint.h>

#include <string>

#include "include/cuda_host.h"

namespace kat_host {

// Calls a kernel with the arguments that the pointers point to.
using Call = void (*)(void* const* arguments);

// Runs every block of the grid. Returns what went wrong: threads that wait for each other for ever.
std::string run_grid(const char* kernel, Call call, void* const* arguments, dim3 grid, dim3 block);

}  // namespace kat_host
