// NCCL with one rank, which is all that one device can have: every operation, as a training tells
// them, leaves what was there. Several ranks are in cuda_nccl_test.cpp.

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "backend_cases.h"
#include "kanbench/communicator.h"

namespace kanbench::test {
namespace {

class NcclAlone : public testing::Test {
 protected:
  void SetUp() override {
    const std::string missing = why_no_nccl();
    if (!missing.empty()) GTEST_SKIP() << missing;
    backend_ = open_backend("cuda");
    communicator_ = open_nccl({}, nullptr, 60);
    communicator_->attach(*backend_);
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Communicator> communicator_;
};

TEST_F(NcclAlone, SaysWhoItIs) {
  EXPECT_EQ(communicator_->name().rfind("nccl 2.", 0), 0u) << communicator_->name();
  EXPECT_EQ(communicator_->rank(), 0);
  EXPECT_EQ(communicator_->size(), 1);
  EXPECT_EQ(communicator_->local_rank(), 0);
  EXPECT_EQ(communicator_->local_size(), 1);
}

TEST_F(NcclAlone, LeavesWhatLiesOnTheHost) {
  std::vector<double> numbers(300000);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = std::sin(static_cast<double>(i));
  std::vector<double> left = numbers, all(numbers.size());
  const auto count = static_cast<std::int64_t>(left.size());
  communicator_->sum(left.data(), count);
  communicator_->maximum(left.data(), count);
  communicator_->broadcast(left.data(), left.size() * sizeof(double), 0);
  communicator_->all_gather(left.data(), left.size() * sizeof(double), all.data());
  communicator_->barrier();
  EXPECT_EQ(left, numbers);
  EXPECT_EQ(all, numbers);
}

// A gradient whose pieces are summed while the next are computed, with and without shares.
TEST_F(NcclAlone, SumsAGradientBesideTheWayBack) {
  const ModelSpec spec = chain(encoder::HashGrid{5, 2, 9, 4, 1.6}, {16, 16, 1}, basis::Identity{},
                               basis::Relu{}, false, false);
  const Batch batch(250, 6);
  const Placed placed(*backend_, batch);
  const Objective objective{loss::L1{}, 1.0 / 250};
  for (const Wire wire : {Wire::fp32, Wire::fp16})
    for (const bool shared : {false, true}) {
      Model plain(*backend_, spec), summed(*backend_, spec);
      for (Model* model : {&plain, &summed}) {
        model->upload(block_of(spec, 4));
        model->train();
      }
      const std::vector<Range> shares{{0, summed.layout().size}};
      float* const gradient = summed.gradient().data();
      backend_->gradient(plain, placed.point_rows(), placed.target_rows(), objective);
      backend_->gradient(summed, placed.point_rows(), placed.target_rows(), objective,
                         [&](Range part) {
                           if (shared)
                             communicator_->begin_scatter_sum(gradient, part, shares, wire);
                           else
                             communicator_->begin_sum(gradient, part, wire);
                         });
      communicator_->begin_gather(summed.parameters().data(), shares);
      communicator_->finish();
      const std::vector<float> want = download(plain.gradient(), *backend_);
      const std::vector<float> got = download(summed.gradient(), *backend_);
      double error = 0, length = 1e-30;
      for (std::size_t i = 0; i < want.size(); ++i) {
        error += std::pow(double{want[i]} - got[i], 2);
        length += double{want[i]} * want[i];
      }
      EXPECT_LT(std::sqrt(error / length), wire == Wire::fp16 ? 1e-3 : 1e-5);
      EXPECT_EQ(summed.download(), plain.download());
    }
}

}  // namespace
}  // namespace kanbench::test
