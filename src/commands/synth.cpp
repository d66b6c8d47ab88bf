// kanbench synth: analytic volumes.

#include "kanbench/synth.h"

#include <iostream>

#include "commands/commands.h"
#include "commands/options.h"

namespace kanbench {
namespace {

struct SynthOptions {
  std::string name, directory = ".", size, dtype = "uint8";
  std::uint64_t seed = 0;
};

}  // namespace

void attach_synth(CLI::App& app) {
  const auto options = std::make_shared<SynthOptions>();
  std::string names, list;
  for (const Synth& synth : synths()) {
    names += (names.empty() ? "" : "|") + std::string(synth.name);
    list += "  " + std::string(synth.name) + ": " + synth.formula + "\n";
  }
  add_option(app, "name", options->name, names, "Which field")->required();
  add_option(app, "-o,--output-dir", options->directory, "DIR",
             "Where name_XxYxZ_dtype.raw and its .nhdr are written (default .); name_3xXxYxZ of\n"
             "three numbers a voxel");
  add_option(app, "--size", options->size, "XxYxZ", "Voxels an axis; required")->required();
  add_option(app, "--dtype", options->dtype,
             "uint8|int8|uint16|int16|uint32|int32|uint64|int64|float32|float64",
             "Voxel type (default uint8); integers use their range from 0 up, floats 0 to 1\n"
             "(a flow's are its velocities)");
  add_option(app, "--seed", options->seed, "N", "Draws another turbulence (default 0)")
      ->check(whole_number(0));
  app.footer("Fields:\n" + list +
             "\nExample:\n"
             "  kanbench synth turbulence -o data --size 256x256x256 --dtype float32 --seed 7");
  app.callback([options] {
    const Shape shape = parse_shape(options->size, "--size");
    const Dtype dtype = require_dtype(options->dtype, "--dtype");
    std::cout
        << write_synth(options->name, options->directory, shape, dtype, options->seed).string()
        << "\n";
  });
}

}  // namespace kanbench
