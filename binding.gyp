{
  # node-gyp's entrance to the one CMake build: sources and flags are listed in CMakeLists.txt alone.
  'targets': [
    {
      'target_name': 'tandem',
      'type': 'none',
      'actions': [
        {
          'action_name': 'cmake_js',
          'inputs': ['CMakeLists.txt'],
          # Never written, so that the action always runs and CMake decides what is out of date.
          'outputs': ['<(PRODUCT_DIR)/tandem.node.always'],
          'action': ['node', '<(module_root_dir)/tools/build-native.mjs'],
        },
      ],
    },
  ],
}
