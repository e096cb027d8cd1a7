// Registers what the addon exports. src/native holds the TypeScript types of these exports.

#include <napi.h>

#include "addon/arguments.h"
#include "addon/classes.h"
#include "core/indexes/hnsw_index.h"
#include "core/runtime/isa.h"

namespace tandem {
namespace {

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
  return exports;
}

NODE_API_MODULE(tandem, Init)

}  // namespace
}  // namespace tandem
