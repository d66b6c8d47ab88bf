// kanbench completion: scripts for bash and zsh, made from the program's own options.

#include <CLI/CLI.hpp>
#include <cctype>
#include <iostream>
#include <sstream>

#include "commands/commands.h"
#include "commands/options.h"

namespace kanbench {
namespace {

// The fixed words that a form like "auto|cpu|cuda[:N]" offers, the open parts left out.
std::string words_of(const std::string& form) {
  if (form.find('|') == form.npos) return "";
  std::istringstream parts(form);
  std::string words;
  for (std::string part; std::getline(parts, part, '|');) {
    part = part.substr(0, part.find_first_of("[:"));
    if (!part.empty() && std::islower(static_cast<unsigned char>(part[0])))
      words += (words.empty() ? "" : " ") + part;
  }
  return words;
}

// bash: what may follow an option of this form.
std::string answers(const std::string& form) {
  if (form == "FILE") return "_kanbench_files";
  if (form == "DIR") return "_kanbench_directories";
  const std::string words = words_of(form);
  return words.empty() ? "COMPREPLY=()" : "_kanbench_words \"" + words + "\"";
}

std::string names_of(const CLI::Option& option, const char* separator) {
  std::string names;
  for (const std::string& name : option.get_lnames())
    names += (names.empty() ? "--" : std::string(separator) + "--") + name;
  for (const std::string& name : option.get_snames())
    names += (names.empty() ? "-" : std::string(separator) + "-") + name;
  return names;
}

// One arm a subcommand: its options' values, then its options and positional words.
void write_arm(std::ostream& out, const CLI::App& app) {
  std::string options, words;
  out << "    " << app.get_name() << ")\n      case \"$previous\" in\n";
  for (const CLI::Option* option : app.get_options()) {
    const std::string form = option->get_option_text();
    if (option->get_positional()) {
      words += " " + words_of(form);
      continue;
    }
    options += " " + names_of(*option, " ");
    if (option->get_type_size() > 0 && option->get_expected_min() > 0)
      out << "        " << names_of(*option, "|") << ") " << answers(form) << "; return ;;\n";
  }
  out << "      esac\n      case \"$current\" in\n        -*) _kanbench_words \""
      << options.substr(options.find_first_not_of(' ')) << "\" ;;\n        *) ";
  const std::size_t first = words.find_first_not_of(' ');
  if (first == words.npos)
    out << "_kanbench_files ;;\n";
  else
    out << "_kanbench_words \"" << words.substr(first) << "\" ;;\n";
  out << "      esac ;;\n";
}

constexpr const char* kHead = R"(# Completion for kanbench, made by `kanbench completion`.
_kanbench_words() { COMPREPLY=($(compgen -W "$1" -- "$current")); }
_kanbench_files() {
  local IFS=$'\n'
  compopt -o filenames 2>/dev/null
  COMPREPLY=($(compgen -f -- "$current"))
}
_kanbench_directories() {
  local IFS=$'\n'
  compopt -o filenames 2>/dev/null
  COMPREPLY=($(compgen -d -- "$current"))
}
_kanbench() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
  local IFS=$' \t\n'
  COMPREPLY=()
)";

void write_script(std::ostream& out, const CLI::App& root) {
  std::string names;
  for (const CLI::App* app : root.get_subcommands({})) names += " " + app->get_name();
  out << kHead << "  local commands=\"" << names.substr(1) << "\"\n"
      << "  if [ \"$COMP_CWORD\" -eq 1 ] && [[ \"$current\" != -* ]]; then\n"
      << "    _kanbench_words \"$commands\"\n    return\n  fi\n"
      << "  local command=bench\n"
      << "  case \" $commands \" in *\" ${COMP_WORDS[1]} \"*) command=\"${COMP_WORDS[1]}\" ;; "
         "esac\n"
      << "  case \"$command\" in\n";
  for (const CLI::App* app : root.get_subcommands({})) write_arm(out, *app);
  out << "  esac\n}\ncomplete -F _kanbench kanbench\n";
}

}  // namespace

void attach_completion(CLI::App& app) {
  const auto shell = std::make_shared<std::string>();
  add_option(app, "shell", *shell, "bash|zsh", "For which shell")
      ->required()
      ->check(one_of({"bash", "zsh"}));
  app.footer(
      "Examples:\n"
      "  source <(kanbench completion bash)        # in ~/.bashrc\n"
      "  source <(kanbench completion zsh)         # in ~/.zshrc, after compinit");
  app.callback([shell, &app] {
    if (*shell == "zsh") std::cout << "autoload -U +X bashcompinit && bashcompinit\n";
    write_script(std::cout, *app.get_parent());
  });
}

}  // namespace kanbench
