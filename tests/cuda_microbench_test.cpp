// The measurements of a device's limits run, and give numbers that can be divided by.

#include <cmath>
#include <set>

#include "kernels/microbench.h"
#include "support.h"

namespace kanbench::cuda {
namespace {

TEST(CudaMicrobench, EveryLimitIsPositiveAndFinite) {
  MeasureSizes tiny;
  tiny.copy_bytes = 1 << 14;
  tiny.tables = {1024, 4096};
  tiny.blocks = 1;
  tiny.accesses = 8;
  tiny.instructions = 8;
  tiny.repeats = 1;
  std::set<std::string> names;
  for (const Ceiling& limit : measure_device(0, nullptr, tiny)) {
    EXPECT_TRUE(std::isfinite(limit.per_second)) << limit.name;
    EXPECT_GT(limit.per_second, 0) << limit.name;
    EXPECT_FALSE(limit.unit.empty()) << limit.name;
    EXPECT_TRUE(names.insert(limit.name).second) << limit.name << " twice";
  }
  EXPECT_EQ(names.size(), 2 + tiny.tables.size() * 7 + 3);
  for (const char* wanted : {"bandwidth", "flops", "gather 4 kB", "red f32 1 kB",
                             "red v4.f16x2 4 kB", "red u64 1 kB", "exp", "mma half", "mma tf32"})
    EXPECT_TRUE(names.contains(wanted)) << wanted;
}

}  // namespace
}  // namespace kanbench::cuda
