// Registers what the addon exports. src/native holds the TypeScript types of these exports.

#include <napi.h>

#include "addon/arguments.h"
#include "addon/classes.h"
#include "core/indexes/hnsw_index.h"
#include "core/runtime/isa.h"
#include "core/runtime/thread_pool.h"

namespace tandem {
namespace {

/// The largest value of TANDEM_THREADS.
constexpr std::size_t kMaxThreads = 1024;

/// setThreads(count): the size of the thread pool, unless TANDEM_THREADS says it.
Napi::Value SetThreads(const Napi::CallbackInfo& info) {
  const std::size_t threads = SizeArgument(info[0], "threads", 1, kMaxThreads);
  return Napi::Number::New(info.Env(), static_cast<double>(ThreadPool::SetSharedSize(threads)));
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  const KernelTable* table = nullptr;
  ThrowUnlessOk(env, DefaultKernels(&table));
  env.SetInstanceData(new AddonData());

  const AvailableKernels& found = ProbeKernels();
  Napi::Array isas = Napi::Array::New(env, found.count);
  for (std::size_t i = 0; i < found.count; ++i) {
    isas.Set(static_cast<uint32_t>(i), Napi::String::New(env, found.tables[i]->isa));
  }
  exports.Set("version", Napi::String::New(env, TANDEM_VERSION));
  exports.Set("usearchVersion", Napi::String::New(env, UsearchVersion()));
  exports.Set("availableIsas", isas);
  exports.Set("defaultIsa", Napi::String::New(env, table->isa));
  exports.Set("Head", DefineHead(env));
  exports.Set("Encoder", DefineEncoder(env));
  exports.Set("ItemTower", DefineItemTower(env));
  exports.Set("ExactIndex", DefineExactIndex(env));
  exports.Set("ClusterIndex", DefineClusterIndex(env));
  exports.Set("HnswIndex", DefineHnswIndex(env));
  exports.Set("ops", DefineTensorOps(env));
  exports.Set("training", DefineTrainingOps(env));
  exports.Set("setThreads", Napi::Function::New(env, SetThreads, "setThreads"));
  return exports;
}

NODE_API_MODULE(tandem, Init)

}  // namespace
}  // namespace tandem
