// scripts/report.py over the results of a sweep, and its page in a browser without a window.

#include "kanbench/zfp.h"
#include "kanbench/zstd.h"
#include "program.h"
#include "program_running.h"

namespace kanbench::test {
namespace {

class ProgramReport : public testing::Test {
 protected:
  void SetUp() override {
    const Outcome said = report({"--help"});
    if (said.status != 0) GTEST_SKIP() << said.error;
  }
  Outcome report(const Words& words) {
    return Running(here_.path(), words, {}, (source_directory() / "scripts/report.py").string())
        .wait();
  }
  Outcome bench(const Words& more = {}) {
    Json entry = small_run();
    entry["network_types"] = {"mlp", "fastkan"};
    write_text(here_ / "p.json", params_of("nucleon", entry));
    Words words = {"-p", "p.json",   "--data-dir", demo_data().string(), "-o", "results",
                   "-q", "--device", "cpu"};
    words.insert(words.end(), more.begin(), more.end());
    return run(here_.path(), words);
  }
  void expect_refused(const Words& words, int status, const Words& says) {
    const Outcome refused = report(words);
    EXPECT_EQ(refused.status, status) << refused.error;
    EXPECT_EQ(lines(refused.error).size(), 1u) << refused.error;
    for (const std::string& word : says)
      EXPECT_NE(refused.error.find(word), std::string::npos) << word << " in " << refused.error;
  }
  TemporaryDirectory here_;
};

std::size_t count(const std::string& text, const std::string& word) {
  std::size_t found = 0;
  for (std::size_t at = text.find(word); at != text.npos; at = text.find(word, at + 1)) ++found;
  return found;
}

TEST_F(ProgramReport, IsOnePageThatABrowserShows) {
  ASSERT_EQ(bench({"--save-mode", "all"}).status, 0);
  const Outcome made = report({"results", "-o", "r.html", "--data-dir", demo_data().string()});
  ASSERT_EQ(made.status, 0) << made.error;
  EXPECT_NE(made.out.find("2 of 2 runs, 8 plots"), std::string::npos) << made.out;
  const std::string page = contents(here_ / "r.html");
  EXPECT_EQ(count(page, "src=\"data:image/png;base64,iVBOR"), 8u);
  EXPECT_EQ(count(page, "http"), 0u);
  for (const auto& row : csv(here_ / "results/results.csv"))
    EXPECT_EQ(count(page, ">" + row.at("run_id") + "<"), 1u);
  for (const char* name : {"psnr_by_compression_ratio", "training", "slices_nucleon"})
    for (const char* suffix : {".png", ".pdf"})
      EXPECT_GT(fs::file_size(here_ / "r_plots" / (std::string(name) + suffix)), 1000u) << name;
  // A page that counts its own pictures, and clicks on a heading.
  const std::string probe = page + R"(<script>addEventListener("load", () => {
    const shown = [...document.images].filter(i => i.complete && i.naturalWidth > 100).length;
    const heading = document.querySelectorAll("#runs th")[3];
    heading.click();
    const least = Number(document.querySelector("#runs tbody tr").cells[3].textContent);
    document.title = "shown " + shown + " least " + least; });</script>)";
  write_text(here_ / "probe.html", probe);
  const Outcome seen = Running(here_.path(),
                               {"--headless", "--no-sandbox", "--disable-gpu",
                                "--enable-logging=stderr", "--virtual-time-budget=5000",
                                "--dump-dom", "file://" + (here_ / "probe.html").string()},
                               {}, "chromium")
                           .wait();
  if (seen.status == 127) GTEST_SKIP() << "no chromium here to open the page in";
  EXPECT_EQ(count(seen.error, "CONSOLE"), 0u) << seen.error;
  const auto rows = csv(here_ / "results/results.csv");
  const int least =
      std::min(std::stoi(rows.at(0).at("n_parameters")), std::stoi(rows.at(1).at("n_parameters")));
  EXPECT_EQ(count(seen.out, "<title>shown 8 least " + std::to_string(least) + "<"), 1u)
      << seen.out.substr(0, 400);
}

TEST_F(ProgramReport, DrawsCompressorsBesideNetworks) {
  if (!has_zfp() || !has_zstd()) GTEST_SKIP() << "this build has no ZFP or no Zstandard";
  ASSERT_EQ(bench({"--baselines", "zfp,zstd"}).status, 0);
  const Outcome made = report({"results", "-o", "r.html", "--data-dir", demo_data().string()});
  ASSERT_EQ(made.status, 0) << made.error;
  const std::string page = contents(here_ / "r.html");
  EXPECT_EQ(count(page, "<td class=\"word\">zfp</td>"), 2u);
  EXPECT_EQ(count(page, "<td class=\"word\">zstd</td>"), 1u);
  EXPECT_EQ(count(page, "best is zstd"), 0u);
  // The text of a plot's legend stands in its PDF only as glyphs: what is drawn is asked itself.
  write_text(here_ / "drawn.py", R"(
import sys; sys.path.insert(0, sys.argv[1])
import report, report_plots as plots, pathlib
rows, lines = report.load([pathlib.Path("results/results.csv")])
rows = rows[report.is_finished(rows)]
seen = []
def keep(figure, *rest): seen.append([t.get_text() for t in figure.legends[0].get_texts()])
plots.keep = keep
plots.draw_tradeoff(rows, plots.make_styles(rows), plots.METRICS[0], plots.COSTS[0], None)
print(sorted(seen[0]))
)");
  const Outcome drawn =
      Running(here_.path(), {"drawn.py", (source_directory() / "scripts").string()}, {},
              "/usr/bin/python3")
          .wait();
  EXPECT_EQ(drawn.out, "['Pareto front', 'fastkan', 'mlp', 'zfp', 'zstd, lossless']\n")
      << drawn.error;
}

TEST_F(ProgramReport, SaysWhatIsNotThere) {
  ASSERT_EQ(bench({"--save-mode", "none"}).status, 0);
  ASSERT_EQ(report({"results/results.csv", "-o", "r.html", "--data-dir", "."}).status, 0);
  EXPECT_NE(contents(here_ / "r.html").find("nucleon: its volume is in no --data-dir"),
            std::string::npos);
  fs::remove(here_ / "results/results.jsonl");
  const Outcome made = report({"results", "-o", "r.html", "--data-dir", demo_data().string()});
  EXPECT_EQ(made.status, 0) << made.error;
  EXPECT_NE(contents(here_ / "r.html").find("no reconstruction was saved"), std::string::npos);
}

TEST_F(ProgramReport, RefusesWhatIsNoResultInOneLine) {
  expect_refused({"gone"}, 2, {"gone: no such file"});
  write_text(here_ / "other.csv", "a,b\n1,2\n");
  expect_refused({"other.csv"}, 2, {"other.csv", "no column dataset_name"});
  write_text(here_ / "empty.csv", "");
  expect_refused({"empty.csv"}, 2, {"empty.csv: not a CSV file"});
  write_text(here_ / "two.csv",
             "dataset_name,network_type,compression_ratio,avg_psnr,status,run_id\n"
             "a,mlp,2,30,finished,1\na,mlp,,,failed,2\n");
  expect_refused({"two.csv", "-o", "nowhere/r.html"}, 2, {"there is no directory nowhere"});
  EXPECT_EQ(report({"two.csv", "-o", "two.html"}).status, 0);
}

}  // namespace
}  // namespace kanbench::test
