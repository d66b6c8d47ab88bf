# The CUDA backend: finds nvcc, and compiles kernels/ with it.

# kanbench_find_cuda(FOUND HINT): 1 or 0, and what is missing.
function(kanbench_find_cuda found hint)
  set(${found} 0 PARENT_SCOPE)
  find_program(KANBENCH_NVCC nvcc HINTS ENV CUDACXX PATHS /usr/local/cuda/bin /opt/cuda/bin)
  if(CMAKE_CUDA_COMPILER)
    set(nvcc ${CMAKE_CUDA_COMPILER})
  elseif(DEFINED ENV{CUDACXX})
    set(nvcc $ENV{CUDACXX})
  else()
    set(nvcc ${KANBENCH_NVCC})
  endif()
  if(NOT nvcc)
    set(${hint} "nvcc was not found (put it into PATH, or set CUDACXX)" PARENT_SCOPE)
    return()
  endif()
  execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE said ERROR_QUIET)
  if(NOT said MATCHES "release ([0-9]+\\.[0-9]+)" OR CMAKE_MATCH_1 VERSION_LESS 12.4)
    set(${hint} "${nvcc} is not of CUDA 12.4 or newer" PARENT_SCOPE)
    return()
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    set(ENV{CUDACXX} ${nvcc})
    include(CheckLanguage)
    check_language(CUDA)
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    set(${hint} "${nvcc} cannot compile here" PARENT_SCOPE)
    return()
  endif()
  # cuBLAS is opened by name when a layer wants it; only its header must be there.
  get_filename_component(root ${nvcc} REALPATH)
  get_filename_component(root ${root} DIRECTORY)
  find_path(KANBENCH_CUBLAS_INCLUDE cublas_v2.h HINTS ${root}/../include
    ${root}/../targets/x86_64-linux/include ${root}/../targets/sbsa-linux/include)
  if(NOT KANBENCH_CUBLAS_INCLUDE)
    set(${hint} "cublas_v2.h was not found beside ${nvcc}" PARENT_SCOPE)
    return()
  endif()
  set(${found} 1 PARENT_SCOPE)
endfunction()

# The library kanbench_cuda: kernels/*.cu for sm_80 and sm_90, and PTX for what comes after. What
# ptxas says of registers and spills is kept beside each object, in <object>.ptxas.
function(kanbench_add_cuda)
  file(GLOB kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/*.cu)
  file(GLOB nccl CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/comm/nccl*.cpp)
  add_library(kanbench_cuda STATIC ${kernels} ${nccl})
  # Older CMake does not know that nvcc has it.
  foreach(kind STANDARD EXTENSION)
    if(NOT CMAKE_CUDA20_${kind}_COMPILE_OPTION)
      set(CMAKE_CUDA20_${kind}_COMPILE_OPTION -std=c++20 PARENT_SCOPE)
    endif()
  endforeach()
  set(launcher ${CMAKE_SOURCE_DIR}/cmake/keep_ptxas_report.sh ${CMAKE_CUDA_COMPILER_LAUNCHER})
  set_target_properties(kanbench_cuda PROPERTIES
    CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON
    CUDA_RUNTIME_LIBRARY Static
    CUDA_ARCHITECTURES "${KANBENCH_CUDA_ARCHITECTURES}" POSITION_INDEPENDENT_CODE ON
    CUDA_COMPILER_LAUNCHER "${launcher}")
  target_include_directories(kanbench_cuda PRIVATE include src ${CMAKE_SOURCE_DIR})
  target_include_directories(kanbench_cuda SYSTEM PRIVATE ${KANBENCH_CUBLAS_INCLUDE})
  target_compile_options(kanbench_cuda PRIVATE
    "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-Xptxas=-v;-lineinfo>"
    "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wno-psabi,-Wno-unknown-pragmas>"
    "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wno-psabi>"
    "$<$<BOOL:${KANBENCH_WERROR}>:$<IF:$<COMPILE_LANGUAGE:CUDA>,-Werror=all-warnings,-Werror>>")
  target_link_libraries(kanbench_cuda PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
endfunction()
