// The functions of cublasLt that the suite calls, on the host. As cublasLt: a plan is asked for with the alignments that
// the product will have, and a product that was not asked for so is refused.
#include <string.h>

#include "product.h"

using namespace kat_host;

namespace {

constexpr int kNotSupported = 15, kInvalidValue = 7;
// Of cublasLtMatmulDescAttributes_t, cublasLtEpilogue_t and cublasLtMatmulPreferenceAttributes_t.
enum Attribute { kTransposeA = 3, kTransposeB = 4, kEpilogue = 7, kBiasPointer = 8 };
enum Epilogue { kDefault = 1, kBias = 4 };
enum Wish { kWorkspace = 1, kSchemes = 3, kAlignmentA = 5, kAlignmentD = 8 };

struct Description {
    int compute;
    int32_t ops[2] = {0, 0};
    uint32_t epilogue = kDefault;
    void* bias = nullptr;
};

struct Layout {
    int type;
    uint64_t rows, columns;
    int64_t stride;
};

// What an algorithm was chosen for: cublasLtMatmulAlgo_t's eight words.
struct Algorithm {
    uint64_t alignments[4];
    uint64_t epilogue;
    uint64_t rest[3];
};

struct Wishes {
    uint64_t workspace = 0;
    uint32_t alignments[4] = {256, 256, 256, 256};
};

struct Found {
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

bool fits(const Description& d, const Layout& a, const Layout& b, const Layout& out) {
    const uint64_t m = d.ops[0] == 0 ? a.rows : a.columns, k = d.ops[0] == 0 ? a.columns : a.rows;
    const uint64_t n = d.ops[1] == 0 ? b.columns : b.rows;
    return k == (d.ops[1] == 0 ? b.rows : b.columns) && out.rows == m && out.columns == n && m * n * k > 0;
}

}  // namespace

extern "C" {

int cublasLtCreate(void** handle) { return *handle = handle, 0; }
int cublasLtDestroy(void*) { return 0; }

int cublasLtMatmulDescCreate(Description** out, int compute, int scale) {
    return scale != kF32 ? kNotSupported : (*out = new Description{compute}, 0);
}
int cublasLtMatmulDescDestroy(Description* d) { return delete d, 0; }
int cublasLtMatmulDescSetAttribute(Description* d, int attribute, const void* value, size_t size) {
    switch (attribute) {
        case kTransposeA:
        case kTransposeB: return size == 4 ? (memcpy(&d->ops[attribute - kTransposeA], value, 4), 0) : kInvalidValue;
        case kEpilogue: return size == 4 ? (memcpy(&d->epilogue, value, 4), 0) : kInvalidValue;
        case kBiasPointer: return size == 8 ? (memcpy(&d->bias, value, 8), 0) : kInvalidValue;
        default: return kInvalidValue;
    }
}

int cublasLtMatrixLayoutCreate(Layout** out, int type, uint64_t rows, uint64_t columns, int64_t stride) {
    if (!known(type) || stride < static_cast<int64_t>(rows)) return kInvalidValue;
    return *out = new Layout{type, rows, columns, stride}, 0;
}
int cublasLtMatrixLayoutDestroy(Layout* layout) { return delete layout, 0; }

int cublasLtMatmulPreferenceCreate(Wishes** out) { return *out = new Wishes, 0; }
int cublasLtMatmulPreferenceDestroy(Wishes* wishes) { return delete wishes, 0; }
int cublasLtMatmulPreferenceSetAttribute(Wishes* wishes, int attribute, const void* value, size_t size) {
    if (attribute == kWorkspace) return size == 8 ? (memcpy(&wishes->workspace, value, 8), 0) : kInvalidValue;
    if (attribute == kSchemes) return size == 4 ? 0 : kInvalidValue;
    if (attribute < kAlignmentA || attribute > kAlignmentD || size != 4) return kInvalidValue;
    return memcpy(&wishes->alignments[attribute - kAlignmentA], value, 4), 0;
}

int cublasLtMatmulAlgoGetHeuristic(void*, const Description* d, const Layout* a, const Layout* b, const Layout* c,
                                   const Layout* out, const Wishes* wishes, int wanted, Found* found, int* count) {
    *count = 0;
    if (a->type != b->type || c->type != out->type || (a->type == kF32 && out->type != kF32)) return kNotSupported;
    if (d->epilogue != kDefault && d->epilogue != kBias) return kNotSupported;
    if (!fits(*d, *a, *b, *out) || wanted < 1) return kInvalidValue;
    *found = {};
    for (int i = 0; i < 4; ++i) found->algorithm.alignments[i] = wishes->alignments[i];
    found->algorithm.epilogue = d->epilogue;
    return *count = 1, 0;
}

int cublasLtMatmul(void*, const Description* d, const void* alpha, const void* a, const Layout* a_layout, const void* b,
                   const Layout* b_layout, const void* beta, const void* c, const Layout*, void* out,
                   const Layout* layout, const Algorithm* algorithm, void*, size_t, void*) {
    if (!fits(*d, *a_layout, *b_layout, *layout) || c != out || algorithm->epilogue != d->epilogue) return kInvalidValue;
    const void* addresses[] = {a, b, c, out};
    for (int i = 0; i < 4; ++i) {
        if (reinterpret_cast<uintptr_t>(addresses[i]) % algorithm->alignments[i] != 0) return kInvalidValue;
    }
    if (d->epilogue == kBias && d->bias == nullptr) return kInvalidValue;
    const int k = static_cast<int>(d->ops[0] == 0 ? a_layout->columns : a_layout->rows);
    product({a, a_layout->type, d->ops[0], a_layout->stride}, {b, b_layout->type, d->ops[1], b_layout->stride}, out,
            layout->type, layout->stride, static_cast<int>(layout->rows), static_cast<int>(layout->columns), k,
            *static_cast<const float*>(alpha), *static_cast<const float*>(beta),
            a_layout->type == kF32 && d->compute == kFastTf32, d->epilogue == kBias ? d->bias : nullptr);
    return 0;
}

}  // extern "C"
