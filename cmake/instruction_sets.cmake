# The CPU kernels, compiled once for each instruction set; the widest that the processor has is
# chosen when the program starts.

function(kanbench_add_instruction_sets target)
  set(sets baseline)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set(sets avx512 avx2 baseline)
    set(flags_avx2 -mavx2 -mfma -mbmi2)
    set(flags_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mbmi2)
  endif()
  # With a sanitizer's checks in every loop, optimising takes minutes and shows nothing more.
  set(optimise -O3)
  if(KANBENCH_SANITIZE)
    set(optimise -O1)
  endif()
  foreach(set ${sets})
    set(object kanbench_kernels_${set})
    add_library(${object} OBJECT src/cpu/isa/kernels.cpp)
    target_include_directories(${object} PRIVATE include src)
    target_compile_definitions(${object} PRIVATE KB_ISA=${set})
    target_compile_options(${object} PRIVATE ${optimise} -fno-trapping-math -ffp-contract=fast
      -Wno-maybe-uninitialized
      ${flags_${set}})
    target_link_libraries(${object} PRIVATE kanbench_options)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${object}>)
    string(APPEND KANBENCH_TABLES "namespace ${set} { extern const Kernels table; }\n")
    list(APPEND addresses "&${set}::table")
  endforeach()
  list(JOIN addresses ", " KANBENCH_ADDRESSES)
  configure_file(${CMAKE_SOURCE_DIR}/cmake/instruction_sets.cpp.in
    ${CMAKE_BINARY_DIR}/instruction_sets.cpp @ONLY)
  target_sources(${target} PRIVATE ${CMAKE_BINARY_DIR}/instruction_sets.cpp)
endfunction()
