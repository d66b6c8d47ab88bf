#pragma once
// Who works on which of many pieces: a directory with a file a piece. A piece that is finished has
// a record in its file; one that is worked on has its file locked, until its process lets go of it
// or ends, however it ends. Any number of processes and ranks may share it.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace kanbench {

class WorkList {
 public:
  /// Joins those who work in `directory` on as many pieces as there are `sizes`. Where nobody else
  /// has joined, what it holds of another `key` is removed, and of this one the records that `keep`
  /// refuses, or all without `keep`; else another key is an Error. `place` in [0, 1) is where to
  /// begin among pieces of one size.
  WorkList(std::filesystem::path directory, const std::string& key,
           const std::vector<std::int64_t>& sizes, double place,
           const std::function<bool(const std::string& record)>& keep);
  ~WorkList();
  WorkList(const WorkList&) = delete;
  WorkList& operator=(const WorkList&) = delete;

  /// Claims the largest piece that is neither finished nor claimed; none where there is none, and
  /// where the directory was taken away: then all are finished.
  std::optional<std::int64_t> take();
  /// Leaves the record (not empty) of the piece that was taken, and lets go of it.
  void finish(const std::string& record);
  /// Lets go of the piece that was taken.
  void leave();

  /// Pieces that are finished, as far as take() has seen.
  std::int64_t finished() const;
  bool complete() const { return finished() == count(); }
  std::int64_t count() const { return static_cast<std::int64_t>(order_.size()); }
  /// The record of a piece; empty while it is not finished.
  std::string record(std::int64_t piece) const;

  /// Tells all who have joined, or those of one job, to stop; returns why that failed, empty where
  /// it did not. And whether they were told.
  std::string tell_to_stop(const std::string& job = "") const;
  bool told_to_stop(const std::string& job) const;

  /// Whether this process is the one to go on with the whole; until the object ends no other is.
  /// False too where another has, and has removed or renamed the directory.
  bool assemble();

 private:
  std::filesystem::path file_of(std::int64_t piece) const;
  void join(const std::string& key, const std::function<bool(const std::string&)>& keep);
  void clear(const std::string& key, const std::function<bool(const std::string&)>& keep);
  bool still_there() const;

  std::filesystem::path directory_;
  /// Pieces in the order in which they are taken.
  std::vector<std::int64_t> order_;
  std::vector<bool> finished_;
  std::int64_t taken_ = 0;
  int key_ = -1, claim_ = -1, assembly_ = -1;
};

}  // namespace kanbench
