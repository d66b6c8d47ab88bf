#pragma once
// A backend that passes everything on to the CPU: what a test changes stands alone in its own.

#include <memory>
#include <string>
#include <vector>

#include "kanbench/backend.h"

namespace kanbench::test {

class Wrapped : public Backend {
 public:
  std::unique_ptr<Backend> inner = open_cpu();

  std::string name() const override { return inner->name(); }
  std::size_t free_bytes() const override { return inner->free_bytes(); }
  std::size_t peak_bytes() const override { return inner->peak_bytes(); }
  void* allocate(std::size_t bytes) override { return inner->allocate(bytes); }
  void release(void* memory) noexcept override { inner->release(memory); }
  void upload(void* to, const void* from, std::size_t n) override { inner->upload(to, from, n); }
  void download(void* to, const void* from, std::size_t n) override {
    inner->download(to, from, n);
  }
  void copy(void* to, const void* from, std::size_t n) override { inner->copy(to, from, n); }
  void limit_memory(std::size_t bytes) override { inner->limit_memory(bytes); }
  bool holds(const Volume& v, const Box& b, std::size_t n) const override {
    return inner->holds(v, b, n);
  }
  VolumeView place(const Volume& v, const Box& b) override { return inner->place(v, b); }
  void* allocate_host(std::size_t n) override { return inner->allocate_host(n); }
  void release_host(void* memory) noexcept override { inner->release_host(memory); }
  void stage(void* to, const void* from, std::size_t n) override { inner->stage(to, from, n); }
  void finish_staging() override { inner->finish_staging(); }
  std::int64_t begin_fetch(void* to, const void* from, std::size_t n) override {
    return inner->begin_fetch(to, from, n);
  }
  void finish_fetch(std::int64_t number) override { inner->finish_fetch(number); }
  bool is_host() const override { return inner->is_host(); }
  std::vector<Precision> precisions(const ModelSpec& s) const override {
    return inner->precisions(s);
  }
  std::size_t bytes_per_row(const ModelSpec& s) const override { return inner->bytes_per_row(s); }
  void sample(const VolumeView& v, const Box& b, const Stream& s, std::int64_t first, Rows p,
              Rows t) override {
    inner->sample(v, b, s, first, p, t);
  }
  void predict(const Model& m, ConstRows p, Rows v) override { inner->predict(m, p, v); }
  void decode(const Model& m, const Lattice& l, const Decoded& d) override {
    inner->decode(m, l, d);
  }
  std::unique_ptr<Meter> open_meter(const Volume& v, double low, double high,
                                    Range slices) override {
    return inner->open_meter(v, low, high, slices);
  }
  void blend(const float* values, const Weights& w, float low, float range, float* out) override {
    inner->blend(values, w, low, range, out);
  }
  void quantise(const float* values, std::int64_t count, const Decoded& out) override {
    inner->quantise(values, count, out);
  }
  BatchSums gradient(Model& m, ConstRows p, ConstRows t, const Objective& o,
                     const Ready& ready) override {
    return inner->gradient(m, p, t, o, ready);
  }
  void gradient_changed(Model& m) override { inner->gradient_changed(m); }
  void parameters_changed(Model& m) override { inner->parameters_changed(m); }
  double squared_norm(const Model& m) override { return inner->squared_norm(m); }
  bool update(Model& m, const Optimizer& o, std::int64_t t) override {
    return inner->update(m, o, t);
  }
  double shape(Model& m, ConstRows p, ConstRows t, const GeometryStep& s,
               const SumNumbers& sum) override {
    return inner->shape(m, p, t, s, sum);
  }
  std::vector<Ceiling> measure_ceilings() override { return inner->measure_ceilings(); }
  std::vector<Stage> profile(Model& m, const VolumeView& v, std::int64_t rows, const Loss& l,
                             const Optimizer& o) override {
    return inner->profile(m, v, rows, l, o);
  }
};

}  // namespace kanbench::test
