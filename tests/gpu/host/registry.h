// The kernels that were compiled into this library, by name.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "fibers.h"

namespace kat_host {

struct Kernel {
    Call call;
    // The most threads of its blocks: its launch bounds.
    uint32_t threads;
};

using Registry = std::map<std::string, Kernel>;

inline Registry& registry() {
    static auto* kernels = new Registry;
    return *kernels;
}

template <auto kKernel, typename... A, size_t... I>
void call_with(void (*)(A...), void* const* arguments, std::index_sequence<I...>) {
    kKernel(*static_cast<std::remove_const_t<A>*>(arguments[I])...);
}

// The kernel as a function of pointers to its arguments, in the order of its parameters.
template <auto kKernel, typename... A>
Call call_of(void (*)(A...)) {
    return [](void* const* arguments) { call_with<kKernel>(kKernel, arguments, std::index_sequence_for<A...>{}); };
}

struct Register {
    Register(const char* name, Call call, uint32_t threads, uint32_t = 0) { registry()[name] = {call, threads}; }
};

}  // namespace kat_host

// With the kernel's launch bounds.
#define KAT_REGISTER(name, ...) \
    static const kat_host::Register register_##name(#name, kat_host::call_of<&name>(&name), __VA_ARGS__);
