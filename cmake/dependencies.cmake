# Libraries that kanbench cannot do without. Each is the system's package or, where there is none,
# what scripts/bundle_deps.sh gathered in third_party.

set(KANBENCH_THIRD_PARTY ${CMAKE_SOURCE_DIR}/third_party CACHE PATH
  "Where scripts/bundle_deps.sh put what the system lacks")

# kanbench_dependency(PACKAGE HEADER TARGET DEBIAN [VERSION]): TARGET, of the system or of the
# headers under third_party/PACKAGE. The directory is in <PACKAGE>_BUNDLED where it was taken.
function(kanbench_dependency package header target debian)
  find_package(${package} ${ARGN} QUIET)
  if(${package}_FOUND)
    return()
  endif()
  set(directory ${KANBENCH_THIRD_PARTY}/${package})
  if(NOT EXISTS ${directory}/include/${header})
    message(FATAL_ERROR "${package} ${ARGN} was not found: install it (Debian: ${debian}), or run "
      "scripts/bundle_deps.sh on a machine that has it and bring the directory third_party here")
  endif()
  message(STATUS "${package}: from ${directory}")
  set(${package}_BUNDLED ${directory} PARENT_SCOPE)
  if(NOT package STREQUAL "GTest")
    add_library(${target} INTERFACE IMPORTED GLOBAL)
    target_include_directories(${target} INTERFACE ${directory}/include)
  endif()
endfunction()

find_package(Threads REQUIRED)
kanbench_dependency(nlohmann_json nlohmann/json.hpp nlohmann_json::nlohmann_json
  nlohmann-json3-dev 3.11)
kanbench_dependency(CLI11 CLI/CLI.hpp CLI11::CLI11 libcli11-dev)
kanbench_dependency(spdlog spdlog/spdlog.h spdlog::spdlog libspdlog-dev)
if(spdlog_BUNDLED)
  target_compile_definitions(spdlog::spdlog INTERFACE FMT_HEADER_ONLY)
  if(NOT EXISTS ${spdlog_BUNDLED}/include/spdlog/fmt/bundled/core.h)
    target_compile_definitions(spdlog::spdlog INTERFACE SPDLOG_FMT_EXTERNAL)
  endif()
  target_link_libraries(spdlog::spdlog INTERFACE Threads::Threads)
endif()

if(KANBENCH_TESTS)
  kanbench_dependency(GTest gtest/gtest.h GTest::gtest_main libgtest-dev)
  if(GTest_BUNDLED)
    add_library(kanbench_gtest STATIC ${GTest_BUNDLED}/src/gtest-all.cc
      ${GTest_BUNDLED}/src/gtest_main.cc)
    target_include_directories(kanbench_gtest SYSTEM PUBLIC ${GTest_BUNDLED}/include
      PRIVATE ${GTest_BUNDLED})
    target_link_libraries(kanbench_gtest PUBLIC Threads::Threads)
    add_library(GTest::gtest_main ALIAS kanbench_gtest)
  endif()
endif()
