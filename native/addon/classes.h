// The registration function of each wrapper. addon.cpp adds their results to the exports.
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
/// The namespace objects { build, load, attach }. Instances are only made by these functions.
Napi::Object DefineClusterIndex(Napi::Env env);
Napi::Object DefineHnswIndex(Napi::Env env);
/// The namespace object of tensor operations.
Napi::Object DefineTensorOps(Napi::Env env);
/// The namespace object of fused training operations.
Napi::Object DefineTrainingOps(Napi::Env env);

/// Data of one JavaScript environment: the main thread or a worker. It is not static, because each
/// environment has its own.
struct AddonData {
  Napi::FunctionReference cluster_index;
  Napi::FunctionReference hnsw_index;
};

}  // namespace tandem
