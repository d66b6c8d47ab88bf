#include "io/words.h"

#include <charconv>
#include <limits>

#include "io/quote.h"
#include "kanbench/error.h"

namespace kanbench {
namespace {

constexpr std::string_view kBlanks = " \t\r\n\v\f";

template <class Number>
bool parse(std::string_view word, Number& number) {
  if (word.size() > 1 && word[0] == '+' && word[1] != '-') word.remove_prefix(1);
  const auto [end, failure] = std::from_chars(word.data(), word.data() + word.size(), number);
  return failure == std::errc{} && end == word.data() + word.size() && !word.empty();
}

template <class Number>
std::vector<Number> numbers(const Entry& entry, std::size_t count, const std::string& kind) {
  const std::vector<std::string_view> words = words_of(entry.value);
  std::vector<Number> all(words.size());
  bool good = count == 0 ? !words.empty() : words.size() == count;
  for (std::size_t i = 0; i < words.size(); ++i) good = good && parse(words[i], all[i]);
  if (!good)
    entry.refuse((count == 0 ? "" : std::to_string(count) + " ") + kind + (count == 1 ? "" : "s"));
  return all;
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (text = trimmed(text); !text.empty(); text = trimmed(text)) {
    const std::size_t end = std::min(text.find_first_of(kBlanks), text.size());
    words.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return words;
}

void Entry::refuse(const std::string& wanted) const {
  throw Error(source + ": " + key + ": " + quote(value) + " is not " + wanted);
}

std::int64_t Entry::whole(std::int64_t least, std::int64_t most) const {
  std::int64_t number = 0;
  if (!parse(trimmed(value), number) || number < least || number > most)
    refuse(
        "a whole number from " + std::to_string(least) +
        (most == std::numeric_limits<std::int64_t>::max() ? " up" : " to " + std::to_string(most)));
  return number;
}

std::vector<std::int64_t> Entry::wholes(std::size_t count) const {
  return numbers<std::int64_t>(*this, count, "whole number");
}

std::vector<double> Entry::reals(std::size_t count) const {
  return numbers<double>(*this, count, "number");
}

bool Entry::flag() const {
  const std::string word = lower(trimmed(value));
  if (word == "true" || word == "1" || word == "t" || word == "y" || word == "yes") return true;
  if (word == "false" || word == "0" || word == "f" || word == "n" || word == "no") return false;
  refuse("True or False");
}

}  // namespace kanbench
