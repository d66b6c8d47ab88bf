# The CUDA backend compiled as C++ over tests/emulator, which is a CUDA installation whose one
# device is this processor.

# kanbench_add_emulator(): the static library kanbench_emulator, to be linked in place of the CUDA
# backend or its stand-in.
function(kanbench_add_emulator)
  add_subdirectory(${CMAKE_SOURCE_DIR}/tests/emulator ${CMAKE_BINARY_DIR}/emulator)
endfunction()
