#pragma once
// A graph is the list of what was captured.

#include <functional>
#include <vector>

#include "cuda_types.h"

struct CUgraph_st {
  std::vector<std::function<void()>> work;
};
