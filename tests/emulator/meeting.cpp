// Shared memory and barriers between processes.

#include "meeting.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <stdexcept>
#include <thread>

namespace emulator {
namespace {

void nap() { std::this_thread::sleep_for(std::chrono::microseconds(50)); }

Room* map(int file) {
  void* memory = mmap(nullptr, sizeof(Room), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) throw std::runtime_error("shared memory cannot be mapped");
  return static_cast<Room*>(memory);
}

}  // namespace

SharedRoom::SharedRoom(const std::string& name, int ranks, int rank, const char* bus)
    : ranks_(ranks), rank_(rank) {
  rank == 0 ? create(name) : join(name);
  std::strncpy(place(rank).bus, bus, sizeof place(rank).bus - 1);
  ++room_->present;
  while (room_->present < ranks && room_->failure == 0) nap();
  // All have it mapped: it ends with them.
  if (rank == 0) shm_unlink(name.c_str());
}

SharedRoom::~SharedRoom() { munmap(room_, sizeof(Room)); }

void SharedRoom::create(const std::string& name) {
  // One that was killed may have left it.
  shm_unlink(name.c_str());
  const int file = shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
  if (file < 0 || ftruncate(file, sizeof(Room)) != 0)
    throw std::runtime_error(name + ": " + std::strerror(errno));
  room_ = map(file);
  room_->creator = getpid();
  room_->ranks = ranks_;
  room_->open = 1;
}

void SharedRoom::join(const std::string& name) {
  for (;; nap()) {
    const int file = shm_open(name.c_str(), O_RDWR, 0600);
    if (file < 0) continue;
    struct stat about {};
    if (fstat(file, &about) != 0 || about.st_size < static_cast<off_t>(sizeof(Room))) {
      close(file);
      continue;
    }
    room_ = map(file);
    if (room_->open == 1 && kill(room_->creator, 0) == 0) break;
    munmap(room_, sizeof(Room));
  }
  if (room_->ranks != ranks_) fail(5);
}

bool SharedRoom::meet() {
  place(rank_).arrived = ++meetings_;
  for (int r = 0; r < ranks_; ++r)
    while (place(r).arrived < meetings_) {
      if (left_ || room_->failure != 0) return false;
      nap();
    }
  return !left_ && room_->failure == 0;
}

void SharedRoom::fail(int result) {
  int none = 0;
  room_->failure.compare_exchange_strong(none, result);
}

}  // namespace emulator
