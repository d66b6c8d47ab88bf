# One fuzzer per file fuzz_x.cpp, built by clang with libFuzzer and sanitizers. No parser reaches a
# backend, so none is built.
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "KANBENCH_FUZZ=ON needs clang: -DCMAKE_CXX_COMPILER=clang++")
endif()

file(GLOB fuzzed_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/*.cpp
  ${CMAKE_SOURCE_DIR}/src/io/*.cpp)
list(REMOVE_ITEM fuzzed_sources ${CMAKE_SOURCE_DIR}/src/main.cpp)
if(NOT KANBENCH_WITH_ZFP)
  list(REMOVE_ITEM fuzzed_sources ${CMAKE_SOURCE_DIR}/src/io/zfp.cpp)
  list(APPEND fuzzed_sources ${CMAKE_SOURCE_DIR}/src/absent/zfp.cpp)
endif()
if(NOT KANBENCH_WITH_PNG)
  list(REMOVE_ITEM fuzzed_sources ${CMAKE_SOURCE_DIR}/src/io/png.cpp)
  list(APPEND fuzzed_sources ${CMAKE_SOURCE_DIR}/src/absent/png.cpp)
endif()
foreach(name comm/single comm/together comm/parallel_file absent/mpi absent/nccl absent/cuda)
  list(APPEND fuzzed_sources ${CMAKE_SOURCE_DIR}/src/${name}.cpp)
endforeach()
list(APPEND fuzzed_sources no_cpu.cpp)
add_library(kanbench_fuzzed STATIC EXCLUDE_FROM_ALL ${fuzzed_sources})
target_include_directories(kanbench_fuzzed PUBLIC ${CMAKE_SOURCE_DIR}/include
  ${CMAKE_SOURCE_DIR}/src)
target_compile_definitions(kanbench_fuzzed PRIVATE KANBENCH_VERSION="${PROJECT_VERSION}")
target_compile_options(kanbench_fuzzed PUBLIC -O1 -g -fno-omit-frame-pointer
  -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 15)
  target_compile_options(kanbench_fuzzed PUBLIC
    "SHELL:-include ${CMAKE_CURRENT_SOURCE_DIR}/source_location_clang14.h")
endif()
target_link_libraries(kanbench_fuzzed PUBLIC Threads::Threads nlohmann_json::nlohmann_json
  ${kanbench_feature_libraries})

add_custom_target(fuzzers)
file(GLOB fuzz_sources CONFIGURE_DEPENDS fuzz_*.cpp)
foreach(source ${fuzz_sources})
  get_filename_component(fuzzer ${source} NAME_WE)
  add_executable(${fuzzer} EXCLUDE_FROM_ALL ${source})
  target_link_libraries(${fuzzer} PRIVATE kanbench_fuzzed)
  target_link_options(${fuzzer} PRIVATE -fsanitize=fuzzer,address,undefined)
  add_dependencies(fuzzers ${fuzzer})
endforeach()
