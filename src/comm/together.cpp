// What goes wrong on one rank goes wrong on all, and what must be the same on all is made so or
// compared.

#include <algorithm>
#include <atomic>
#include <map>
#include <new>
#include <vector>

#include "hash.h"
#include "kanbench/communicator.h"
#include "kanbench/error.h"
#include "kanbench/interruption.h"

namespace kanbench {
namespace {

enum class Kind : std::int64_t { none, error, system_error, interrupted, other };

/// What a rank shows the others of how its part ended.
struct Ending {
  Kind kind = Kind::none;
  std::int64_t length = 0;
  char hash[8] = {};
  bool operator==(const Ending&) const = default;
};

std::atomic<bool> failed{false};

Kind run(const std::function<void()>& part, std::string& message) {
  try {
    part();
    return Kind::none;
  } catch (const Error& error) {
    message = error.what();
    return Kind::error;
  } catch (const SystemError& error) {
    message = error.what();
    return Kind::system_error;
  } catch (const Interrupted& error) {
    message = error.what();
    return Kind::interrupted;
  } catch (const std::bad_alloc&) {
    message = "out of memory";
  } catch (const std::exception& error) {
    message = error.what();
  } catch (...) {
    message = "an unknown failure";
  }
  return Kind::other;
}

[[noreturn]] void rethrow(Kind kind, const std::string& message) {
  switch (kind) {
    case Kind::error:
      throw Error(message);
    case Kind::system_error:
      throw SystemError(message);
    case Kind::interrupted:
      throw Interrupted(message);
    default:
      throw std::runtime_error(message);
  }
}

// "rank 2", "ranks 1, 3 and 4", "ranks 1, 2, 3 and 61 more".
std::string name_ranks(const std::vector<int>& ranks) {
  if (ranks.size() == 1) return "rank " + std::to_string(ranks[0]);
  constexpr std::size_t most = 8;
  const std::size_t named = std::min(ranks.size(), most);
  std::string text = "ranks " + std::to_string(ranks[0]);
  for (std::size_t i = 1; i < named; ++i)
    text += (i + 1 == ranks.size() ? " and " : ", ") + std::to_string(ranks[i]);
  if (named < ranks.size()) text += " and " + std::to_string(ranks.size() - named) + " more";
  return text;
}

}  // namespace

void together(Communicator& communicator, const std::function<void()>& part) {
  if (communicator.size() == 1) return part();
  // Who got here has gone on after what failed before.
  failed = false;
  std::string message;
  Ending mine;
  mine.kind = run(part, message);
  mine.length = static_cast<std::int64_t>(message.size());
  short_hash(message).copy(mine.hash, sizeof mine.hash);
  std::vector<Ending> all(static_cast<std::size_t>(communicator.size()));
  communicator.all_gather(&mine, sizeof mine, all.data());
  const auto first = std::find_if(all.begin(), all.end(),
                                  [](const Ending& ending) { return ending.kind != Kind::none; });
  if (first == all.end()) return;
  const int rank = static_cast<int>(first - all.begin());
  message.resize(static_cast<std::size_t>(first->length));
  communicator.broadcast(message.data(), message.size(), rank);
  failed = true;
  const bool everywhere = std::count(all.begin(), all.end(), *first) == communicator.size();
  rethrow(first->kind, everywhere ? message : "rank " + std::to_string(rank) + ": " + message);
}

bool failed_together() { return failed; }

void broadcast_text(Communicator& communicator, std::string& text) {
  std::uint64_t size = text.size();
  communicator.broadcast(&size, sizeof size, 0);
  text.resize(size);
  if (size > 0) communicator.broadcast(text.data(), text.size(), 0);
}

void require_same(Communicator& communicator, const std::string& text, const std::string& what) {
  if (communicator.size() == 1) return;
  Ending mine;
  mine.length = static_cast<std::int64_t>(text.size());
  short_hash(text).copy(mine.hash, sizeof mine.hash);
  std::vector<Ending> all(static_cast<std::size_t>(communicator.size()));
  communicator.all_gather(&mine, sizeof mine, all.data());
  const auto count = [&](const Ending& ending) {
    return std::count(all.begin(), all.end(), ending);
  };
  const auto usual =
      std::max_element(all.begin(), all.end(),
                       [&](const Ending& a, const Ending& b) { return count(a) < count(b); });
  std::vector<int> strange;
  for (std::size_t rank = 0; rank < all.size(); ++rank)
    if (!(all[rank] == *usual)) strange.push_back(static_cast<int>(rank));
  if (strange.empty()) return;
  failed = true;
  const bool one = strange.size() == 1;
  throw Error(what + ": not the same on all ranks: " + name_ranks(strange) +
              (one ? " differs" : " differ") + " from rank " + std::to_string(usual - all.begin()) +
              ": give all ranks the same");
}

}  // namespace kanbench
