// The registration function of each wrapper; addon.cpp puts their results on the exports.
#pragma once

#include <napi.h>

namespace tandem {

/// The JavaScript class Head.
Napi::Function DefineHead(Napi::Env env);
/// The JavaScript class Encoder.
Napi::Function DefineEncoder(Napi::Env env);
/// The JavaScript class ItemTower.
Napi::Function DefineItemTower(Napi::Env env);
/// The JavaScript class ExactIndex.
Napi::Function DefineExactIndex(Napi::Env env);
/// The namespace objects { build, load }; instances come from these two alone.
Napi::Object DefineClusterIndex(Napi::Env env);
Napi::Object DefineHnswIndex(Napi::Env env);
/// The namespace object of tensor operations.
Napi::Object DefineTensorOps(Napi::Env env);
/// The namespace object of fused training operations.
Napi::Object DefineTrainingOps(Napi::Env env);

/// Data of one JavaScript environment (the main thread or a worker): nothing here is static.
struct AddonData {
  Napi::FunctionReference cluster_index;
  Napi::FunctionReference hnsw_index;
};

}  // namespace tandem
