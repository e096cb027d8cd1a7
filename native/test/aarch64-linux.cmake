# Toolchain of the preset "neon": cross-compiles for 64-bit ARM and runs the tests in user-mode
# QEMU.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
# The libraries of the cross compiler. "max" has every extension that QEMU knows, including dot
# products.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu)
