// cuBLAS by name: nothing here is linked, so that a machine without it still runs the program.

#include <cublas_v2.h>
#include <dlfcn.h>

#include <algorithm>
#include <limits>

#include "kanbench/error.h"
#include "kernels/cublas.h"
#include "kernels/gemm.h"

namespace kanbench::cuda {
namespace {

// What NVIDIA advises for its largest devices.
constexpr std::int64_t kWorkspace = std::int64_t{32} << 20;

struct Functions {
  decltype(&cublasCreate_v2) create = nullptr;
  decltype(&cublasDestroy_v2) destroy = nullptr;
  decltype(&cublasSetStream_v2) set_stream = nullptr;
  decltype(&cublasSetWorkspace_v2) set_workspace = nullptr;
  decltype(&cublasSetMathMode) set_math_mode = nullptr;
  decltype(&cublasSgemm_v2) multiply = nullptr;
};

struct Library {
  Functions functions;
  std::string absence;
};

// Sets `library` to one that the program already has, which RTLD_DEFAULT (null) stands for, else to
// one that lies on the machine; false where there is none.
bool find_library(void*& library) {
  library = RTLD_DEFAULT;
  if (dlsym(library, "cublasCreate_v2")) return true;
  for (const char* file : {"libcublas.so.13", "libcublas.so.12", "libcublas.so"}) {
    library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (library) return true;
  }
  return false;
}

template <class Function>
void look_up(void* library, const char* symbol, Function& function, std::string& absence) {
  function = reinterpret_cast<Function>(dlsym(library, symbol));
  if (!function) absence = std::string("The cuBLAS found here lacks ") + symbol + ".";
}

Library load_library() {
  Library found;
  void* library = nullptr;
  if (!find_library(library)) {
    found.absence =
        "cuBLAS was not found (libcublas.so.13, .so.12 or .so); large layers are multiplied by "
        "kanbench's own kernels.";
    return found;
  }
  Functions& f = found.functions;
  look_up(library, "cublasCreate_v2", f.create, found.absence);
  look_up(library, "cublasDestroy_v2", f.destroy, found.absence);
  look_up(library, "cublasSetStream_v2", f.set_stream, found.absence);
  look_up(library, "cublasSetWorkspace_v2", f.set_workspace, found.absence);
  look_up(library, "cublasSetMathMode", f.set_math_mode, found.absence);
  look_up(library, "cublasSgemm_v2", f.multiply, found.absence);
  return found;
}

const Library& library() {
  static const Library loaded = load_library();
  return loaded;
}

void checked(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw SystemError(std::string("cuBLAS: ") + what + " failed with status " +
                      std::to_string(static_cast<int>(status)));
}

}  // namespace

std::string why_no_cublas() { return library().absence; }

struct Cublas::State {
  cublasHandle_t handle = nullptr;
  DeviceArray<std::uint8_t> workspace;
  ~State() {
    if (handle) library().functions.destroy(handle);
  }
};

Cublas::Cublas(Precision precision) {
  if (!why_no_cublas().empty()) throw SystemError(why_no_cublas());
  const Functions& f = library().functions;
  state_ = std::make_unique<State>();
  state_->workspace.reserve(kWorkspace);
  checked(f.create(&state_->handle), "cublasCreate");
  checked(f.set_math_mode(state_->handle, precision == Precision::tf32 ? CUBLAS_TF32_TENSOR_OP_MATH
                                                                       : CUBLAS_DEFAULT_MATH),
          "cublasSetMathMode");
}

Cublas::~Cublas() = default;

bool Cublas::takes(const Product& p) {
  return std::max({p.m, p.n, p.k, p.a.stride, p.b.stride, p.c_stride}) <=
         std::numeric_limits<int>::max();
}

void Cublas::multiply(const Product& p, cudaStream_t stream) {
  const Functions& f = library().functions;
  checked(f.set_stream(state_->handle, stream), "cublasSetStream");
  // Setting a stream gives the handle the library's own workspace again.
  checked(f.set_workspace(state_->handle, state_->workspace.data(), state_->workspace.bytes()),
          "cublasSetWorkspace");
  const auto operation = [](const Matrix& m) { return m.transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
  const auto narrow = [](std::int64_t size) { return static_cast<int>(size); };
  const float one = 1, kept = p.add ? 1 : 0;
  // cuBLAS counts along columns: c's transpose is b's times a's.
  checked(f.multiply(state_->handle, operation(p.b), operation(p.a), narrow(p.n), narrow(p.m),
                     narrow(p.k), &one, p.b.data, narrow(p.b.stride), p.a.data, narrow(p.a.stride),
                     &kept, p.c, narrow(p.c_stride)),
          "cublasSgemm");
}

}  // namespace kanbench::cuda
