#include "work_list.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <numeric>

#include "io/partial_file.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

namespace fs = std::filesystem;

// The last byte of a whole record; what a process that died, or a full disk, cut short has none.
constexpr char kEnd = '\n';
constexpr const char* kStop = "stop";

int require_file(const fs::path& path) {
  const int descriptor = open_retrying(path, O_RDWR | O_CREAT);
  if (descriptor < 0)
    throw Error(path.string() + ": cannot be written: " + std::strerror(errno) +
                ", name another place");
  return descriptor;
}

void close_file(int& descriptor) {
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
}

// Whether the lock was got; false where another has it and `how` does not wait.
bool lock(int descriptor, int how, const fs::path& path) {
  int status;
  do status = ::flock(descriptor, how);
  while (status < 0 && errno == EINTR);
  if (status == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  throw SystemError(path.string() + ": cannot be locked: " + std::strerror(errno) +
                    ", name a place on a file system with locks");
}

std::string read_all(int descriptor) {
  std::string text;
  char part[4096];
  for (;;) {
    const ssize_t got = ::pread(descriptor, part, sizeof part, static_cast<off_t>(text.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(part, static_cast<std::size_t>(got));
  }
}

void write_all(int descriptor, const std::string& text, const fs::path& path) {
  int reason = ::ftruncate(descriptor, 0) < 0 ? errno : 0;
  if (reason == 0) reason = try_write_at(descriptor, 0, text.data(), text.size());
  if (reason == 0 && ::fsync(descriptor) < 0 && errno != EINVAL) reason = errno;
  if (reason == 0) return;
  const std::string message = path.string() + ": cannot be written: " + std::strerror(reason);
  if (::ftruncate(descriptor, 0) < 0 || (reason != ENOSPC && reason != EDQUOT))
    throw SystemError(message);
  throw Error(message);
}

}  // namespace

WorkList::WorkList(fs::path directory, const std::string& key,
                   const std::vector<std::int64_t>& sizes, double place,
                   const std::function<bool(const std::string&)>& keep)
    : directory_(std::move(directory)), order_(sizes.size()), finished_(sizes.size()) {
  const auto count = static_cast<std::int64_t>(sizes.size());
  const auto start = static_cast<std::int64_t>(place * static_cast<double>(count));
  std::iota(order_.begin(), order_.end(), start);
  for (std::int64_t& piece : order_) piece %= count;
  std::stable_sort(order_.begin(), order_.end(), [&](std::int64_t a, std::int64_t b) {
    return sizes[static_cast<std::size_t>(a)] > sizes[static_cast<std::size_t>(b)];
  });
  try {
    join(key + kEnd, keep);
  } catch (...) {
    close_file(key_);
    throw;
  }
}

WorkList::~WorkList() {
  close_file(claim_);
  close_file(assembly_);
  close_file(key_);
}

// All who have joined share a lock on the key's file: who gets it alone may clear the directory.
void WorkList::join(const std::string& key, const std::function<bool(const std::string&)>& keep) {
  std::error_code failure;
  fs::create_directories(directory_, failure);
  if (failure)
    throw Error(directory_.string() + ": cannot be made: " + failure.message() +
                ", name another place");
  const fs::path path = directory_ / "key";
  for (;;) {
    key_ = require_file(path);
    const bool alone = lock(key_, LOCK_EX | LOCK_NB, path);
    if (!alone) lock(key_, LOCK_SH, path);
    // Whoever was alone before may have removed it.
    if (!still_there()) {
      close_file(key_);
      fs::create_directories(directory_, failure);
      continue;
    }
    if (alone) {
      clear(key, keep);
      lock(key_, LOCK_SH, path);
    }
    if (read_all(key_) == key) return;
    throw Error(directory_.string() +
                ": other processes train something else here: let them end, or name another place");
  }
}

void WorkList::clear(const std::string& key, const std::function<bool(const std::string&)>& keep) {
  const bool same = keep && read_all(key_) == key;
  std::vector<fs::path> unwanted;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_)) {
    const std::string name = entry.path().filename().string();
    if (name != "key" && (!same || name.starts_with(kStop))) unwanted.push_back(entry.path());
  }
  for (const fs::path& path : unwanted) fs::remove_all(path);
  if (!same) write_all(key_, key, directory_ / "key");
  for (std::int64_t piece = 0; same && piece < count(); ++piece)
    if (const std::string found = record(piece); !found.empty() && !keep(found))
      fs::remove(file_of(piece));
}

bool WorkList::still_there() const {
  struct stat mine {
  }, there{};
  return ::fstat(key_, &mine) == 0 && ::stat((directory_ / "key").c_str(), &there) == 0 &&
         mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

fs::path WorkList::file_of(std::int64_t piece) const {
  char name[32];
  std::snprintf(name, sizeof name, "brick_%03lld", static_cast<long long>(piece));
  return directory_ / name;
}

std::optional<std::int64_t> WorkList::take() {
  check(claim_ < 0, "a piece taken while another is");
  if (!still_there()) finished_.assign(finished_.size(), true);
  for (const std::int64_t piece : order_) {
    const auto p = static_cast<std::size_t>(piece);
    if (finished_[p]) continue;
    const fs::path path = file_of(piece);
    claim_ = require_file(path);
    const bool mine = lock(claim_, LOCK_EX | LOCK_NB, path);
    finished_[p] = mine && read_all(claim_).ends_with(kEnd);
    if (mine && !finished_[p]) return taken_ = piece;
    close_file(claim_);
  }
  return std::nullopt;
}

void WorkList::finish(const std::string& record) {
  check(claim_ >= 0 && !record.empty(), "a record of a piece that was not taken");
  write_all(claim_, record + kEnd, file_of(taken_));
  finished_[static_cast<std::size_t>(taken_)] = true;
  close_file(claim_);
}

void WorkList::leave() { close_file(claim_); }

std::int64_t WorkList::finished() const {
  return std::count(finished_.begin(), finished_.end(), true);
}

std::string WorkList::record(std::int64_t piece) const {
  int descriptor = open_retrying(file_of(piece), O_RDONLY);
  if (descriptor < 0) return "";
  std::string text = read_all(descriptor);
  close_file(descriptor);
  if (!text.ends_with(kEnd)) return "";
  text.pop_back();
  return text;
}

std::string WorkList::tell_to_stop(const std::string& job) const {
  const fs::path path = directory_ / (kStop + job);
  int descriptor = open_retrying(path, O_WRONLY | O_CREAT);
  const int reason = descriptor < 0 ? errno : 0;
  close_file(descriptor);
  // A disk without room for one more file may have room for another name of one.
  if (reason == 0 || ::link((directory_ / "key").c_str(), path.c_str()) == 0 || told_to_stop(job) ||
      !still_there())
    return "";
  return path.string() + ": cannot be written, so that others train on: " + std::strerror(reason);
}

bool WorkList::told_to_stop(const std::string& job) const {
  std::error_code ignored;
  return fs::exists(directory_ / kStop, ignored) ||
         (!job.empty() && fs::exists(directory_ / (kStop + job), ignored));
}

bool WorkList::assemble() {
  if (!still_there()) return false;
  const fs::path path = directory_ / "assembly";
  assembly_ = open_retrying(path, O_RDWR | O_CREAT);
  if (assembly_ >= 0 && lock(assembly_, LOCK_EX | LOCK_NB, path) && still_there()) return true;
  close_file(assembly_);
  return false;
}

}  // namespace kanbench
