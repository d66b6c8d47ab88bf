// What errors are called, in CUDA's words.

#include "cuda_runtime.h"

namespace {

struct Entry {
  cudaError_t error;
  const char* name;
  const char* words;
};

#define KB_ERROR(name, words) \
  { name, #name, words }
constexpr Entry kErrors[] = {
    KB_ERROR(cudaSuccess, "no error"),
    KB_ERROR(cudaErrorInvalidValue, "invalid argument"),
    KB_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    KB_ERROR(cudaErrorInitializationError, "initialization error"),
    KB_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    KB_ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    KB_ERROR(cudaErrorInsufficientDriver,
             "CUDA driver version is insufficient for CUDA runtime version"),
    KB_ERROR(cudaErrorDevicesUnavailable, "CUDA-capable device(s) is/are busy or unavailable"),
    KB_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    KB_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    KB_ERROR(cudaErrorInvalidKernelImage, "device kernel image is invalid"),
    KB_ERROR(cudaErrorNoKernelImageForDevice,
             "no kernel image is available for execution on the device"),
    KB_ERROR(cudaErrorECCUncorrectable, "uncorrectable ECC error encountered"),
    KB_ERROR(cudaErrorUnsupportedPtxVersion,
             "the provided PTX was compiled with an unsupported toolchain."),
    KB_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    KB_ERROR(cudaErrorNotReady, "device not ready"),
    KB_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    KB_ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    KB_ERROR(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    KB_ERROR(cudaErrorHostMemoryAlreadyRegistered,
             "part or all of the requested memory range is already mapped"),
    KB_ERROR(cudaErrorHostMemoryNotRegistered,
             "pointer does not correspond to a registered memory region"),
    KB_ERROR(cudaErrorIllegalInstruction, "an illegal instruction was encountered"),
    KB_ERROR(cudaErrorMisalignedAddress, "misaligned address"),
    KB_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    KB_ERROR(cudaErrorNotSupported, "operation not supported"),
    KB_ERROR(cudaErrorSystemNotReady, "system not yet initialized"),
    KB_ERROR(cudaErrorSystemDriverMismatch,
             "system has unsupported display driver / cuda driver combination"),
    KB_ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    KB_ERROR(cudaErrorStreamCaptureInvalidated,
             "operation failed due to a previous error during capture"),
    KB_ERROR(cudaErrorStreamCaptureUnmatched,
             "capture was not initiated in this stream or has already been ended"),
    KB_ERROR(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    KB_ERROR(cudaErrorStreamCaptureIsolation,
             "dependency created on uncaptured work in another stream"),
    KB_ERROR(cudaErrorStreamCaptureImplicit,
             "operation would make the legacy stream depend on a capturing blocking stream"),
    KB_ERROR(cudaErrorCapturedEvent,
             "operation not permitted on an event last recorded in a "
             "capturing stream"),
};
#undef KB_ERROR

const Entry* entry_of(cudaError_t error) {
  for (const Entry& entry : kErrors)
    if (entry.error == error) return &entry;
  return nullptr;
}

}  // namespace

const char* cudaGetErrorString(cudaError_t error) {
  const Entry* entry = entry_of(error);
  return entry ? entry->words : "unknown error";
}
const char* cudaGetErrorName(cudaError_t error) {
  const Entry* entry = entry_of(error);
  return entry ? entry->name : "cudaErrorUnknown";
}
