{
  # Lets node-gyp start the CMake build. Only CMakeLists.txt lists sources and flags.
  'targets': [
    {
      'target_name': 'tandem',
      'type': 'none',
      'actions': [
        {
          'action_name': 'cmake_js',
          'inputs': ['CMakeLists.txt'],
          # This file is never written, so the action always runs and CMake decides what is out of
          # date.
          'outputs': ['<(PRODUCT_DIR)/tandem.node.always'],
          'action': ['node', '<(module_root_dir)/tools/build-native.mjs'],
        },
      ],
    },
  ],
}
