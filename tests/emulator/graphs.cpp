// Graphs: what was captured, done again in the order in which it was asked for.

#include "graphs.h"

#include <memory>

#include "state.h"
#include "streams.h"

using namespace emulator;

struct CUgraphExec_st {
  std::shared_ptr<std::vector<std::function<void()>>> work;
};

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  if (nodes) return answer(cudaErrorNotSupported);
  *count = graph->work.size();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* run, cudaGraph_t graph, unsigned long long) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  *run = new CUgraphExec_st{std::make_shared<std::vector<std::function<void()>>>(graph->work)};
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
  const Call call;
  return call.error;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t run, cudaStream_t stream) {
  const Call call;
  if (call.error != cudaSuccess) return call.error;
  return enqueue(stream, [work = run->work] {
    for (const auto& step : *work) step();
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const Call call(Call::does_not_throw);
  delete graph;
  return call.error;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t run) {
  const Call call(Call::does_not_throw);
  delete run;
  return call.error;
}
